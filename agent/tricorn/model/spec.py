"""What a container spec is built from, beside the request: facts of the host, and the image's accounts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from attrs import Factory, frozen

CgroupMode = Literal["v1", "hybrid", "unified", "none"]

# In the order of their numbers in linux/capability.h
CAPABILITIES: Final = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
    "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT",
    "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE",
    "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN",
    "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip


@frozen
class Account:
    """One line of a passwd file."""

    name: str
    uid: int
    gid: int
    home: str


@frozen
class Group:
    """One line of a group file."""

    name: str
    gid: int
    members: tuple[str, ...] = ()


@frozen
class Accounts:
    """A root file system's passwd and group files; empty when it has none."""

    users: tuple[Account, ...] = ()
    groups: tuple[Group, ...] = ()


@frozen
class Identity:
    """Whom a process runs as. `groups` are the supplementary ones, the primary included."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str = "/"


@frozen
class DeviceNode:
    """A device of the host. `type` is c, b or p."""

    path: str
    type: str
    major: int
    minor: int
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


@frozen
class HostLimits:
    """What this host grants, as far as one request is concerned.

    `sources` maps each bind source of the request to its real path (without symlinks), "" when it doesn't
    exist. `devices` holds the request's devices (all of the host's for a privileged one). `profiles` maps
    the path of a seccomp profile to its document. `rlimits` maps names to the hard limit that may be asked
    for; a name that is missing has no bound.
    """

    rlimits: Mapping[str, int] = Factory(dict)
    has_cap_sys_resource: bool = True
    capabilities: tuple[str, ...] = CAPABILITIES
    cgroup_mode: CgroupMode = "unified"
    cgroup_controllers: tuple[str, ...] | None = None  # None: all that a request may need
    swap_accounting: bool = True
    architecture: str = "amd64"
    sources: Mapping[str, str] = Factory(dict)
    devices: Mapping[str, DeviceNode] = Factory(dict)
    profiles: Mapping[str, Mapping[str, Any]] = Factory(dict)
