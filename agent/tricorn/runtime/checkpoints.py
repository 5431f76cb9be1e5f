"""The part of the runtime that dumps containers and restores them, through an OCI runtime and CRIU."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition, Unimplemented
from tricorn.failpoints import failpoint
from tricorn.model.checkpoints import DumpOptions, RestorePlan
from tricorn.ports import BundleRef, CriuInfo, LazyState, RuntimeInfo
from tricorn.runtime import criu, lazy_pages, oci, process
from tricorn.runtime.bundle import Bundle
from tricorn.runtime.client_stdio import ClientStdio

_CRUN_HINT: Final = (
    "give the container a runtime that can: `--runtime runc`, or with containerd's clients "
    "`--runc-binary runc`; a node's default is set by `runtimes.default`"
)
_LOOK_AGAIN: Final = 0.1
_DUMPERS: Final = ("criu", "runc", "crun", "ld-linux", "ld-musl", "sh")  # CRIU may be started by a loader


class Checkpoints:
    """Mixed into the runtime, which has the rest of what is used here. Implements `ports.Checkpointer`."""

    _client: ClientStdio
    _environment: dict[str, str]

    def __init__(self, criu: str) -> None:
        self._criu_path = criu
        self._criu_found: CriuInfo | None = None
        self._criu_probing = trio.Lock()

    async def capabilities(self) -> dict[str, RuntimeInfo]:
        raise NotImplementedError

    async def _runtime(self, ref: BundleRef) -> oci.OciRuntime:
        raise NotImplementedError

    async def criu(self) -> CriuInfo:
        async with self._criu_probing:
            found = self._criu_found
            if found is None or not os.access(found.path, os.X_OK):
                found = await criu.probe(self._criu_path, self._environment)
                self._criu_found = found if found.usable else None
        return found

    async def can_checkpoint(self, runtime: str) -> None:
        criu.need(await self.criu())
        info = (await self.capabilities()).get(runtime)
        if info is not None and "criu" not in info.features:
            raise Unimplemented(
                f"runtime {runtime!r} can't dump or restore containers",
                why=f"{info.path} {info.version} was built without CRIU".replace("  ", " "),
                hint=_CRUN_HINT, field="runtime",
            )  # fmt: skip

    async def can_predump(self, runtime: str) -> None:
        info = (await self.capabilities()).get(runtime)
        criu.need_tracking(await self.criu(), runtime, info.flavour if info else "")

    async def predump(
        self, ref: BundleRef, images: str, work: str, options: DumpOptions, parent: str
    ) -> None:
        await self.can_predump(ref.runtime)
        await self._dump(ref, images, work, ["--pre-dump", *criu.common_arguments(options)], parent)

    async def checkpoint(
        self, ref: BundleRef, images: str, work: str, options: DumpOptions, parent: str = ""
    ) -> None:
        await self._dump(ref, images, work, criu.dump_arguments(options), parent)
        failpoint("checkpoint.dumped")

    async def _dump(self, ref: BundleRef, images: str, work: str, options: list[str], parent: str) -> None:
        await self.can_checkpoint(ref.runtime)
        if self.lazy_state(ref) == "serving":
            raise FailedPrecondition(
                f"container {ref.id} can't be dumped", why="it is still being given its memory",
                hint="try again in a few seconds",
            )  # fmt: skip
        runtime = await self._runtime(ref)
        environment = criu.with_criu(runtime.environment, await self.criu())
        runtime = oci.OciRuntime(runtime.path, runtime.root, environment)
        criu.remove_stale_cache()
        arguments = ["--image-path", images, "--work-path", work, *options]
        if parent:
            arguments += ["--parent-path", parent]
        try:
            await runtime.call(ref.namespace, "checkpoint", *arguments, ref.id, seconds=limits.DUMP_CALL)
        except FailedPrecondition as error:
            words, advice = criu.log_of(work, "dump.log")
            raise FailedPrecondition(
                f"container {ref.id} can't be dumped", why=words or error.why, hint=advice
            ) from None

    async def can_restore_lazily(self, runtime: str) -> None:
        info = (await self.capabilities()).get(runtime)
        criu.need_lazy(await self.criu(), runtime, info.flavour if info else "")

    def lazy_state(self, ref: BundleRef) -> LazyState:
        return lazy_pages.state(Bundle.of(ref))

    async def lazy_end(self, ref: BundleRef) -> LazyState:
        return await lazy_pages.wait(Bundle.of(ref))

    async def settle_dump(self, images: str, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while await trio.to_thread.run_sync(_is_named, images):  # noqa: ASYNC110 - a program of others
                await trio.sleep(_LOOK_AGAIN)

    async def restored(self, ref: BundleRef) -> None:
        if ref.stdio is not None:
            await self._client.connect_stdin(ref.stdio, Bundle.of(ref), ref.namespace)

    async def _environment_for(self, ref: BundleRef) -> dict[str, str]:
        """Return the environment of the monitor, with CRIU in PATH for one that restores."""
        if ref.restore is None:
            return self._environment
        await self.can_checkpoint(ref.runtime)
        criu.remove_stale_cache()
        found = await self.criu()
        environment = criu.with_criu(self._environment, found)
        if ref.restore.lazy:
            await self.can_restore_lazily(ref.runtime)
            await lazy_pages.start(Bundle.of(ref), found.path, ref.restore.images, environment)
        return environment


def _is_named(path: str) -> bool:
    """Return whether a process that runs has this path among its arguments."""
    wanted = os.fsencode(path)
    for name in filter(process.is_called(*_DUMPERS), filter(str.isdigit, os.listdir("/proc"))):
        with suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
            if wanted in file.read(64 * limits.KIB).split(b"\0"):
                return True
    return False


def restore_arguments(plan: RestorePlan | None) -> tuple[str, ...]:
    """Return what makes conmon restore a container in place of creating one."""
    if plan is None:
        return ()
    options = [f"--runtime-opt={word}" for word in criu.common_arguments(plan.options)]
    if plan.lazy:
        options.append("--runtime-opt=--lazy-pages")
    return ("--restore", plan.images, *options)


def restore_failure(ref: BundleRef, error: FailedPrecondition) -> FailedPrecondition:
    """Return the error to show for a restore that failed: CRIU's own words where its log has any."""
    words, advice = criu.log_of(ref.bundle, "restore.log")
    why = words or oci.readable(error.why) or "the runtime gave no reason"
    return FailedPrecondition(f"container {ref.id} can't be restored", why=why, hint=advice)
