"""`ctr run` against the agent: what the container gets, what its client sees of it, and what is left."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from tricorn_testing.ctr import TIMEOUT, Ctr
from tricorn_testing.daemon import Daemon
from tricorn_testing.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.integration]


def shell(ctr: Ctr, image: str, name: str, script: str, *options: str) -> str:
    """Run a script in a container that is removed afterwards; return what it wrote to stdout."""
    return ctr.run("run", "--rm", *options, image, name, "sh", "-c", script).stdout


def test_output_and_removal(ctr: Ctr, busybox: str, container: str) -> None:
    done = ctr.run("run", "--rm", busybox, container, "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")
    for command in (("containers", "ls", "-q"), ("tasks", "ls", "-q")):
        assert container not in ctr.run(*command).stdout.split()
    assert container not in [row["KEY"] for row in ctr.rows("snapshots", "ls")]


def test_the_images_own_command(ctr: Ctr, busybox: str, container: str) -> None:
    with ctr.terminal("run", "--rm", "-t", busybox, container) as terminal:
        terminal.write("echo I am $0; exit 4\n")
        terminal.read_until("I am /bin/sh")
        assert terminal.wait() == 4


@pytest.mark.parametrize("code", [3, 255])
def test_exit_codes(ctr: Ctr, busybox: str, container: str, code: int) -> None:
    done = ctr.run("run", "--rm", busybox, container, "sh", "-c", f"exit {code}", check=False)
    assert done.returncode == code


def test_the_exit_code_of_a_signal(ctr: Ctr, busybox: str, container: str) -> None:
    with ctr.running("run", "--rm", busybox, container, "sh", "-c", "echo up; sleep 1000") as process:
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        ctr.run("tasks", "kill", "-s", "SIGKILL", container)
        assert process.wait(TIMEOUT) == 137


def test_a_program_that_is_not_there(ctr: Ctr, busybox: str, container: str) -> None:
    done = ctr.run("run", "--rm", busybox, container, "/no/such/program", check=False)
    assert done.returncode != 0
    assert "/no/such/program" in done.stderr
    assert container not in ctr.run("containers", "ls", "-q").stdout.split()


def test_an_image_that_is_not_there(ctr: Ctr, container: str) -> None:
    done = ctr.run("run", "--rm", "docker.io/library/nothing:1", container, check=False)
    assert done.returncode != 0
    assert "not found" in done.stderr


def test_standard_input(ctr: Ctr, busybox: str, container: str) -> None:
    with ctr.running("run", "--rm", busybox, container, "sh", "-c", "cat; echo at the end") as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"hello\n"
        process.stdin.close()
        assert process.stdout.read() == b"at the end\n"
        assert process.wait(TIMEOUT) == 0


def test_piped_input_ends(ctr: Ctr, busybox: str, container: str) -> None:
    """Its end comes before the task does: `ctr` against containerd 2.1 never tells the container of it."""
    assert ctr.run("run", "--rm", busybox, container, "cat", input="abc\n").stdout == "abc\n"


def test_much_piped_input_arrives_whole(ctr: Ctr, busybox: str, container: str) -> None:
    """What comes back is a sum: `ctr` closes its FIFO at the task's deletion, whatever is still in it. Against a
    containerd on a busy machine, too, the end of a megabyte that `cat` gives back is lost now and then.
    """
    text = "".join(f"{number:07d}\n" for number in range(125_000))
    done = ctr.run("run", "--rm", busybox, container, "sha256sum", input=text)
    assert done.stdout == f"{hashlib.sha256(text.encode()).hexdigest()}  -\n"


def test_much_output_arrives_whole(ctr: Ctr, busybox: str, container: str) -> None:
    """Before the task ends, that is: see above what `ctr` does then."""
    script = "head -c 3000000 /dev/zero | tr '\\0' x; head -c 1000 /dev/zero | tr '\\0' y >&2; sleep 1"
    done = ctr.run("run", "--rm", busybox, container, "sh", "-c", script)
    assert (len(done.stdout), set(done.stdout)) == (3_000_000, {"x"})
    assert done.stderr == "y" * 1000


def test_a_terminal_and_its_size(ctr: Ctr, busybox: str, container: str) -> None:
    script = "test -t 0 && echo on a terminal; stty size; read line; stty size; echo got $line; exit 5"
    with ctr.terminal("run", "--rm", "-t", busybox, container, "sh", "-c", script) as terminal:
        terminal.read_until("on a terminal")
        look = "test \"$(stty size < /dev/console)\" = '33 77'"
        command = ["tasks", "exec", "--exec-id", "look", container, "sh", "-c", look]
        deadline = time.monotonic() + TIMEOUT
        while True:
            terminal.resize(34, 78)  # `ctr` listens for changes only some time after the start
            terminal.resize(33, 77)
            if ctr.run(*command, check=False).returncode == 0:
                break
            assert time.monotonic() < deadline
        terminal.write("words\n")
        terminal.read_until("33 77")
        terminal.read_until("got words")
        assert terminal.wait() == 5


def test_environment_directory_and_hostname(ctr: Ctr, busybox: str, container: str) -> None:
    options = ["--env", "COLOUR=blue", "--cwd", "/tmp"]
    assert shell(ctr, busybox, container, "echo $COLOUR; pwd", *options).split() == ["blue", "/tmp"]


def test_capabilities(ctr: Ctr, busybox: str, container: str) -> None:
    def effective(*options: str) -> int:
        return int(shell(ctr, busybox, container, "grep CapEff /proc/self/status", *options).split()[1], 16)

    usual = effective()
    assert effective("--cap-add", "CAP_SYS_ADMIN") == usual | 1 << 21
    assert effective("--cap-drop", "CAP_CHOWN") == usual & ~1


def test_mounts(ctr: Ctr, busybox: str, container: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    options = ["--mount", f"type=bind,src={tmp_path},dst=/mnt,options=rbind:rw"]
    assert (
        shell(ctr, busybox, container, "cat /mnt/file; echo back > /mnt/other", *options) == "from the host\n"
    )
    assert (tmp_path / "other").read_text() == "back\n"


def test_a_read_only_root(ctr: Ctr, busybox: str, container: str) -> None:
    script = "touch /new 2>/dev/null || echo refused"
    assert shell(ctr, busybox, container, script, "--read-only") == "refused\n"


def test_the_hosts_network(ctr: Ctr, busybox: str, container: str) -> None:
    inside = shell(ctr, busybox, container, "readlink /proc/self/ns/net", "--net-host").strip()
    assert inside == os.readlink("/proc/self/ns/net")
    assert shell(ctr, busybox, container, "readlink /proc/self/ns/net").strip() != inside


def test_a_memory_limit(ctr: Ctr, busybox: str, container: str) -> None:
    ctr.run("run", "-d", "--memory-limit", "67108864", busybox, container, "sleep", "1000")
    pid = {row["TASK"]: row["PID"] for row in ctr.rows("tasks", "ls")}[container]
    lines = Path(f"/proc/{pid}/cgroup").read_text().split()
    places = {line.split(":")[1]: line.split(":")[2] for line in lines}
    if "memory" in places:
        limit = Path(f"/sys/fs/cgroup/memory{places['memory']}/memory.limit_in_bytes")
    else:
        limit = Path(f"/sys/fs/cgroup{places['']}/memory.max")
    assert limit.read_text().strip() == "67108864"


def test_seccomp(ctr: Ctr, busybox: str, container: str) -> None:
    assert shell(ctr, busybox, container, "grep -w Seccomp /proc/self/status", "--seccomp").split()[1] == "2"


def test_an_oci_runtime_by_name(ctr: Ctr, busybox: str, ctr_agent: Daemon, container: str) -> None:
    for name in ("runc", "crun"):
        if not subprocess.run(["which", name], capture_output=True, check=False).returncode:
            ctr.run("run", "-d", "--runc-binary", name, busybox, container, "sleep", "1000")
            assert ctr_agent.get(f"/v1/{ctr.namespace}/containers/{container}")["runtime"] == name
            ctr_agent.delete(f"/v1/{ctr.namespace}/containers/{container}", force=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--runtime", "io.containerd.kata.v2"], "io.containerd.kata.v2"),
        (["--runc-binary", "/opt/evil"], "/opt/evil"),
        (["--runc-systemd-cgroup", "--cgroup", "a.slice:b:c"], "systemd"),
        (["--runc-root", "/run/mine"], "root"),
    ],
    ids=["runtime", "binary", "systemd", "root"],
)
def test_what_this_agent_has_not(
    ctr: Ctr, busybox: str, container: str, options: list[str], words: str
) -> None:
    done = ctr.run("run", "--rm", *options, busybox, container, "true", check=False)
    assert done.returncode != 0
    assert words in done.stderr
    assert container not in ctr.run("containers", "ls", "-q").stdout.split()


# ---------------------------------------------------------------- both doors
def test_detached_and_driven_by_the_other_door(
    ctr: Ctr, busybox: str, ctr_agent: Daemon, container: str, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    script = "trap 'exit 5' TERM; while :; do sleep 0.05; done"
    words = [
        "run",
        "-d",
        "--label",
        "tier=web",
        "--pid-file",
        str(pid_file),
        busybox,
        container,
        "sh",
        "-c",
        script,
    ]
    assert ctr.run(*words).stdout == ""

    def tricorn(*arguments: str) -> str:
        done = ctr_agent.cli("-n", ctr.namespace, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert container in tricorn("ps")
    view = ctr_agent.get(f"/v1/{ctr.namespace}/containers/{container}")
    assert (view["image"], view["labels"]["tier"]) == (busybox, "web")
    assert view["task"]["pid"] == int(pid_file.read_text())
    assert container in tricorn("inspect", container)
    assert tricorn("exec", container, "echo", "inside") == "inside\n"
    tricorn("stop", container)
    assert ctr_agent.get(f"/v1/{ctr.namespace}/containers/{container}")["task"]["exit_code"] == 5
    assert {row["TASK"]: row["STATUS"] for row in ctr.rows("tasks", "ls")}[container] == "STOPPED"
    tricorn("rm", container)
    assert container not in ctr.run("containers", "ls", "-q").stdout.split()
    assert container not in [row["KEY"] for row in ctr.rows("snapshots", "ls")]


def test_made_by_the_other_door_and_driven_here(
    ctr: Ctr, busybox: str, ctr_agent: Daemon, container: str
) -> None:
    done = ctr_agent.cli("-n", ctr.namespace, "run", "-d", "--name", container, busybox, "sleep", "1000")
    assert done.returncode == 0, done.stderr
    assert {row["TASK"]: row["STATUS"] for row in ctr.rows("tasks", "ls")}[container] == "RUNNING"
    assert ctr.run("tasks", "exec", "--exec-id", "x", container, "echo", "inside").stdout == "inside\n"
    ctr.run("tasks", "kill", "-s", "SIGKILL", container)
    eventually(
        lambda: {row["TASK"]: row["STATUS"] for row in ctr.rows("tasks", "ls")}[container] == "STOPPED"
    )
    ctr.run("tasks", "delete", container, check=False)  # tells the exit code as its own
    assert ctr_agent.get(f"/v1/{ctr.namespace}/containers/{container}")["task"] is None
    ctr.run("tasks", "start", "-d", container)
    assert ctr_agent.get(f"/v1/{ctr.namespace}/containers/{container}")["task"]["status"] == "running"
    ctr.run("tasks", "delete", "--force", container, check=False)
    ctr.run("containers", "delete", container)
    assert container not in [one["id"] for one in ctr_agent.get(f"/v1/{ctr.namespace}/containers")["items"]]
    assert container not in [one["key"] for one in ctr_agent.get(f"/v1/{ctr.namespace}/snapshots")["items"]]
