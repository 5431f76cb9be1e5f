"""`run -it` on a real pseudo-terminal: raw mode, sizes, detach keys, and the mode restored in all cases."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tricorn.errors import Internal
from tricorn.frames import FrameKind

Run = Callable[..., Any]
CREATE = "POST /v1/default/containers"
ATTACH = "GET /v1/default/containers/c1/attach?start=true"
REMOVE = "DELETE /v1/default/containers/c1?force=true"
STARTED = (FrameKind.STARTED, {"pid": 42})


class Terminal:
    """The keyboard and screen of a person, and the other end for the program."""

    def __init__(self) -> None:
        self.person, self.program = os.openpty()
        self.resize(24, 80)
        self.former = termios.tcgetattr(self.program)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.program, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, data: bytes) -> None:
        os.write(self.person, data)

    def read_until(self, text: bytes, timeout: float = 60) -> bytes:
        seen, deadline = b"", time.monotonic() + timeout
        while text not in seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} isn't in {seen!r}"
            if select.select([self.person], [], [], left)[0]:
                seen += os.read(self.person, 4096)
        return seen

    @property
    def restored(self) -> bool:
        return bool(termios.tcgetattr(self.program) == self.former)

    def close(self) -> None:
        os.close(self.person)
        os.close(self.program)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


@pytest.fixture
def start(agent: Any, spawn: Run, terminal: Terminal) -> Run:
    """Start `run -it` on the terminal."""
    agent.stream(CREATE, {"result": {"id": "c1"}})
    agent.answer(REMOVE, {"changed": True})

    def run(script: Any, *options: str) -> Any:
        agent.session(ATTACH, script)
        side = terminal.program
        return spawn("run", *options, "-it", "alpine", stdin=side, stdout=side, stderr=side)

    return run


def drained(peer: Any) -> None:
    while peer.receive() is not None:
        pass


def test_keys_pass_raw_and_the_size_is_told(start: Run, terminal: Terminal) -> None:
    heard: list[Any] = []

    def script(peer: Any) -> None:
        heard.append(peer.receive().document())
        peer.send(*STARTED)
        peer.send(FrameKind.STDOUT, b"$ ")
        typed = b""
        while not typed.endswith(b"\r"):
            typed += peer.expect(FrameKind.STDIN).payload
        heard.append(typed)
        peer.send(FrameKind.EXIT, {"exit_code": 9})

    process = start(script)
    terminal.read_until(b"$ ")
    assert not terminal.restored
    terminal.type(b"\x03\x04\x1a\x1c\x13ls\r")  # ^C ^D ^Z ^\ ^S are the container's
    assert process.wait(60) == 9
    assert heard == [{"rows": 24, "columns": 80}, b"\x03\x04\x1a\x1c\x13ls\r"]
    assert terminal.restored


def test_a_change_of_size_is_passed_on(start: Run, terminal: Terminal) -> None:
    sizes: list[Any] = []

    def script(peer: Any) -> None:
        peer.send(*STARTED)
        peer.send(FrameKind.STDOUT, b"$ ")
        while (size := peer.receive().document()) != {"rows": 50, "columns": 132}:
            sizes.append(size)
        peer.send(FrameKind.EXIT, {"exit_code": 0})

    process = start(script)
    terminal.read_until(b"$ ")
    terminal.resize(50, 132)
    process.send_signal(signal.SIGWINCH)
    assert process.wait(60) == 0
    assert sizes[0] == {"rows": 24, "columns": 80}


@pytest.mark.parametrize("keys", [[b"\x10\x11"], [b"\x10", b"\x11"]])
def test_detach_keys_leave_it_running(agent: Any, start: Run, terminal: Terminal, keys: list[bytes]) -> None:
    left = threading.Event()

    def script(peer: Any) -> None:
        peer.send(*STARTED)
        peer.send(FrameKind.STDOUT, b"$ ")
        drained(peer)
        left.set()

    process = start(script, "--rm")
    terminal.read_until(b"$ ")
    for key in keys:
        terminal.type(key)
        time.sleep(0.05)
    terminal.read_until(b"detached from c1; it keeps running")
    assert process.wait(60) == 0
    assert terminal.restored
    assert REMOVE not in agent.lines
    assert left.wait(60)


def test_other_detach_keys(start: Run, terminal: Terminal) -> None:
    heard = bytearray()
    left = threading.Event()

    def script(peer: Any) -> None:
        peer.send(*STARTED)
        peer.send(FrameKind.STDOUT, b"$ ")
        while (frame := peer.receive()) is not None:
            heard.extend(frame.payload if frame.kind is FrameKind.STDIN else b"")
        left.set()

    process = start(script, "--detach-keys", "ctrl-x,d")
    terminal.read_until(b"$ ")
    terminal.type(b"\x10\x11\x18d")
    assert process.wait(60) == 0
    assert left.wait(60)
    assert heard == b"\x10\x11"


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        (lambda peer: peer.send(FrameKind.ERROR, Internal("it broke").problem()), 125),
        (lambda peer: peer.link.close(), 125),
        (lambda peer: peer.link.sendall(b"\xff\xff\xff\xff\xff\xff"), 125),
        (lambda peer: peer.send(FrameKind.EXIT, {"exit_code": 300}), 44),
    ],
)
def test_the_mode_is_restored_however_it_ends(
    start: Run, terminal: Terminal, ending: Callable[[Any], None], status: int
) -> None:
    def script(peer: Any) -> None:
        peer.send(*STARTED)
        peer.send(FrameKind.STDOUT, b"$ ")
        peer.expect(FrameKind.STDIN)
        ending(peer)

    process = start(script)
    terminal.read_until(b"$ ")
    assert not terminal.restored
    terminal.type(b"x")
    assert process.wait(60) == status
    assert terminal.restored


def test_the_mode_is_restored_after_signals(start: Run, terminal: Terminal) -> None:
    def script(peer: Any) -> None:
        peer.send(*STARTED)
        peer.send(FrameKind.STDOUT, b"$ ")
        for _ in range(2):
            peer.expect(FrameKind.SIGNAL)
            peer.send(FrameKind.STDOUT, b"$ ")
        drained(peer)

    process = start(script)
    for _ in range(3):
        terminal.read_until(b"$ ")
        process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert terminal.restored


def test_a_terminal_that_hangs_up_closes_stdin(agent: Any, spawn: Run) -> None:
    heard: list[FrameKind] = []

    def script(peer: Any) -> None:
        peer.send(*STARTED)
        peer.send(FrameKind.STDOUT, b"$ ")
        while (frame := peer.receive()) is not None and frame.kind is not FrameKind.STDIN_CLOSED:
            heard.append(frame.kind)
        heard.append(FrameKind.STDIN_CLOSED)
        peer.send(FrameKind.EXIT, {"exit_code": 0})

    agent.stream(CREATE, {"result": {"id": "c1"}})
    agent.session(ATTACH, script)
    person, program = os.openpty()
    process = spawn("run", "-it", "alpine", stdin=program, stdout=program, start_new_session=True)
    os.close(program)
    assert os.read(person, 2) == b"$ "
    os.close(person)
    assert process.wait(60) == 0
    assert heard[-1] is FrameKind.STDIN_CLOSED


def test_progress_bars_on_a_terminal(agent: Any, spawn: Run, terminal: Terminal) -> None:
    layer = {"digest": "sha256:" + "ab" * 32, "kind": "layer", "phase": "download", "total": 2048,
             "offset": 1024}  # fmt: skip
    agent.stream(
        "PUT /v1/default/images",
        {
            "progress": {
                "phase": "fetching",
                "total": 2048,
                "offset": 1024,
                "rate": 512.0,
                "eta": 2.0,
                "objects": [layer],
            }
        },
        {"result": {"changed": True, "after": {"name": "a", "digest": "sha256:1"}}},
    )
    side = terminal.program
    process = spawn("image", "pull", "a", stdout=side, stderr=side)
    seen = terminal.read_until(b"a@sha256:1")
    assert process.wait(60) == 0
    for text in (b"abababababab", b"download", b"512 B/s", b"2s"):
        assert text in seen
