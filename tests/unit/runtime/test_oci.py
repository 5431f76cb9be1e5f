from __future__ import annotations

import os
from pathlib import Path

import pytest

from tricorn.errors import DeadlineExceeded, FailedPrecondition, Unimplemented
from tricorn.runtime import process
from tricorn.runtime.cgroup import Hierarchies
from tricorn.runtime.oci import OciRuntime, discover, readable, refused

V1 = Hierarchies({"memory": "/x"})
HYBRID = Hierarchies({"memory": "/x"}, "/y", ("hugetlb",))
LOGRUS = (
    'time="2026-11-22T04:46:02Z" level=warning msg="signal: killed"\n'
    'time="2026-11-22T04:46:02Z" level=error msg="runc create failed: exec: \\"nope\\": not found"\n'
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LOGRUS, 'runc create failed: exec: "nope": not found'),
        ("2026-11-22T04:46:02.000001Z: executable file `x` not found\n", "executable file `x` not found"),
        ('{"msg":"it broke","level":"error","time":"now"}\n', "it broke"),
        ("plain words\nplain words\nmore\n", "plain words; more"),
        ("{not json\n", "{not json"),
        ("", ""),
    ],
)
def test_complaints_are_readable(text, expected):
    assert readable(text) == expected


def test_complaints_are_bounded():
    assert len(readable("x" * 100_000)) <= 2000


def test_complaints_about_the_command_are_told_from_others():
    assert refused((), 'exec: "a": executable file not found in $PATH')
    assert refused(("/bin/a",), "open /bin/a: no such file or directory")
    assert not refused(("/bin/a",), "open /etc/b: no such file or directory")
    assert not refused((), "cgroup: permission denied")


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def fakes(tmp_path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin/crun", 'printf "crun version 1.21\\ncommit: x\\n+SYSTEMD +CRIU +SECCOMP\\n"')
    program(tmp_path / "bin/runc", '[ "$1" = features ] && echo "{}" || echo "runc version 1.3.6"')
    return {"PATH": f"{tmp_path}/bin:{os.defpath}"}


async def test_the_well_known_runtimes_are_found_in_path(fakes):
    found = await discover({}, "", fakes, V1)
    assert set(found) == {"crun", "runc"}
    assert (found["crun"].version, found["runc"].version) == ("1.21", "1.3.6")
    assert found["crun"].features == ("systemd", "criu", "seccomp", "default")
    assert "CVE-2026-30892" in found["crun"].warnings[0]


async def test_crun_is_unusable_on_hybrid_hosts_and_the_reason_has_the_remedy(fakes):
    found = await discover({}, "", fakes, HYBRID)
    assert not found["crun"].usable
    assert "mount -t cgroup -o hugetlb" in found["crun"].reason
    assert "default" in found["runc"].features
    assert (await discover({}, "", fakes, Hierarchies({"memory": "/x"}, "/y")))["crun"].usable


async def test_configured_runtimes(fakes, tmp_path):
    slow = program(tmp_path / "slow", "echo 'slow version 9.9'")
    found = await discover({"mine": slow, "gone": "/no/such", "relative": "crun"}, "mine", fakes, V1)
    assert "default" in found["mine"].features
    assert found["mine"].version == "9.9"
    assert not found["gone"].usable
    assert not found["relative"].usable
    with pytest.raises(Unimplemented, match="youki"):
        await discover({}, "youki", fakes, V1)


async def test_a_failing_call_tells_the_runtime_s_words(tmp_path):
    path = program(tmp_path / "rt", f"cat >&2 <<'E'\n{LOGRUS}E\nexit 1")
    runtime = OciRuntime(path, str(tmp_path / "root"), {"PATH": os.defpath})
    with pytest.raises(FailedPrecondition) as caught:
        await runtime.call("ns", "start", "c")
    assert caught.value.why == 'runc create failed: exec: "nope": not found'


async def test_programs_get_the_given_environment_and_no_descriptor(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "x")
    kept = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(kept, False)
    done = await process.run(
        ["/bin/sh", "-c", "env; ls /proc/self/fd; grep SigIgn /proc/self/status"], {"A": "1"}, seconds=10
    )
    os.close(kept)
    lines = done.stdout.decode().split("\n")
    assert "A=1" in lines
    assert not any("NOTIFY" in line for line in lines)
    assert "4" not in lines  # 3 is the listing's own
    assert int(next(line for line in lines if "SigIgn" in line).split()[1], 16) & ~(3 << 31) == 0


async def test_output_is_bounded_and_leftover_writers_do_not_hold_the_call():
    done = await process.run(
        ["/bin/sh", "-c", "yes | head -c 1000000; sleep 30 & exit 3"], {"PATH": os.defpath}, seconds=20
    )
    assert done.code == 3
    assert len(done.stdout) == 65536


async def test_a_program_that_does_not_end_is_killed():
    with pytest.raises(DeadlineExceeded, match="sleep"):
        await process.run(["/bin/sleep", "30"], {}, seconds=0.2)


async def test_signals_give_128_and_more():
    assert (await process.run(["/bin/sh", "-c", "kill -9 $$"], {}, seconds=10)).code == 137


def test_identities_tell_processes_apart():
    own = process.identify(os.getpid())
    assert own is not None
    assert process.alive(own)
    assert process.identify(2**22 + 1) is None
    fd = process.open_process(own)
    assert fd is not None
    os.close(fd)
