"""sd_notify, the watchdog's interval, socket activation, and that children inherit none of it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from tricorn.systemd import Systemd


@pytest.fixture
def manager(short_path: Path) -> socket.socket:
    door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    door.bind(str(short_path / "notify"))
    door.settimeout(2)
    yield door
    door.close()


def test_the_variables_are_taken_out_of_the_environment() -> None:
    environment = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "LISTEN_FDS": "0", "PATH": "/bin"}
    Systemd(environment)
    assert environment == {"PATH": "/bin"}


def test_readiness_is_sent(manager: socket.socket) -> None:
    Systemd({"NOTIFY_SOCKET": manager.getsockname()}).notify(READY="1", STATUS="serving")
    assert manager.recv(100) == b"READY=1\nSTATUS=serving"


def test_a_missing_manager_is_no_error() -> None:
    Systemd({"NOTIFY_SOCKET": "/nonexistent/notify"}).notify(READY="1")
    Systemd({}).notify(READY="1")


async def test_the_watchdog_is_fed_twice_an_interval(
    manager: socket.socket, autojump_clock: trio.testing.MockClock
) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "40000"})
    with trio.move_on_after(0.07):
        await systemd.feed_watchdog()
    manager.setblocking(False)
    assert [manager.recv(100) for _ in range(4)] == [b"WATCHDOG=1"] * 4
    with pytest.raises(BlockingIOError):
        manager.recv(100)


def test_activation_is_for_the_process_it_names() -> None:
    assert Systemd({"LISTEN_FDS": "1", "LISTEN_PID": "1"}).listen_fds == ()
    read, write = os.pipe()
    try:
        assert Systemd({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}).listen_fds == (3,)
    finally:
        os.close(read)
        os.close(write)
