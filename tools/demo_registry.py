"""The demo's registry: Debian's docker-registry on 127.0.0.1, found again by the next run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from tricorn_testing.processes import command_line
from tricorn_testing.registry import Registry, free_port, registry_program, wait_for, write_config

PREFERRED_PORT = 5000


class DemoRegistry:
    """`directory` holds configuration, storage, log and the pid file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "registry.yml"
        self.pid_file = directory / "pid"
        self.address_file = directory / "address"

    def running(self) -> Registry | None:
        """Return the registry of an earlier run if it still answers."""
        if self._pid() is None:
            return None
        registry = Registry(self.address_file.read_text())
        return registry if registry.answers() else None

    def start(self) -> Registry:
        self.stop()
        self.directory.mkdir(parents=True, exist_ok=True)
        registry = Registry(f"127.0.0.1:{self._port()}")
        write_config(self.directory, registry.address)
        with open(self.directory / "log", "ab") as log:
            process = subprocess.Popen(
                [registry_program(), "serve", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        self.pid_file.write_text(str(process.pid))
        self.address_file.write_text(registry.address)
        wait_for(registry)
        return registry

    def stop(self) -> None:
        """End the registry, if it is ours: a pid alone may have been given to another process."""
        pid = self._pid()
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while self._pid() is not None and time.monotonic() < deadline:
            time.sleep(0.05)

    def _pid(self) -> int | None:
        try:
            pid = int(self.pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if str(self.config) in command_line(pid) else None

    def _port(self) -> int:
        """Keep the port of an earlier run: the image's name has it in it."""
        with contextlib.suppress(FileNotFoundError):
            return int(self.address_file.read_text().rpartition(":")[2])
        return PREFERRED_PORT if _is_free(PREFERRED_PORT) else free_port()


def _is_free(port: int) -> bool:
    import socket

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
