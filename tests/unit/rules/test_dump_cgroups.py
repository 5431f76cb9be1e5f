"""Dumped processes are restored in the container's own control group, or below; a dump names no other, and no file."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.errors import InvalidArgument
from tricorn.rules.criu_images import bytes_of, entries, image, number_of, only, parse, text_of
from tricorn.rules.dump_cgroups import place_below
from tricorn.rules.varints import number_field, required

GROUP = "/there/default/new"
OLD = "/here/default/old"


def text(number: int, value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return required(number, data)


def group(name: str, *children: bytes, **properties: str) -> bytes:
    limits = [text(3, text(1, key.replace("__", ".")) + text(2, value)) for key, value in properties.items()]
    owner = text(4, number_field(1, 0o755) + number_field(2, 1000) + number_field(3, 1000))
    return text(1, name) + b"".join(text(2, child) for child in children) + b"".join(limits) + owner


def controller(name: str, *groups: bytes) -> bytes:
    return text(2, text(1, name) + b"".join(text(2, each) for each in groups))


def member(name: str, path: str, prefix: int | None = None) -> bytes:
    return text(2, text(1, name) + text(2, path) + (b"" if prefix is None else number_field(3, prefix)))


def cgroups(*controllers: bytes, members: tuple[bytes, ...] = ()) -> bytes:
    sets = text(1, number_field(1, 2) + b"".join(members))
    return image("cgroup", sets + b"".join(controllers))


def placed(data: bytes, at: str = GROUP, *, namespace: bool = False) -> dict[str, Any]:
    """Return what the image says after it was led below a group: members, and groups with what they are given."""
    found = only(entries(place_below(data, at, namespace=namespace), "cgroup", "x"), "x")
    sets = [parse(bytes_of(each, "x"), "x") for each in found[1]]
    members = [parse(bytes_of(each, "x"), "x") for fields in sets for each in fields.get(2, ())]
    groups: dict[str, dict[str, str]] = {}

    def walk(packed: int | bytes, above: str) -> None:
        fields = parse(bytes_of(packed, "x"), "x")
        path = f"{above}/{text_of(fields, 1)}"
        limits = [parse(bytes_of(each, "x"), "x") for each in fields.get(3, ())]
        groups[path] = {text_of(each, 1): text_of(each, 2) for each in limits}
        assert 4 not in fields, "they belong to root"
        for child in fields.get(2, ()):
            walk(child, path)

    for each in found.get(2, ()):
        for top in parse(bytes_of(each, "x"), "x").get(2, ()):
            walk(top, "")
    paths = [
        (text_of(each, 1), text_of(each, 2), number_of(each, 3) if 3 in each else None) for each in members
    ]
    return {"ids": [number_of(each, 1) for each in sets], "members": paths, "groups": groups}


def test_processes_go_to_the_group_that_the_spec_names() -> None:
    data = cgroups(
        controller("", group(OLD[1:], group("inner", pids__max="7"), memory__max="1", cgroup__freeze="1")),
        members=(member("", OLD, len(OLD)), member("", f"{OLD}/inner", len(OLD))),
    )
    assert placed(data) == {
        "ids": [2],
        "members": [("", GROUP, len(GROUP)), ("", f"{GROUP}/inner", len(GROUP))],
        "groups": {GROUP: {}, f"{GROUP}/inner": {"pids.max": "7"}},  # its own limits are the spec's
    }


def test_without_a_namespace_too_and_in_every_hierarchy() -> None:
    data = cgroups(
        controller("memory", group(OLD[1:], memory__limit_in_bytes="1")),
        controller("name=systemd", group(OLD[1:])),
        members=(member("memory", OLD), member("name=systemd", OLD)),
    )
    assert placed(data)["members"] == [("memory", GROUP, None), ("name=systemd", GROUP, None)]


def test_a_namespace_that_the_spec_has_begins_at_the_group_whatever_the_dump_says() -> None:
    data = cgroups(controller("", group(OLD[1:])), members=(member("", f"{OLD}", 0), member("", OLD)))
    assert placed(data, namespace=True)["members"] == [("", GROUP, len(GROUP))] * 2


def test_what_was_in_the_root_of_a_hierarchy_is_not_afterwards() -> None:
    data = cgroups(controller("", group("")), members=(member("", "/"),))
    assert placed(data) == {"ids": [2], "members": [("", GROUP, None)], "groups": {GROUP: {}}}


def test_several_groups_stay_several() -> None:
    data = cgroups(
        controller(
            "", group("a/b/one"), group("a/b/two", pids__max="3", cgroup__freeze="1", notify_on_release="0")
        ),
        members=(member("", "/a/b/one"), member("", "/a/b/two")),
    )
    assert placed(data)["groups"] == {
        f"{GROUP}/one": {},
        f"{GROUP}/two": {"pids.max": "3", "notify_on_release": "0"},
    }


def test_a_namespace_can_begin_above_the_groups() -> None:
    data = cgroups(
        controller("", group("a/b/init.scope")), members=(member("", "/a/b/init.scope", len("/a/b")),)
    )
    assert placed(data)["members"] == [("", f"{GROUP}/init.scope", len(GROUP))]


def test_without_an_entry_nothing_is_moved() -> None:
    nothing = image("cgroup", b"")[:8]
    assert place_below(nothing, GROUP, namespace=True) == nothing


HOSTILE = {
    "file-of-the-node": cgroups(controller("", group("x", **{"../../../etc/crontab": "x"}))),
    "file-below": cgroups(controller("", group("x", group("y", **{"../../../../etc/crontab": "x"})))),
    "directory-up": cgroups(controller("", group("../../etc/x"))),
    "child-up": cgroups(controller("", group("x", group("../../../etc/x")))),
    "absolute": cgroups(controller("", group("/etc"))),
    "empty-part": cgroups(controller("", group("x//y"))),
    "dot": cgroups(controller("", group("x/./y"))),
    "nul": cgroups(controller("", group("x\0y"))),
    "long": cgroups(controller("", group("x" * 5000))),
    "value-with-nul": cgroups(controller("", group("x", group("y", pids__max="1\0")))),
    "member-up": cgroups(controller("", group("x")), members=(member("", "/x/../../../tmp"),)),
    "member-elsewhere": cgroups(controller("", group("x/y")), members=(member("", "/x/z"),)),
    "member-beside": cgroups(controller("", group("x/y")), members=(member("", "/x/yz"),)),
    "relative-member": cgroups(controller("", group("x")), members=(member("", "x"),)),
    "no-such-controller": cgroups(controller("", group("x")), members=(member("cpu", "/x"),)),
    "two-roots": cgroups(
        controller("", group("x"), group("y")), members=(member("", "/x", 2), member("", "/y", 2))
    ),
    "cut-root": cgroups(controller("", group("x/yy")), members=(member("", "/x/yy", 4),)),
    "controller-up": cgroups(controller("../../etc", group("x"))),
    "controller-dots": cgroups(controller("..", group("x"))),
    "controller-option": cgroups(controller("memory,release_agent=/x", group("x"))),
    "nameless": cgroups(text(2, text(2, group("x")))),
    "number-for-a-path": image("cgroup", text(2, text(1, "") + text(2, number_field(1, 7)))),
    "two-entries": cgroups() + cgroups()[8:],
    "other-kind": image("core", b""),
    "cut": cgroups(controller("", group("x")))[:-3],
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_leads_elsewhere_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        place_below(data, GROUP, namespace=False)
    assert "of the dump" in caught.value.what or caught.value.why


def test_nesting_has_an_end() -> None:
    nested = group("x")
    for _ in range(200):
        nested = group("x", nested)
    with pytest.raises(InvalidArgument, match="malformed"):
        place_below(cgroups(controller("", nested)), GROUP, namespace=False)


WORDS = st.sampled_from(
    ["", "x", "x/y", "..", ".", "../x", "/", "/x", "x/../y", "\0", "pids.max", "cgroup.freeze"]
)


@given(st.data())
def test_whatever_it_says_nothing_lies_outside(data: st.DataObject) -> None:
    draw = data.draw
    tops = [
        group(draw(WORDS), group(draw(WORDS), **{draw(WORDS): draw(WORDS)}), **{draw(WORDS): draw(WORDS)})
        for _ in range(draw(st.integers(0, 3)))
    ]
    prefix = draw(st.none() | st.integers(0, 5))
    made = cgroups(controller("", *tops), members=(member("", draw(WORDS), prefix),))
    try:
        found = placed(made)
    except InvalidArgument:
        return
    for path in [*found["groups"], *(path for _, path, _ in found["members"])]:
        assert path == GROUP or path.startswith(f"{GROUP}/")
        assert not {"", ".", ".."} & set(path.split("/")[1:])
    for limits in found["groups"].values():
        assert set(limits) <= {"x", "pids.max"}
