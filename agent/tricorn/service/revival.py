"""Bringing dumped processes back: their dump unpacked, compared with what they are granted, restored."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import msgspec
import trio
from attrs import evolve, frozen

from tricorn.errors import InvalidArgument
from tricorn.failpoints import failpoint
from tricorn.fs import dump_files, dump_links, dump_rounds
from tricorn.model.checkpoints import DUMP, DumpOptions, RestorePlan
from tricorn.model.oci import Descriptor, Platform
from tricorn.model.records import Container
from tricorn.ports import BundleRef, CheckpointRuntime, Created, FilesystemMount
from tricorn.private_directories import renew_directory
from tricorn.rules import dump_cgroups
from tricorn.rules.client_spec import mapped_group
from tricorn.rules.dump_checks import check_dump, exceeds
from tricorn.rules.dump_grants import namespace_kinds
from tricorn.rules.dump_images import read_dump, wanted
from tricorn.rules.dump_mount_forms import clean
from tricorn.rules.dump_remaps import Place
from tricorn.runtime.bundle import cgroup_path
from tricorn.runtime.syscall_names import TOKENS, numbers_of
from tricorn.service.bundles import Bundles
from tricorn.service.lazy_memory import LazyMemory
from tricorn.store.content import ContentStore
from tricorn.store.transaction import Transaction

_LIMITER = trio.CapacityLimiter(2)
_PLAIN: Final = DumpOptions()
_TCP, _LOCKS = "tcp-stream-", "filelocks.img"


@frozen
class Revival:
    """How one container comes back. `fill` gives its snapshot the files it had, before it is mounted;
    `check` is given the spec it is to run with, and refuses a dump that exceeds it. `record` adds to the
    change that puts the running container on record. `made` is the record of one whose spec a client of
    containerd's API made.
    """

    fill: Callable[[Sequence[FilesystemMount]], Awaitable[None]]
    check: Callable[[BundleRef, bytes], Awaitable[RestorePlan]]
    record: Callable[[Transaction], object] | None = None
    made: Container | None = None


class Reviver:
    def __init__(
        self, content: ContentStore, runtime: CheckpointRuntime, bundles: Bundles,
        machine: Platform,
    ) -> None:  # fmt: skip
        self._content = content
        self._runtime = runtime
        self._bundles = bundles
        self._machine = machine
        self.lazy: LazyMemory | None = None

    async def runtime(self, wanted: str = "") -> str:
        """Return the runtime to restore with where none is asked for: `wanted`, or else one that can."""
        known = await self._runtime.capabilities()
        able = [name for name, info in known.items() if info.usable and "criu" in info.features]
        return next((name for name in (wanted, "runc", *able) if name in able), wanted)

    async def unpack(self, ref: BundleRef, dump: Descriptor, spec: bytes) -> None:
        """Lay a dump out for the container, which is to run with `spec`.

        InvalidArgument for what is no dump; PermissionDenied, naming what is too much, for one of processes
        that were granted more; Unimplemented when this node or the runtime can't restore. Nothing is left
        then.
        """
        if dump.media_type != DUMP:
            raise InvalidArgument(
                f"a checkpoint of type {dump.media_type[:160]!r}", why=f"it must be {DUMP}",
                field="checkpoint.media_type",
            )  # fmt: skip
        await self._runtime.can_checkpoint(ref.runtime)
        info = await self._content.info(ref.namespace, dump.digest)
        directory = self._bundles.dump(ref.namespace, ref.id)
        await trio.to_thread.run_sync(renew_directory, directory, limiter=_LIMITER)
        async with self._laid_out(ref, directory, spec):
            path = self._content.blob_path(info.digest)
            await trio.to_thread.run_sync(dump_files.unpack, path, directory, limiter=_LIMITER)
            failpoint("restore.unpacked")

    async def adopt(self, ref: BundleRef, received: str, spec: bytes, rounds: int = 0) -> None:
        """Take a dump that lies in a directory of this root already, in place of `unpack`; raises so, too. It
        stands on so many rounds of memory.
        """
        await self._runtime.can_checkpoint(ref.runtime)
        directory = self._bundles.dump(ref.namespace, ref.id)
        await trio.to_thread.run_sync(_move, received, directory, limiter=_LIMITER)
        async with self._laid_out(ref, directory, spec, rounds):
            pass

    @asynccontextmanager
    async def _laid_out(
        self, ref: BundleRef, directory: str, spec: bytes, rounds: int = 0
    ) -> AsyncIterator[None]:
        """Compare what was laid out within this with the spec; nothing is left of what doesn't fit."""
        try:
            yield
            await trio.to_thread.run_sync(
                partial(self._check, ref, directory, spec, rounds), limiter=_LIMITER
            )
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.clear(ref)
            raise

    def _check(self, ref: BundleRef, directory: str, data: bytes, rounds: int) -> None:
        spec: Mapping[str, Any] = msgspec.json.decode(data)
        names = dump_rounds.check_dump(directory, rounds)
        dump = read_dump(dump_files.read_images(directory, names, wanted), names)
        linux = spec.get("linux") or {}
        hidden = [*(linux.get("maskedPaths") or ()), *(linux.get("readonlyPaths") or ())]
        check_dump(
            dump, spec, existing=[path for path in hidden if os.path.exists(path)],
            architecture=self._machine.architecture, tokens=TOKENS, numbers=numbers_of,
        )  # fmt: skip
        _walk(dump.remaps.places, spec, self._bundles.path(ref.namespace, ref.id))
        _place(directory, names, spec, cgroup_path(dict(spec), ref.id))
        if group := mapped_group(data):
            dump_files.let_in(directory, group)

    async def plan(self, ref: BundleRef, options: DumpOptions = _PLAIN, *, lazy: bool = False) -> RestorePlan:
        """Return how the dump that was unpacked is restored: what it holds, CRIU has to be told of. With
        `lazy` it runs before it has its memory; Unimplemented where that can't be.
        """
        if lazy:
            await self._runtime.can_restore_lazily(ref.runtime)
        directory = self._bundles.dump(ref.namespace, ref.id)
        names = await trio.to_thread.run_sync(os.listdir, directory, limiter=_LIMITER)
        options = evolve(
            options,
            tcp_established=options.tcp_established or any(name.startswith(_TCP) for name in names),
            file_locks=options.file_locks or _LOCKS in names,
        )
        return RestorePlan(directory, options, lazy)

    async def revive(self, ref: BundleRef) -> Created:
        """Restore the processes, for a container whose bundle and dump are laid out. They run at once.

        FailedPrecondition with CRIU's words and the remedy: the dump is kept then.
        """
        ref = evolve(ref, restore=await self.plan(ref))
        created = await self._runtime.create(ref)
        failpoint("restore.created")
        await self._runtime.restored(ref)
        return created

    async def release(self, ref: BundleRef, created: Created | None) -> None:
        """Remove what a container was restored from: at once, or when it has been given all of its memory."""
        if self.lazy is None or created is None or not await self.lazy.take_up(ref, created):
            await self.clear(ref)

    async def clear(self, ref: BundleRef) -> None:
        """Remove what was unpacked; idempotent."""
        directory = self._bundles.dump(ref.namespace, ref.id)
        remove = partial(shutil.rmtree, directory, ignore_errors=True)
        await trio.to_thread.run_sync(remove, limiter=_LIMITER)


def _walk(places: Sequence[Place], spec: Mapping[str, Any], bundle: str) -> None:
    """Look whether files without a name come back where they were: a link would lead CRIU to the node's."""
    sources = {clean(item["destination"]): str(item.get("source") or "") for item in spec.get("mounts") or ()}
    sources["/"] = os.path.join(bundle, str((spec.get("root") or {}).get("path") or "rootfs"))
    for place in places:
        base = sources.get(place.point, "")
        if not os.path.isabs(base) or dump_links.has_link(base, place.below):
            raise exceeds([f"a deleted file below {place.point!r} in {place.below[:80]!r}, which is a link"])


def _place(directory: str, names: list[str], spec: Mapping[str, Any], group: str) -> None:
    """Have the processes restored below the container's own control group."""
    apart = "cgroup" in namespace_kinds(spec)
    for name, data in dump_files.read_images(directory, names, dump_cgroups.NAME.__eq__).items():
        placed = dump_cgroups.place_below(data, group, namespace=apart)
        dump_files.replace_image(directory, name, placed)


def _move(received: str, directory: str) -> None:
    renew_directory(directory)
    os.rename(received, directory)  # in place of the empty one
