"""A dump is restored only with what its target grants: judged on a dump that was recorded of a real container
(two shells, runc's default spec with a seccomp profile).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from tricorn.errors import InvalidArgument, PermissionDenied, TricornError
from tricorn.rules.dump_checks import check_dump
from tricorn.rules.dump_images import Dump, Filter, read_dump, wanted
from tricorn.runtime.syscall_names import TOKENS, numbers_of
from tricorn_testing.recorded_dump import IMAGES, SPEC, granted, recorded

HIDDEN = ["/proc/acpi", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/bus", "/proc/fs", "/proc/irq",
          "/proc/sys"]  # fmt: skip
ALLOW_ALL = b"\x06\x00\x00\x00\x00\x00\xff\x7f"
needs_libseccomp = pytest.mark.skipif(
    numbers_of(["read"], TOKENS["SCMP_ARCH_X86_64"]) is None, reason="no libseccomp.so.2 on this machine"
)


def check(found: Dump, spec: dict[str, Any] = SPEC, existing: list[str] = HIDDEN) -> None:
    check_dump(
        found, spec, existing=existing, architecture="amd64", tokens=TOKENS, numbers=numbers_of
    )  # fmt: skip


def test_what_is_read() -> None:
    found = recorded()
    assert [thread.file for thread in found.threads] == ["core-1.img", "core-13.img"]
    assert {thread.machine for thread in found.threads} == {"amd64"}
    assert {mount.point for mount in found.mounts} >= {"/", "/proc", "/sys/firmware", "/dev/pts"}
    assert [mount.key for mount in found.mounts if mount.point == "/proc/keys"] == ["/dev/null"]
    assert all(wanted(name) for name in IMAGES)
    assert not wanted("pages-1.img")


@needs_libseccomp
def test_with_the_spec_it_was_dumped_with_it_is_restored() -> None:
    check(recorded())


@needs_libseccomp
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (granted(process__capabilities__bounding=["CAP_KILL"]), "CAP_AUDIT_WRITE"),
        (granted(process__user={"uid": 1000, "gid": 1000}), "user 0, not 1000"),
        (granted(process__apparmorProfile="strict"), "label"),
        (granted(mounts=[item for item in SPEC["mounts"] if item["destination"] != "/dev/shm"]), "/dev/shm"),
        (
            granted(linux__maskedPaths=[*SPEC["linux"]["maskedPaths"], "/proc/kmsg"]),
            "/proc/kmsg isn't masked",
        ),
        (granted(linux__readonlyPaths=["/proc/tty"]), "/proc/tty isn't read-only"),
        (granted(root__readonly=True), "root file system is writable"),
        (granted(linux__seccomp={**SPEC["linux"]["seccomp"], "syscalls": []}), "lets more through"),
    ],
    ids=["capability", "user", "label", "mount", "mask", "read-only path", "root", "seccomp"],
)
def test_what_exceeds_the_targets_spec_is_refused(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(PermissionDenied) as caught:
        check(recorded(), spec, [*HIDDEN, "/proc/kmsg", "/proc/tty"])
    assert words in str(caught.value)


@needs_libseccomp
def test_one_call_less_in_the_profile_is_noticed() -> None:
    rule = SPEC["linux"]["seccomp"]["syscalls"][0]
    for name in ("getcwd", "execve", "chdir"):
        fewer = {**rule, "names": [known for known in rule["names"] if known != name]}
        with pytest.raises(PermissionDenied):
            check(recorded(), granted(linux__seccomp={**SPEC["linux"]["seccomp"], "syscalls": [fewer]}))


def test_processes_without_what_the_target_demands_are_refused() -> None:
    found = recorded()
    thread = found.threads[0]
    for weaker in (
        evolve(thread, no_new_privileges=False),
        evolve(thread, seccomp_mode=0, filter=None),
        evolve(thread, effective=thread.effective | 1 << 21),
        evolve(thread, inheritable=1),
        evolve(thread, lsm="another"),
    ):
        with pytest.raises(PermissionDenied):
            check(evolve(found, threads=(weaker, *found.threads[1:])))
    with pytest.raises(PermissionDenied):
        check(evolve(found, mounts=()))
    with pytest.raises(InvalidArgument):
        check(evolve(found, threads=(evolve(thread, machine="arm64"),)))


def test_a_filter_that_lets_all_through_is_refused() -> None:
    found = recorded()
    with pytest.raises(PermissionDenied) as caught:
        check(evolve(found, filters=(Filter(ALLOW_ALL, None), Filter(ALLOW_ALL, None))))
    assert "lets more through" in str(caught.value) or "can't be compared" in str(caught.value)


def test_filters_in_a_circle_are_refused() -> None:
    found = recorded()
    circle = tuple(evolve(item, previous=0) for item in found.filters)
    with pytest.raises(InvalidArgument):
        check(evolve(found, filters=circle))


@given(st.sampled_from(sorted(IMAGES)), st.integers(0, 4000), st.binary(max_size=8))
def test_a_damaged_image_is_a_typed_error_or_another_dump(name: str, at: int, noise: bytes) -> None:
    data = IMAGES[name]
    at %= len(data)
    with suppress(TricornError):
        read_dump({**IMAGES, name: data[:at] + noise + data[at + len(noise) :]}, list(IMAGES))
    with suppress(TricornError):
        read_dump({**IMAGES, name: data[:at]}, list(IMAGES))


@pytest.mark.parametrize(("state", "accepted"), [(1, False), (2, True)])
def test_a_process_that_has_ended_needs_no_identity(state: int, accepted: bool) -> None:
    """Its parent hasn't asked how it ended; one that says that it lives has to say who it is."""
    images = {name: data for name, data in IMAGES.items() if wanted(name)}
    message = bytes((0x08, 1, 0x1A, 2, 0x08, state))  # the machine, and of the task its state
    head = (0x54564319).to_bytes(4, "little") + (0x55053847).to_bytes(4, "little")
    images["core-4242.img"] = head + len(message).to_bytes(4, "little") + message
    names = [*images]
    if not accepted:
        with pytest.raises(InvalidArgument, match=r"creds-4242\.img"):
            read_dump(images, names)
        return
    found = read_dump(images, names)
    assert "core-4242.img" not in {thread.file for thread in found.threads}
    assert found.inside == recorded().inside
    check(found)


