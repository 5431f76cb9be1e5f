"""The Linux part of a spec: namespaces, resources, devices, sysctls. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tricorn.errors import InvalidArgument, NotFound
from tricorn.model.networks import NetworkKind
from tricorn.model.requests import ContainerDesired, Resources
from tricorn.model.spec import DeviceNode, HostLimits
from tricorn.rules.networks import parse_network
from tricorn.rules.spec_blkio import block_io
from tricorn.rules.user_namespaces import wanted_maps

_KINDS: Final = {
    "pid": "pid",
    "ipc": "ipc",
    "uts": "uts",
    "mount": "mount",
    "cgroup": "cgroup",
    "user": "user",
}
_CPU_PERIOD: Final = 100_000  # microseconds, the kernel's own default
_MEMORY_LEAST: Final = 1024 * 1024
_MOST: Final = (1 << 63) - 1
_CPU_LIST: Final = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
_DEVICE_ACCESS: Final = re.compile(r"r?w?m?")
_SYSCTL_NAME: Final = re.compile(r"[a-z0-9_]+([./][a-zA-Z0-9_-]+)+")
_SYSCTL_VALUE: Final = re.compile(r"[A-Za-z0-9 \t.,:/_-]*")
_IPC_SYSCTLS: Final = frozenset(
    "kernel." + name
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)
MASKED_PATHS: Final = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def namespaces(desired: ContainerDesired, host: HostLimits) -> list[dict[str, str]]:
    """Return the namespaces to make or join. Those that are the host's are left out."""
    wanted = {"pid": "private", "ipc": "private", "uts": "private", "mount": "private"}
    if host.cgroup_mode == "unified":
        wanted["cgroup"] = "private"
    for kind, value in desired.namespaces.items():
        if kind not in _KINDS:
            raise InvalidArgument(
                f"namespace {kind[:64]!r} is unknown",
                hint="network has a field of its own",
                field="namespaces",
            )
        wanted[kind] = value
    if wanted["mount"] != "private":
        raise InvalidArgument("the mount namespace must be private", field="namespaces.mount")
    if wanted_maps(desired):
        wanted["user"] = "private"
    found = [_namespace(kind, value, f"namespaces.{kind}") for kind, value in wanted.items()]
    found.append(_network(desired.network))
    return [entry for entry in found if entry]


def _network(value: str) -> dict[str, str]:
    """Return the entry of the network namespace; where that is another's or the agent makes it, its path
    follows.
    """
    choice = parse_network(value)
    if choice.kind is NetworkKind.HOST:
        return {}
    path = {"path": choice.name} if choice.kind is NetworkKind.PATH else {}
    return {"type": "network", **path}


def _namespace(kind: str, value: str, field: str) -> dict[str, str]:
    if value == "host":
        return {}
    if value == "private":
        return {"type": kind}
    if not value.startswith("/") or not value.isprintable():
        raise InvalidArgument(
            f"namespace {value[:200]!r} is malformed", hint="private, host or an absolute path", field=field
        )
    return {"type": kind, "path": value}


def is_private(desired: ContainerDesired, kind: str) -> bool:
    """Return whether the container has a namespace other than the host's."""
    value = desired.network if kind == "network" else desired.namespaces.get(kind, "private")
    return value != "host"


def sysctls(desired: ContainerDesired) -> dict[str, str]:
    """Return the checked sysctls: only namespaced ones, only with the namespace private (CVE-2022-0811)."""
    for name, value in desired.sysctls.items():
        field = f"sysctls.{name[:64]}"
        if not _SYSCTL_NAME.fullmatch(name) or ".." in name:
            raise InvalidArgument(f"sysctl {name[:64]!r} is malformed", field=field)
        if not _SYSCTL_VALUE.fullmatch(value) or len(value) > 1024:
            raise InvalidArgument(f"the value of sysctl {name} is malformed", field=field)
        dotted = name.replace("/", ".")
        if dotted in _IPC_SYSCTLS or dotted.startswith("fs.mqueue."):
            needed = "ipc"
        elif dotted.startswith("net."):
            needed = "network"
        else:
            raise InvalidArgument(
                f"sysctl {name} isn't namespaced", why="it would change the host", field=field
            )
        if not is_private(desired, needed):
            raise InvalidArgument(
                f"sysctl {name} needs a private {needed} namespace",
                why="it would change the host",
                field=field,
            )
    return dict(desired.sysctls)


def resources(wanted: Resources, host: HostLimits, *, all_devices: bool) -> tuple[dict[str, Any], list[str]]:
    """Return the OCI resources and warnings about limits that this host can't set."""
    warnings: list[str] = []
    access = {"allow": all_devices, "access": "rwm"}
    document: dict[str, Any] = {"devices": [access]}
    parts = {
        "memory": _memory(wanted, host, warnings),
        "cpu": _cpu(wanted),
        "pids": _pids(wanted),
        "blockIO": block_io(wanted),
    }
    if wanted.cpuset_cpus or wanted.cpuset_mems:
        parts["cpu"] = parts["cpu"] | _cpuset(wanted)
    for name, part in parts.items():
        if part and host.cgroup_controllers is not None and name not in host.cgroup_controllers:
            warnings.append(f"the limits of {name} aren't set: this host has no such cgroup controller")
        elif part:
            document[name] = part
    return document, warnings


