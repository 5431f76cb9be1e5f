"""Changing the limits of a container that runs: what that takes, and which changes need a new one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import asdict, evolve

from tricorn.errors import InvalidArgument
from tricorn.model.requests import LimitsUpdate, Resources
from tricorn.model.spec import HostLimits
from tricorn.rules.spec_linux import resources as oci_resources

NONE: Final = -1  # takes a limit away
_PARTS: Final[tuple[str, ...]] = ("memory", "cpu", "pids", "blockIO")
_SHARES: Final = 1024  # the kernel's own
_ALL_PIDS: Final = 1 << 22
_ALL_CPUS: Final = 8192
_ALL_MEMORY: Final = (1 << 63) - 4096
_PERIOD: Final = 100_000  # microseconds
_FIXED: Final = ("cpuset_cpus", "cpuset_mems", "blkio_weight", "blkio")  # can be changed, not taken away


def merged(old: Resources, update: LimitsUpdate) -> Resources:
    """Return the limits after an update: None keeps one, -1 takes it away (of memory_swap: all swap may be
    used). InvalidArgument when nothing is asked for, or for a limit that can't be taken away while it runs.
    """
    wanted = {key: value for key, value in asdict(update, recurse=False).items() if value is not None}
    if not wanted:
        raise InvalidArgument("no limit is given", hint="memory, cpus, pids and so on")
    for key in _FIXED:
        if key in wanted and not wanted[key]:
            raise InvalidArgument(f"{key} can be changed, not taken away", field=key)
    gone = {key for key, value in wanted.items() if value == NONE and key != "memory_swap"}
    changes: dict[str, Any] = {key: None if key in gone else value for key, value in wanted.items()}
    return evolve(old, **changes)


def needs_new_container(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether a change of stored limits can't be made on a container as it is."""
    return any(old.get(key) and not _covers(new.get(key), old[key]) for key in _FIXED)


def _covers(new: Any, old: Any) -> bool:
    if isinstance(old, list):  # the devices that had a limit have one still
        kept = {entry.get("device") for entry in new or ()}
        return all(entry.get("device") in kept for entry in old)
    return bool(new)


def update_document(
    old: Resources, new: Resources, host: HostLimits
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Return OCI's `linux.resources` as a running container is to get it, the same parts as its spec has them
    from now on, and warnings about what this host can't set.
    """
    whole, warnings = oci_resources(new, host, all_devices=False)
    spec = {key: whole[key] for key in _PARTS if key in whole}
    live = {key: dict(value) for key, value in spec.items()}
    for key, part, values in _lifted(host):
        if getattr(old, key) is not None and getattr(new, key) is None:
            live[part] = {**values, **live.get(part, {})}
    if old.memory_swap is not None and new.memory_swap is None and host.swap_accounting:
        live["memory"] = {"swap": NONE, **live.get("memory", {})}
    return live, spec, warnings


def _lifted(host: HostLimits) -> list[tuple[str, str, dict[str, Any]]]:
    """Return what stands for "no limit" in each part: bounds beyond what any machine has where runtimes write
    a -1 as the kernel doesn't take it.
    """
    unified = host.cgroup_mode == "unified"
    memory = {"limit": _ALL_MEMORY}
    if host.swap_accounting and not unified:  # there it counts memory, too
        memory["swap"] = _ALL_MEMORY
    return [
        ("memory", "memory", memory),
        ("memory_reservation", "memory", {"reservation": 0 if unified else _ALL_MEMORY}),
        ("cpus", "cpu", {"quota": _ALL_CPUS * _PERIOD, "period": _PERIOD}),
        ("cpu_shares", "cpu", {"shares": _SHARES}),
        ("pids", "pids", {"limit": _ALL_PIDS}),
    ]
