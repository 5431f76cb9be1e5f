"""What this host's kernel can do for containers, each missing thing with its reason and remedy."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import shutil
import socket
import struct
import sys
from contextlib import suppress
from typing import Final

from tricorn.ports import Capability
from tricorn.rules.runtimes import Version, parse_version
from tricorn.runtime.cgroup import Hierarchies, detect

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_MOUNT_SETATTR: Final = 442  # the same number on all architectures
_MODULES: Final = f"/lib/modules/{platform.release()}"
_NETFILTER: Final = 12  # NETLINK_NETFILTER
_GET_GENERATION: Final = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_REQUEST: Final = 1  # NLM_F_REQUEST
_ERROR: Final = 2  # NLMSG_ERROR
_ANSWER: Final = 5.0  # seconds
_IDMAPPED_OVERLAY: Final = (5, 19)
_BOUND: Final = 1 << 20


def kernel_capabilities() -> list[Capability]:
    """Look at the kernel; nothing is mounted or made. Blocks."""
    version = parse_version(platform.release())
    return [
        _cgroup(detect()),
        *(_file_system(name, needed) for name, needed in _FILE_SYSTEMS.items()),
        _idmapped_mounts(version),
        _user_namespaces(),
        _seccomp(),
        _nftables(),
    ]


_FILE_SYSTEMS: Final = {
    "overlay": "the snapshotter overlay, which is the quickest",
    "erofs": "images of EROFS file systems",
    "btrfs": "the snapshotter btrfs",
}


def _cgroup(found: Hierarchies) -> Capability:
    details = {
        "version": {"v1": 1, "hybrid": 1, "unified": 2, "none": 0}[found.mode], "mode": found.mode,
        "v1": sorted(found.v1), "v2": list(found.v2_controllers),
    }  # fmt: skip
    present = {*found.v1, *found.v2_controllers}
    missing = sorted({"memory", "pids", "cpu"} - present)
    if not missing:
        return Capability("cgroup", available=True, details=details)
    return Capability(
        "cgroup", available=False, details=details,
        reason=f"no controller for {', '.join(missing)}: such limits aren't set",
        hint="boot with the controller, or delegate it to the agent's control group",
    )  # fmt: skip


def _file_system(name: str, needed: str) -> Capability:
    with open("/proc/filesystems", encoding="ascii") as file:
        known = {line.split()[-1] for line in file}
    if name in known:
        return Capability(name, available=True)
    if _is_module(name):
        return Capability(name, available=True, details={"module": "loaded when it is mounted"})
    return Capability(
        name, available=False, reason=f"the kernel has no {name}, which is for {needed}",
        hint=f"`modprobe {name}`, or a kernel that has it",
    )  # fmt: skip


def _is_module(name: str) -> bool:
    """Return whether the kernel has a module of this name, loaded or on disk."""
    if os.path.isdir(f"/sys/module/{name}"):
        return True
    ending = f"/{name}.ko"
    for listing in ("modules.dep", "modules.builtin"):
        with suppress(OSError), open(f"{_MODULES}/{listing}", encoding="utf-8", errors="replace") as file:
            if any(ending in line.partition(":")[0] for line in file):
                return True
    return False


def _idmapped_mounts(version: Version) -> Capability:
    """The call is there since 5.12; file systems came one by one, overlay's own layers with 5.19."""
    if not _has_call(_MOUNT_SETATTR):
        return Capability(
            "idmapped-mounts", available=False, reason=f"kernel {platform.release()} has no mount_setattr(2)",
            hint="a kernel from 5.12 on; until then the layers of containers in user namespaces are shifted",
        )  # fmt: skip
    return Capability("idmapped-mounts", available=True, details={"overlay": version >= _IDMAPPED_OVERLAY})


def _has_call(number: int) -> bool:
    ctypes.set_errno(0)
    _LIBC.syscall(ctypes.c_long(number), ctypes.c_int(-1), b"", ctypes.c_uint(0), None, ctypes.c_size_t(0))
    return ctypes.get_errno() != errno.ENOSYS


def _user_namespaces() -> Capability:
    limit = _text("/proc/sys/user/max_user_namespaces")
    if not os.path.exists("/proc/self/ns/user"):
        return Capability("user-namespaces", available=False, reason="the kernel was built without them")
    if limit == "0":
        return Capability(
            "user-namespaces", available=False, reason="user.max_user_namespaces is 0",
            hint="`sysctl user.max_user_namespaces=10000`",
        )  # fmt: skip
    return Capability("user-namespaces", available=True, details={"limit": int(limit or 0)})


def _seccomp() -> Capability:
    actions = _text("/proc/sys/kernel/seccomp/actions_avail").split()
    if not actions:
        return Capability(
            "seccomp", available=False, reason="the kernel was built without CONFIG_SECCOMP_FILTER",
            hint="containers run without a filter of system calls: use another kernel",
        )  # fmt: skip
    return Capability("seccomp", available=True, details={"actions": actions})


def _nftables() -> Capability:
    """Ask the kernel for the generation of its rules, which has no effect."""
    number = 0
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as netlink:
            netlink.settimeout(_ANSWER)
            netlink.send(struct.pack("=IHHIIBBH", 20, _GET_GENERATION, _REQUEST, 1, 0, 0, 0, 0))
            answer = netlink.recv(8192)
            if int.from_bytes(answer[4:6], sys.byteorder) == _ERROR:
                number = -int.from_bytes(answer[16:20], sys.byteorder, signed=True)
    except OSError as error:
        number = error.errno or errno.EIO
    if number:
        return Capability(
            "nftables", available=False, reason=f"the kernel has no nf_tables ({os.strerror(number)})",
            hint="`modprobe nf_tables`; until then ports can't be published",
        )  # fmt: skip
    if program := shutil.which("nft"):
        return Capability("nftables", available=True, details={"path": program})
    return Capability(
        "nftables", available=False, reason="there is no nft in PATH", hint="install the package nftables"
    )


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_BOUND).strip()
    except OSError:
        return ""
