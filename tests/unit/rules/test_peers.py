"""What peers may ask for, how it reads, and who goes first."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.errors import InvalidArgument, NotFound, OutOfRange
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_INDEX, OCI_LAYER, Index
from tricorn.rules.peers import (
    Asked,
    Grant,
    Identity,
    PeerRule,
    goes_first,
    identity_of,
    is_private,
    parse_range,
    parse_target,
)

NODE = identity_of(
    {
        "subject": ((("organizationName", "x"),), (("commonName", "Node-1"),)),
        "subjectAltName": (
            ("DNS", "node-1.Example"), ("IP Address", "10.0.0.1"), ("URI", "spiffe://x/node"), ("email", "a@b"),
        ),
    }
)  # fmt: skip


def test_a_node_is_who_its_certificate_names() -> None:
    assert NODE.names == {"dns:node-1.example", "ip:10.0.0.1", "uri:spiffe://x/node", "cn:node-1"}
    assert NODE.label == "dns:node-1.example"
    assert identity_of({}) == Identity(frozenset())
    assert identity_of({}).label == ""


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("node-*.example", True), ("NODE-1.example", True), ("dns:node-*", True), ("10.0.0.*", True),
        ("uri:spiffe://x/*", True), ("cn:node-1", True), ("node-1", False), ("cn:*.example", False),
        ("node-2.example", False), ("", False),
    ],
)  # fmt: skip
def test_common_names_count_only_where_they_are_asked_for(pattern: str, named: bool) -> None:
    assert NODE.is_named(pattern) is named


def test_a_grant_is_about_repositories_and_peers() -> None:
    other = Identity(frozenset({"dns:other.example"}))
    everyone = Grant(("default",), ("docker.io/library/*",))
    assert everyone.allows(other, "docker.io/library/redis")
    assert not everyone.allows(other, "docker.io/team/app")
    assert everyone.knows(other)
    ruled = Grant(
        ("default",),
        ("**",),
        (PeerRule(("node-*",), ("docker.io/**",)), PeerRule(("other.*",), ("r.example/*",))),
    )
    assert ruled.allows(NODE, "docker.io/a/b")
    assert not ruled.allows(NODE, "r.example/a")
    assert ruled.allows(other, "r.example/a")
    assert not ruled.knows(Identity(frozenset({"dns:stranger"})))


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        ("/v2/", Asked("ping")),
        ("/v2", Asked("ping")),
        ("/v2/library/redis/manifests/7?ns=docker.io", Asked("manifests", "docker.io/library/redis", "7")),
        ("/v2/r.example:5000/a/b/blobs/x", Asked("blobs", "r.example:5000/a/b", "x")),
        ("/v2/a/manifests/manifests/b?ns=r.example", Asked("manifests", "r.example/a/manifests", "b")),
        ("/v2/redis/tags/list", Asked("tags", "docker.io/library/redis", "")),
        ("/v2/a/b/blobs/sha256%3Aab?ns=r.example%3A1", Asked("blobs", "r.example:1/a/b", "sha256:ab")),
        ("/v2/a/b/referrers/x?ns=r.example", Asked("referrers", "r.example/a/b", "x")),
    ],
)
def test_requests(target: str, asked: Asked) -> None:
    assert parse_target(target) == asked


@pytest.mark.parametrize(
    "target",
    [
        "/", "", "/v2/x", "/v1/default/images", "/v2//manifests/x", "/v2/../manifests/x", "/v2/a/blobs/",
        "/v2/a:tag/manifests/x", "/v2/A/manifests/x?ns=r.example", "/v2/a/manifests/x?ns=../..",
        "/v2/a@sha256:00/manifests/x", "/v2/%00/blobs/x", "/v2/\xff/blobs/x", "*",
    ],
)  # fmt: skip
def test_other_requests_are_refused(target: str) -> None:
    with pytest.raises((NotFound, InvalidArgument)):
        parse_target(target)


@given(st.text(max_size=60))
def test_no_target_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(NotFound, InvalidArgument):
        parse_target("/v2/" + text)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", None), ("bytes=0-", (0, 10)), ("bytes=3-", (3, 7)), ("bytes=3-5", (3, 3)), ("bytes=3-99", (3, 7)),
        ("bytes=-4", (6, 4)), ("bytes=-40", (0, 10)), ("Bytes = 0 - 0", (0, 1)), ("bytes=5-3", None),
        ("bytes=0-1,3-4", None), ("lines=1-2", None), ("bytes=-", None), ("bytes=a-b", None),
    ],
)  # fmt: skip
def test_ranges(text: str, part: tuple[int, int] | None) -> None:
    assert parse_range(text, 10) == part


@pytest.mark.parametrize("text", ["bytes=10-", "bytes=10-20", "bytes=-0"])
def test_ranges_beyond_the_end(text: str) -> None:
    with pytest.raises(OutOfRange):
        parse_range(text, 10)


@pytest.mark.parametrize(
    ("types", "notes", "private"),
    [
        ([OCI_LAYER], {}, False),
        ([OCI_LAYER, "application/vnd.containerd.container.criu.checkpoint.criu.tar"], {}, True),
        ([OCI_LAYER], {"org.criu.checkpoint.container.name": "x"}, True),
        ([OCI_LAYER], {"io.podman.annotations.checkpoint.name": "x"}, True),
        ([OCI_LAYER], {"org.opencontainers.image.ref.name": "x"}, False),
    ],
)
def test_checkpoints_are_private(types: list[str], notes: dict[str, str], private: bool) -> None:
    assert is_private(Index(OCI_INDEX, (), notes), types) is private


def test_of_two_nodes_one_goes_first_and_not_always_the_same() -> None:
    one, two = Identity(frozenset({"dns:one"})), Identity(frozenset({"dns:two"}))
    firsts = set()
    for number in range(64):
        digest = Digest.of(str(number).encode())
        assert goes_first(digest, one, two) is not goes_first(digest, two, one)
        firsts.add(goes_first(digest, one, two))
    assert firsts == {True, False}
    assert not goes_first(Digest.of(b""), one, one)
