"""Platform names, the order of preference, choosing from an index, and the budget for walking one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn import limits
from tricorn.errors import InvalidArgument, NotFound, ResourceExhausted
from tricorn.model.ids import Digest
from tricorn.model.oci import OCI_MANIFEST, Descriptor, Platform
from tricorn.rules.platforms import IndexBudget, choose, host_platform, normalise, parse, preference

AMD64 = Platform("linux", "amd64")


def entry(platform: str | None, number: int = 0, **annotations: str) -> Descriptor:
    parts = platform.split("/") if platform else []
    return Descriptor(
        OCI_MANIFEST,
        Digest.of(f"{platform}-{number}".encode()),
        100,
        platform=Platform(*parts) if platform else None,
        annotations=annotations,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("LINUX/AMD64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("aarch64", "linux/arm64"),
        ("arm64/v8", None),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("armhf", "linux/arm/v7"),
        ("armel", "linux/arm/v6"),
        ("arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("i386", "linux/386"),
        ("macos/arm64", "darwin/arm64"),
        ("windows", "windows/amd64"),
        ("", "linux/amd64"),
        ("riscv64", "linux/riscv64"),
    ],
)
def test_platform_names(text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(InvalidArgument):
            parse(text, AMD64)
    else:
        assert str(parse(text, AMD64)) == expected


@pytest.mark.parametrize("text", ["vax", "linux/", "/amd64", "linux/amd64/v2/x", "linux/vax", "a b", "*"])
def test_unknown_platforms_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text, AMD64, "platform")
    assert caught.value.field == "platform"


@pytest.mark.parametrize(
    ("machine", "expected"),
    [("x86_64", "linux/amd64"), ("aarch64", "linux/arm64"), ("armv7l", "linux/arm/v7"), ("i686", "linux/386"),
     ("s390x", "linux/s390x"), ("ppc64le", "linux/ppc64le"), ("loongarch64", "linux/loong64")],
)  # fmt: skip
def test_the_host_platform_by_uname(machine: str, expected: str) -> None:
    assert str(host_platform(machine)) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("linux/amd64", "amd64 386"),
        ("linux/amd64/v3", "amd64/v3 amd64/v2 amd64 386"),
        ("linux/arm64", "arm64 arm/v8 arm/v7 arm/v6 arm/v5"),
        ("linux/arm64/v8.2", "arm64/v8.2 arm64/v8.1 arm64 arm/v8 arm/v7 arm/v6 arm/v5"),
        (
            "linux/arm64/v9",
            "arm64/v9 arm64/v8.5 arm64/v8.4 arm64/v8.3 arm64/v8.2 arm64/v8.1 arm64 arm/v8 arm/v7 arm/v6 arm/v5",
        ),
        ("linux/arm/v7", "arm/v7 arm/v6 arm/v5"),
        ("linux/arm/v6", "arm/v6 arm/v5"),
        ("linux/riscv64", "riscv64"),
    ],
)
def test_the_order_of_preference_is_containerds(wanted: str, expected: str) -> None:
    assert [str(platform) for platform in preference(parse(wanted, AMD64))] == [
        f"linux/{name}" for name in expected.split()
    ]


def test_the_best_match_wins_wherever_it_stands() -> None:
    offered = [entry("linux/386"), entry("linux/arm64/v8"), entry("linux/amd64"), entry("linux/amd64", 2)]
    assert choose(offered, AMD64) is offered[2]
    assert choose(offered, Platform("linux", "aarch64")) is offered[1]
    assert choose(offered[:2], AMD64) is offered[0]


def test_attestations_are_never_chosen() -> None:
    attestation = entry("linux/amd64", 1, **{"vnd.docker.reference.type": "attestation-manifest"})
    unknown = entry("unknown/unknown")
    real = entry("linux/amd64", 3)
    assert choose([attestation, unknown, real], AMD64) is real
    with pytest.raises(NotFound):
        choose([attestation, unknown], AMD64)


def test_an_entry_without_platform_is_the_last_resort() -> None:
    bare = entry(None)
    assert choose([bare, entry("linux/386")], AMD64).platform is not None
    assert choose([bare, entry("linux/s390x")], AMD64) is bare


def test_what_is_offered_is_named() -> None:
    with pytest.raises(NotFound) as caught:
        choose([entry("linux/s390x"), entry("windows/amd64"), entry("unknown/unknown")], AMD64)
    assert "linux/s390x, windows/amd64" in str(caught.value)
    assert "unknown" not in str(caught.value)
    with pytest.raises(NotFound, match="none"):
        choose([], AMD64)


def test_the_list_of_offers_is_bounded() -> None:
    with pytest.raises(NotFound) as caught:
        choose([entry(f"os{n}/{'x' * 500}") for n in range(200)], AMD64)
    assert "and 184 more" in str(caught.value)
    assert len(str(caught.value)) < 2000


names = st.text(max_size=20) | st.sampled_from(["linux", "amd64", "arm64", "arm", "v8", "²", "٣", "v8.99999"])


@given(names, names, names)
def test_normalising_is_idempotent_and_total(system: str, architecture: str, variant: str) -> None:
    once = normalise(Platform(system, architecture, variant))
    assert normalise(once) == once
    assert 1 <= len(preference(once)) < 250


@given(st.lists(st.tuples(names, names, names), max_size=8), st.sampled_from(["amd64", "arm64", "arm"]))
def test_the_choice_is_runnable(offers: list[tuple[str, str, str]], architecture: str) -> None:
    wanted = normalise(Platform("linux", architecture))
    entries = [Descriptor(OCI_MANIFEST, Digest.of(b""), 1, platform=Platform(*offer)) for offer in offers]
    try:
        chosen = choose(entries, wanted)
    except NotFound:
        return
    assert chosen.platform is not None
    assert normalise(chosen.platform) in preference(wanted)


def test_an_index_bomb_is_stopped_early() -> None:
    """Ten indexes of ten indexes of ten…: the walk is refused by depth or nodes, whichever comes first."""
    budget, admitted = IndexBudget(), 0

    def walk(name: str, depth: int) -> None:
        nonlocal admitted
        for number in range(10):
            child = f"{name}.{number}"
            if budget.admit(Descriptor("x", Digest.of(child.encode()), 10), depth):
                admitted += 1
                walk(child, depth + 1)

    with pytest.raises(ResourceExhausted):
        walk("root", 0)
    assert admitted <= limits.INDEX_NODES


def test_a_document_is_read_once() -> None:
    budget = IndexBudget()
    one = entry("linux/amd64")
    assert budget.admit(one, 0)
    assert not budget.admit(one, 1)


def test_nodes_and_bytes_are_bounded() -> None:
    budget = IndexBudget(nodes=2)
    budget.admit(entry("a/1"), 0)
    budget.admit(entry("a/2"), 0)
    with pytest.raises(ResourceExhausted):
        budget.admit(entry("a/3"), 0)
    with pytest.raises(ResourceExhausted):
        IndexBudget(bytes=99).admit(entry("a/1"), 0)
    with pytest.raises(ResourceExhausted):
        IndexBudget(depth=1).admit(entry("a/1"), 2)
