"""Which containers a node takes from which others, and whether the nodes fit each other. Pure.

What a peer asks for is a request like any other, only that nobody of this node typed it: what reaches beyond
a container (privileges, files and devices of the host) needs a word in this node's configuration.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from attrs import frozen

from tricorn.errors import FailedPrecondition, PermissionDenied
from tricorn.model.migrations import NodeFacts, Offer
from tricorn.model.requests import ContainerDesired, Mount
from tricorn.rules.networks import network_name, parse_network
from tricorn.rules.peers import Identity
from tricorn.rules.user_namespaces import wanted_maps

_OWN = ("", "private")
_OWN_NETWORK = (*_OWN, "none")
_FLAGS_SHOWN = 5


@frozen
class MigrationRule:
    """Peers that any of `names` fits may bring containers into `namespaces`, with host directories that any
    of `mounts` fits, into networks that any of `networks` fits, with `ports` publishing some, in user
    namespaces with ids of the node that are in one of the ranges `ids` (FIRST:COUNT), and with `privileges`
    whatever they want. They may come by repositories that any of `registries` fits. `images`: they may name
    an image here.
    """

    names: tuple[str, ...]
    namespaces: tuple[str, ...] = ("default",)
    mounts: tuple[str, ...] = ()
    privileges: bool = False
    images: bool = False
    networks: tuple[str, ...] = ()
    ports: bool = False
    ids: tuple[str, ...] = ()
    registries: tuple[str, ...] = ()


def knows(rules: Sequence[MigrationRule], peer: Identity) -> bool:
    """Return whether the peer may bring anything at all."""
    return any(peer.is_named(name) for rule in rules for name in rule.names)


def check_offer(rules: Sequence[MigrationRule], peer: Identity, offer: Offer) -> None:
    """Raise PermissionDenied, naming what is missing, unless one rule allows all that is offered."""
    fitting = [
        rule for rule in rules
        if any(peer.is_named(name) for name in rule.names) and offer.namespace in rule.namespaces
    ]  # fmt: skip
    if not fitting:
        raise PermissionDenied(
            f"this node takes no containers into namespace {offer.namespace} from {peer.label}",
            hint="the target's configuration names who may: [[peers.migrations]]",
        )
    excess = [list(_excess(rule, offer)) for rule in fitting]
    if all(excess):
        raise PermissionDenied(
            f"this node doesn't take container {offer.name} with all that it wants",
            why="; ".join(min(excess, key=len)[:_FLAGS_SHOWN]),
            hint="[[peers.migrations]] of the target grants it: mounts, networks, ports, ids, privileges, …",
        )


def _excess(rule: MigrationRule, offer: Offer) -> Iterator[str]:
    if offer.keep_image and not rule.images:
        yield "a name for its image"
    if offer.via and not any(fnmatchcase(offer.via, pattern) for pattern in rule.registries):
        yield f"the way by {offer.via}"
    if rule.privileges:
        return
    wanted = offer.container
    if offer.made:
        yield "a spec that a client of containerd's API made"
    yield from _privileges(wanted)
    if wanted.network not in _OWN_NETWORK and not _may_join(rule, wanted.network):
        yield f"network {wanted.network}"
    if wanted.ports and not rule.ports:
        yield "published ports"
    yield from _other_ids(rule, wanted)
    for mount in wanted.mounts:
        if not _may_mount(rule, mount):
            yield f"{mount.source or mount.type} at {mount.target}"


def _privileges(wanted: ContainerDesired) -> Iterator[str]:
    flags = {
        "privileged": wanted.privileged, "devices": wanted.devices, "capabilities": wanted.cap_add,
        "privileges that it may gain": not wanted.no_new_privileges, "sysctls": wanted.sysctls,
        "a seccomp profile of its own": wanted.seccomp != "default",
        "annotations, which runtimes act on": wanted.annotations,
    }  # fmt: skip
    yield from (text for text, held in flags.items() if held)
    yield from (f"{kind} namespace {how}" for kind, how in wanted.namespaces.items() if how not in _OWN)


def _may_join(rule: MigrationRule, network: str) -> bool:
    """Return whether it is a network that the node gives, and a pattern fits it."""
    choice = parse_network(network)
    return choice.managed and any(fnmatchcase(network_name(choice), pattern) for pattern in rule.networks)


def _other_ids(rule: MigrationRule, wanted: ContainerDesired) -> Iterator[str]:
    """Yield the ids of the node that its user namespace would have, and that no range grants."""
    granted = [tuple(map(int, text.split(":"))) for text in rule.ids]
    maps = wanted_maps(wanted)
    for kind, ranges in (("user", maps.uids), ("group", maps.gids)) if maps else ():
        for one in ranges:
            last = one.host + one.size - 1
            if not any(first <= one.host and last < first + count for first, count in granted):
                yield f"{kind} ids {one.host} to {last} of the node"


def _may_mount(rule: MigrationRule, mount: Mount) -> bool:
    if mount.type == "tmpfs":
        return True
    bound = mount.type == "bind" or bool({"bind", "rbind"} & set(mount.options))
    clean = mount.source.startswith("/") and posixpath.normpath(mount.source) == mount.source
    return bound and clean and any(fnmatchcase(mount.source, pattern) for pattern in rule.mounts)


# ---------------------------------------------------------------- whether the nodes fit
def check_nodes(source: NodeFacts, target: NodeFacts) -> None:
    """Raise FailedPrecondition, naming the differences, if a dump of `source` can't go on at `target`."""
    if problems := list(_differences(source, target)):
        raise FailedPrecondition(
            "the nodes don't fit each other", why="; ".join(problems),
            hint="migrate to a node of the same kind, with a kernel and a CRIU at least as new",
        )  # fmt: skip


def _differences(source: NodeFacts, target: NodeFacts) -> Iterator[str]:
    if source.machine != target.machine:
        yield f"the container runs on {source.machine}, the target is {target.machine}"
    if source.cgroup != target.cgroup:
        yield f"control groups are {source.cgroup} here and {target.cgroup} there"
    if _version(target.kernel) < _version(source.kernel):
        yield f"the target's kernel {target.kernel} is older than {source.kernel}"
    if _version(target.criu) < _version(source.criu):
        yield f"the target's CRIU {target.criu or '(none)'} is older than {source.criu}"
    if lacking := sorted(set(source.cpu_flags) - set(target.cpu_flags)):
        more = ", …" if len(lacking) > _FLAGS_SHOWN else ""
        yield f"the target's processor lacks {', '.join(lacking[:_FLAGS_SHOWN])}{more}"


def _version(text: str) -> tuple[int, ...]:
    """Return the first two numbers of a version: later ones are fixes."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
