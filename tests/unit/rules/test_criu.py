"""What CRIU's versions and logs are taken for."""

from __future__ import annotations

import pytest

from tricorn.model.checkpoints import DumpOptions
from tricorn.rules.criu import defect_of, explain
from tricorn.rules.packed import any_of, checkpoint_options
from tricorn.wire import message

LOG = """\
(00.000082) Version: 4.2.1 (gitid 0)
(00.010100) Warn  (criu/log.c:203): The early log isn't empty
(00.010321) Error (criu/rlimit.c:20): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.055112) 42: Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using --tcp-established option.
(00.055140) Error (criu/cr-dump.c:1669): Dump files (pid: 42) failed with -1
(00.061111) Error (criu/cr-dump.c:2111): Dumping FAILED.
"""


@pytest.mark.parametrize(
    ("version", "kernel", "works"),
    [
        ("3.17.1", "6.1.0-28-amd64", True),
        ("3.17.1", "6.18.44", False),
        ("4.0", "6.13.0", False),
        ("4.1.1", "6.18.44", True),
        ("4.2.1", "7.0", True),
        ("3.9", "5.4", False),
        ("", "6.18", True),
    ],
)
def test_versions_and_kernels(version: str, kernel: str, works: bool) -> None:
    assert (defect_of(version, kernel) == "") is works


def test_the_log_is_told_in_its_own_words_with_the_remedy() -> None:
    words, advice = explain(LOG)
    assert words.startswith("inet: Connected TCP socket")
    assert "RLIMIT" not in words
    assert words.endswith("Dumping FAILED. (criu/cr-dump.c:2111)")
    assert "--tcp-established" in advice
    assert explain("nothing of interest\n") == ("", "")


def test_of_many_errors_the_first_and_the_last_are_told() -> None:
    many = "".join(f"(00.0{at:02}) Error (criu/x.c:{at}): number {at}\n" for at in range(10))
    words, _ = explain(many)
    assert (
        words
        == "number 0 (criu/x.c:0); number 1 (criu/x.c:1); number 2 (criu/x.c:2); …; number 9 (criu/x.c:9)"
    )


def test_options_are_packed_as_containerd_reads_them() -> None:
    options = DumpOptions(
        leave_running=False, tcp_established=True, file_locks=True, empty_namespaces=("net",)
    )
    packed = message("google.protobuf.Any").FromString(checkpoint_options(options))
    assert packed.type_url == "containerd.runc.v1.CheckpointOptions"
    read = message("containerd.runc.v1.CheckpointOptions").FromString(packed.value)
    assert (read.exit, read.open_tcp, read.file_locks, read.terminal) == (True, True, True, False)
    assert list(read.empty_namespaces) == ["net"]
    long = message("google.protobuf.Any").FromString(any_of("t", b"x" * 5000))
    assert (long.type_url, len(long.value)) == ("t", 5000)
