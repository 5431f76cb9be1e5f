"""User namespaces of containers that move."""

from __future__ import annotations

import msgspec
import pytest

from tricorn.errors import Conflict
from tricorn.model.requests import ContainerDesired
from tricorn.rules.migration_ids import check_ids, mapped_request

PLAIN = ContainerDesired("app:1")


def spec(host: int, size: int = 65536) -> bytes:
    lines = [{"containerID": 0, "hostID": host, "size": size}]
    return msgspec.json.encode({"linux": {"uidMappings": lines, "gidMappings": lines}})


def test_a_request_names_the_ids_that_its_container_has() -> None:
    found = mapped_request(PLAIN, spec(100_000))
    assert (found.uid_map, found.gid_map) == (("0:100000:65536",), ("0:100000:65536",))
    assert mapped_request(PLAIN, b"{}") == PLAIN


def test_ids_are_shared_wholly_or_not_at_all() -> None:
    wanted = mapped_request(PLAIN, spec(100_000))
    check_ids(wanted, [("same", spec(100_000)), ("beside", spec(165_536)), ("without", b"{}")])
    check_ids(PLAIN, [("other", spec(100_000))])
    with pytest.raises(Conflict, match="container other"):
        check_ids(wanted, [("other", spec(150_000))])
