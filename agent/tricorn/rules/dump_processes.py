"""Whether processes of a dump have more of the node than its target's spec grants: time of its processors,
limits, safety from the out-of-memory killer, open files that take a privilege. Pure.

CRIU gives these back as the node's root (criu/cr-restore.c, criu/files.c), before a process has only what it
may have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from tricorn.rules.dump_file_images import BPF_MAP, FANOTIFY, INET, PACKET, RAW, TUN
from tricorn.rules.dump_grants import grants, holds, namespace_kinds
from tricorn.rules.dump_images import Dump
from tricorn.rules.dump_task_images import INFINITE, Task

# In the order of the kernel's numbers (asm-generic/resource.h)
_LIMITS: Final = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING",
    "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip
# Anything but these is before other processes, or cares for deadlines: NORMAL, BATCH, IDLE.
_ORDINARY: Final = frozenset({0, 3, 5})
_OF_NETWORKS: Final = frozenset({PACKET, TUN})
_FILES: Final = {
    PACKET: ("packet sockets", ("CAP_NET_RAW",)),
    FANOTIFY: ("files that tell of all others (fanotify)", ("CAP_SYS_ADMIN",)),
    TUN: ("network devices (tun)", ("CAP_NET_ADMIN",)),
    BPF_MAP: ("maps of BPF programs", ("CAP_BPF", "CAP_SYS_ADMIN")),
}


def processes(dump: Dump, spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is too much of processors, limits and safety."""
    least = int((spec.get("process") or {}).get("oomScoreAdj") or 0)
    for task in dict.fromkeys(thread.task for thread in dump.threads):
        if task.oom_score_adj < least and not grants(spec, "CAP_SYS_RESOURCE"):
            yield f"processes with an oom_score_adj of {task.oom_score_adj}, not {least}"
        yield from _scheduling(task, spec)
        yield from _limits(task, spec)


def _scheduling(task: Task, spec: Mapping[str, Any]) -> Iterator[str]:
    scheduler = (spec.get("process") or {}).get("scheduler") or {}
    named = {f"RLIMIT_{name}" for name in ("NICE", "RTPRIO")} & {*_granted_limits(spec)}
    if scheduler or named or grants(spec, "CAP_SYS_NICE"):
        return
    if task.policy not in _ORDINARY or task.priority:
        yield f"processes that are scheduled before others (policy {task.policy}, priority {task.priority})"
    if task.nice < 0:
        yield f"processes with a niceness of {task.nice}"


def _limits(task: Task, spec: Mapping[str, Any]) -> Iterator[str]:
    """Limits that the spec doesn't name are the node's, which differ with its size: only those that would let
    a process have itself scheduled before others are none then.
    """
    if grants(spec, "CAP_SYS_RESOURCE"):
        return
    granted = _granted_limits(spec)
    for name, found in zip(_LIMITS, task.limits, strict=False):
        bound = granted.get(f"RLIMIT_{name}")
        if bound is None and name in ("NICE", "RTPRIO") and not grants(spec, "CAP_SYS_NICE"):
            bound = 0
        if bound is not None and max(found) > bound:
            yield f"a limit RLIMIT_{name} of {_text(max(found))}, not {_text(bound)}"


def _granted_limits(spec: Mapping[str, Any]) -> dict[str, int]:
    limits = (spec.get("process") or {}).get("rlimits") or ()
    return {str(one.get("type")): max(0, int(one.get("hard") or 0)) for one in limits}


def _text(limit: int) -> str:
    return "infinity" if limit == INFINITE else str(limit)


def open_files(dump: Dump, spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield what kinds of files processes have open that they couldn't have opened. What belongs to networks
    takes the capability in the user namespace that has the network.
    """
    in_network = holds if "network" in namespace_kinds(spec) else grants
    for file in dump.files:
        if file.kind == INET and file.socket == RAW and not in_network(spec, "CAP_NET_RAW"):
            yield "raw sockets, which take CAP_NET_RAW"
        if file.marked and not in_network(spec, "CAP_NET_ADMIN", "CAP_NET_RAW"):
            yield "sockets whose packets are marked, which takes CAP_NET_ADMIN"
        if file.kind in _FILES:
            what, capabilities = _FILES[file.kind]
            if not (in_network if file.kind in _OF_NETWORKS else grants)(spec, *capabilities):
                yield f"{what}, which take {capabilities[0]}"
