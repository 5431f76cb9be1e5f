"""Mounts without mount(8): overlay through the file descriptor API, the rest through mount(2).

`mount_all` and `unmount` block for less than a millisecond or so; `mount_in_thread` and
`unmount_in_thread` are their forms for Trio tasks.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable, Sequence
from typing import Final

import trio

from tricorn.errors import InvalidArgument, TricornError
from tricorn.fs import idmapped, syscalls
from tricorn.fs.failures import typed
from tricorn.ports import FilesystemMount

OVERLAY_LOWERS: Final = 500  # the kernel's own bound
_STACKED: Final = 64  # mounts over one another at one place that `unmount` takes down
_FLAGS: Final = {
    "ro": syscalls.MS_RDONLY, "nosuid": 2, "nodev": 4, "noexec": 8, "sync": 16, "dirsync": 128,
    "noatime": 1024, "nodiratime": 2048, "bind": syscalls.MS_BIND,
    "rbind": syscalls.MS_BIND | syscalls.MS_REC, "relatime": 1 << 21, "strictatime": 1 << 24,
}  # fmt: skip
_CLEARED: Final = {"rw", "suid", "dev", "exec", "async", "atime", "diratime", "defaults"}
# fsmount(2) names the per-mount flags by other bits than mount(2).
_ATTRIBUTES: Final = {
    syscalls.MS_RDONLY: 0x1, 2: 0x2, 4: 0x4, 8: 0x8, 1024: 0x10, 1 << 24: 0x20, 2048: 0x80,
}  # fmt: skip
_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")
_UNESCAPED: Final = re.compile(r"[A-Za-z0-9/._:@-]+")
_NO_MOUNT_FD: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP})

_legacy = False  # the kernel takes no layer by itself (before 6.5): each try is an error in its log

_limiter = trio.CapacityLimiter(8)  # mounts contend on one kernel lock: more threads gain nothing


def mount_all(mounts: Sequence[FilesystemMount], target: str) -> None:
    """Make `mounts` one over another at the directory `target`, all or none. Raises typed errors."""
    done = 0
    try:
        for item in mounts:
            _mount_one(item, target)
            done += 1
    except BaseException:
        for _ in range(done):
            unmount_once(target, detach=True)
        raise


def unmount(target: str, *, detach: bool = False) -> bool:
    """Take down every mount at `target` and return whether there was one. Missing is no error.

    FailedPrecondition while in use, unless `detach`: then it vanishes from the tree at once.
    """
    found = False
    for _ in range(_STACKED):
        if not unmount_once(target, detach=detach):
            break
        found = True
    return found


def unmount_once(target: str, *, detach: bool = False) -> bool:
    """Take down the topmost mount at `target`; False if nothing is mounted there."""
    flags = syscalls.UMOUNT_NOFOLLOW | (syscalls.MNT_DETACH if detach else 0)
    try:
        syscalls.umount(target, flags)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
            return False
        raise typed(error, f"cannot unmount {target}") from error
    return True


def mounted_below(path: str) -> list[str]:
    """Return the mount points at and below `path`, deepest first, as this process sees them."""
    base = os.path.realpath(path)
    with open("/proc/self/mountinfo", "rb") as file:
        table = file.read()
    if _UNESCAPED.fullmatch(base) and os.fsencode(base) not in table:
        return []  # as a rule; with many containers the table is long
    found = []
    for line in table.rstrip(b"\n").split(b"\n"):
        point = os.fsdecode(_ESCAPE.sub(lambda m: bytes((int(m[1], 8),)), line.split(b" ")[4]))
        if point == base or point.startswith(base.rstrip("/") + "/"):
            found.append(point)
    return sorted(found, key=lambda point: (-point.count("/"), point))


async def mount_in_thread(mounts: Sequence[FilesystemMount], target: str) -> None:
    """`mount_all` for Trio tasks."""
    await trio.to_thread.run_sync(mount_all, mounts, target, limiter=_limiter)


async def unmount_in_thread(target: str, *, detach: bool = False) -> bool:
    """`unmount` for Trio tasks."""
    return await trio.to_thread.run_sync(lambda: unmount(target, detach=detach), limiter=_limiter)


def _mount_one(item: FilesystemMount, target: str) -> None:
    owners, options = idmapped.owners_in(item.options)
    flags, data = _parse(options)
    try:
        if owners is not None:
            _mount_mapped(item, flags, data, target, owners)
        elif item.type == "overlay":
            _mount_overlay(flags, data, target)
        elif flags & syscalls.MS_BIND:
            _bind(item.source, target, flags)
        else:
            syscalls.mount(item.source, target, item.type, flags, ",".join(data))
    except OSError as error:
        what = f"cannot mount {item.type} {item.source} at {target}"
        raise _with_notes(typed(error, what), error) from error


def _mount_mapped(
    item: FilesystemMount, flags: int, data: Sequence[str], target: str, owners: idmapped.Owners
) -> None:
    """Mount as a user namespace is to see it: the read-only layers show other owners than the disk has; what
    is written has them on the disk, too, for overlay writes as the one who mounted it.
    """
    if item.type != "overlay":
        attributes = sum(new for old, new in _ATTRIBUTES.items() if flags & old)
        with idmapped.user_namespace(owners) as namespace:
            idmapped.attach(item.source, target, namespace, attributes)
        return
    lowers, rest = split_lowers(data)
    for option in rest:
        if option.startswith("upperdir="):
            idmapped.hand_over(option.removeprefix("upperdir="), owners)
    with idmapped.shown_layers(lowers, owners, target) as shown:
        lowerdir = ":".join(path.replace(":", "\\:") for path in shown)
        _mount_overlay(flags, [*rest, f"lowerdir={lowerdir}"], target)


def _with_notes(failure: TricornError, error: OSError) -> TricornError:
    notes = getattr(error, "__notes__", None)
    if notes:
        failure.why = "; ".join((failure.why, *notes))
    return failure


def _parse(options: Sequence[str]) -> tuple[int, list[str]]:
    flags, data = 0, []
    for option in options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif option not in _CLEARED:
            data.append(option)
    return flags, data


def _bind(source: str, target: str, flags: int) -> None:
    syscalls.mount(source, target, "", flags & (syscalls.MS_BIND | syscalls.MS_REC))
    rest = flags & ~(syscalls.MS_BIND | syscalls.MS_REC)
    if not rest:
        return
    try:
        # A bind mount takes its flags in a second step only.
        syscalls.mount("", target, "", syscalls.MS_REMOUNT | syscalls.MS_BIND | rest)
    except OSError:
        syscalls.umount(target, syscalls.MNT_DETACH)
        raise


def _mount_overlay(flags: int, data: Sequence[str], target: str) -> None:
    lowers, rest = split_lowers(data)
    if len(lowers) > OVERLAY_LOWERS:
        raise InvalidArgument(
            f"cannot mount {len(lowers)} layers at {target}", why=f"overlay takes at most {OVERLAY_LOWERS}"
        )
    global _legacy  # noqa: PLW0603 - the kernel stays the same
    if _legacy:
        _legacy_overlay(flags, lowers, rest, target)
        return
    try:
        mount_fd = overlay_context(flags, lowers, rest)
    except OSError as error:
        if error.errno not in _NO_MOUNT_FD:
            raise
        _legacy_overlay(flags, lowers, rest, target)
        _legacy = True
        return
    try:
        syscalls.move_mount(mount_fd, target)
    finally:
        os.close(mount_fd)


def split_lowers(data: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate the directories of `lowerdir=` from the other options."""
    lowers: list[str] = []
    rest = []
    for option in data:
        key, _, value = option.partition("=")
        if key == "lowerdir":
            lowers = [part.replace("\\:", ":") for part in re.split(r"(?<!\\):", value)]
        else:
            rest.append(option)
    return lowers, rest


