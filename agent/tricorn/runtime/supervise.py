"""The Runtime port on conmon and an OCI runtime. Containers outlive the agent."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import structlog
import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from tricorn.failpoints import failpoint
from tricorn.model.records import ProcessIdentity
from tricorn.model.requests import LogLine
from tricorn.model.samples import CgroupSample, ProcessInfo
from tricorn.ports import BundleRef, Created, ExecSession, Exit, ProcessStreams, RuntimeInfo, StdioStream
from tricorn.runtime import bundle as bundles
from tricorn.runtime import cgroup, client_execs, conmon, lazy_pages, oci, process, sampling, stdio
from tricorn.runtime.attaching import Attachments
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.checkpoints import Checkpoints, restore_arguments, restore_failure
from tricorn.runtime.client_stdio import ClientStdio
from tricorn.runtime.execs import ExecPlan, run_exec, runtime_log
from tricorn.runtime.kept_execs import KeptExecs, remove_logs
from tricorn.runtime.loggers import Loggers
from tricorn.runtime.orphan import wait_without_monitor
from tricorn.runtime.output import ContainerOutput
from tricorn.runtime.release import WITH_FIFO, follows_hooks, release
from tricorn.runtime.root_checks import barred_way, require_plain_root
from tricorn.runtime.sealed import SealedPrograms
from tricorn.runtime.seccomp_cache import SeccompCache
from tricorn.runtime.watch import Watcher

log = structlog.get_logger(__name__)
DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MONITOR_PATIENCE: Final = 5.0
_PRUNE_DELAY: Final = 1.0
_SIGKILL: Final = signal.SIGKILL
_SAMPLING: Final = trio.CapacityLimiter(1)


class ConmonRuntime(Checkpoints, KeptExecs):
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
        self._filters = SeccompCache()
        self._sealed = SealedPrograms()
        self._stack = AsyncExitStack()
        self._conmon = ""
        self._consoles = f"{state_dir}/consoles"
        self._waiting = {}
        self._creating = 0
        self._launched: dict[str, ProcessIdentity] = {}  # monitors of creates under way, by bundle
        self._clients_parents: set[str] = set()
        self._deleted = trio.Event()

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

    # ------------------------------------------------------------ life
    async def create(self, ref: BundleRef) -> Created:
        runtime = await self._usable(ref)
        bundle = Bundle.of(ref)
        config = bundles.read_config(bundle)
        path = bundles.cgroup_path(config, ref.id)
        if ref.bundle not in self._waiting:
            bundle.prepare()
        bundle.save_cgroup(path)
        if ref.stdio is None:
            os.makedirs(os.path.dirname(ref.log), mode=0o700, exist_ok=True)
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
