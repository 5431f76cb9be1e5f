"""Hostile archives: a typed error that names the entry, or a contained result; never a change outside."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tricorn import limits
from tricorn.errors import InvalidArgument, ResourceExhausted
from tricorn_testing.tar_bytes import END, apply, header, member, padded, pax, pax_records

pytestmark = pytest.mark.root


def refused(target: Path, archive: bytes, *words: str, error: type = InvalidArgument) -> None:
    with pytest.raises(error) as info:
        apply(target, archive)
    for word in words:
        assert word in str(info.value)


@pytest.mark.parametrize(
    "name", [b"../evil", b"a/../../evil", b"..", b"a/..", b"./../evil", b"/../evil", b"a/../b"]
)
def test_dot_dot_in_a_name_is_refused(target, outside, name):
    refused(target, member(name, b"x") + END, name.decode(), "..")


def test_an_absolute_name_stays_inside(target, outside):
    apply(target, member(b"/etc/passwd", b"x") + member(b"//tmp//x", b"y") + END)
    assert (target / "etc/passwd").read_bytes() == b"x"
    assert (target / "tmp/x").read_bytes() == b"y"


@pytest.mark.parametrize(
    "to", ["../../outside", "{outside}", "../../../../../../..{outside}"]
)  # 100 bytes at most
def test_links_out_stay_inside(target, outside, to):
    link = to.format(outside=outside).encode()
    apply(target, member(b"link", kind=b"2", link=link) + member(b"link/secret", b"evil") + END)
    assert os.readlink(target / "link") == link.decode()


def test_a_symlink_over_a_directory_in_the_middle_of_the_archive(target, outside):
    archive = (
        member(b"d/", kind=b"5", mode=0o755)
        + member(b"d/one", b"1")
        + member(b"d", kind=b"2", link=str(outside).encode())
        + member(b"d/secret", b"evil")
        + member(b"d/sub/", kind=b"5", mode=0o777)
    )
    apply(target, archive + END)
    assert not (target / "d" / "one").exists() or os.path.islink(target / "d")


def test_a_chain_of_symlinks_stays_inside(target, outside):
    archive = (
        member(b"a", kind=b"2", link=b"..")
        + member(b"b", kind=b"2", link=b"a/..")
        + member(b"c", kind=b"2", link=b"b/../../outside")
        + member(b"c/secret", b"evil")
    )
    apply(target, archive + END)
    assert (target / "outside" / "secret").read_bytes() == b"evil"


def test_a_symlink_loop_is_refused(target, outside):
    archive = member(b"a", kind=b"2", link=b"b") + member(b"b", kind=b"2", link=b"a") + member(b"a/x", b"")
    refused(target, archive + END, "a/x")


def test_a_metadata_change_through_a_symlink_stays_inside(target, outside):
    archive = member(b"l", kind=b"2", link=str(outside / "secret").encode()) + member(
        b"l", kind=b"5", mode=0o777
    )
    apply(target, archive + END)
    assert (target / "l").is_dir()
    assert not (target / "l").is_symlink()


@pytest.mark.parametrize("link", [b"../../outside/secret", b"a/../../outside/secret"])
def test_a_hard_link_out_by_dots_is_refused(target, outside, link):
    refused(target, member(b"h", kind=b"1", link=link) + END, "entry h")


def test_a_hard_link_to_an_absolute_name_stays_inside(target, outside):
    refused(target, member(b"h", kind=b"1", link=str(outside / "secret").encode()) + END, "entry h")


def test_a_hard_link_through_a_symlink_stays_inside(target, outside):
    archive = member(b"d", kind=b"2", link=str(outside).encode()) + member(b"h", kind=b"1", link=b"d/secret")
    refused(target, archive + END, "entry h")


def test_a_hard_link_to_a_symlink_links_the_symlink(target, outside):
    archive = member(b"s", kind=b"2", link=str(outside / "secret").encode()) + member(
        b"h", kind=b"1", link=b"s"
    )
    apply(target, archive + member(b"h", b"evil") + END)
    assert (target / "h").read_bytes() == b"evil"
    assert os.path.islink(target / "s")


@pytest.mark.parametrize("link", [b"", b"h", b"./h", b"/", b"."])
def test_a_hard_link_to_nothing_or_itself_is_refused(target, outside, link):
    refused(target, member(b"h", kind=b"1", link=link) + END, "entry h")


def test_a_hard_link_to_a_directory_is_refused(target, outside):
    refused(target, member(b"d/", kind=b"5") + member(b"h", kind=b"1", link=b"d") + END, "entry h")


@pytest.mark.parametrize(("major", "minor"), [(4096, 0), (0, 1 << 20), (2**21 - 1, 0)])
@pytest.mark.parametrize("kind", [b"3", b"4"])
def test_device_numbers_out_of_range_are_refused(target, outside, kind, major, minor):
    refused(target, member(b"dev", kind=kind, major=major, minor=minor) + END, "entry dev", "device number")


@pytest.mark.parametrize("name", [b".", b"./", b"/", b"./.", b""])
@pytest.mark.parametrize("kind", [b"0", b"2", b"3", b"6"])
def test_the_root_must_be_a_directory(target, outside, name, kind):
    refused(target, member(name, kind=kind, link=str(outside).encode()) + END, "root")
    assert target.is_dir()
    assert not target.is_symlink()


def test_a_hard_link_as_the_root_is_refused(target, outside):
    refused(target, member(b"f", b"x") + member(b".", kind=b"1", link=b"f") + END, "root")


def test_the_root_entry_is_metadata(target, outside):
    applier = apply(
        target, member(b"./", kind=b"5", mode=0o711, uid=7, gid=8, mtime=12345) + member(b"f") + END
    )
    status = target.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime) == (
        0o711,
        7,
        8,
        12345,
    )
    assert applier.implied == []


def test_a_name_of_64_kib_is_refused(target, outside):
    long = b"a/" * 32768
    refused(target, pax(path=long) + member(b"x") + END, "65536 bytes")
    refused(target, member(b"././@LongLink", long + b"\0", b"L") + member(b"x") + END, "65536 bytes")


def test_a_component_over_255_bytes_is_refused(target, outside):
    refused(target, pax(path=b"n" * 256) + member(b"x") + END, "name too long")


def test_an_extension_header_over_its_bound_is_refused(target, outside):
    archive = header(b"x", b"x", size=limits.TAR_HEADER_SIZE + 1)
    refused(target, archive + bytes(512), "extension header", error=ResourceExhausted)


@pytest.mark.parametrize(
    ("size", "error"),
    [
        (b"\xff" * 12, InvalidArgument),  # -1
        (b"\x80" + b"\0" * 3 + (2**63 - 1).to_bytes(8, "big"), ResourceExhausted),
        (b"\x80" + b"\xff" * 11, InvalidArgument),  # beyond 63 bits
        (b"-0000000001\0", InvalidArgument),
        (b"0x000000001\0", InvalidArgument),
        (b"0_000000001\0", InvalidArgument),
        (b"00000000008\0", InvalidArgument),
        (b"\x80\0\0\0\0\0\0" + (limits.LAYER_UNPACKED_SIZE + 1).to_bytes(5, "big"), ResourceExhausted),
    ],
)
def test_sizes_that_are_none_are_refused(target, outside, size, error):
    refused(target, header(b"f", size=size) + b"x" * 512 + END, error=error)


@pytest.mark.parametrize("size", [b"-1", b"1e3", b"0x10", b"9" * 19, b"9" * 30, b" 5", b"5_0", b"\xc2\xb2"])
def test_a_pax_size_that_is_none_is_refused(target, outside, size):
    refused(target, pax(size=size) + member(b"f", b"x") + END, error=InvalidArgument)


def test_a_pax_size_overrides_the_header_and_is_believed_once(target, outside):
    # The header says 0, PAX says 512: what follows is content, not a header.
    inner = header(b"hidden")
    apply(target, pax(size=b"512") + header(b"f", size=0) + inner + END)
    assert (target / "f").read_bytes() == inner
    assert not (target / "hidden").exists()


def test_a_pax_size_beyond_the_archive_is_refused(target, outside):
    refused(target, pax(size=b"1000000") + member(b"f", b"x") + END, "entry f", "ends within")


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6"])
def test_a_size_on_a_type_without_content_is_ignored(target, outside, kind):
    before = member(b"t", b"x")
    apply(
        target,
        before + header(b"e", kind, size=512, link=b"t", major=1, minor=3) + member(b"next", b"n") + END,
    )
    assert (target / "next").read_bytes() == b"n"


@pytest.mark.parametrize("cut", [1, 100, 511, 513, 600, 1023, 1536])
def test_a_cut_archive_is_refused(target, outside, cut):
    archive = member(b"f", b"x" * 700) + member(b"g", b"y")
    refused(target, archive[:-cut])


def test_an_archive_without_an_end_mark_is_complete(target):
    apply(target, member(b"f", b"x"))
    apply(target, member(b"g", b"x") + bytes(512))
    assert sorted(os.listdir(target)) == ["f", "g"]


def test_what_follows_the_end_mark_is_not_read(target):
    apply(target, member(b"f", b"x") + END + member(b"g", b"y") + b"garbage")
    assert os.listdir(target) == ["f"]


def test_a_lone_zero_block_is_refused(target, outside):
    refused(target, bytes(512) + member(b"f") + END, "zero block")


def test_a_wrong_checksum_is_refused(target, outside):
    refused(target, header(b"f", checksum=b"000001\0 ") + END, "checksum")
    refused(target, b"\x1f\x8b" * 512, "tar archive")


def test_an_extension_header_at_the_end_is_refused(target, outside):
    refused(target, pax(path=b"f") + END, "extension header")


def test_global_headers_are_ignored(target, outside):
    archive = pax(b"g", path=b"../evil", uid=b"77", size=b"5") + member(b"f", b"x")
    apply(target, archive + END)
    assert os.listdir(target) == ["f"]
    assert (target / "f").stat().st_uid == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"5\n",
        b"99 path=x\n",
        b"7 =xyz\n",
        b"11 path=abc",
        b"x path=a\n",
        b"10 pathabc\n",
        b"0 a=b\n",
        b"-9 a=b\n",
        b"+9 a=bcd\n",
    ],
)
def test_malformed_pax_records(target, outside, data):
    archive = member(b"p", data, b"x") + member(b"f", b"x") + END
    if data:
        refused(target, archive, "PAX")
    else:
        apply(target, archive)


def test_a_nul_in_a_pax_name_is_refused(target, outside):
    refused(target, pax(path=b"f\0../evil") + member(b"f") + END, "NUL")
    refused(target, pax(linkpath=b"f\0x") + member(b"s", kind=b"2", link=b"y") + END, "NUL")


def test_duplicates_replace(target, outside):
    archive = (
        member(b"f", b"one", mode=0o600)
        + member(b"f", b"two", mode=0o640)
        + member(b"f", kind=b"5", mode=0o750)
        + member(b"f/below", b"three")
        + member(b"f", kind=b"5", mode=0o700, uid=5)
        + member(b"g/", kind=b"5")
        + member(b"g/x", b"")
        + member(b"g", b"file")
        + member(b"p", kind=b"6")
        + member(b"p", kind=b"2", link=b"f")
        + member(b"p", kind=b"1", link=b"g")
    )
    apply(target, archive + END)
    assert (target / "f/below").read_bytes() == b"three"
    assert stat.S_IMODE((target / "f").stat().st_mode) == 0o700
    assert (target / "f").stat().st_uid == 5
    assert (target / "g").read_bytes() == b"file"
    assert (target / "p").stat().st_ino == (target / "g").stat().st_ino


def test_replacing_a_linked_file_leaves_the_other_name(target):
    apply(target, member(b"a", b"one") + member(b"b", kind=b"1", link=b"a") + member(b"b", b"two") + END)
    assert (target / "a").read_bytes() == b"one"


@pytest.mark.parametrize("key", [b"trusted.overlay.redirect", b"trusted.x", b"user.overlay.opaque"])
@pytest.mark.parametrize("kind", [b"0", b"5"])
def test_xattrs_that_overlay_obeys_are_left_out(target, outside, key, kind):
    applier = apply(target, pax_records({b"SCHILY.xattr." + key: b"y"}) + member(b"f", kind=kind) + END)
    assert os.listxattr(target / "f") == []
    assert key.decode() in applier.warnings[0]


def test_an_xattr_over_its_bound_is_refused(target, outside):
    archive = pax_records({b"SCHILY.xattr.user.big": b"v" * (limits.TAR_XATTR_SIZE + 1)}) + member(b"f")
    refused(target, archive + END, "extended attribute", error=ResourceExhausted)


def test_an_xattr_of_no_namespace_is_refused_or_left_out(target, outside):
    applier = apply(target, pax_records({b"SCHILY.xattr.nonsense": b"v"}) + member(b"f") + END)
    assert applier.warnings


def test_an_xattr_of_a_symlink_stays_on_the_link(target, outside):
    archive = pax_records({b"SCHILY.xattr.security.tricorn": b"v"}) + member(
        b"s", kind=b"2", link=str(outside / "secret").encode()
    )
    before = os.getcwd()
    apply(target, archive + END)
    assert os.getcwd() == before
    assert os.getxattr(target / "s", "security.tricorn", follow_symlinks=False) == b"v"


@pytest.mark.parametrize("form", ["overlay", "apply"])
@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh...", b"d/.wh..", b"d/.wh..."])
def test_whiteouts_of_nothing_are_refused(target, outside, name, form):
    with pytest.raises(InvalidArgument, match="whiteout"):
        apply(target, member(name) + END, form)


@pytest.mark.parametrize("form", ["overlay", "apply"])
def test_whiteouts_through_a_symlink_stay_inside(target, outside, form):
    archive = (
        member(b"l", kind=b"2", link=str(outside).encode())
        + member(b"l/.wh.secret")
        + member(b"l/.wh..wh..opq")
    )
    apply(target, archive + END, form)


@pytest.mark.parametrize("owner", [b"\x80\0\0\0\xff\xff\xff\xff", b"\x80\0\0\1\0\0\0\0", b"\xff" * 8])
def test_owners_out_of_range_are_refused(target, outside, owner):
    refused(target, header(b"f", uid=owner) + END, "owner")
    refused(target, header(b"d/", b"5", gid=owner) + END, "owner")
    refused(target, header(b"./", b"5", gid=owner) + END, "owner")


@pytest.mark.parametrize("mtime", [b"-5.5", b"99999999999", b"9223372036.9"])
def test_times_out_of_range_are_the_epoch(target, mtime):
    apply(target, pax(mtime=mtime) + member(b"f") + END)
    assert (target / "f").stat().st_mtime_ns == 0


def test_times_are_kept_to_the_nanosecond(target):
    apply(target, pax(mtime=b"1700000000.123456789") + member(b"f") + END)
    assert (target / "f").stat().st_mtime_ns == 1700000000_123456789


@pytest.mark.parametrize("mtime", [b"nan", b"1.x", b"1e5", b"--1", b"9" * 30])
def test_times_that_are_none_are_refused(target, mtime):
    refused(target, pax(mtime=mtime) + member(b"f") + END, "mtime")


@pytest.mark.parametrize("kind", [b"Z", b"D", b"M", b"V", b"X", b"\xff"])
def test_unknown_types_are_refused(target, outside, kind):
    refused(target, member(b"f", kind=kind) + END, "entry f")


def test_a_file_as_a_parent_is_refused(target, outside):
    refused(target, member(b"f", b"") + member(b"f/x", b"") + END, "f/x")


def test_too_many_entries(target, outside, monkeypatch):
    monkeypatch.setattr(limits, "TAR_ENTRIES", 5)
    refused(target, b"".join(member(b"f%d" % n) for n in range(6)) + END, "entries", error=ResourceExhausted)


def test_set_id_bits_survive_the_change_of_owner(target):
    archive = member(b"su", b"x", mode=0o4755, uid=9, gid=9) + member(b"sg/", kind=b"5", mode=0o2775, gid=50)
    apply(
        target,
        archive + member(b"sg/f", b"", gid=0, mode=0o640) + member(b"sg/d/", kind=b"5", mode=0o755) + END,
    )
    assert (target / "su").stat().st_mode & 0o7777 == 0o4755
    assert (target / "sg").stat().st_mode & 0o7777 == 0o2775
    assert ((target / "sg/f").stat().st_gid, (target / "sg/f").stat().st_mode & 0o7777) == (0, 0o640)
    assert ((target / "sg/d").stat().st_gid, (target / "sg/d").stat().st_mode & 0o7777) == (0, 0o755)


def test_implied_directories_are_named(target):
    applier = apply(target, member(b"a/b/c", b"") + member(b"a/", kind=b"5", mode=0o700) + END)
    assert applier.implied == [b".", b"a/b"]
    assert (target / "a/b").stat().st_mode & 0o7777 == 0o755


def test_a_dangling_symlink_as_a_parent_leads_to_its_target(target, outside):
    archive = member(b"lib", kind=b"2", link=b"/usr/lib") + member(b"lib/x", b"x") + member(b"lib/y", b"y")
    apply(target, archive + END)
    assert (target / "usr/lib/x").read_bytes() == b"x"
    assert (target / "lib").is_symlink()


def test_a_deep_tree_is_applied_and_replaced(target):
    deep = b"/".join([b"d"] * 1500)
    apply(target, pax(path=deep + b"/f") + member(b"x", b"deep") + END)
    apply(target, member(b"d", b"flat") + END)
    assert (target / "d").read_bytes() == b"flat"


def test_padding_is_part_of_the_entry(target):
    assert padded(b"x") == b"x" + bytes(511)
    for chunk in (1, 511, 512, 513, 100_000):
        apply(target, member(b"f", b"x" * 1000) + member(b"g", b"y" * 512) + END, chunk=chunk)
        assert (target / "f").read_bytes() == b"x" * 1000


@pytest.mark.parametrize(
    "records",
    [
        {b"GNU.sparse.map": b"0,1"},  # no size
        {b"GNU.sparse.size": b"10", b"GNU.sparse.map": b"0"},
        {b"GNU.sparse.size": b"10", b"GNU.sparse.map": b"0,x"},
        {b"GNU.sparse.size": b"10", b"GNU.sparse.map": b"5,6"},  # beyond the size
        {b"GNU.sparse.size": b"10", b"GNU.sparse.map": b"5,1,0,1"},  # backwards
        {b"GNU.sparse.size": b"5000", b"GNU.sparse.map": b"0,4000"},  # more than there is
        {b"GNU.sparse.realsize": b"10", b"GNU.sparse.major": b"1"},  # no map in the content
        {b"GNU.sparse.realsize": b"9" * 19, b"GNU.sparse.map": b"0,1"},
        {b"GNU.sparse.size": b"10", b"GNU.sparse.map": b"0,1", b"GNU.sparse.name": b"../evil"},
    ],
)
def test_sparse_maps_that_lie_are_refused(target, outside, records):
    with pytest.raises((InvalidArgument, ResourceExhausted)):
        apply(target, pax_records(records) + member(b"f", b"x" * 100) + END)


def test_an_old_sparse_map_that_lies_is_refused(target, outside):
    def sparse(offset: bytes, length: bytes, real: bytes, extended: bytes = b"\0") -> bytes:
        block = bytearray(header(b"f", b"S", size=100, magic=b"ustar  \0"))
        block[386:410] = offset + length
        block[482:483] = extended
        block[483:495] = real
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block)

    ten, huge = b"00000000012\0", b"\x80" + b"\0" * 5 + b"\xff" * 6
    for archive in (
        sparse(ten, ten, ten),  # ends beyond the size
        sparse(b"00000000000\0", b"00000001000\0", b"00000001000\0"),  # more than there is
        sparse(b"\xff" * 12, ten, ten),
        sparse(ten, b"\xff" * 12, ten),
        sparse(ten, ten, huge),
        sparse(ten, ten, b"\xff" * 12),
    ):
        refused(target, archive + padded(b"x" * 100) + END)
    refused(target, sparse(ten, ten, ten, b"\1"), "map")
