"""An agent inside the test's own process, used as the tasks service's clients use it: with container records
and specs of the client's own making.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs
import trio
from attrs import define

from tricorn import failpoints
from tricorn.app import Agent, open_agent
from tricorn.config import Config, RegistryConfig, Runtimes
from tricorn.model.records import Container
from tricorn.model.stdio import NULL_STDIO, Stdio
from tricorn.ports import FilesystemMount
from tricorn.service.processes import ProcessService
from tricorn_testing.containers import make_rootfs

CAPABILITIES = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_DAC_OVERRIDE"]


def client_spec(*args: str, terminal: bool = False, cgroup: str = "", **linux: Any) -> dict[str, Any]:
    """Return a spec such as containerd's client makes: its root is a name in the bundle."""
    return {
        "ociVersion": "1.1.0",
        "process": client_process(*args, terminal=terminal),
        "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {
                "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            },
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{"type": name} for name in ("pid", "ipc", "uts", "mount", "network")],
            **linux,
        },
    }  # fmt: skip


def client_process(*args: str, terminal: bool = False) -> dict[str, Any]:
    kinds = ("bounding", "effective", "permitted")
    return {
        "args": list(args), "cwd": "/", "env": ["PATH=/bin", "TERM=xterm"], "terminal": terminal,
        "user": {"uid": 0, "gid": 0}, "capabilities": dict.fromkeys(kinds, CAPABILITIES),
        "noNewPrivileges": True,
    }  # fmt: skip


@define
class ClientAgent:
    """One opened agent; `runtime` is the OCI runtime of what is made through here."""

    agent: Agent
    runtime: str
    rootfs: Path
    namespace: str

    @property
    def processes(self) -> ProcessService:
        return self.agent.services.processes

    async def record(self, *args: str, name: str = "", **spec: Any) -> str:
        """Make a container record and return its id."""
        return await self.record_of(client_spec(*args, **spec), name)

    async def record_of(self, spec: Mapping[str, Any], name: str = "") -> str:
        name = name or f"c{uuid4().hex[:8]}"
        container = Container(
            name, runtime_name="io.containerd.runc.v2", labels={"made-by": "client"},
            spec=json.dumps(spec).encode(),
        )  # fmt: skip
        await self.agent.services.container_records.create(self.namespace, container, binary=self.runtime)
        return name

    async def create(self, *args: str, stdio: Stdio = NULL_STDIO, name: str = "", **spec: Any) -> str:
        name = await self.record(*args, name=name, terminal=stdio.terminal, **spec)
        await self.task(name, stdio)
        return name

    async def task(self, name: str, stdio: Stdio = NULL_STDIO) -> None:
        mounts = [FilesystemMount("bind", str(self.rootfs), ("rbind", "ro"))]
        await self.processes.create(self.namespace, name, rootfs=mounts, stdio=stdio, runtime=self.runtime)

    async def run(self, *args: str, stdio: Stdio = NULL_STDIO, name: str = "", **spec: Any) -> str:
        name = await self.create(*args, stdio=stdio, name=name, **spec)
        await self.processes.start(self.namespace, name)
        return name

    async def exec(self, container: str, name: str, *args: str, stdio: Stdio = NULL_STDIO) -> int:
        """Add and start an exec; return its pid."""
        process = client_process(*args, terminal=stdio.terminal)
        await self.processes.exec(self.namespace, container, name, process, stdio)
        return await self.processes.start(self.namespace, container, name)

    async def wait(self, container: str, exec_id: str = "") -> int:
        with trio.fail_after(30):
            return (await self.processes.wait(self.namespace, container, exec_id)).code

    async def events(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Return what the journal tells of tasks."""
        page = await self.agent.services.events.page(self.namespace, None)
        return [(event.topic, event.event) for event in page.items if event.topic.startswith("/tasks")]

    async def remove_all(self) -> None:
        for view in await self.processes.list(self.namespace):
            await self.agent.services.containers.delete(self.namespace, view.container, force=True)


def agent_config(directory: Path, runtime: str, **tables: Any) -> Config:
    return Config(
        root=str(directory / "root"), state=str(directory / "state"), cgroup=f"/{directory.name}",
        runtimes=Runtimes(default=runtime), registry=RegistryConfig(hosts_dir=str(directory)), **tables,
    )  # fmt: skip


@asynccontextmanager
async def client_agent(directory: Path, runtime: str, **tables: Any) -> AsyncIterator[ClientAgent]:
    """Open an agent on `directory`, recovered; leaving the context leaves containers running."""
    rootfs = directory / "rootfs"
    if not rootfs.exists():
        make_rootfs(rootfs)
    for name in ("root", "state"):
        (directory / name).mkdir(exist_ok=True)
    async with open_agent(agent_config(directory, runtime, **tables), dict(os.environ)) as agent:
        await agent.recovery.run()
        yield ClientAgent(agent, runtime, rootfs, "test")


@asynccontextmanager
async def closing_agent(directory: Path, runtime: str, **tables: Any) -> AsyncIterator[ClientAgent]:
    """As `client_agent`, with all containers removed at the end."""
    async with client_agent(directory, runtime, **tables) as client:
        try:
            yield client
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 60):
                await client.remove_all()


@contextmanager
def other_agent(
    directory: Path,
    runtime: str,
    name: str,
    stdio: Stdio,
    *args: str,
    exec_args: Sequence[str] = (),
    exec_stdio: Stdio = NULL_STDIO,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run an agent in a process of its own that has started the container `name` (and an exec `e1` in it);
    it is killed with SIGKILL at the end, or by the test before.
    """
    execution = {"exec": list(exec_args), "exec_stdio": attrs.asdict(exec_stdio)}
    request = {"stdio": attrs.asdict(stdio), "args": args, "whole": False, **execution}
    command, environment = _command(directory, runtime, name, request)
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout is not None
            while b"ready" not in (line := process.stdout.readline()):
                assert line, "the other agent ended"
            yield process
        finally:
            process.kill()


def doomed_agent(directory: Path, runtime: str, name: str, armed: str, stdio: Stdio, *args: str) -> int:
    """Run an agent that makes, starts, awaits and deletes a process, with a failpoint armed; return how the
    agent ended (-9: the failpoint was passed).
    """
    request = {"stdio": attrs.asdict(stdio), "args": args, "exec": [], "whole": True}
    command, environment = _command(directory, runtime, name, request)
    environment["TRICORN_FAILPOINTS"] = f"{armed}=kill"
    return subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, check=False, timeout=60
    ).returncode


def _command(
    directory: Path, runtime: str, name: str, request: Mapping[str, Any]
) -> tuple[list[str], dict[str, str]]:
    command = [sys.executable, "-m", __name__, str(directory), runtime, name, json.dumps(request)]
    return command, {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


async def _serve(directory: str, runtime: str, name: str, request: str) -> None:
    wanted = json.loads(request)
    async with client_agent(Path(directory), runtime) as client:
        await client.run(*wanted["args"], name=name, stdio=Stdio(**wanted["stdio"]))
        if wanted["exec"]:
            await client.exec(name, "e1", *wanted["exec"], stdio=Stdio(**wanted["exec_stdio"]))
        print("ready", flush=True)
        if not wanted["whole"]:
            await trio.sleep_forever()
        await client.wait(name)
        await client.processes.delete(client.namespace, name)


if __name__ == "__main__":
    failpoints.arm(os.environ)
    trio.run(_serve, *sys.argv[1:])
