"""A real `tricornd` in a process of its own, with its root, state and configuration in a short directory.

    with running_daemon() as daemon:
        daemon.put("/v1/default/images", {"reference": reference, "plain_http": True})
        daemon.kill()          # -9
        daemon.start()         # recovers

All calls block: in a Trio test use `trio.to_thread.run_sync`, or the package's own client on
`daemon.socket_path`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tricorn_testing.paths import remove_tree, short_directory
from tricorn_testing.processes import kill_naming

START_TIMEOUT = 30.0
STOP_TIMEOUT = 40.0


class ApiError(Exception):
    """An answer of 400 or more: `status` and the problem document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {json.dumps(problem)}")
        self.status = status
        self.problem = dict(problem)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("tricorn", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


class Daemon:
    """One agent's directories and, between `start` and `kill` or `terminate`, its process."""

    def __init__(
        self,
        directory: Path,
        *,
        config: str = "",
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.root = directory / "root"
        self.state = directory / "state"
        self.config_file = directory / "etc/config.toml"
        self.log_file = directory / "tricornd.log"
        self.environment = dict(environment or {})
        self.arguments = list(arguments)
        self.process: subprocess.Popen[bytes] | None = None
        self.config_file.parent.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(config or f'[registry]\nhosts_dir = "{directory}/etc/hosts.d"\n')

    # ------------------------------------------------------------ life
    @property
    def socket_path(self) -> str:
        return str(self.state / "tricorn.sock")

    @property
    def command(self) -> list[str]:
        paths = ["--root", str(self.root), "--state", str(self.state), "--config", str(self.config_file)]
        return [sys.executable, "-m", "tricorn", *paths, *self.arguments]

    @property
    def pid(self) -> int:
        assert self.process is not None, "the daemon isn't running"
        return self.process.pid

    @property
    def log(self) -> str:
        """What the daemon has written so far, over all its runs."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def start(self, *, wait: bool = True, timeout: float = START_TIMEOUT, **environment: str) -> None:
        """Start the agent; with `wait` return once it is ready, RuntimeError with its log if it isn't."""
        assert self.process is None, "the daemon is running already"
        variables = {**os.environ, "PYTHONUNBUFFERED": "1", **self.environment, **environment}
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables
            )
        if wait:
            self.wait_ready(timeout)

    def wait_ready(self, timeout: float = START_TIMEOUT) -> None:
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            code = self.process.poll() if self.process else None
            if code is not None:
                self.process = None
                raise RuntimeError(f"tricornd ended with {code} before it was ready:\n{self.log[-4000:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"tricornd isn't ready after {timeout} s:\n{self.log[-4000:]}")
            time.sleep(0.02)

    def is_ready(self) -> bool:
        try:
            return self.exchange("GET", "/healthz", timeout=5)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def kill(self) -> None:
        """SIGKILL: no handler, no flush, no farewell."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """SIGTERM; return the exit status."""
        return self._end(signal.SIGTERM)

    def wait_exit(self, timeout: float = STOP_TIMEOUT) -> int:
        """Wait until the agent ends by itself (a failpoint, say); return its status, -n for signal n."""
        assert self.process is not None, "the daemon isn't running"
        code = self.process.wait(timeout)
        self.process = None
        return code

    def restart(self, **environment: str) -> None:
        self.terminate()
        self.start(**environment)

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        try:
            return self.wait_exit()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait_exit()
            raise TimeoutError(f"tricornd ignored {number.name}:\n{self.log[-4000:]}") from None

    def clean_up(self) -> None:
        """End the agent and every container it left (they outlive it on purpose), and undo its mounts."""
        if self.process is not None:
            self.kill()
        for pid_file in self.state.glob("bundles/*/*/pid"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(pid_file.read_text()), signal.SIGKILL)
        kill_naming(f"{self.directory}/")
        remove_cgroups_of(self.directory)
        remove_tree(self.directory)

    # ------------------------------------------------------------ requests
    def exchange(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float = 60.0,
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a fresh connection: status, lower-case headers, the whole body."""
        connection = UnixConnection(self.socket_path, timeout)
        try:
            data = None if body is None else json.dumps(body)
            fields = ({"Content-Type": "application/json"} if data else {}) | dict(headers or {})
            connection.request(method, path, body=data, headers=fields)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, content

    def request(
        self, method: str, path: str, body: Any = None, *, timeout: float = 60.0, **query: Any
    ) -> Any:
        """One request; returns the JSON answer, raises ApiError for 400 and more."""
        target = f"{path}?{urlencode(query, doseq=True)}" if query else path
        status, _, content = self.exchange(method, target, body, timeout=timeout)
        document = json.loads(content) if content else None
        if status >= 400:
            raise ApiError(status, document or {})
        return document

    def get(self, path: str, **query: Any) -> Any:
        return self.request("GET", path, **query)

    def put(self, path: str, body: Any, **query: Any) -> Any:
        return self.request("PUT", path, body, **query)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        return self.request("POST", path, body, **query)

    def delete(self, path: str, **query: Any) -> Any:
        return self.request("DELETE", path, **query)

    def lines(self, method: str, path: str, body: Any = None, *, timeout: float = 60.0) -> list[Any]:
        """Return all lines of an NDJSON answer, once it has ended."""
        accept = {"Accept": "application/x-ndjson"}
        _, _, content = self.exchange(method, path, body, accept, timeout=timeout)
        return [json.loads(line) for line in content.splitlines()]

    def cli(
        self, *arguments: str, stdin: str | None = None, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line against this agent."""
        command = [sys.executable, "-m", "tricorn.cli.main", "--socket", self.socket_path, *arguments]
        return subprocess.run(
            command, input=stdin or "", capture_output=True, text=True, timeout=timeout, check=False
        )


def segment(name: str) -> str:
    """Percent-encode a name for one path segment."""
    return quote(name, safe="")


def remove_cgroups_of(directory: Path) -> None:
    """Remove the empty cgroups named after this agent's state directory, deepest first."""
    for path in cgroups_naming(directory.name):
        for _ in range(20):
            try:
                path.rmdir()
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.05)
            else:
                break


def cgroups_naming(text: str) -> list[Path]:
    """Return the cgroups (in every hierarchy) with `text` in their path, deepest first."""
    found = []
    for parent, names, _ in os.walk("/sys/fs/cgroup"):
        found += [Path(parent, name) for name in names if text in f"{parent}/{name}"]
    return sorted(found, key=lambda path: -len(path.parts))


@contextlib.contextmanager
def running_daemon(config: str = "", **options: Any) -> Iterator[Daemon]:
    """Run an agent for the length of the context; its log is printed if the context fails."""
    with short_directory() as directory:
        daemon = Daemon(directory, config=config, **options)
        try:
            daemon.start()
            yield daemon
        except BaseException:
            print(daemon.log[-8000:])
            raise
        finally:
            daemon.clean_up()