def _memory(wanted: Resources, host: HostLimits, warnings: list[str]) -> dict[str, int]:
    part: dict[str, int] = {}
    if wanted.memory is not None:
        if wanted.memory < _MEMORY_LEAST:
            raise InvalidArgument(
                f"a memory limit of {wanted.memory} bytes is too small", field="resources.memory"
            )
        part["limit"] = _at_least(wanted.memory, _MEMORY_LEAST, "resources.memory")
    if wanted.memory_reservation is not None:
        part["reservation"] = _at_least(wanted.memory_reservation, 0, "resources.memory_reservation")
    if wanted.memory_swap is not None:
        if wanted.memory_swap != -1 and wanted.memory_swap < (wanted.memory or 0):
            raise InvalidArgument(
                "memory_swap is less than memory", why="it counts both", field="resources.memory_swap"
            )
        if host.swap_accounting:
            part["swap"] = _at_least(wanted.memory_swap, -1, "resources.memory_swap")
        else:
            warnings.append("memory_swap isn't set: this host doesn't account for swap")
    return part


def _cpu(wanted: Resources) -> dict[str, Any]:
    part: dict[str, Any] = {}
    if wanted.cpus is not None:
        if not 0.01 <= wanted.cpus <= 8192:
            raise InvalidArgument(f"{wanted.cpus} cpus are out of range", field="resources.cpus")
        part |= {"quota": int(wanted.cpus * _CPU_PERIOD), "period": _CPU_PERIOD}
    if wanted.cpu_shares is not None:
        if not 2 <= wanted.cpu_shares <= 262144:
            raise InvalidArgument("cpu_shares must be within 2 and 262144", field="resources.cpu_shares")
        part["shares"] = wanted.cpu_shares
    return part


def _cpuset(wanted: Resources) -> dict[str, str]:
    part = {}
    for key, text in (("cpus", wanted.cpuset_cpus), ("mems", wanted.cpuset_mems)):
        if text and not _CPU_LIST.fullmatch(text):
            raise InvalidArgument(
                f"cpuset {text[:64]!r} is malformed", hint="such as 0-2,4", field=f"resources.cpuset_{key}"
            )
        if text:
            part[key] = text
    return part


def _pids(wanted: Resources) -> dict[str, int]:
    if wanted.pids is None:
        return {}
    return {"limit": _at_least(wanted.pids, -1, "resources.pids")}


def _at_least(value: int, least: int, field: str) -> int:
    """Return `value`; InvalidArgument for less, and for what the kernel's 64 bits don't hold."""
    if value < least:
        raise InvalidArgument(f"{value} is out of range", why=f"at least {least}", field=field)
    if value > _MOST:
        raise InvalidArgument("the limit is out of range", why=f"at most {_MOST}", field=field)
    return value


def devices(desired: ContainerDesired, host: HostLimits) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the OCI devices to make, and the rules of the device cgroup that allow them."""
    wanted: dict[str, tuple[DeviceNode, str]] = {}
    if desired.privileged:
        wanted = {node.path: (node, "rwm") for node in host.devices.values()}
    for index, text in enumerate(desired.devices):
        target, node, access = _device(text, host.devices, f"devices[{index}]")
        wanted[target] = (node, access)
    made = [
        {
            "path": target, "type": node.type, "major": node.major, "minor": node.minor,
            "fileMode": node.mode, "uid": node.uid, "gid": node.gid,
        }
        for target, (node, _access) in wanted.items()
    ]  # fmt: skip
    if desired.privileged:  # everything is allowed already
        return made, []
    allowed = [
        {"allow": True, "type": node.type, "major": node.major, "minor": node.minor, "access": access}
        for node, access in wanted.values()
    ]
    return made, allowed


def _device(text: str, known: Mapping[str, DeviceNode], field: str) -> tuple[str, DeviceNode, str]:
    parts = text.split(":")
    if len(parts) > 3 or not all(part for part in parts):
        raise InvalidArgument(
            f"device {text[:200]!r} is malformed", hint="HOST[:CONTAINER[:rwm]]", field=field
        )
    source, target, access = parts[0], *(parts[1:] + [parts[0], "rwm"][len(parts) - 1 :])
    if len(parts) == 2 and not target.startswith("/"):  # HOST:rwm, as Docker takes it
        target, access = source, target
    if not _DEVICE_ACCESS.fullmatch(access) or not access:
        raise InvalidArgument(
            f"device access {access[:16]!r} is malformed", hint="of r, w and m", field=field
        )
    if not re.fullmatch(r"/dev(/[A-Za-z0-9._+:-]+)+", target) or "/.." in target or "/./" in target:
        raise InvalidArgument(f"device target {target[:200]!r} isn't a path below /dev", field=field)
    node = known.get(source)
    if node is None:
        raise NotFound(f"device {source[:200]!r} doesn't exist on the node", field=field)
    return target, node, access
