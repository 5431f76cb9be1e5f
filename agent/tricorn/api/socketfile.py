"""The agent's listening sockets: made by us with owner and mode right from the start, or inherited."""

from __future__ import annotations

import errno
import grp
import os
import socket
import stat
from collections.abc import Iterable

import structlog

from tricorn.errors import Conflict, InvalidArgument

log = structlog.get_logger(__name__)
_BACKLOG = 1024
_MODE = 0o660
_PATH_MAX = 107  # bytes of sun_path


def listen(path: str, group: str) -> socket.socket:
    """Return a listening unix socket at `path`, mode 0660, owned by `group` where that exists.

    A socket file that nobody listens on is replaced. Raises Conflict when another agent listens there,
    InvalidArgument when the path can't hold a socket.
    """
    if len(os.fsencode(path)) > _PATH_MAX:
        raise InvalidArgument(
            f"socket path {path} is too long", why=f"at most {_PATH_MAX} bytes", field="socket"
        )
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # Nobody can connect between bind and chmod: before listen(2) the kernel refuses.
        listener.bind(path)
        os.chown(path, -1, _gid(group), follow_symlinks=False)
        os.chmod(path, _MODE)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise InvalidArgument(
            f"cannot listen on {path}", why=os.strerror(error.errno or 0), field="socket"
        ) from None
    return listener


def inherit(fds: Iterable[int]) -> list[socket.socket]:
    """Return the listening sockets of socket activation; InvalidArgument for one that isn't such."""
    return [_inherited(fd) for fd in fds]


def _inherited(fd: int) -> socket.socket:
    inherited = socket.socket(fileno=fd)
    try:
        accepting = inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        unix = inherited.family == socket.AF_UNIX and inherited.type == socket.SOCK_STREAM
    except OSError:
        accepting, unix = 0, False
    if not (accepting and unix):
        inherited.detach()
        raise InvalidArgument(
            f"inherited descriptor {fd} is no listening unix stream socket",
            hint="ListenStream= of tricornd.socket must be a path",
        )
    return inherited


def _remove_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise InvalidArgument(f"{path} exists and is no socket", hint="move it away", field="socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(0)
        try:
            probe.connect(path)
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                log.info("stale socket removed", path=path)
                os.unlink(path)
                return
            if error.errno != errno.EAGAIN:  # a full backlog: somebody listens
                raise InvalidArgument(f"cannot use {path}", why=os.strerror(error.errno or 0)) from None
    raise Conflict(
        f"another process listens on {path}",
        hint="stop the other tricornd, or give this one its own --state",
        field="socket",
    )


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        log.warning("socket group does not exist", group=group, hint="only root can connect")
        return -1
