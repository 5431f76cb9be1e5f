"""Whether a dump fits what a container is granted: a restore adds no privilege to the target's spec. Pure.

CRIU gives processes back exactly what they had: identities, capabilities, seccomp programs, mounts. None of
that may exceed what the spec grants, which was made from the target's request and policy alone
(CVE-2026-95837).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from tricorn.errors import InvalidArgument, PermissionDenied, TricornError
from tricorn.model.spec import CAPABILITIES
from tricorn.rules import bpf
from tricorn.rules.dump_images import Dump, Filter, Thread
from tricorn.rules.dump_mounts import mounts
from tricorn.rules.dump_namespaces import namespaces
from tricorn.rules.dump_network_images import never
from tricorn.rules.dump_processes import open_files, processes

_FILTER_MODE: Final = 2
_PERMITTING: Final = frozenset({"SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_NOTIFY"})
_X32_BIT: Final = 0x40000000
_SHOWN: Final = 5

Numbers = Callable[[Collection[str], int], Mapping[str, tuple[int, ...]] | None]


def check_dump(
    dump: Dump, spec: Mapping[str, Any], *, existing: Collection[str], architecture: str,
    tokens: Mapping[str, int], numbers: Numbers,
) -> None:  # fmt: skip
    """Raise PermissionDenied, naming the first differences, if the dump exceeds what `spec` grants.

    `existing` are those of its masked and read-only paths that there are; `tokens` and `numbers` tell of
    system calls (`runtime.syscall_names`).
    """
    found: list[str] = []
    for thread in dump.threads:
        if thread.machine != architecture:
            raise InvalidArgument(
                "the dump is of another architecture", why=f"it is {thread.machine}, this node {architecture}"
            )
        found += _identity(thread, spec)
    found += namespaces(dump, spec)
    found += mounts(dump, spec, existing)
    found += processes(dump, spec)
    found += open_files(dump, spec)
    found += (*dump.remaps.wrong, *dump.handed_on, *never(dump.names))
    found += _seccomp(dump, spec, tokens, numbers)
    if found:
        raise exceeds(found)


def exceeds(found: Sequence[str]) -> PermissionDenied:
    """Return the error that names the first of these differences."""
    differences = list(dict.fromkeys(found))
    more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    return PermissionDenied(
        "the checkpoint can't be restored with what this container is granted",
        why="; ".join(differences[:_SHOWN]) + more,
        hint="a checkpoint adds no privilege and no mount: request what it had, if you trust it",
    )


# ------------------------------------------------------------ identities
def _identity(thread: Thread, spec: Mapping[str, Any]) -> Iterator[str]:
    process = spec.get("process") or {}
    granted = process.get("capabilities") or {}
    sets = {
        "bounding": thread.bounding, "effective": thread.effective, "permitted": thread.permitted,
        "inheritable": thread.inheritable, "ambient": thread.ambient,
    }  # fmt: skip
    bounding = _mask(granted.get("bounding") or ())
    for name, held in sets.items():
        # what a process may come by has one bound; what it hands on is to be granted as such
        allowed = (
            bounding if name in ("bounding", "effective", "permitted") else _mask(granted.get(name) or ())
        )
        if extra := held & ~allowed:
            yield f"{name} capabilities beyond the spec's: {', '.join(_names(extra)[:4])}"
    if process.get("noNewPrivileges") and not thread.no_new_privileges:
        yield "processes that may gain privileges (noNewPrivileges isn't set)"
    yield from _user(thread, process)
    label = str(process.get("apparmorProfile") or process.get("selinuxLabel") or "")
    if thread.lsm.removesuffix(" (enforce)") not in ({label} if label else {"", "unconfined"}):
        yield f"the security label {thread.lsm[:80]!r}, not {label or 'none'}"


def _user(thread: Thread, process: Mapping[str, Any]) -> Iterator[str]:
    """A container that can't gain privileges stays who it is told to be."""
    user = process.get("user") or {}
    uid, gid = int(user.get("uid") or 0), int(user.get("gid") or 0)
    if uid == 0 or not process.get("noNewPrivileges"):
        return
    groups = {gid, *map(int, user.get("additionalGids") or ())}
    if others := set(thread.uids) - {uid}:
        yield f"processes of user {min(others)}, not {uid}"
    if others := {*thread.gids, *thread.groups} - groups:
        yield f"processes in group {min(others)}, not in {', '.join(map(str, sorted(groups)))}"


