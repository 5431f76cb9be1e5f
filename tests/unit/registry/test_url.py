"""URLs: parsed strictly, shown without their queries."""

from __future__ import annotations

import pytest

from tricorn.errors import InvalidArgument
from tricorn.registry.url import Origin, Url


def test_a_url_and_its_parts() -> None:
    url = Url.parse("https://Reg.example:5000/a/b?sig=secret&x=1#fragment")
    assert url.origin == Origin("https", "reg.example", 5000)
    assert url.target == "/a/b?sig=secret&x=1"
    assert "secret" not in str(url)
    assert str(url) == "https://reg.example:5000/a/b?…"


def test_default_ports_and_brackets() -> None:
    assert Url.parse("http://a").origin.port == 80
    assert Url.parse("https://a:443/").origin == Url.parse("https://a").origin
    assert Url.parse("https://[::1]:5/").origin.authority == "[::1]:5"
    assert Url.parse("https://[::1]/").origin.endpoint == "[::1]:443"


@pytest.mark.parametrize(
    "text", ["", "/a", "ftp://a", "https://", "https://a:0", "https://a:x", "https://u:p@a/", "https://a/ b",
             "https://a/\r\nX: y", "https://ä/", "https://[::1", "https://a/" + "x" * 20_000, "//a/b", "https://.a/", "https://a..b/", f"https://{'a' * 64}/", "https://-a/", "https://a%2fb/", "https://[::1%25eth0]/",
             "https://[::g]/", "https://a_b~c/", f"https://{'a.' * 130}/"]
)  # fmt: skip
def test_malformed_urls(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Url.parse(text)
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://b/x", "https://b/x"),
        ("/x?y=1", "https://a/x?y=1"),
        ("z", "https://a/v2/z"),
        ("//c/x#f", "https://c/x"),
    ],
)
def test_redirect_targets(location: str, expected: str) -> None:
    assert Url.parse("https://a/v2/b").join(location).absolute == expected


@pytest.mark.parametrize(
    "location", ["ftp://x/", "file:///etc/passwd", "https://u@x/", "https://[", "https://x/\n"]
)
def test_bad_redirect_targets(location: str) -> None:
    with pytest.raises(InvalidArgument):
        Url.parse("https://a/").join(location)
