"""The Runtime port on conmon and an OCI runtime. Containers outlive the agent."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import trio

from tricorn.errors import NotFound, Unimplemented
from tricorn.model.records import ProcessIdentity
from tricorn.model.requests import LogLine
from tricorn.model.samples import CgroupSample, ProcessInfo
from tricorn.ports import BundleRef, ExecSession, ProcessStreams, RuntimeInfo, StdioStream
from tricorn.runtime import cgroup, conmon, oci, process, sampling, stdio
from tricorn.runtime.attaching import Attachments
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.checkpoints import Checkpoints
from tricorn.runtime.client_stdio import ClientStdio
from tricorn.runtime.container_life import ContainerLife
from tricorn.runtime.execs import ExecPlan, run_exec
from tricorn.runtime.kept_execs import KeptExecs
from tricorn.runtime.loggers import Loggers
from tricorn.runtime.output import ContainerOutput
from tricorn.runtime.sealed import SealedPrograms
from tricorn.runtime.watch import Watcher

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SAMPLING: Final = trio.CapacityLimiter(1)


class ConmonRuntime(Checkpoints, ContainerLife, KeptExecs):
    """Implements `ports.Runtime`. An async context manager: it owns one task (the log watcher) and makes
    the process a child subreaper.

    `state_dir` holds the runtimes' own state; `runtimes` maps names to paths (crun and runc of PATH when
    empty); `default` names the default choice; `environment` is where PATH is taken from.
    """

    def __init__(
        self,
        state_dir: str,
        *,
        runtimes: Mapping[str, str] | None = None,
        default: str = "",
        environment: Mapping[str, str] | None = None,
        cgroup_top: str = cgroup.OWN_TOP,
        log_programs: Sequence[str] = (),
        criu: str = "",
    ) -> None:
        Checkpoints.__init__(self, criu)
        ContainerLife.__init__(self)
        self._top = cgroup_top
        self._state_dir = state_dir
        self._configured = dict(runtimes or {})
        self._default = default
        self._environment = {"PATH": (environment or {}).get("PATH") or DEFAULT_PATH, "LANG": "C.UTF-8"}
        self._hierarchies = cgroup.detect()
        self._attachments = Attachments(self._hierarchies)
        self._found: dict[str, RuntimeInfo] | None = None
        self._probing = trio.Lock()
        self._watcher = Watcher()
        self._output = ContainerOutput(self._watcher)
        self._client = ClientStdio(Loggers(log_programs, self._environment))
        self._sealed = SealedPrograms()
        self._stack = AsyncExitStack()
        self._conmon = ""
        self._consoles = f"{state_dir}/consoles"
        self._waiting = {}

    async def __aenter__(self) -> Self:
        process.become_subreaper()
        shutil.rmtree(self._consoles, ignore_errors=True)
        nursery = await self._stack.enter_async_context(trio.open_nursery())
        self._stack.callback(nursery.cancel_scope.cancel)
        self._client.run_in(nursery)
        nursery.start_soon(self._watcher.run)
        nursery.start_soon(self._prune)
        nursery.start_soon(self._attachments.run)
        nursery.start_soon(process.reap_orphans)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._stack.__aexit__(kind, error, trace)
        finally:
            self._watcher.close()
            self._sealed.close()
            self._prune_now()

    # ------------------------------------------------------------ which runtimes
    async def capabilities(self) -> dict[str, RuntimeInfo]:
        if self._found is not None:
            return dict(self._found)
        async with self._probing:
            if self._found is None:
                found = await oci.discover(
                    self._configured, self._default, self._environment, self._hierarchies
                )
                for info in found.values():
                    if info.flavour == "crun":
                        await self._sealed.admit(info.path, self._environment)
                self._found = found
        return dict(self._found)

    def use_streams(self, streams: ProcessStreams) -> None:
        """Have processes take streams of the streaming service as their stdio, too."""
        self._client.streams = streams

    def expect_process(self) -> None:
        self._attachments.expect()

    @property
    def cgroup_mode(self) -> cgroup.Mode:
        """How this host mounts its control groups."""
        return self._hierarchies.mode

    async def _runtime(self, ref: BundleRef) -> oci.OciRuntime:
        info = (await self.capabilities()).get(ref.runtime)
        if info is None:
            raise Unimplemented(
                f"runtime {ref.runtime!r} isn't configured",
                hint=f"this node has {', '.join(sorted(self._found or {})) or 'none'}",
                field="runtime",
            )
        root = f"{self._state_dir}/runtime/{ref.runtime}"
        program = self._sealed.path(info.path)
        return oci.OciRuntime(info.path, root, self._environment, info.flavour, program)

    def _cgroup(self, bundle: Bundle, namespace: str) -> cgroup.Cgroup:
        path = bundle.read_cgroup() or f"{self._top}/{namespace}/{bundle.container}"
        return cgroup.Cgroup(self._hierarchies, path)

    def _find_conmon(self) -> str:
        self._conmon = self._conmon or conmon.find_conmon(self._environment)
        return self._conmon

    # ------------------------------------------------------------ figures
    async def pids(self, ref: BundleRef) -> list[int]:
        await trio.lowlevel.checkpoint()
        return self._cgroup(Bundle.of(ref), ref.namespace).pids()

    async def sample(
        self, targets: Sequence[tuple[BundleRef, ProcessIdentity | None]]
    ) -> list[CgroupSample | None]:
        groups = [
            (self._cgroup(Bundle.of(ref), ref.namespace), init.pid if init else 0) for ref, init in targets
        ]
        return await trio.to_thread.run_sync(sampling.take_all, groups, limiter=_SAMPLING)

    async def oom_kills(self, refs: Sequence[BundleRef]) -> list[int]:
        groups = [self._cgroup(Bundle.of(ref), ref.namespace) for ref in refs]
        return await trio.to_thread.run_sync(sampling.count_kills, groups, limiter=_SAMPLING)

    async def processes(self, ref: BundleRef) -> list[ProcessInfo]:
        pids = self._cgroup(Bundle.of(ref), ref.namespace).pids()
        return await trio.to_thread.run_sync(sampling.look_at, pids, limiter=_SAMPLING)

    async def stats(self, ref: BundleRef) -> dict[str, float]:
        await trio.lowlevel.checkpoint()
        group = self._cgroup(Bundle.of(ref), ref.namespace)
        if not group.exists():
            raise NotFound(f"container {ref.id} has no control group", why="it doesn't run")
        return group.figures()

    # ------------------------------------------------------------ stdio
    async def resize(self, ref: BundleRef, rows: int, columns: int) -> None:
        await trio.lowlevel.checkpoint()
        created = Bundle.of(ref).read_created()
        if created is None:
            raise NotFound(f"container {ref.id} doesn't run")
        stdio.resize_terminal(created.monitor, rows, columns)

    def attach(self, ref: BundleRef) -> AbstractAsyncContextManager[StdioStream]:
        return self._output.attach(ref)

    @asynccontextmanager
    async def exec(
        self, ref: BundleRef, exec_id: str, process: Mapping[str, Any], *, terminal: bool, stdin: bool
    ) -> AsyncIterator[ExecSession]:
        runtime = await self._runtime(ref)
        plan = ExecPlan(
            Bundle.of(ref).exec(exec_id),
            tuple(runtime.arguments(ref.namespace)),
            self._find_conmon(),
            self._environment,
            process,
            terminal,
            stdin,
            self._consoles,
        )
        self._attachments.expect()
        async with run_exec(plan) as session:
            yield session

    def logs(
        self,
        ref: BundleRef,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncGenerator[LogLine, None]:
        """As the port has it; close the generator (`aclosing`) when leaving it early."""
        return self._output.logs(ref, follow=follow, tail=tail, since=since, until=until)

    async def rotate_logs(self, ref: BundleRef) -> bool:
        return await self._output.rotate(ref)
