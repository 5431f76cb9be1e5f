"""What of a container's network has to move along with it. Pure."""

from __future__ import annotations

from tricorn.errors import FailedPrecondition, InvalidArgument
from tricorn.model.migrations import MigrateRequest
from tricorn.model.networks import NetworkChoice, NetworkKind
from tricorn.rules.open_sockets import Needs, shown

_NAMED = "make a network (`tricorn network create NAME`) on both nodes and run it with `--network NAME`"
_ALLOW = "--tcp-established takes them along"


def check_network(name: str, choice: NetworkChoice, request: MigrateRequest) -> None:
    """Refuse to move a container whose network stays here, or wishes that its network can't grant.

    FailedPrecondition, InvalidArgument.
    """
    if choice.kind is NetworkKind.CONTAINER:
        raise FailedPrecondition(
            f"container {name} can't be migrated", why=f"its network is that of container {choice.name}",
            hint=_NAMED,
        )  # fmt: skip
    if request.keep_address and not choice.managed:
        raise InvalidArgument(
            f"container {name} has no address of its own", hint=_NAMED, field="keep_address"
        )
    if request.tcp_established and choice.kind is NetworkKind.HOST:
        raise InvalidArgument(
            f"connections of container {name} can't move along", why="their address is the node's",
            hint=_NAMED, field="tcp_established",
        )  # fmt: skip


def must_keep_address(name: str, choice: NetworkChoice, needs: Needs, request: MigrateRequest) -> bool:
    """Return whether the container can't do without its address.

    FailedPrecondition for connections that nobody allowed to be taken along, and for those of a network
    namespace whose addresses don't come back.
    """
    if needs.within and choice.kind is NetworkKind.PRIVATE:
        raise FailedPrecondition(
            f"container {name} can't be migrated with {needs.within} open connections of its loopback",
            why="a network namespace that the runtime makes comes back without addresses", hint=_NAMED,
        )  # fmt: skip
    if not choice.managed:
        return False
    if (needs.beyond or needs.within) and not request.tcp_established:
        whom = f"with {shown(needs.beyond)}" if needs.beyond else "of its loopback"
        raise FailedPrecondition(f"container {name} has open connections {whom}", hint=_ALLOW)
    return request.keep_address or bool(needs.beyond or needs.bound)
