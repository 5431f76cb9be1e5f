"""What the reader remembers from one header to the next never shows: each member says what its headers say."""

from __future__ import annotations

import io
import tarfile

import pytest

from tricorn.errors import InvalidArgument
from tricorn.fs.tarstream import TarStream
from tricorn_testing.tar_bytes import END, header, member, padded, pax, pax_records, split

SECOND = 1_000_000_000


def read(archive: bytes, chunk: int = 700) -> list[tuple[bytes, int, int, bytes]]:
    """Name, size, time and content of each member."""
    stream = TarStream(split(archive, chunk))
    return [(entry.name, entry.size, entry.mtime, stream.read(entry.size)) for entry in stream]


def test_members_after_one_and_the_same_pax_header():
    time = pax(mtime=b"5.25")
    archive = (
        time + member(b"a", b"1") + time + member(b"b", b"22") + member(b"c") + time + member(b"d") + END
    )
    assert read(archive) == [
        (b"a", 1, 5_250_000_000, b"1"),
        (b"b", 2, 5_250_000_000, b"22"),
        (b"c", 0, SECOND * SECOND, b""),  # the header's own
        (b"d", 0, 5_250_000_000, b""),
    ]


def test_pax_headers_of_one_length_that_say_different_things():
    headers = [pax(mtime=b"5.25"), pax(mtime=b"6.25"), pax(atime=b"7.25")]
    archive = b"".join(each + member(b"a") for each in headers) + END
    assert [time for _, _, time, _ in read(archive)] == [5_250_000_000, 6_250_000_000, SECOND * SECOND]


def test_an_empty_time_leaves_the_headers_however_often_it_comes():
    archive = (pax(mtime=b"") + member(b"a", mtime=7) + pax(mtime=b"") + member(b"b", mtime=8)) + END
    assert [time for _, _, time, _ in read(archive)] == [7 * SECOND, 8 * SECOND]


def test_long_records_with_a_time_only_count_too():
    records = pax_records({b"mtime": b"5." + b"1" * 3000})
    assert [time for _, _, time, _ in read((records + member(b"a")) * 2 + END)] == [5_111_111_111] * 2


def test_what_follows_a_known_pax_header_counts_as_ever():
    time = pax(mtime=b"5.25")
    long_name = member(b"././@LongLink", b"n" * 150 + b"\0", b"L")
    archive = (
        time + member(b"a") + time + long_name + member(b"b") + time + pax(mtime=b"6.25") + member(b"c") + END
    )
    assert [(name, time) for name, _, time, _ in read(archive, 4096)] == [
        (b"a", 5_250_000_000),
        (b"n" * 150, 5_250_000_000),
        (b"c", 6_250_000_000),
    ]
    for end in (time + END, time + bytes(512)):
        with pytest.raises(InvalidArgument, match="ends after an extension header"):
            read(time + member(b"a") + end, 4096)


def test_a_global_header_never_counts_even_if_its_records_are_known():
    local, shared = pax(mtime=b"5.25"), pax(b"g", mtime=b"5.25")
    archive = local + member(b"a") + shared + member(b"b", mtime=7) + shared + member(b"c", mtime=8) + END
    assert [time for _, _, time, _ in read(archive, 8192)] == [5_250_000_000, 7 * SECOND, 8 * SECOND]


def test_a_long_name_after_a_pax_header_that_is_known():
    long_name = member(b"././@LongLink", b"n" * 150 + b"\0", b"L")
    archive = pax(mtime=b"5.25") + member(b"a") + pax(mtime=b"5.25") + long_name + member(b"b") + END
    assert [name for name, *_ in read(archive)] == [b"a", b"n" * 150]


def test_a_known_extension_header_does_not_excuse_a_wrong_one():
    known = pax(mtime=b"5.25")
    wrong = bytearray(known)
    wrong[0] ^= 1  # one byte of the name: the checksum is that of the other
    with pytest.raises(InvalidArgument, match="not a valid tar"):
        read(known + member(b"a") + bytes(wrong) + member(b"b") + END)


def test_a_known_checksum_does_not_excuse_another_block_of_the_same_sum():
    first = header(b"ab")
    swapped = header(b"ba")  # the same sum, hence the same field: both are right
    wrong = header(b"ac", checksum=first[148:156])
    assert [name for name, *_ in read(first + swapped + END)] == [b"ab", b"ba"]
    with pytest.raises(InvalidArgument, match="checksum"):
        read(first + wrong + END)


@pytest.mark.parametrize("field", [b"%06o\0 ", b"%07o\0", b" %5o \0"])
def test_every_form_of_the_checksum(field):
    block = bytearray(header(b"name"))
    block[148:156] = b" " * 8
    block[148:156] = field % sum(block)
    assert [name for name, *_ in read(bytes(block) * 3 + END)] == [b"name"] * 3


def test_a_known_extension_header_whose_records_are_cut():
    known = pax(mtime=b"5.25")
    for end in (512, 520):
        with pytest.raises(InvalidArgument, match="ends"):
            read(known + member(b"a") + known[:end])


def test_a_sparse_member_of_the_old_form_that_is_all_hole():
    block = bytearray(header(b"hole", b"S", magic=b"ustar  \0"))
    block[483:495] = b"%011o\0" % 4096
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    (entry,) = TarStream(split(bytes(block) + END))
    assert (entry.segments, entry.real_size) == ([], 4096)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_chunks_of_any_size_make_no_difference(form):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for number in range(40):
            info = tarfile.TarInfo(f"{'directory/' * (number % 9)}{number}")
            info.size, info.mtime = number * 97, 1_700_000_000 + number % 3
            if form == tarfile.PAX_FORMAT and number % 4:
                info.pax_headers = {"mtime": f"17000.{number % 3}"}
            tar.addfile(info, io.BytesIO(bytes([number]) * info.size))
    archive = buffer.getvalue()
    whole = read(archive, len(archive))
    assert len(whole) == 40
    for chunk in (1, 511, 512, 513, 1024, 1536, 1537, 4096):
        assert read(archive, chunk) == whole


def test_a_payload_that_nobody_reads_is_skipped():
    archive = member(b"a", b"x" * 3000) + padded(b"") + member(b"b", b"y") + END
    for chunk in (512, 700, 10_000):
        assert [entry.name for entry in TarStream(split(archive, chunk))] == [b"a", b"b"]
