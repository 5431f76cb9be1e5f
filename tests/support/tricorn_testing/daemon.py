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
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tricorn_testing.agentclient import AgentClient, ApiError, segment
from tricorn_testing.cgroups import remove_cgroups
from tricorn_testing.paths import found, remove_tree, short_directory
from tricorn_testing.processes import kill_naming

__all__ = ["ApiError", "Daemon", "running_daemon", "segment"]

SLOWNESS = float(os.environ.get("TRICORN_TEST_SLOWNESS", "1"))  # of a machine without hardware of its own
START_TIMEOUT = 120.0 * SLOWNESS
STOP_TIMEOUT = 120.0 * SLOWNESS


class Daemon(AgentClient):
    """One agent's directories and, between `start` and `kill` or `terminate`, its process.

    Its containers' cgroups are below one of its own, named after its directory, unless `config` names another:
    tests run beside each other.
    """

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
        super().__init__(str(self.state / "tricorn.sock"))
        self.config_file = directory / "etc/config.toml"
        self.log_file = directory / "tricornd.log"
        self.environment = dict(environment or {})
        self.arguments = list(arguments)
        self.process: subprocess.Popen[bytes] | None = None
        self.own_cgroup = f"/{'-'.join(directory.parts[2:])}"
        self.cgroup = self.own_cgroup
        self.config_file.parent.mkdir(parents=True, exist_ok=True)
        self.write_config(config or f'[registry]\nhosts_dir = "{directory}/etc/hosts.d"\n')

    def write_config(self, text: str) -> None:
        """Have another configuration, from the next start or reload on."""
        named = tomllib.loads(text).get("cgroup")
        self.cgroup = named or self.own_cgroup
        self.config_file.write_text(text if named else f'cgroup = "{self.cgroup}"\n{text}')

    # ------------------------------------------------------------ life
    @property
    def command(self) -> list[str]:
        paths = ["--root", str(self.root), "--state", str(self.state), "--config", str(self.config_file)]
        return [sys.executable, "-m", "tricorn", *paths, *self.arguments]

    @property
    def pid(self) -> int:
        assert self.process is not None, "the daemon isn't running"
        return self.process.pid

    def request(
        self, method: str, path: str, body: Any = None, *, timeout: float = 60.0, **query: Any
    ) -> Any:
        """As every client's; the log is printed if the agent says that it made a mistake."""
        try:
            return super().request(method, path, body, timeout=timeout, **query)
        except ApiError as error:
            if error.problem.get("code") == "Internal":
                print(self.log[-8000:])
            raise

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
        for pid_file in [*found(self.state, "bundles/*/*/pid"), *found(self.state, "sandboxes/*/*/pid")]:
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(pid_file.read_text()), signal.SIGKILL)
        kill_naming(f"{self.directory}/")
        remove_cgroups(self.own_cgroup)
        remove_tree(self.directory)

    def cli(
        self, *arguments: str, stdin: str | None = None, timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line against this agent."""
        command = [sys.executable, "-m", "tricorn.cli", "--socket", self.socket_path, *arguments]
        return subprocess.run(
            command, input=stdin or "", capture_output=True, text=True, timeout=timeout, check=False
        )


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
