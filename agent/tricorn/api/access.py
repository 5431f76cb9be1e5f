"""The host's side of authorisation: who a peer is, and what the configuration's names stand for."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import structlog
import trio

from tricorn.rules.authorise import DEFAULT_GROUP, AccessRule, Authoriser, Peer, Role, RoleName

log = structlog.get_logger(__name__)
_CREDENTIALS: Final = struct.Struct("3i")
_SO_PEERGROUPS: Final = 59  # asm-generic/socket.h, Linux 4.13; the socket module has no name for it
_GETSOCKOPT_MAX: Final = 1024  # Python's own bound: 256 groups


class AccessEntry(Protocol):
    """One `[[access]]` table of the configuration."""

    @property
    def role(self) -> RoleName: ...
    @property
    def users(self) -> tuple[str, ...]: ...
    @property
    def groups(self) -> tuple[str, ...]: ...
    @property
    def namespaces(self) -> tuple[str, ...]: ...


def peer_of(connection: trio.socket.SocketType) -> Peer:
    """Return who connected, by SO_PEERCRED and SO_PEERGROUPS: the kernel's record of the moment of
    connect(2), so that neither exec nor a reused pid can change it. Raises OSError when the peer is gone.
    """
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return Peer(pid=pid, uid=uid, gid=gid, groups=_groups(connection, uid, gid))


def _groups(connection: trio.socket.SocketType, uid: int, gid: int) -> frozenset[int]:
    if uid == 0:
        return frozenset()  # root needs none
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GETSOCKOPT_MAX)
    except OSError as error:
        if error.errno not in {errno.ERANGE, errno.ENOPROTOOPT}:
            raise
        return _groups_of_user(uid, gid)
    return frozenset(struct.unpack(f"{len(raw) // 4}I", raw))


def _groups_of_user(uid: int, gid: int) -> frozenset[int]:
    """For a peer with more groups than the call can return: those of the user database."""
    try:
        return frozenset(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    except (KeyError, OSError):
        return frozenset()


def build_authoriser(entries: Iterable[AccessEntry], group: str = DEFAULT_GROUP) -> Authoriser:
    """Return the authoriser of the configuration's rules; the members of `group` come last, as admins.

    Names are looked up here and now: reload the configuration after making a user it names. A rule of
    which no name is known is left out with a warning, so that it never turns into one for everybody.
    """
    rules = [rule for entry in entries if (rule := _rule(entry)) is not None]
    gid = _number(group, _gid)
    if gid is not None:
        rules.append(AccessRule(Role.ADMIN, groups=frozenset({gid})))
    return Authoriser(tuple(rules))


def _rule(entry: AccessEntry) -> AccessRule | None:
    users = frozenset(n for name in entry.users if (n := _number(name, _uid)) is not None)
    groups = frozenset(n for name in entry.groups if (n := _number(name, _gid)) is not None)
    if (entry.users or entry.groups) and not (users or groups):
        log.warning("access rule left out", role=entry.role, users=entry.users, groups=entry.groups)
        return None
    return AccessRule(Role[entry.role.upper()], users, groups, tuple(entry.namespaces))


def _number(name: str, lookup: Callable[[str], int]) -> int | None:
    if name.isascii() and name.isdecimal():
        return int(name)
    try:
        return lookup(name)
    except KeyError:
        log.warning("access rule names nobody", name=name)
        return None


def _uid(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _gid(name: str) -> int:
    return grp.getgrnam(name).gr_gid
