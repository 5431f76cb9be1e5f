"""Snapshots as directories of overlay mounts: one upper directory for each layer."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Sequence
from typing import Final

from tricorn.errors import InvalidArgument
from tricorn.fs import metadata, mounts, syscalls
from tricorn.fs.directory_store import MAPPED_TRIAL, DirectorySnapshotter, DirectoryStore
from tricorn.model.records import SnapshotKind
from tricorn.ports import FilesystemMount

_INDEX_PARAMETER: Final = "/sys/module/overlay/parameters/index"
_DEEPEST: Final = mounts.OVERLAY_LOWERS


class OverlaySnapshotter(DirectorySnapshotter):
    """Implements `ports.Snapshotter` under `root`, which must be this snapshotter's own directory.

    `snapshots/<id>/fs` holds a snapshot's own changes, `work` is overlay's. Layers may be applied to
    `layer_root` side by side, in any order; before such a snapshot is used, `adopt` must be called.
    """

    name = "overlayfs"

    def __init__(self, root: str) -> None:
        self._store = DirectoryStore(root)
        self._supported: str | None = None
        # With the inode index, overlay refuses an upper directory whose lowers it hasn't seen before.
        self._options = ("index=off",) if os.path.exists(_INDEX_PARAMETER) else ()

    async def supported(self) -> str:
        """Return "" if overlay mounts work below the root, else the kernel's reason. Cached."""
        if self._supported is None:
            self._supported = await self._store.in_thread(self._try_mount, "cannot try an overlay mount")
        return self._supported

    async def create(self, backend_id: str, kind: SnapshotKind, parents: Sequence[str]) -> None:
        if len(parents) > _DEEPEST:
            raise InvalidArgument(f"{len(parents)} layers", why=f"overlay takes at most {_DEEPEST}")
        lower = self._store.path(parents[0], "fs") if parents else ""

        def fill(path: str) -> None:
            upper = os.path.join(path, "fs")
            os.mkdir(upper)
            os.chmod(upper, 0o755)  # noqa: S103 - a container's root; what is above is private
            if lower:
                # The upper directory's metadata is that of the container's root.
                metadata.copy_path(lower, upper)
            if kind is SnapshotKind.ACTIVE:
                os.mkdir(os.path.join(path, "work"), 0o700)

        what = f"cannot create the snapshot {backend_id}"
        await self._store.in_thread(lambda: self._store.install(backend_id, fill), what)

    def mounts(
        self, backend_id: str, kind: SnapshotKind, parents: Sequence[str]
    ) -> tuple[FilesystemMount, ...]:
        """Return the mount that shows the snapshot: an overlay, or a bind where one directory is all."""
        own = self._store.path(backend_id, "fs")
        writable = kind is SnapshotKind.ACTIVE
        if not parents:
            return (FilesystemMount("bind", own, ("rw" if writable else "ro", "rbind")),)
        lowers = [self._store.path(parent, "fs") for parent in parents]
        if not writable and len(lowers) == 1:
            return (FilesystemMount("bind", lowers[0], ("ro", "rbind")),)
        options = list(self._options)
        if writable:
            options += [f"workdir={self._store.path(backend_id, 'work')}", f"upperdir={own}"]
        options.append("lowerdir=" + ":".join(lowers))
        return (FilesystemMount("overlay", "overlay", tuple(options)),)

    def layer_root(self, backend_id: str) -> str | None:
        return self._store.path(backend_id, "fs")

    async def adopt(self, backend_id: str, parents: Sequence[str], implied: Sequence[str]) -> None:
        """Give the directories that a layer had no entry for the metadata they have in the nearest
        parent that has them. Call it once the parents are committed, with `ExtractResult.implied`.
        """
        if not implied or not parents:
            return
        own = self._store.path(backend_id, "fs")
        lowers = [self._store.path(parent, "fs") for parent in parents]
        what = f"cannot complete the directories of the snapshot {backend_id}"
        await self._store.in_thread(lambda: metadata.adopt(own, lowers, implied), what)

    def _mapped_trial(self, scratch: str) -> FilesystemMount:
        lower, upper, work = (os.path.join(scratch, name) for name in ("lower", "upper", "work"))
        for path in (lower, upper, work):
            os.mkdir(path)
        options = (*self._options, f"upperdir={upper}", f"workdir={work}", f"lowerdir={lower}", *MAPPED_TRIAL)
        return FilesystemMount("overlay", "overlay", options)

    def _try_mount(self) -> str:
        self._store.prepare()
        with tempfile.TemporaryDirectory(prefix="try-", dir=self._store.root) as scratch:
            lower, upper, work = (os.path.join(scratch, name) for name in ("lower", "upper", "work"))
            for path in (lower, upper, work):
                os.mkdir(path)
            try:
                os.setxattr(upper, "trusted.overlay.opaque", b"y")
                os.mknod(os.path.join(upper, "whiteout"), stat.S_IFCHR, 0)
            except OSError as error:
                return f"whiteouts cannot be written below {self._store.root}: {error.strerror}"
            return _mount_reason([lower], [*self._options, f"upperdir={upper}", f"workdir={work}"], scratch)


def _mount_reason(lowers: list[str], options: list[str], scratch: str) -> str:
    """Mount without attaching it anywhere, where the kernel can; return "" or why it doesn't work."""
    try:
        os.close(mounts.overlay_context(0, lowers, options))
    except OSError as error:
        detached = error
    else:
        return ""
    target = os.path.join(scratch, "target")
    os.mkdir(target)
    data = ",".join((*options, "lowerdir=" + ":".join(lowers)))
    try:
        syscalls.mount("overlay", target, "overlay", 0, data)
    except OSError as error:
        notes = "; ".join(getattr(detached, "__notes__", []))
        return f"overlay cannot be mounted below {scratch.rpartition('/')[0]}: {notes or error.strerror}"
    syscalls.umount(target, syscalls.MNT_DETACH)
    return ""
