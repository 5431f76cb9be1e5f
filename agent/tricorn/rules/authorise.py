"""Who may do what, where: pure decisions on a peer's kernel-given identity.

Rules are looked at in their order and the first one that names the peer and the place decides; what no
rule decides is refused. Root may do everything: it owns the agent's files anyhow. `operate` lets a peer
start privileged containers with any of the node's directories in them, and so is as good as root.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import Final, Literal

from attrs import Factory, frozen

from tricorn.errors import PermissionDenied

RoleName = Literal["none", "read", "operate", "admin"]
DEFAULT_GROUP: Final = "tricorn"


class Role(IntEnum):
    """Each includes the ones before it."""

    NONE = 0
    READ = 1
    OPERATE = 2
    ADMIN = 3

    @property
    def label(self) -> str:
        return self.name.lower()


@frozen
class Peer:
    """The process at the other end of a local socket, as the kernel saw it when it connected."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int] = frozenset()

    def in_group(self, gid: int) -> bool:
        return gid == self.gid or gid in self.groups


@frozen
class AccessRule:
    """`users` and `groups` are numbers; a rule with neither names everybody. `namespaces` are patterns
    (`*`, `ci-*`); only the pattern `*` covers what belongs to the whole node.
    """

    role: Role
    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    namespaces: tuple[str, ...] = ("*",)

    def names(self, peer: Peer) -> bool:
        if not self.users and not self.groups:
            return True
        return peer.uid in self.users or any(peer.in_group(gid) for gid in self.groups)

    def covers(self, namespace: str | None) -> bool:
        """Whether the rule is about `namespace`; None stands for the node itself."""
        if namespace is None:
            return "*" in self.namespaces
        return any(fnmatchcase(namespace, pattern) for pattern in self.namespaces)


@frozen
class Authoriser:
    """Decides by `rules`. Immutable: a changed configuration makes a new one."""

    rules: Sequence[AccessRule] = Factory(tuple)

    def role(self, peer: Peer, namespace: str | None) -> Role:
        """Return the peer's role in `namespace`, or on the node itself when it is None."""
        if peer.uid == 0:
            return Role.ADMIN
        for rule in self.rules:
            if rule.covers(namespace) and rule.names(peer):
                return rule.role
        return Role.NONE

    def role_anywhere(self, peer: Peer) -> Role:
        """Return the highest role that the peer has in any place a rule of its own names."""
        if peer.uid == 0:
            return Role.ADMIN
        return max((rule.role for rule in self.rules if rule.names(peer)), default=Role.NONE)

    def require(self, peer: Peer, namespace: str | None, needed: Role) -> None:
        """Raise PermissionDenied, saying which rule would allow it, unless the peer's role suffices."""
        role = self.role(peer, namespace)
        if role < needed:
            raise denied(peer, namespace, role, needed)

    def require_anywhere(self, peer: Peer, needed: Role) -> None:
        """Raise PermissionDenied unless the peer has the role in some namespace or on the node."""
        role = self.role_anywhere(peer)
        if role < needed:
            raise denied(peer, None, role, needed)


def denied(peer: Peer, namespace: str | None, role: Role, needed: Role) -> PermissionDenied:
    """Return the refusal, with the rule to add as its hint."""
    place = f"namespace {namespace!r}" if namespace is not None else "the node as a whole"
    pattern = namespace if namespace is not None else "*"
    rule = f'[[access]] role = "{needed.label}", users = ["{peer.uid}"], namespaces = ["{pattern}"]'
    return PermissionDenied(
        f"user {peer.uid} may not do this",
        why=f"it needs the role {needed.label} for {place}, and has {role.label}",
        hint=f"add to the agent's configuration, before the rules that match now: {rule}",
        namespace=namespace,
        needed=needed.label,
        role=role.label,
    )
