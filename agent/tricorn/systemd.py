"""What the agent says to and takes from systemd: readiness, watchdog, inherited sockets (sd_notify(3),
sd_listen_fds(3)). Without systemd all of it does nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

import trio

_PRIVATE = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
_FIRST_FD = 3


class Systemd:
    """Takes its variables out of `environment`, so that no child inherits them (runc hangs if it does)."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        values = {name: environment.pop(name, "") for name in _PRIVATE}
        self._address = values["NOTIFY_SOCKET"]
        pid = str(os.getpid())
        mine = values["WATCHDOG_PID"] in {"", pid}
        usec = values["WATCHDOG_USEC"]
        self.watchdog_seconds = int(usec) / 1e6 if mine and usec.isdecimal() else 0.0
        fds = values["LISTEN_FDS"]
        count = int(fds) if values["LISTEN_PID"] == pid and fds.isdecimal() else 0
        self.listen_fds = tuple(range(_FIRST_FD, _FIRST_FD + count))
        for fd in self.listen_fds:
            os.set_inheritable(fd, False)  # noqa: FBT003 - the call takes no keyword

    def notify(self, **state: str) -> None:
        """Send `READY="1"` and the like; a lost message is not an error."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = "\n".join(f"{key}={value}" for key, value in state.items()).encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
            door.settimeout(0)
            try:
                door.connect(address)
                door.send(message)
            except OSError:
                return

    async def feed_watchdog(self) -> None:
        """Tell systemd that the loop turns, twice per interval, until cancelled."""
        if not self.watchdog_seconds:
            return
        while True:
            self.notify(WATCHDOG="1")
            await trio.sleep(self.watchdog_seconds / 2)
