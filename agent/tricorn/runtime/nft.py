"""Packet rules by nft(8): one transaction of the kernel, all or nothing."""

from __future__ import annotations

import errno
import shutil
import subprocess
from contextlib import suppress
from typing import Final

import trio

from tricorn.errors import DeadlineExceeded, FailedPrecondition, PermissionDenied, Unimplemented

_TIMEOUT: Final = 20.0
_LACKING: Final = ("Operation not supported", "No such file or directory", "Protocol not supported")
_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


def program(search: str = _PATH) -> str:
    """Return the path of nft. Unimplemented, saying how to get it."""
    found = shutil.which("nft", path=search)
    if found is None:
        raise Unimplemented(
            "there is no nft on this node", why="published ports and masquerading need it",
            hint="install the package nftables",
        )  # fmt: skip
    return found


async def apply(text: str, *, search: str = _PATH, netns: str = "") -> None:
    """Have the kernel take `text` in one transaction, in the agent's network namespace or in that at the path
    `netns`.

    Unimplemented for a node without nft or a kernel without nf_tables, PermissionDenied without
    CAP_NET_ADMIN, FailedPrecondition with nft's words.
    """
    command = [program(search), "-f", "-"]
    if netns:
        command = ["nsenter", f"--net={netns}", *command]
    with trio.move_on_after(_TIMEOUT) as scope:
        done = await trio.run_process(
            command, stdin=text.encode(), capture_stdout=True, capture_stderr=True, check=False,
            env={"PATH": _PATH, "LC_ALL": "C"},
        )  # fmt: skip
    if scope.cancelled_caught:
        raise DeadlineExceeded("nft doesn't answer", why=f"it was killed after {_TIMEOUT:.0f} s")
    if done.returncode:
        raise _refusal(done)


def _refusal(done: subprocess.CompletedProcess[bytes]) -> Exception:
    words = done.stderr.decode(errors="replace")
    why = " ".join(words.split())[:600]
    if "Operation not permitted" in words:
        return PermissionDenied("packet rules can't be set", why=why, hint="the agent needs CAP_NET_ADMIN")
    if any(reason in words for reason in _LACKING):
        return Unimplemented(
            "this kernel can't do what published ports need", why=why,
            hint="it needs CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, CONFIG_NFT_MASQ and CONFIG_NFT_FIB_INET",
        )  # fmt: skip
    return FailedPrecondition("packet rules can't be set", why=why)


def allow_forwarding(bridge: str) -> bool:
    """Have the kernel pass packets on between interfaces, and to this bridge those of the node's own loopback
    that published ports lead there; return whether forwarding had to be turned on.
    """
    with suppress(FileNotFoundError):
        write_setting(f"net/ipv4/conf/{bridge}/route_localnet", "1")
    with open("/proc/sys/net/ipv4/ip_forward", encoding="ascii") as file:
        if file.read().strip() == "1":
            return False
    write_setting("net/ipv4/ip_forward", "1")
    return True


def write_setting(name: str, value: str) -> None:
    """Write a setting below /proc/sys. PermissionDenied; FileNotFoundError."""
    try:
        with open(f"/proc/sys/{name}", "w", encoding="ascii") as file:
            file.write(value)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EACCES, errno.EROFS}:
            raise
        raise PermissionDenied(
            f"{name.replace('/', '.')} can't be set to {value}",
            hint="set it by sysctl(8), or give the agent /proc/sys",
        ) from None
