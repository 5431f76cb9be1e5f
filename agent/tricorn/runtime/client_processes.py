"""The part of the Runtime port that is about processes with their clients' stdio."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import trio

from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound
from tricorn.failpoints import failpoint
from tricorn.model.processes import CgroupFiles
from tricorn.model.records import ProcessIdentity
from tricorn.model.stdio import Stdio
from tricorn.ports import BundleRef, Created, Exit, FoundExec
from tricorn.runtime import cgroup, client_execs, conmon, oci, stdio
from tricorn.runtime.attaching import Attachments
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.checkpoints import restore_arguments
from tricorn.runtime.client_stdio import ClientStdio
from tricorn.runtime.execs import RUNTIME_LOG, ExecPlan
from tricorn.runtime.waiting_monitors import StartPipe, WaitingMonitor


class ClientProcesses:
    """Mixed into the runtime, which has the rest of what is used here."""

    _attachments: Attachments
    _client: ClientStdio
    _environment: dict[str, str]
    _consoles: str
    _waiting: dict[str, WaitingMonitor]

    async def _runtime(self, ref: BundleRef) -> oci.OciRuntime:
        raise NotImplementedError

    async def _usable(self, ref: BundleRef) -> oci.OciRuntime:
        raise NotImplementedError

    def _cgroup(self, bundle: Bundle, namespace: str) -> cgroup.Cgroup:
        raise NotImplementedError

    def _find_conmon(self) -> str:
        raise NotImplementedError

    async def _environment_for(self, ref: BundleRef) -> dict[str, str]:
        raise NotImplementedError

    async def _started(self, ref: BundleRef, monitor: conmon.Monitor) -> Created:
        raise NotImplementedError

    def _signal(self, group: cgroup.Cgroup, target: ProcessIdentity, signal: int, what: str) -> None:
        raise NotImplementedError

    @asynccontextmanager
    async def ahead(self, ref: BundleRef) -> AsyncIterator[None]:
        if ref.stdio is None:
            yield
            return
        runtime, bundle = await self._usable(ref), Bundle.of(ref)
        bundle.prepare()
        async with self._waiting_monitor(ref, ref.stdio, runtime, bundle) as waiting:
            self._waiting[ref.bundle] = waiting
            try:
                yield
            finally:
                self._waiting.pop(ref.bundle, None)

    @asynccontextmanager
    async def _waiting_monitor(
        self, ref: BundleRef, stdio: Stdio, runtime: oci.OciRuntime, bundle: Bundle
    ) -> AsyncIterator[WaitingMonitor]:
        """Start a monitor that waits for `go`; it is ended unless that came."""
        options = conmon.MonitorOptions(
            terminal=stdio.terminal, no_pivot=ref.no_pivot, restore=restore_arguments(ref.restore)
        )
        arguments = [*runtime.arguments(ref.namespace), "--log", bundle.file(RUNTIME_LOG)]
        argv = conmon.command(self._find_conmon(), bundle, ref.id, arguments, options)
        async with self._client.prepare(stdio, bundle, ref.id, ref.namespace) as (_, wiring):
            with ExitStack() as stack:
                environment = await self._environment_for(ref)
                if wiring.client:
                    environment = environment | stack.enter_context(conmon.console_directory(self._consoles))
                with StartPipe() as start:
                    given = {**wiring.given, conmon.START_FD: start.theirs}
                    waiting = WaitingMonitor(conmon.launch(argv, bundle, environment, given), wiring, start)
                    try:
                        yield waiting
                    finally:
                        await waiting.give_up()

    async def _create_for_client(self, ref: BundleRef, waiting: WaitingMonitor, bundle: Bundle) -> Created:
        waiting.go()
        created = await self._started(ref, waiting.monitor)
        wiring = waiting.wiring
        if wiring.client:
            conmon.connect(wiring.client, bundle)
        bundle.save_created(created)
        self._client.begin(bundle, wiring, created.init)
        failpoint("container.created")
        return created

    async def reconnect(self, ref: BundleRef, created: Created) -> list[FoundExec]:
        bundle = Bundle.of(ref)
        kept = []
        for exec_bundle in bundle.execs():
            found = client_execs.found(exec_bundle)
            if found is None:
                await self.remove_exec(ref, os.path.basename(exec_bundle.path))
                continue
            if found.kept is None:
                await self._client.resume(found.stdio, exec_bundle, found.created, ref.namespace)
            kept.append(found)
        if ref.stdio is not None:
            await self._client.resume(ref.stdio, bundle, created, ref.namespace)
        return kept

    async def note_exec_told(self, ref: BundleRef, exec_id: str) -> None:
        await trio.lowlevel.checkpoint()
        with suppress(OSError):  # it is being removed, or the disk is full: it is told once more at worst
            client_execs.note_told(Bundle.of(ref).exec(exec_id))

    async def start_exec(
        self, ref: BundleRef, exec_id: str, process: Mapping[str, Any], stdio: Stdio
    ) -> Created:
        runtime = await self._runtime(ref)
        arguments = tuple(runtime.arguments(ref.namespace))
        plan = ExecPlan(
            Bundle.of(ref).exec(exec_id), arguments, self._find_conmon(), self._environment, process,
            stdio.terminal, bool(stdio.stdin), self._consoles,
        )  # fmt: skip
        with self._attachments.expected():
            return await client_execs.start(plan, self._client, stdio, ref.namespace)

    async def wait_exec(self, ref: BundleRef, exec_id: str, created: Created) -> Exit:
        return await client_execs.wait(Bundle.of(ref).exec(exec_id), created)

    async def kill_exec(self, ref: BundleRef, created: Created, signal: int) -> None:
        await trio.lowlevel.checkpoint()
        self._signal(self._cgroup(Bundle.of(ref), ref.namespace), created.init, signal, "the exec")

    async def remove_exec(self, ref: BundleRef, exec_id: str) -> None:
        await client_execs.remove(Bundle.of(ref).exec(exec_id), self._client)

    async def resize_exec(self, created: Created, rows: int, columns: int) -> None:
        await trio.lowlevel.checkpoint()
        stdio.resize_terminal(created.monitor, rows, columns)

    async def end_stdin(self, ref: BundleRef, exec_id: str, created: Created) -> None:
        await trio.lowlevel.checkpoint()
        bundle = Bundle.of(ref)
        self._client.end_stdin(bundle.exec(exec_id) if exec_id else bundle, created.monitor)

    async def update(self, ref: BundleRef, resources: Mapping[str, Any]) -> None:
        runtime = await self._runtime(ref)
        bundle = Bundle.of(ref)
        bundle.write("resources.json", json.dumps(resources))
        try:
            await runtime.call(ref.namespace, "update", "--resources", bundle.file("resources.json"), ref.id)
        except FailedPrecondition as error:
            raise InvalidArgument(f"the limits of {ref.id} can't be changed so", why=error.why) from None
        finally:
            os.unlink(bundle.file("resources.json"))

    async def cgroup_files(self, ref: BundleRef) -> CgroupFiles:
        await trio.lowlevel.checkpoint()
        group = self._cgroup(Bundle.of(ref), ref.namespace)
        if not group.exists():
            raise NotFound(f"container {ref.id} has no control group", why="it doesn't run")
        return group.files()
