"""What of a container's network has to move along with it."""

from __future__ import annotations

import pytest

from tricorn.errors import FailedPrecondition, InvalidArgument, TricornError
from tricorn.model.migrations import MigrateRequest
from tricorn.rules.migration_network import check_network, must_keep_address
from tricorn.rules.networks import parse_network
from tricorn.rules.open_sockets import Needs

PLAIN, KEEP = MigrateRequest("there"), MigrateRequest("there", keep_address=True)
OPEN = MigrateRequest("there", tcp_established=True)


@pytest.mark.parametrize("network", ["private", "none", "host", "path:/run/netns/x", "front", "cni:pods"])
def test_networks_that_the_target_can_have_go_along(network: str) -> None:
    check_network("web", parse_network(network), PLAIN)


@pytest.mark.parametrize(
    ("network", "request_", "error"),
    [
        ("container:web", PLAIN, FailedPrecondition),
        ("private", KEEP, InvalidArgument),
        ("host", KEEP, InvalidArgument),
        ("host", OPEN, InvalidArgument),
    ],
)
def test_what_stays_here_is_refused(
    network: str, request_: MigrateRequest, error: type[TricornError]
) -> None:
    with pytest.raises(error) as caught:
        check_network("web", parse_network(network), request_)
    assert "--network NAME" in caught.value.hint


def test_connections_and_what_listens_at_the_address_need_it() -> None:
    front = parse_network("front")
    assert not must_keep_address("web", front, Needs(), PLAIN)
    assert must_keep_address("web", front, Needs(), KEEP)
    assert must_keep_address("web", front, Needs(bound=("10.40.0.2",)), PLAIN)
    assert must_keep_address("web", front, Needs(beyond=("10.40.0.9:1",)), OPEN)
    assert not must_keep_address("web", front, Needs(within=2), OPEN)
    for needs in (Needs(beyond=("10.40.0.9:1",)), Needs(within=1)):
        with pytest.raises(FailedPrecondition) as caught:
            must_keep_address("web", front, needs, PLAIN)
        assert "--tcp-established" in caught.value.hint


def test_a_namespace_without_addresses_has_no_connections_afterwards() -> None:
    private = parse_network("private")
    assert not must_keep_address("web", private, Needs(), PLAIN)
    with pytest.raises(FailedPrecondition, match="of its loopback"):
        must_keep_address("web", private, Needs(within=1), OPEN)
