"""What the agent reads out of a container's root before it starts: the account files."""

from __future__ import annotations

from tricorn import limits
from tricorn.fs.beneath import opened_root, read_regular


def read_account_files(rootfs: str) -> tuple[bytes, bytes]:
    """Return /etc/passwd and /etc/group of the root, b"" for a missing one. Blocks: call in a thread.

    Raises ResourceExhausted over `limits.PASSWD_SIZE`, InvalidArgument if one isn't a regular file.
    """
    with opened_root(rootfs) as root:
        passwd = read_regular(root, "etc/passwd", limits.PASSWD_SIZE)
        group = read_regular(root, "etc/group", limits.PASSWD_SIZE)
    return passwd or b"", group or b""
