"""Mounts that show other owners than the disk has (mount_setattr(2), MOUNT_ATTR_IDMAP). All calls block."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from typing import Final

from attrs import frozen

from tricorn.errors import Unimplemented
from tricorn.fs import syscalls

_ANSWER: Final = b"x"
_HINT: Final = "a kernel from 5.19 on, and layers on a file system that knows them (ext4, xfs, btrfs)"


@frozen
class Owners:
    """How ids are shown: lines of `CONTAINER:HOST:SIZE` as a user namespace has them."""

    uids: tuple[str, ...]
    gids: tuple[str, ...]

    def uid(self, number: int) -> int:
        """Return what an id of the disk is shown as; one that is a shown id already stays."""
        return _shown(self.uids, number)

    def gid(self, number: int) -> int:
        return _shown(self.gids, number)


def owners_in(options: Sequence[str]) -> tuple[Owners | None, list[str]]:
    """Separate the mapping from the other options of a mount."""
    found: dict[str, tuple[str, ...]] = {}
    rest = []
    for option in options:
        key, _, value = option.partition("=")
        if key in {"uidmap", "gidmap"} and value:
            found[key] = tuple(value.split(","))
        else:
            rest.append(option)
    return (Owners(found["uidmap"], found["gidmap"]) if len(found) > 1 else None), rest


@contextlib.contextmanager
def user_namespace(owners: Owners) -> Iterator[int]:
    """Give a descriptor of a user namespace with these mappings. OSError, Unimplemented.

    A process has to make it, for one with threads can't.
    """
    command = ["unshare", "--user", "--", "cat"]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    except FileNotFoundError:
        raise Unimplemented(
            "user namespaces", why="there is no unshare(1)", hint="install util-linux"
        ) from None
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        process.stdin.write(_ANSWER)
        if process.stdout.read(1) != _ANSWER:
            raise Unimplemented(
                "user namespaces", why="the kernel refuses to make one",
                hint="`sysctl user.max_user_namespaces=10000`",
            )  # fmt: skip
        for name, lines in (("uid_map", owners.uids), ("gid_map", owners.gids)):
            with open(f"/proc/{process.pid}/{name}", "w", encoding="ascii") as file:
                file.write("".join(line.replace(":", " ") + "\n" for line in lines))
        fd = os.open(f"/proc/{process.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        process.stdin.close()
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def shown_layers(directories: Sequence[str], owners: Owners, beside: str) -> Iterator[list[str]]:
    """Give directories that show those of an overlay's layers with other owners, for as long as the overlay
    is being mounted: it keeps what it needs. They are made beside the directory `beside`.
    """
    top = tempfile.mkdtemp(prefix=".layers-", dir=os.path.dirname(beside))
    shown: list[str] = []
    try:
        with user_namespace(owners) as namespace:
            for number, directory in enumerate(directories):
                place = os.path.join(top, str(number))
                os.mkdir(place, 0o700)
                attach(directory, place, namespace)
                shown.append(place)
        yield shown
    finally:
        for place in shown:
            syscalls.umount(place, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
        for place in os.listdir(top):
            os.rmdir(os.path.join(top, place))
        os.rmdir(top)


def attach(directory: str, target: str, namespace: int, attributes: int = 0) -> None:
    """Mount a directory at `target` as the user namespace shows it. Unimplemented where that can't be."""
    try:
        fd = syscalls.clone_mount(directory, attributes, user_namespace=namespace)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
            raise
        raise Unimplemented(
            f"{directory} can't be shown with other owners", why=error.strerror or "", hint=_HINT
        ) from None
    try:
        syscalls.move_mount(fd, target)
    finally:
        os.close(fd)


def hand_over(directory: str, owners: Owners) -> None:
    """Give an overlay's upper directory, which isn't shown otherwise, to whom it belongs."""
    found = os.stat(directory, follow_symlinks=False)
    os.chown(directory, owners.uid(found.st_uid), owners.gid(found.st_gid), follow_symlinks=False)


def _shown(lines: Sequence[str], number: int) -> int:
    for line in lines:
        inside, outside, size = map(int, line.split(":"))
        if outside <= number < outside + size:
            return number
        if inside <= number < inside + size:
            return outside + number - inside
    return number