def test_filters_for_all_threads_at_once_stand_for_those_of_the_others() -> None:
    """CRIU writes them down for the first thread only, marked TSYNC."""
    found = recorded()
    leader, other = found.threads
    bare = evolve(other, seccomp_mode=0, filter=None)
    synced = tuple(evolve(one, synced=True) for one in found.filters)
    single = tuple(evolve(one, synced=False) for one in found.filters)
    led = {other.file: (leader.file,)}
    check(evolve(found, threads=(leader, bare), filters=synced, leaders=led))
    for hostile in (
        evolve(found, threads=(leader, bare), filters=synced),  # whose it is, isn't said
        evolve(found, threads=(leader, bare), filters=single, leaders=led),
        evolve(
            found, threads=(leader, bare), filters=synced, leaders={other.file: (leader.file, "core-9.img")}
        ),
        evolve(found, threads=(evolve(leader, seccomp_mode=0), bare), filters=synced, leaders=led),
    ):
        with pytest.raises(PermissionDenied, match="without a seccomp filter"):
            check(hostile)


# ------------------------------------------------------------ user namespaces
LINES = {"containerID": 0, "hostID": 100_000, "size": 65536}
MAPPED = granted(linux__uidMappings=[LINES], linux__gidMappings=[LINES])
MAPPING = ((0, 100_000, 65536),)


def in_user_namespace(inside: set[int], **more: Any) -> Dump:
    return evolve(
        recorded(), outside={**recorded().outside, "user": 7}, inside={**recorded().inside, "user": frozenset(inside)},
        mappings={14: (MAPPING, MAPPING)}, **more,
    )  # fmt: skip


@needs_libseccomp
def test_a_user_namespace_is_the_one_that_was_granted() -> None:
    check(in_user_namespace({14}), MAPPED)
    dev = next(mount for mount in recorded().mounts if mount.point == "/dev")
    device = evolve(dev, id=999, parent=dev.id, point="/dev/tty", external=True, key="/dev/tty", device=6)
    check(in_user_namespace({14}, mounts=(*recorded().mounts, device)), MAPPED)


@pytest.mark.parametrize("inside", [{7}, {14, 7}, {14, 0}, {0}, set()])
def test_processes_outside_the_user_namespace_are_refused(inside: set[int]) -> None:
    with pytest.raises(PermissionDenied, match="aren't in the container's user namespace"):
        check(in_user_namespace(inside), MAPPED)


def test_other_ids_than_those_granted_are_refused() -> None:
    root = ((0, 0, 65536),)
    for mappings in ({14: (root, MAPPING)}, {14: (MAPPING, root)}, {15: (MAPPING, MAPPING)}, {}):
        with pytest.raises(PermissionDenied, match="other ids than the spec's"):
            check(evolve(in_user_namespace({14}), mappings=mappings), MAPPED)
    with pytest.raises(PermissionDenied, match="in a user namespace of their own"):
        check(in_user_namespace({14}))