def _mask(names: Collection[str]) -> int:
    return sum(1 << CAPABILITIES.index(name) for name in set(names) if name in CAPABILITIES)


def _names(mask: int) -> list[str]:
    known = [name for index, name in enumerate(CAPABILITIES) if mask >> index & 1]
    return known or [hex(mask)]


# ------------------------------------------------------------ system calls
def _seccomp(
    dump: Dump, spec: Mapping[str, Any], tokens: Mapping[str, int], numbers: Numbers
) -> Iterator[str]:
    profile = (spec.get("linux") or {}).get("seccomp")
    if not profile:
        return
    checked: dict[int | None, str] = {}
    by_file = {thread.file: thread for thread in dump.threads}
    for thread in dump.threads:
        leaders = [by_file.get(name) for name in dump.leaders.get(thread.file, ())]
        if not thread.seccomp_mode and leaders and all(_synced(dump, leader) for leader in leaders):
            continue
        if thread.seccomp_mode != _FILTER_MODE:
            yield "processes without a seccomp filter"
            return
        if thread.filter not in checked:
            checked[thread.filter] = _compare(_chain(dump, thread.filter), profile, tokens, numbers)
        if checked[thread.filter]:
            yield checked[thread.filter]


def _synced(dump: Dump, leader: Thread | None) -> bool:
    """Return whether a process's filters are installed for all of its threads at once (TSYNC): CRIU writes
    them down for the first only where all are alike, and the kernel gives them to all or fails.
    """
    if leader is None or leader.seccomp_mode != _FILTER_MODE:
        return False
    filters = _filters(dump, leader.filter)
    return bool(filters) and all(one.synced for one in filters)


def _chain(dump: Dump, last: int | None) -> list[bytes]:
    """Return all programs of a thread: the kernel takes the strictest answer of them."""
    return [one.program for one in _filters(dump, last)]


def _filters(dump: Dump, last: int | None) -> list[Filter]:
    found: list[Filter] = []
    while last is not None:
        if last >= len(dump.filters) or len(found) > len(dump.filters):
            raise InvalidArgument("the dump's seccomp filters are malformed")
        found.append(dump.filters[last])
        last = dump.filters[last].previous
    return found


def _compare(
    programs: Sequence[bytes], profile: Mapping[str, Any], tokens: Mapping[str, int], numbers: Numbers
) -> str:
    """Return what the programs let through that the profile refuses, "" if there is nothing."""
    if not programs:
        return "processes without a seccomp filter"
    listed = {str(name) for name in profile.get("architectures") or ()}
    try:
        for name, token in tokens.items():
            arch, base = (tokens["SCMP_ARCH_X86_64"], _X32_BIT) if name == "SCMP_ARCH_X32" else (token, 0)
            let_through = bpf.ALL
            for program in programs:
                let_through &= bpf.permitted(program, arch, base)
            refused = _refused(profile, token, base, numbers) if name in listed or not listed else bpf.ALL
            if refused is None:
                return "a seccomp filter that can't be compared (this node has no libseccomp)"
            if extra := let_through & refused:
                number = (extra & -extra).bit_length() - 1
                return f"a seccomp filter that lets more through than the profile ({name}, call {number})"
    except TricornError as error:
        return f"a seccomp filter that can't be compared: {error.what}"
    return ""


def _refused(profile: Mapping[str, Any], token: int, base: int, numbers: Numbers) -> int | None:
    """Return the calls that the profile refuses whatever their arguments are."""
    rules = profile.get("syscalls") or ()
    names = {str(name) for rule in rules for name in rule.get("names") or ()}
    known = numbers(names, token)
    if known is None:
        return None
    refused = bpf.ALL if str(profile.get("defaultAction")) not in _PERMITTING else 0
    for rule in rules:
        bits = 0
        for name in rule.get("names") or ():
            for number in known.get(str(name), ()):
                if number & ~base < bpf.CALLS:
                    bits |= 1 << (number & ~base)
        if str(rule.get("action")) in _PERMITTING:
            refused &= ~bits  # with or without conditions: it is let through at least sometimes
        elif not rule.get("args"):
            refused |= bits
    return refused
