"""What the kernel is told about IPv6, in a directory that stands for /proc/sys and in a real namespace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tricorn.errors import Unimplemented
from tricorn.runtime import netns, network_ipv6
from tricorn.runtime.network import Bridge, ensure_bridge, link_exists


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "net")
    netns.make(path)
    try:
        yield path
    finally:
        netns.remove(path)


async def test_a_kernel_without_ipv6_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_ipv6, "_ROOT", "net/ipv6-is-not-there")
    with pytest.raises(Unimplemented, match="no IPv6") as caught:
        await ensure_bridge(Bridge("tb-none", ("fd40::1/64",), "02:00:00:00:00:01"))
    assert "ipv6.disable=1" in caught.value.hint
    network_ipv6.set_up("lo", wanted=False)  # there is nothing to switch off
    assert not link_exists("tb-none")


@pytest.mark.root
def test_forwarding_is_switched_on_once(namespace: str) -> None:
    def twice() -> tuple[object, object, str]:
        first, second = network_ipv6.allow_forwarding(), network_ipv6.allow_forwarding()
        return first, second, Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text()

    assert netns.visit(namespace, twice) == ((), None, "1\n")


@pytest.mark.root
def test_an_interface_has_ipv6_or_none(namespace: str) -> None:
    def look(name: str) -> str:
        return Path(f"/proc/sys/net/ipv6/conf/lo/{name}").read_text().strip()

    def visit() -> list[str]:
        found = []
        for wanted in (False, True):
            network_ipv6.set_up("lo", wanted=wanted)
            found += [look("disable_ipv6"), look("accept_ra")]
        return found

    assert netns.visit(namespace, visit) == ["1", "0", "0", "0"]