def overlay_context(flags: int, lowers: Sequence[str], rest: Sequence[str]) -> int:
    """Return a detached overlay mount. Raises OSError, with the kernel's own words as a note.

    One call for each layer: neither a page of options nor 256 bytes of a value bound them.
    """
    context = syscalls.fsopen("overlay")
    try:
        for lower in lowers:
            syscalls.fsconfig_string(context, "lowerdir+", lower)
        for option in rest:
            key, equals, value = option.partition("=")
            if equals:
                syscalls.fsconfig_string(context, key, value)
            else:
                syscalls.fsconfig_flag(context, key)
        if flags & syscalls.MS_RDONLY:
            syscalls.fsconfig_flag(context, "ro")
        syscalls.fsconfig_create(context)
        return syscalls.fsmount(context, sum(new for old, new in _ATTRIBUTES.items() if flags & old))
    except OSError as error:
        _note_kernel_log(context, error)
        raise
    finally:
        os.close(context)


def _note_kernel_log(context: int, error: OSError) -> None:
    for _ in range(8):
        try:
            error.add_note(os.read(context, 1024).decode(errors="replace").strip())
        except OSError:
            return


def _legacy_overlay(flags: int, lowers: Sequence[str], rest: Sequence[str], target: str) -> None:
    """Mount in a thread with a working directory of its own: relative names make 500 layers fit."""
    common = os.path.commonpath(lowers) if len(lowers) > 1 else os.path.dirname(lowers[0])
    names = [os.path.relpath(lower, common) for lower in lowers]
    data = ",".join((*rest, "lowerdir=" + ":".join(name.replace(":", "\\:") for name in names)))

    def mount() -> None:
        syscalls.unshare(syscalls.CLONE_FS)
        os.chdir(common)
        syscalls.mount("overlay", os.path.abspath(target), "overlay", flags, data)

    _run_in_own_thread(mount)


def _run_in_own_thread(work: Callable[[], None]) -> None:
    failures: list[OSError] = []

    def body() -> None:
        try:
            work()
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=body, name="mount")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
