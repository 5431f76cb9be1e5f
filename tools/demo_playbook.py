"""Runs a playbook and tells what it does, one line a task."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field
from rich.console import Console

PROJECT = Path(__file__).parents[1]
_TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(?P<name>.*)\] \*+$")
_RESULT = re.compile(r"^(?P<status>ok|changed|skipping|fatal|failed|included): ")
_RECAP = re.compile(r"^\S+ +: ok=(?P<ok>\d+) +changed=(?P<changed>\d+) .*failed=(?P<failed>\d+)")
MARKS = {  # the worst first: one failed item makes a failed loop
    "fatal": "[red]✗[/] failed   ",
    "failed": "[red]✗[/] failed   ",
    "changed": "[yellow]●[/] changed  ",
    "ok": "[green]✓[/] unchanged",
}


@define
class PlaybookRun:
    """What one run came to; `seconds` by the names of the tasks that changed something."""

    returncode: int = -1
    ok: int = 0
    changed: int = 0
    seconds: dict[str, float] = field(factory=dict)
    duration: float = 0.0


def run_playbook(
    console: Console, playbook: Path, variables: Mapping[str, Any], log: Path, home: Path, *arguments: str
) -> PlaybookRun:
    """Run `playbook` against inventory/local.yml, its whole output in `log`."""
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        *("-i", str(PROJECT / "inventory/local.yml")),
        str(playbook.relative_to(PROJECT)),
        *("--extra-vars", json.dumps(dict(variables))),
        *arguments,
    ]
    began = time.monotonic()
    run = PlaybookRun()
    with (
        open(log, "w") as record,
        subprocess.Popen(
            command,
            cwd=PROJECT,
            env=_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        _follow(console, run, _recorded(process.stdout, record))
        run.returncode = process.wait()
    run.duration = time.monotonic() - began
    return run


def _environment(home: Path) -> dict[str, str]:
    """Keep Ansible's own files in the demo's directory, and its output parseable."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_REMOTE_TEMP": str(home / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_STDOUT_CALLBACK": "default",
    }


def _recorded(lines: Iterator[str], record: Any) -> Iterator[str]:
    for line in lines:
        record.write(line)
        yield line.rstrip("\n")


@define
class _Task:
    """The task under way; a loop has several results."""

    name: str
    since: float = field(factory=time.monotonic)
    statuses: set[str] = field(factory=set)

    def tell(self, console: Console, run: PlaybookRun) -> None:
        """Print its line, unless all of it was skipped."""
        worst = next((status for status in MARKS if status in self.statuses), None)
        if worst is None:
            return
        seconds = time.monotonic() - self.since
        if worst == "changed":
            run.seconds[self.name] = seconds
        role, _, rest = self.name.rpartition(" : ")
        where = f"[dim]role {role.rpartition('.')[2]}:[/] " if role else ""
        console.print(f"     {MARKS[worst]} [dim]{seconds:5.1f} s[/]  {where}{rest}")


def _follow(console: Console, run: PlaybookRun, lines: Iterator[str]) -> None:
    task = _Task("")
    for line in lines:
        if match := _TASK.match(line):
            task.tell(console, run)
            task = _Task(match["name"])
        elif match := _RESULT.match(line):
            task.statuses.add(match["status"])
        elif line.startswith("PLAY RECAP"):
            task.tell(console, run)
        elif match := _RECAP.match(line):
            run.ok, run.changed = run.ok + int(match["ok"]), run.changed + int(match["changed"])
