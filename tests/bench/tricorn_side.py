"""Our side of the benchmark: a tricornd on the shared ground, its HTTP API over one kept connection."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rig import CpuMeter, Laps

from tricorn_testing.agentclient import ApiError, UnixConnection, segment
from tricorn_testing.daemon import Daemon
from tricorn_testing.processes import command_line, process_ids

NAMESPACE = "bench"


class TricornSide:
    """`base` is on the journaled file system; `state` is short enough for sockets; `runtimes` are further
    ones, path by name.
    """

    name = "tricorn"

    def __init__(self, base: Path, state: Path, runtimes: Mapping[str, str]) -> None:
        lines = [f'{name} = "{path}"' for name, path in runtimes.items()]
        self.daemon = MeteredDaemon(state, "\n".join(['cgroup = "/tricorn"', "[runtimes.paths]", *lines, ""]))
        self.daemon.root = base / "root"
        self.laps = Laps()
        self._threads = threading.local()
        self._connections: list[http.client.HTTPConnection] = []
        self._environment = {
            **os.environ,
            "TRICORN_SOCKET": self.daemon.socket_path,
            "TRICORN_NAMESPACE": NAMESPACE,
        }

    @property
    def meter(self) -> CpuMeter:
        return self.daemon.meter

    @property
    def pid(self) -> int:
        return self.daemon.pid

    def start(self) -> None:
        self.daemon.start()

    def hang_up(self) -> None:
        """Close the connections of all threads; those that are still needed are opened again."""
        for connection in self._connections:
            connection.close()

    def stop(self) -> None:
        self.hang_up()
        self.daemon.clean_up()
        self.meter.remove()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request on this thread's kept connection."""
        connection = self._kept_connection()
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} if data else {}
        try:
            connection.request(method, path, body=data, headers=headers)
            answer = connection.getresponse()
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
            connection.close()  # the others took so long that the agent has closed it
            connection.request(method, path, body=data, headers=headers)
            answer = connection.getresponse()
        document = json.loads(answer.read() or b"null")
        if answer.status >= 400:
            raise ApiError(answer.status, document)
        return document

    def _kept_connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._threads, "connection"):
            self._threads.connection = UnixConnection(self.daemon.socket_path, 120)
            self._connections.append(self._threads.connection)
        connection: http.client.HTTPConnection = self._threads.connection
        return connection

    def version(self) -> str:
        return str(self.call("GET", "/v1/version")["version"])

    def runtimes(self) -> dict[str, Mapping[str, Any]]:
        return {info["name"]: info for info in self.call("GET", "/v1/info")["runtimes"]}

    def cli(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("tricorn")), *words]
        outcome = subprocess.run(command, capture_output=True, text=True, env=self._environment, check=False)
        if outcome.returncode:
            raise RuntimeError(f"tricorn {' '.join(words)}: {outcome.stderr[-500:]}")
        return outcome

    # ------------------------------------------------------------ images
    def pull(self, reference: str) -> None:
        self.call("PUT", f"/v1/{NAMESPACE}/images", {"reference": reference, "plain_http": True})

    def pull_by_command(self, reference: str) -> None:
        self.cli("image", "pull", "--plain-http", reference)

    def push(self, reference: str, target: str) -> None:
        body = {"reference": target, "plain_http": True}
        self.call("POST", f"/v1/{NAMESPACE}/images/{segment(reference)}/push", body)

    def import_archive(self, archive: Path, name: str) -> None:
        """Import the archive's image as `name` with its tag, and unpack it."""
        connection = self._kept_connection()
        with archive.open("rb") as stream:
            path = f"/v1/{NAMESPACE}/archive?base_name={quote(name, safe='')}"
            headers = {"Content-Type": "application/x-tar", "Content-Length": str(archive.stat().st_size)}
            connection.request("POST", path, body=stream, headers=headers)
            answer = connection.getresponse()
            document = json.loads(answer.read() or b"null")
        if answer.status >= 400:
            raise ApiError(answer.status, document)

    def forget(self, reference: str) -> None:
        """Remove an image with everything only it keeps, and wait until the files are gone."""
        try:
            self.call("DELETE", f"/v1/{NAMESPACE}/images/{segment(reference)}?sync=true")
        except ApiError as error:
            if error.status != 404:
                raise
        self.call("POST", "/v1/gc")

    # ------------------------------------------------------------ containers
    def create(self, name: str, image: str, args: list[str], runtime: str, state: str = "present") -> None:
        body = {
            "image": image,
            "state": state,
            "pull": "never",
            "args": args,
            "runtime": runtime,
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}],
        }
        self.call("PUT", f"/v1/{NAMESPACE}/containers/{name}", body)

    def start_task(self, name: str) -> None:
        self.call("POST", f"/v1/{NAMESPACE}/containers/{name}/start", {})

    def delete(self, name: str, *, force: bool = False) -> None:
        query = "?force=true&stop_timeout=0" if force else ""
        self.call("DELETE", f"/v1/{NAMESPACE}/containers/{name}{query}")

    def run_once(self, name: str, image: str, runtime: str) -> None:
        """create → start → exit → delete of `true` in its own network namespace."""
        laps = self.laps
        with laps.time("create and start"):  # one call here, as the command line and Ansible make it
            self.create(name, image, ["/bin/true"], runtime, "started")
        with laps.time("exit"):
            exit_view = self.call("GET", f"/v1/{NAMESPACE}/containers/{name}/wait?condition=stopped")
        assert exit_view["exit_code"] == 0, exit_view
        with laps.time("delete"):
            self.delete(name)

    def seccomp(self, image: str) -> Mapping[str, Any]:
        """Return the profile that containers get by default, so that the peers can be given the same."""
        self.create("profile", image, ["/bin/true"], "")
        view = self.call("GET", f"/v1/{NAMESPACE}/containers/profile")
        self.delete("profile")
        profile: Mapping[str, Any] = view["spec"]["linux"]["seccomp"]
        return profile

    def monitors(self) -> list[int]:
        """Return the processes that watch this side's containers."""
        state = f"{self.daemon.state}/"
        return [
            pid
            for pid in process_ids()
            if (words := command_line(pid))
            and os.path.basename(words[0]) == "conmon"
            and any(word.startswith(state) for word in words)
        ]


class MeteredDaemon(Daemon):
    """A daemon in a cgroup that counts its CPU time."""

    def __init__(self, directory: Path, config: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(directory, config=config)
        self.meter = CpuMeter("tricorn-bench-tricorn", ["tricorn"])

    @property
    def command(self) -> list[str]:
        return self.meter.wrap(super().command)
