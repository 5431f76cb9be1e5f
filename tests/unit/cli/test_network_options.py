"""What `-p` and `--network` of `run` and `create` become."""

from __future__ import annotations

from typing import Any

import pytest

from tricorn.cli.desired import port
from tricorn.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("8080:80", {"host": 8080, "container": 80}),
        ("80", {"host": 80, "container": 80}),
        ("53:53/udp", {"host": 53, "container": 53, "protocol": "udp"}),
        ("[::1]:8080:80", {"host": 8080, "container": 80, "address": "::1"}),
        ("[::]:53:53/udp", {"host": 53, "container": 53, "protocol": "udp", "address": "::"}),
        ("[2001:db8::1]:80", {"host": 80, "container": 80, "address": "2001:db8::1"}),
        ("127.0.0.1:8080:80", {"host": 8080, "container": 80, "address": "127.0.0.1"}),
    ],
)
def test_ports(text: str, found: dict[str, Any]) -> None:
    assert port(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a:b",
        "1:2:3:4",
        ":80",
        "80:80/sctp",
        "-1:80",
        "::1:80:80",
        "[]:80:80",
        "[::1]",
        "[::1:80:80",
        "[::1]:1.2.3.4:80:80",
    ],
)
def test_malformed_ports_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        port(text)
    assert caught.value.field == "--publish"
