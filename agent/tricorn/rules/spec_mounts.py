"""The mounts of a container. Pure: bind sources were made real paths before."""

from __future__ import annotations

import posixpath
from typing import Any, Final

from tricorn.errors import InvalidArgument, NotFound
from tricorn.model.requests import ContainerDesired, Mount
from tricorn.model.spec import HostLimits
from tricorn.rules.user_namespaces import wanted_maps

_PROC_TARGETS: Final = frozenset(
    "/proc/" + name
    for name in (
        "cpuinfo", "diskstats", "loadavg", "meminfo", "net/dev", "slabinfo", "stat", "swaps",
        "sys/crypto/fips_enabled", "sys/kernel/ns_last_pid", "uptime",
    )
)  # fmt: skip # what runtimes themselves let through: lxcfs' files and few more
_TYPES: Final = frozenset({"bind", "tmpfs", "proc", "sysfs", "devpts", "mqueue", "cgroup", "overlay"})
_PTS_OPTIONS: Final = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
_PROPAGATION: Final = frozenset(
    prefix + name for prefix in ("", "r") for name in ("private", "shared", "slave", "unbindable")
)


def default_mounts(desired: ContainerDesired, host: HostLimits) -> list[dict[str, Any]]:
    """Return what every container has (rules of the field: containerd's default spec)."""
    secure = ["nosuid", "noexec", "nodev"]
    writable = "rw" if desired.privileged else "ro"
    mounts = [
        _mount("/proc", "proc", "proc", secure),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", _PTS_OPTIONS),
        _mount("/dev/shm", "tmpfs", "shm", [*secure, "mode=1777", "size=65536k"]),  # noqa: S108 - its mount point
        _mount("/dev/mqueue", "mqueue", "mqueue", secure),
        _sys(desired, [*secure, writable]),
        _mount("/run", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ]  # fmt: skip
    if host.cgroup_mode == "unified":  # one mount; v1's dozen would cost milliseconds at each start
        mounts.append(_mount("/sys/fs/cgroup", "cgroup", "cgroup", [*secure, "relatime", writable]))
    return mounts


def _sys(desired: ContainerDesired, options: list[str]) -> dict[str, Any]:
    """A user namespace may mount sysfs for a network namespace of its own only; else it gets the node's."""
    if wanted_maps(desired) and desired.network != "private":
        return _mount("/sys", "bind", "/sys", ["rbind", "rprivate", *options])
    return _mount("/sys", "sysfs", "sysfs", options)


def mounts(desired: ContainerDesired, host: HostLimits) -> list[dict[str, Any]]:
    """Return all mounts in the order to make them; the request's replace default ones on the same target."""
    wanted = [_requested(mount, host, f"mounts[{index}]") for index, mount in enumerate(desired.mounts)]
    targets = [mount["destination"] for mount in wanted]
    if len(set(targets)) != len(targets):
        raise InvalidArgument("two mounts have the same target", field="mounts")
    kept = [mount for mount in default_mounts(desired, host) if mount["destination"] not in set(targets)]
    # parents first, or they would hide what was mounted below them
    return kept + sorted(wanted, key=lambda mount: mount["destination"].count("/"))


def _requested(mount: Mount, host: HostLimits, field: str) -> dict[str, Any]:
    _check_target(mount.target, f"{field}.target")
    kind = mount.type or "bind"
    if kind not in _TYPES:
        raise InvalidArgument(f"mount type {kind[:64]!r} is unknown", field=f"{field}.type")
    for option in mount.options:
        if not option or not option.isprintable() or (kind != "overlay" and "," in option):
            raise InvalidArgument(f"mount option {option[:64]!r} is malformed", field=f"{field}.options")
    if kind != "bind":
        return _mount(mount.target, kind, mount.source or kind, list(mount.options))
    return _mount(mount.target, "bind", _source(mount, host, field), _bind_options(mount.options))


def _source(mount: Mount, host: HostLimits, field: str) -> str:
    if not mount.source.startswith("/") or "\0" in mount.source:
        raise InvalidArgument("a bind mount's source must be an absolute path", field=f"{field}.source")
    real = host.sources.get(mount.source)
    if not real:
        raise NotFound(
            f"bind source {mount.source[:200]!r} doesn't exist on the node",
            hint="create it first; it isn't made for you",
            field=f"{field}.source",
        )
    return real


def _bind_options(options: tuple[str, ...]) -> list[str]:
    wanted = list(options)
    if not {"bind", "rbind"} & set(wanted):
        wanted.insert(0, "rbind")
    if not _PROPAGATION & set(wanted):
        wanted.append("rprivate")
    return wanted


def _check_target(target: str, field: str) -> None:
    if not target.startswith("/") or not target.isprintable():
        raise InvalidArgument("a mount's target must be an absolute path", field=field)
    if posixpath.normpath(target) != target or target.startswith("//") or target == "/":
        raise InvalidArgument(
            f"mount target {target[:200]!r} is malformed",
            why="it is the root, or has '.', '..', doubled or trailing slashes",
            field=field,
        )
    if (target == "/proc" or target.startswith("/proc/")) and target not in _PROC_TARGETS:
        raise InvalidArgument(
            f"a mount over {target[:200]!r} is refused", why="it could defeat the masks of /proc", field=field
        )


def _mount(target: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}
