"""Files given to a user namespace: what their modes, capabilities and ACLs mean stays the same."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest

from tricorn.fs.idmapped import Owners
from tricorn.fs.shifting import shift_tree

pytestmark = pytest.mark.root
OWNERS = Owners(("0:100000:1000",), ("0:200000:1000",))
CAPABILITY = struct.pack("<5I", 0x02000000, 1 << 10, 0, 0, 0)  # cap_net_bind_service, permitted
NOBODY = 0xFFFFFFFF


def acl(uid: int, gid: int) -> bytes:
    entries = [(1, 6, NOBODY), (2, 4, uid), (4, 4, NOBODY), (8, 4, gid), (16, 4, NOBODY), (32, 4, NOBODY)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_everything_is_shifted_once(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    outside = tmp_path / "outside"
    outside.touch()
    program, shared = tree / "a/program", tree / "shared"
    for path in (program, shared):
        path.touch()
    os.chown(program, 5, 6)
    program.chmod(0o6755)
    os.link(program, tree / "a/b/again")
    (tree / "a/link").symlink_to(outside)
    os.mkfifo(tree / "fifo")
    other = tree / "other"
    other.touch()
    os.chown(other, 5000, 5000)  # no id of the namespace
    capable = tree / "capable"
    capable.touch()
    os.setxattr(capable, "security.capability", CAPABILITY)
    try:
        os.setxattr(shared, "system.posix_acl_access", acl(7, 8))
        has_acls = True
    except OSError:
        has_acls = False
    for _ in range(2):  # a second time changes nothing
        shift_tree(str(tree), OWNERS)
        for path in (tree, tree / "a", tree / "a/b", tree / "a/link", tree / "fifo", shared, capable):
            found = path.lstat()
            assert (found.st_uid, found.st_gid) == (100000, 200000), path
        found = program.stat()
        assert (found.st_uid, found.st_gid, found.st_nlink) == (100005, 200006, 2)
        assert stat.S_IMODE(found.st_mode) == 0o6755
        assert os.getxattr(capable, "security.capability") == CAPABILITY
        if has_acls:
            assert os.getxattr(shared, "system.posix_acl_access") == acl(100007, 200008)
        assert other.stat().st_uid == 5000
        assert outside.stat().st_uid == os.getuid()
