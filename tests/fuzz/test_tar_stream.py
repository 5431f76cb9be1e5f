"""Any bytes: the archive is applied, or a typed error says why not; nothing else, and nothing outside."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tricorn.errors import TricornError
from tricorn.fs.tarheader import apply_pax, parse_header, parse_pax
from tricorn.fs.tarstream import TarStream
from tricorn.fs.zstdframes import ZstdFrames
from tricorn_testing.tar_bytes import END, apply, header, padded, pax_records, split, tree_state

COMPONENT = st.sampled_from(
    [b"a", b"b", b"..", b".", b"", b"outside", b".wh.a", b".wh..wh..opq", b".wh.", b"\xff", b"n" * 256]
)
NAME = st.builds(
    lambda parts, lead, tail: lead + b"/".join(parts) + tail,
    st.lists(COMPONENT, max_size=4),
    st.sampled_from([b"", b"/", b"./", b"../"]),
    st.sampled_from([b"", b"/"]),
)
FIELD = st.one_of(st.binary(min_size=12, max_size=12), st.integers(0, 3000).map(lambda n: b"%011o\0" % n))


@st.composite
def members(draw) -> bytes:
    """A member with a right checksum and anything else, perhaps after a PAX header."""
    content = draw(st.binary(max_size=700))
    kind = draw(
        st.sampled_from(
            [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"\0", b"L", b"K", b"x", b"g", b"S", b"Z"]
        )
    )
    size = draw(st.one_of(st.just(len(content)), FIELD))
    block = header(
        draw(NAME)[:100], kind, size=size, mode=draw(st.integers(0, 0o7777)), link=draw(NAME)[:100],
        uid=draw(st.one_of(st.just(0), st.binary(min_size=8, max_size=8))),
        major=draw(st.integers(0, 0o7777777)), minor=draw(st.integers(0, 0o7777777)),
        magic=draw(st.sampled_from([b"ustar\00000", b"ustar  \0", b"\0" * 8])), prefix=draw(st.sampled_from([b"", b"../p", b"p"])),
    )  # fmt: skip
    keys = st.sampled_from(
        [
            b"path",
            b"linkpath",
            b"size",
            b"mtime",
            b"uid",
            b"SCHILY.xattr.user.x",
            b"GNU.sparse.map",
            b"GNU.sparse.size",
            b"GNU.sparse.major",
            b"GNU.sparse.realsize",
        ]
    )
    values = st.one_of(
        NAME,
        st.binary(max_size=20),
        st.integers(0, 5000).map(lambda n: b"%d" % n),
        st.just(b"1"),
        st.just(b"0,1,3,4"),
    )
    records = draw(st.dictionaries(keys, values, max_size=3))
    return (pax_records(records) if records else b"") + block + padded(content)


archives = st.builds(
    lambda parts, end: b"".join(parts) + end,
    st.lists(members(), max_size=6),
    st.sampled_from([END, b"", bytes(512)]),
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.binary(max_size=3000), archives), st.integers(1, 2000))
def test_reading_any_bytes(data, chunk):
    stream = TarStream(split(data, chunk))
    try:
        for entry in stream:
            assert entry.size >= 0
            assert isinstance(entry.name, bytes)
        stream.drain()
    except TricornError as error:
        assert str(error)  # noqa: PT017 - either outcome is right; anything else escapes


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=512, max_size=512), st.binary(max_size=300))
def test_any_header_and_any_pax_records(block, records):
    for work in (
        lambda: parse_header(block),
        lambda: apply_pax(parse_header(header(b"x")), parse_pax(records)),
    ):
        try:
            work()
        except TricornError as error:
            assert str(error)  # noqa: PT017 - as above


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=20))
def test_any_bytes_as_zstd_frames(pieces):
    whole, parts = ZstdFrames(), ZstdFrames()
    whole.feed(b"".join(pieces))
    for piece in pieces:
        parts.feed(piece)
    assert whole.complete == parts.complete


@pytest.mark.root
@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(archives, st.sampled_from(["overlay", "apply"]))
def test_applying_any_archive(archive, form):
    base = Path(tempfile.mkdtemp(prefix="tricorn-fuzz-"))
    try:
        target, outside = base / "target", base / "outside"
        target.mkdir()
        outside.mkdir()
        (outside / "a").write_text("secret")
        before = tree_state(outside)
        descriptors = len(os.listdir("/proc/self/fd"))
        try:
            apply(target, archive, form)
        except TricornError as error:
            assert str(error)  # noqa: PT017 - as above
        assert tree_state(outside) == before
        assert sorted(os.listdir(base)) == ["outside", "target"]
        assert len(os.listdir("/proc/self/fd")) == descriptors
    finally:
        shutil.rmtree(base)
