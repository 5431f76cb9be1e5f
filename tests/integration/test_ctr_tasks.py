"""`ctr tasks` against the agent: a test for each command, with the processes of the host as witnesses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tricorn_testing.ctr import TIMEOUT, Ctr
from tricorn_testing.daemon import Daemon
from tricorn_testing.waiting import eventually, runs_program

pytestmark = [pytest.mark.root, pytest.mark.integration]
LOOP = "trap 'exit 5' TERM; while :; do sleep 0.05; done"


@pytest.fixture
def sleeper(ctr: Ctr, busybox: str, container: str) -> str:
    """A container that runs for long."""
    ctr.run("run", "-d", busybox, container, "sleep", "1000")
    return container


def tasks(ctr: Ctr) -> dict[str, tuple[int, str]]:
    return {row["TASK"]: (int(row["PID"]), row["STATUS"]) for row in ctr.rows("tasks", "ls")}


def stopped(ctr: Ctr, name: str) -> None:
    eventually(lambda: tasks(ctr)[name][1] == "STOPPED")


def test_ls_and_ps(ctr: Ctr, sleeper: str) -> None:
    pid, status = tasks(ctr)[sleeper]
    assert status == "RUNNING"
    runs_program(pid, "sleep", "1000")
    ctr.run("tasks", "exec", "-d", "--exec-id", "second", sleeper, "sleep", "2000")
    processes = {int(row["PID"]): row["INFO"] for row in ctr.rows("tasks", "ps", sleeper)}
    assert processes.pop(pid) == "-"
    ((other, info),) = processes.items()
    runs_program(other, "sleep", "2000")
    assert "second" in info


def test_metrics(ctr: Ctr, sleeper: str) -> None:
    text = ctr.run("tasks", "metrics", sleeper).stdout
    figures = dict(re.findall(r"^(\S+)\s+(\d+)\s*$", text, re.MULTILINE))
    memory = figures.get("memory.usage_in_bytes") or figures["memory.usage"]
    assert 0 < int(memory) < 1 << 30
    assert figures["pids.current"] == "1"
    assert int(figures.get("cpuacct.usage") or figures["cpu.usage_usec"]) > 0
    assert sleeper in text
    assert '"pids"' in ctr.run("tasks", "metrics", "--format", "json", sleeper).stdout


def test_metrics_of_what_has_ended(ctr: Ctr, sleeper: str) -> None:
    ctr.run("tasks", "kill", "-s", "SIGKILL", sleeper)
    stopped(ctr, sleeper)
    done = ctr.run("tasks", "metrics", sleeper, check=False)
    assert done.returncode != 0


def test_exec(ctr: Ctr, sleeper: str) -> None:
    command = ["tasks", "exec", "--exec-id", "e", "--cwd", "/tmp", sleeper, "sh", "-c"]
    done = ctr.run(*command, "pwd; echo err >&2; exit 7", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("/tmp\n", "err\n", 7)
    again = ctr.run(*command, "echo the id is free again")
    assert again.stdout == "the id is free again\n"


def test_exec_as_another_user(ctr: Ctr, sleeper: str) -> None:
    assert (
        ctr.run("tasks", "exec", "--exec-id", "e", "--user", "1000:1000", sleeper, "id", "-u").stdout
        == "1000\n"
    )


def test_exec_reads_standard_input(ctr: Ctr, sleeper: str) -> None:
    with ctr.running("tasks", "exec", "--exec-id", "e", sleeper, "sh", "-c", "cat; exit 6") as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"hello\n"
        process.stdin.close()
        assert process.wait(TIMEOUT) == 6


def test_exec_on_a_terminal(ctr: Ctr, sleeper: str) -> None:
    with ctr.terminal("tasks", "exec", "-t", "--exec-id", "e", sleeper, "sh") as terminal:
        terminal.write("tty; echo $((6*7))\n")
        assert "/dev/pts/" in terminal.read_until("42")
        terminal.write("exit 9\n")
        assert terminal.wait() == 9


def test_exec_detached(ctr: Ctr, sleeper: str) -> None:
    ctr.run("tasks", "exec", "-d", "--exec-id", "e", sleeper, "touch", "/made")
    eventually(
        lambda: (
            ctr.run(
                "tasks", "exec", "--exec-id", "look", sleeper, "test", "-e", "/made", check=False
            ).returncode
            == 0
        )
    )


def test_exec_with_an_id_that_is_taken(ctr: Ctr, sleeper: str) -> None:
    ctr.run("tasks", "exec", "-d", "--exec-id", "e", sleeper, "sleep", "1000")
    done = ctr.run("tasks", "exec", "--exec-id", "e", sleeper, "true", check=False)
    assert done.returncode != 0
    assert "already exists" in done.stderr


def test_exec_of_a_program_that_is_not_there(ctr: Ctr, sleeper: str) -> None:
    done = ctr.run("tasks", "exec", "--exec-id", "e", sleeper, "/no/such", check=False)
    assert done.returncode != 0
    assert "/no/such" in done.stderr
    assert ctr.run("tasks", "exec", "--exec-id", "e", sleeper, "echo", "fine").stdout == "fine\n"


def test_pause_and_resume(ctr: Ctr, busybox: str, container: str) -> None:
    ctr.run("run", "-d", busybox, container, "sh", "-c", "while :; do echo . >> /count; done")

    def count() -> int:
        root = Path(f"/proc/{tasks(ctr)[container][0]}/root/count")
        return root.stat().st_size if root.exists() else 0

    eventually(lambda: count() > 0)
    ctr.run("tasks", "pause", container)
    assert tasks(ctr)[container][1] == "PAUSED"
    before = count()
    assert count() == before
    done = ctr.run("tasks", "exec", "--exec-id", "e", container, "true", check=False)
    assert done.returncode != 0
    ctr.run("tasks", "resume", container)
    assert tasks(ctr)[container][1] == "RUNNING"
    eventually(lambda: count() > before)


def test_kill_sends_what_it_is_told(ctr: Ctr, busybox: str, container: str) -> None:
    ready = "trap 'echo usr1 > /seen' USR1; echo > /ready; while :; do sleep 0.05; done"
    ctr.run("run", "-d", busybox, container, "sh", "-c", ready)
    root = Path(f"/proc/{tasks(ctr)[container][0]}/root")
    eventually((root / "ready").exists)
    ctr.run("tasks", "kill", "-s", "SIGUSR1", container)
    eventually((root / "seen").exists)


def test_kill_one_exec_and_all(ctr: Ctr, sleeper: str) -> None:
    for name in ("one", "two"):
        ctr.run("tasks", "exec", "-d", "--exec-id", name, sleeper, "sleep", "1000")

    def processes() -> int:
        return len(ctr.rows("tasks", "ps", sleeper))

    eventually(lambda: processes() == 3)
    ctr.run("tasks", "kill", "-s", "SIGKILL", "--exec-id", "one", sleeper)
    eventually(lambda: processes() == 2)
    assert tasks(ctr)[sleeper][1] == "RUNNING"
    ctr.run("tasks", "kill", "-a", "-s", "SIGKILL", sleeper)
    stopped(ctr, sleeper)


def test_delete_tells_the_exit_code(ctr: Ctr, busybox: str, container: str) -> None:
    ctr.run("run", "-d", busybox, container, "sh", "-c", f"touch /ready; {LOOP}")
    root = Path(f"/proc/{tasks(ctr)[container][0]}/root")
    eventually((root / "ready").exists)
    running = ctr.run("tasks", "delete", container, check=False)
    assert running.returncode != 0
    assert "running" in running.stderr
    ctr.run("tasks", "kill", container)
    stopped(ctr, container)
    done = ctr.run("tasks", "delete", container, check=False)
    assert "exit code 5" in done.stderr
    assert container not in tasks(ctr)
    assert container in ctr.run("containers", "ls", "-q").stdout.split()
    gone = ctr.run("tasks", "delete", container, check=False)
    assert gone.returncode != 0
    assert "not found" in gone.stderr


def test_delete_with_force(ctr: Ctr, sleeper: str) -> None:
    pid, _ = tasks(ctr)[sleeper]
    ctr.run("tasks", "delete", "--force", sleeper, check=False)
    assert sleeper not in tasks(ctr)
    eventually(lambda: not Path(f"/proc/{pid}").exists())


def test_start_of_a_created_container_and_again(ctr: Ctr, busybox: str, container: str) -> None:
    ctr.run(
        "containers",
        "create",
        "--",
        busybox,
        container,
        "sh",
        "-c",
        "echo once more >> /log; cat /log; exit 4",
    )
    first = ctr.run("tasks", "start", container, check=False)
    assert (first.stdout, first.returncode) == ("once more\n", 4)
    assert container not in tasks(ctr)
    second = ctr.run("tasks", "start", container, check=False)
    assert second.stdout == "once more\nonce more\n"  # its files are the same


def test_start_of_what_runs(ctr: Ctr, sleeper: str) -> None:
    done = ctr.run("tasks", "start", "-d", sleeper, check=False)
    assert done.returncode != 0
    assert "already exists" in done.stderr


def test_attach(ctr: Ctr, busybox: str, container: str) -> None:
    ctr.run("run", "-d", busybox, container, "sh", "-c", "while :; do echo tick; sleep 0.1; done")
    with ctr.running("tasks", "attach", container) as process:
        assert process.stdout
        assert process.stdout.readline() == b"tick\n"
        assert process.stdout.readline() == b"tick\n"
    assert tasks(ctr)[container][1] == "RUNNING"


def test_attach_to_a_terminal(ctr: Ctr, busybox: str, container: str) -> None:
    with ctr.terminal("run", "-d", "-t", busybox, container, "sh") as terminal:
        assert terminal.wait() == 0
    with ctr.terminal("tasks", "attach", container) as terminal:
        terminal.write("echo $((6*7))\n")
        terminal.read_until("42")
        terminal.write("exit 8\n")
        assert terminal.wait() == 8


@pytest.mark.skipif(shutil.which("criu") is not None, reason="this machine has a CRIU of its own")
def test_checkpoints_say_what_they_need(ctr: Ctr, sleeper: str) -> None:
    done = ctr.run("tasks", "checkpoint", sleeper, check=False)
    assert done.returncode != 0
    assert "CRIU" in done.stderr
    assert tasks(ctr)[sleeper][1] == "RUNNING"


def test_a_container_without_task_or_record(ctr: Ctr, busybox: str, container: str) -> None:
    ctr.run("containers", "create", busybox, container, "true")
    for name in (container, "nobody"):
        for command in (("ps",), ("kill",), ("pause",), ("resume",), ("exec", "--exec-id", "e")):
            words = [*command, name, *(["true"] if "exec" in command else [])]
            done = ctr.run("tasks", *words, check=False)
            assert done.returncode != 0, words
            assert "not found" in done.stderr, words


def test_a_task_outlives_the_agent(ctr: Ctr, busybox: str, ctr_agent: Daemon, container: str) -> None:
    ctr.run("run", "-d", busybox, container, "sh", "-c", f"touch /ready; {LOOP}")
    pid, _ = tasks(ctr)[container]
    eventually(Path(f"/proc/{pid}/root/ready").exists)
    ctr_agent.kill()
    ctr_agent.start()
    assert tasks(ctr)[container] == (pid, "RUNNING")
    assert (
        ctr.run("tasks", "exec", "--exec-id", "e", container, "echo", "still here").stdout == "still here\n"
    )
    ctr.run("tasks", "kill", container)
    stopped(ctr, container)
    assert "exit code 5" in ctr.run("tasks", "delete", container, check=False).stderr


def test_there_is_no_shim(ctr: Ctr, sleeper: str) -> None:
    """`ctr shim` speaks to a process between containerd and the container, below /run/containerd: here is none."""
    if ctr.version == "1.6":
        done = ctr.run("shim", "--id", sleeper, "state", check=False)
        assert done.returncode != 0
        assert "shim" in done.stderr
    pid, _ = tasks(ctr)[sleeper]
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    assert Path(f"/proc/{parent}/comm").read_text().strip() == "conmon"


def test_no_process_stays(ctr: Ctr, busybox: str, container: str) -> None:
    marker = f"100{os.getpid()}"
    ctr.run("run", "--rm", busybox, container, "sh", "-c", f"sleep {marker} & echo started")
    found = subprocess.run(["pgrep", "-f", f"sleep {marker}"], capture_output=True, check=False)
    assert found.stdout == b""
