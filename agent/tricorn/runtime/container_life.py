"""The part of the Runtime port that makes, starts, signals, awaits and deletes containers."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, suppress
from typing import Any, Final

import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from tricorn.failpoints import failpoint
from tricorn.model.records import ProcessIdentity
from tricorn.ports import BundleRef, Created, Exit, RuntimeInfo
from tricorn.private_directories import ensure_directory
from tricorn.runtime import bundle as bundles
from tricorn.runtime import cgroup, client_execs, conmon, lazy_pages, oci, process
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.checkpoints import restore_arguments, restore_failure
from tricorn.runtime.client_processes import ClientProcesses
from tricorn.runtime.execs import runtime_log
from tricorn.runtime.kept_execs import remove_logs
from tricorn.runtime.orphan import wait_without_monitor
from tricorn.runtime.release import WITH_FIFO, follows_hooks, release
from tricorn.runtime.root_checks import barred_way, require_plain_root
from tricorn.runtime.seccomp_cache import SeccompCache

_MONITOR_PATIENCE: Final = 5.0
_PRUNE_DELAY: Final = 1.0
_SIGKILL: Final = signal.SIGKILL


class ContainerLife(ClientProcesses):
    """Mixed into the runtime, which has the rest of what is used here."""

    _hierarchies: cgroup.Hierarchies
    _top: str

    def __init__(self) -> None:
        self._filters = SeccompCache()
        self._creating = 0
        self._launched: dict[str, ProcessIdentity] = {}  # monitors of creates under way, by bundle
        self._clients_parents: set[str] = set()  # of deleted containers' control groups
        self._deleted = trio.Event()

    async def capabilities(self) -> dict[str, RuntimeInfo]:
        raise NotImplementedError

    async def create(self, ref: BundleRef) -> Created:
        runtime = await self._usable(ref)
        bundle = Bundle.of(ref)
        config = bundles.read_config(bundle)
        path = bundles.cgroup_path(config, ref.id)
        if ref.bundle not in self._waiting:
            bundle.prepare()
        bundle.save_cgroup(path)
        if ref.stdio is None:
            ensure_directory(os.path.dirname(ref.log))
        self._creating += 1
        try:
            require_plain_root(bundle.path, config)
            with self._attachments.expected():
                return await self._create_filtered(ref, runtime, bundle, config)
        except BaseException:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
                if waiting := self._waiting.pop(ref.bundle, None):
                    await waiting.give_up()
                await self.delete(ref, None)
            raise
        finally:
            self._launched.pop(bundle.path, None)
            self._creating -= 1

    async def _usable(self, ref: BundleRef) -> oci.OciRuntime:
        runtime = await self._runtime(ref)
        usable = (await self.capabilities())[ref.runtime]
        if not usable.usable:
            raise Unimplemented(f"runtime {ref.runtime!r} can't be used here", why=usable.reason)
        return runtime

    async def _create_filtered(
        self, ref: BundleRef, runtime: oci.OciRuntime, bundle: Bundle, config: dict[str, Any]
    ) -> Created:
        """Create with the seccomp filter that an earlier container had compiled, if there was one."""
        if ref.restore is not None:  # its filters come with the dump
            return await self._create(ref, runtime, bundle)
        profile = self._filters.key(runtime.path, config)
        if profile and self._filters.apply(profile, config):
            bundle.write_config(config)
            return await self._create(ref, runtime, bundle)
        created = await self._create(ref, runtime, bundle)
        if profile:
            self._filters.learn(profile, runtime.state_of(ref.namespace, ref.id))
        return created

    async def _create(self, ref: BundleRef, runtime: oci.OciRuntime, bundle: Bundle) -> Created:
        if ref.stdio is not None:
            if waiting := self._waiting.pop(ref.bundle, None):
                return await self._create_for_client(ref, waiting, bundle)
            async with self._waiting_monitor(ref, ref.stdio, runtime, bundle) as waiting:
                return await self._create_for_client(ref, waiting, bundle)
        options = conmon.MonitorOptions(
            log=ref.log, terminal=ref.terminal, stdin=ref.stdin, no_pivot=ref.no_pivot,
            restore=restore_arguments(ref.restore),
        )  # fmt: skip
        argv = conmon.command(self._find_conmon(), bundle, ref.id, runtime.arguments(ref.namespace), options)
        with ExitStack() as stack:
            given: dict[int, int] = {}
            environment = await self._environment_for(ref)
            if ref.terminal:
                environment = environment | stack.enter_context(conmon.console_directory(self._consoles))
            elif ref.stdin:
                holder = stack.enter_context(conmon.make_stdin_holder())
                given[conmon.STDIN_FD] = holder.fileno()
            monitor = conmon.launch(argv, bundle, environment, given)
            created = await self._started(ref, monitor)
            if given:
                conmon.connect(holder, bundle)
        bundle.save_created(created)
        failpoint("container.created")
        return created

    async def _started(self, ref: BundleRef, monitor: conmon.Monitor) -> Created:
        self._launched[ref.bundle] = monitor.identity
        try:
            pid = await conmon.wait_started(
                monitor, seconds=limits.DUMP_CALL if ref.restore else limits.RUNTIME_CALL
            )
        except FailedPrecondition as error:
            await _end_monitors([monitor.identity])
            del self._launched[ref.bundle]
            if ref.restore:
                raise restore_failure(ref, error) from None
            words = oci.readable(runtime_log(Bundle.of(ref)) or error.why) or "the runtime gave no reason"
            kind = InvalidArgument if oci.refused((), words) else FailedPrecondition
            hint = barred_way(ref.bundle) if "ermission denied" in words else ""
            raise kind(f"container {ref.id} can't be created", why=words, hint=hint) from None
        finally:
            monitor.close()
        init = process.identify(pid)
        if init is None:
            raise FailedPrecondition(f"container {ref.id} ended before it was started")
        return Created(init, monitor.identity)

    async def start(self, ref: BundleRef) -> None:
        runtime = await self._runtime(ref)
        if ref.stdio is not None:
            await self._client.connect_stdin(ref.stdio, Bundle.of(ref), ref.namespace)
        if await self._released(ref, runtime):
            return
        try:
            await runtime.call(ref.namespace, "start", ref.id)
        except FailedPrecondition as error:
            kind = InvalidArgument if oci.refused((), error.why) else FailedPrecondition
            raise kind(f"container {ref.id} can't be started", why=error.why) from None

    async def _released(self, ref: BundleRef, runtime: oci.OciRuntime) -> bool:
        bundle = Bundle.of(ref)
        created = bundle.read_created()
        if created is None or runtime.flavour not in WITH_FIFO or follows_hooks(bundle.file("config.json")):
            return False
        state = runtime.state_of(ref.namespace, ref.id)
        return await release(state, lambda: process.alive(created.init))

    async def kill(self, ref: BundleRef, init: ProcessIdentity, signal: int, *, all: bool = False) -> None:
        await trio.lowlevel.checkpoint()
        group = self._cgroup(Bundle.of(ref), ref.namespace)
        if all:
            if group.signal_all(signal) == 0:
                raise NotFound(f"container {ref.id} has no process")
            return
        self._signal(group, init, signal, f"the process of container {ref.id}")

    def _signal(self, group: cgroup.Cgroup, target: ProcessIdentity, signal: int, what: str) -> None:
        if not process.send(target, signal):
            raise NotFound(f"{what} has ended")
        if signal == _SIGKILL and group.frozen():
            group.thaw()  # a frozen process of cgroup v1 dies only when thawed

    async def wait(self, ref: BundleRef, created: Created) -> Exit:
        bundle = Bundle.of(ref)
        await conmon.wait_ended(created.monitor)
        ended = bundle.read_exit()
        group = self._cgroup(bundle, ref.namespace)
        if ended is None:
            return await wait_without_monitor(created.init, group)
        kills = group.oom_kills()
        return Exit(*ended, oom_killed=kills > 0 or bundle.oom_noted(), oom_kills=kills)

    async def pause(self, ref: BundleRef) -> None:
        """Freeze all processes; FailedPrecondition when that isn't possible."""
        await self._cgroup(Bundle.of(ref), ref.namespace).freeze()

    async def resume(self, ref: BundleRef) -> None:
        await trio.lowlevel.checkpoint()
        self._cgroup(Bundle.of(ref), ref.namespace).thaw()

    async def delete(self, ref: BundleRef, created: Created | None) -> None:
        runtime = await self._runtime(ref)
        bundle = Bundle.of(ref)
        group = self._cgroup(bundle, ref.namespace)
        if created is None:
            # a create that was cut short: let it come to its end, which leaves less behind than killing it
            with trio.move_on_after(_MONITOR_PATIENCE):
                created = await self.recover_created(ref)
        await group.kill_all()
        await _end_monitors([created.monitor] if created else self._monitors(bundle), bool(created))
        gone = await group.kill_all() and created is not None and not process.alive(created.init)
        if runtime.knows(ref.namespace, ref.id):
            with suppress(FailedPrecondition):
                await runtime.delete(ref.namespace, ref.id, bundles.find_config(bundle) if gone else None)
        for exec_bundle in bundle.execs():
            await client_execs.remove(exec_bundle, self._client)
        remove_logs(ref)
        await self._client.finish(bundle)
        lazy_pages.stop(bundle)
        await group.remove()
        if os.path.dirname(group.path) == f"/{ref.namespace}":  # where containerd's clients put them
            self._clients_parents.add(f"/{ref.namespace}")
        bundle.clear()
        self._deleted.set()

    async def recover_created(self, ref: BundleRef) -> Created | None:
        bundle = Bundle.of(ref)
        saved = bundle.read_created()
        if saved:
            await trio.lowlevel.checkpoint()
            return saved
        monitors = self._monitors(bundle)
        if not monitors:
            return None
        with trio.move_on_after(limits.RUNTIME_CALL):
            while process.alive(monitors[0]):
                # the runtime writes this file last; the FIFO's message may have been read already
                pid = bundle.read_pid()
                init = process.identify(pid) if pid else None
                if init and process.parent_of(pid) == monitors[0].pid:
                    created = Created(init, monitors[0])
                    bundle.save_created(created)
                    return created
                await trio.sleep(0.01)
        return None

    def _monitors(self, bundle: Bundle) -> list[ProcessIdentity]:
        """Return the monitors of a bundle. One that was launched a moment ago has no command line yet."""
        launched = self._launched.get(bundle.path)
        found = conmon.find_by_bundle(bundle)
        return [launched, *(each for each in found if each != launched)] if launched else found

    async def _prune(self) -> None:
        """Remove empty parent cgroups a moment after deletions, but never under a create's feet."""
        while True:
            if self._creating == 0:
                self._prune_now()
            self._deleted = trio.Event()
            await self._deleted.wait()
            await trio.sleep(_PRUNE_DELAY)

    def _prune_now(self) -> None:
        cgroup.prune(self._hierarchies, self._top)
        cgroup.prune_parents(self._hierarchies, self._clients_parents)
        self._clients_parents.clear()


async def _end_monitors(monitors: list[ProcessIdentity], patient: bool = True) -> None:
    """Wait for monitors whose processes are gone; one that doesn't end by itself is killed."""
    for monitor in monitors:
        if not patient:
            process.send(monitor, signal.SIGKILL)
        with trio.move_on_after(_MONITOR_PATIENCE) as patience:
            await conmon.wait_ended(monitor)
        if patience.cancelled_caught:
            process.send(monitor, signal.SIGKILL)
            await conmon.wait_ended(monitor)
