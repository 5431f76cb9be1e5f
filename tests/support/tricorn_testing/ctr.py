"""containerd's own command line, `ctr`, in two versions, against an agent's socket.

    def test_containers_are_listed(ctr: Ctr, busybox: str) -> None:     # runs once per version
        ctr.run("run", "-d", busybox, "web", "sleep", "1000")
        assert ctr.rows("containers", "ls")[0]["CONTAINER"] == "web"

The fixtures (tests/integration/conftest.py): `ctr_agent` is one running agent per test module, `ctr` drives
it in a namespace that each version has to itself, `busybox` is an image that this namespace holds unpacked.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen

from tricorn_testing.packages import Release, make_runnable

CACHE = Path(__file__).parents[3] / ".lab/packages"
# The version that names the tests, the Debian release that has it.
RELEASES = {"1.6": "bookworm", "2.1": "sid"}
VERSIONS = tuple(RELEASES)
TIMEOUT = 60.0


@functools.cache
def ctr_program(version: str) -> Path:
    """Return the path of that version's `ctr`, unpacked from Debian's package the first time.

    Raises OSError, RuntimeError or subprocess.CalledProcessError where Debian's mirror can't be reached.
    """
    release = Release(RELEASES[version], CACHE / RELEASES[version])
    program = release.unpack("containerd") / "usr/bin/ctr"
    make_runnable(program, release)
    return program


def missing_ctr(version: str) -> str:
    """Return why that version can't be had here, "" if it can."""
    try:
        ctr_program(version)
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        return f"no ctr {version}: {error}"
    return ""


@frozen
class Ctr:
    """One version's `ctr`, an agent's socket, and the namespace its commands work in."""

    version: str
    program: Path
    address: str
    namespace: str
    fifos: Path

    def run(
        self,
        *words: str,
        namespace: str = "",
        input: str | bytes | None = None,
        check: bool = True,
        timeout: float = TIMEOUT,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; with `check` AssertionError, with all it wrote, unless it exits with 0."""
        data = input.encode() if isinstance(input, str) else input
        done = subprocess.run(
            self.command(*words, namespace=namespace),
            input=data or b"", capture_output=True, timeout=timeout, check=False,
        )  # fmt: skip
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if check and done.returncode:
            raise AssertionError(f"ctr {' '.join(words)} ended with {done.returncode}:\n{out}\n{err}")
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    def export(self, archive: Path, *words: str) -> None:
        """Have images exported wholly. `ctr` 2.1 ends when containerd's daemon is through, and may not have
        written the last pieces by then: it is asked again.
        """
        for _ in range(10):
            self.run("images", "export", *words[:-1], str(archive), words[-1])
            if archive.read_bytes()[-1024:] == bytes(1024):
                return
        raise AssertionError(f"ctr cuts {archive} short each time")

    def command(self, *words: str, namespace: str = "") -> list[str]:
        head = [str(self.program), "--address", self.address, "--namespace", namespace or self.namespace]
        return [*head, *with_fifos(words, self.fifos)]

    def rows(self, *words: str, namespace: str = "") -> list[dict[str, str]]:
        """Return the lines of a table that a command prints, each by the names of its columns."""
        return table(self.run(*words, namespace=namespace).stdout)

    @contextlib.contextmanager
    def running(self, *words: str, namespace: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """Have a command run for the length of the context, with pipes; it is killed at the end."""
        command = self.command(*words, namespace=namespace)
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextlib.contextmanager
    def terminal(self, *words: str, namespace: str = "") -> Iterator[Terminal]:
        """Have a command run on a terminal of its own for the length of the context."""
        with Terminal.of(self.command(*words, namespace=namespace)) as terminal:
            yield terminal


class Terminal:
    """A program on a pseudo-terminal; `output` is all it has written so far."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.output = b""
        self._master = master

    @classmethod
    @contextlib.contextmanager
    def of(cls, command: Sequence[str]) -> Iterator[Terminal]:
        master, slave = pty.openpty()
        try:
            process = subprocess.Popen(
                command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
            )
        finally:
            os.close(slave)
        try:
            yield cls(process, master)
        finally:
            process.kill()
            process.wait()
            os.close(master)

    def write(self, text: str) -> None:
        os.write(self._master, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size; the program gets SIGWINCH, as from a terminal emulator."""
        import termios

        termios.tcsetwinsize(self._master, (rows, columns))
        self.process.send_signal(signal.SIGWINCH)

    def read_until(self, text: str, timeout: float = TIMEOUT) -> str:
        """Return all output once `text` is in it; AssertionError with what came if it doesn't come."""
        deadline = time.monotonic() + timeout
        while text.encode() not in self.output:
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"{text!r} is not in {self.output.decode(errors='replace')!r}")
        return self.output.decode(errors="replace")

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Read to the end; return the exit status."""
        deadline = time.monotonic() + timeout
        while self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(max(1.0, deadline - time.monotonic()))

    def _read(self, timeout: float) -> bool:
        if timeout <= 0 or not select.select([self._master], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the last process has closed its side
            return False
        self.output += data
        return bool(data)


# Where the FIFOs of a process are made: by default below /run/containerd, which isn't the tests' to use.
_FIFO_COMMANDS = frozenset({("run",)}) | {
    (noun, verb) for noun in ("t", "task", "tasks") for verb in ("exec", "start")
}


def with_fifos(words: Sequence[str], directory: Path) -> list[str]:
    """Return the words with `--fifo-dir` put where the command takes it."""
    for length in (1, 2):
        if tuple(words[:length]) in _FIFO_COMMANDS and "--fifo-dir" not in words:
            return [*words[:length], "--fifo-dir", str(directory), *words[length:]]
    return list(words)


def table(text: str) -> list[dict[str, str]]:
    """Parse a table as Go's tabwriter aligns it: a column starts where its heading does."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return []
    starts = _column_starts(lines[0])
    return [dict(zip(_cells(lines[0], starts), _cells(line, starts), strict=True)) for line in lines[1:]]


def _column_starts(heading: str) -> list[int]:
    if "\t" in heading:
        return []
    return [at for at, char in enumerate(heading) if char != " " and (at == 0 or heading[at - 1] == " ")]


def _cells(line: str, starts: list[int]) -> list[str]:
    if not starts:
        return [cell.strip() for cell in line.split("\t") if cell.strip()]
    return [line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
