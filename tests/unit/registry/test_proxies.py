"""Proxy variables, as curl and Go programs read them."""

from __future__ import annotations

import pytest

from tricorn.errors import InvalidArgument, Unimplemented
from tricorn.registry.proxies import Proxy, proxy_for
from tricorn.registry.url import Origin

HTTPS = Origin("https", "reg.example", 443)


def test_the_scheme_picks_the_variable() -> None:
    environment = {"HTTP_PROXY": "http://one:1", "https_proxy": "two:2"}
    assert proxy_for(HTTPS, environment) == Proxy("two", 2)
    assert proxy_for(Origin("http", "reg.example", 80), environment) == Proxy("one", 1)
    assert proxy_for(HTTPS, {}) is None


def test_credentials_become_a_header_and_stay_out_of_the_repr() -> None:
    proxy = proxy_for(HTTPS, {"HTTPS_PROXY": "http://us%40er:pa%3Ass@p:3128"})
    assert proxy == Proxy("p", 3128, "Basic dXNAZXI6cGE6c3M=")
    assert "dXNA" not in repr(proxy)


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "direct"),
    [
        ("reg.example", "reg.example", 443, True),
        ("example", "reg.example", 443, True),
        (".example", "reg.example", 443, True),
        ("*.example", "reg.example", 443, True),
        (".reg.example", "reg.example", 443, False),
        ("g.example", "reg.example", 443, False),
        ("*", "reg.example", 443, True),
        ("reg.example:443", "reg.example", 443, True),
        ("reg.example:444", "reg.example", 443, False),
        ("a, b ,REG.example", "reg.example", 443, True),
        ("10.0.0.0/8", "10.1.2.3", 443, True),
        ("10.0.0.0/8", "11.1.2.3", 443, False),
        ("10.1.2.3", "10.1.2.3", 443, True),
        ("fd00::/8", "fd00::1", 443, True),
        ("[fd00::1]", "fd00::1", 443, True),
        ("nonsense/99", "reg.example", 443, False),
        ("", "127.0.0.1", 5000, True),
        ("", "localhost", 5000, True),
    ],
)
def test_no_proxy(no_proxy: str, host: str, port: int, direct: bool) -> None:
    found = proxy_for(Origin("https", host, port), {"HTTPS_PROXY": "http://p:1", "NO_PROXY": no_proxy})
    assert (found is None) is direct


def test_unusable_proxies_name_the_variable() -> None:
    with pytest.raises(Unimplemented) as caught:
        proxy_for(HTTPS, {"https_proxy": "socks5://x"})
    assert caught.value.field == "https_proxy"
    for bad in ("http://", "http://x:99999", "http://[x"):
        with pytest.raises(InvalidArgument):
            proxy_for(HTTPS, {"HTTPS_PROXY": bad})
