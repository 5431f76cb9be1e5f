"""Containers on the real runtime layer, without a daemon: bundles with a busybox root file system."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import trio
from attrs import define, field

from tricorn.model.oci import ImageConfig
from tricorn.model.requests import ContainerDesired, ExecRequest
from tricorn.model.spec import Accounts
from tricorn.ports import BundleRef, Created, Exit
from tricorn.rules.accounts import parse_accounts
from tricorn.rules.spec import build_spec, exec_process
from tricorn.runtime.host import host_limits
from tricorn.runtime.supervise import ConmonRuntime
from tricorn_testing.images import find_busybox

PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n"
GROUP = "root:x:0:\napp:x:1000:\nmedia:x:44:app\n"
APPLETS = [
    "cat",
    "dd",
    "echo",
    "env",
    "false",
    "grep",
    "head",
    "id",
    "ifconfig",
    "kill",
    "ls",
    "mkdir",
    "mount",
    "ping",
    "printf",
    "ps",
    "pwd",
    "rm",
    "seq",
    "setsid",
    "sh",
    "sleep",
    "stty",
    "tail",
    "test",
    "touch",
    "tr",
    "true",
    "tty",
    "umount",
    "uname",
    "unshare",
    "wc",
    "yes",
]


def make_rootfs(path: Path) -> Path:
    """Make a root file system of one busybox; containers may share it."""
    for name in ("bin", "dev", "etc", "home/app", "proc", "root", "run", "sys", "tmp"):
        (path / name).mkdir(parents=True, exist_ok=True)
    busybox = find_busybox()
    assert busybox, "busybox-static is missing"
    shutil.copy(busybox, path / "bin/busybox")
    for name in APPLETS:
        (path / "bin" / name).symlink_to("busybox")
    (path / "etc/passwd").write_text(PASSWD)
    (path / "etc/group").write_text(GROUP)
    return path


@define
class Node:
    """A runtime with the directories it works in. `name` is the OCI runtime to use."""

    directory: Path
    runtime: ConmonRuntime
    name: str
    rootfs: Path
    accounts: Accounts = field(factory=lambda: parse_accounts(PASSWD.encode(), GROUP.encode()))
    refs: dict[str, BundleRef] = field(factory=dict)

    async def bundle(self, *args: str, name: str = "", stdin: bool = False, **desired: Any) -> BundleRef:
        """Write a bundle that runs `args`."""
        container = name or f"t{uuid4().hex[:10]}"
        request = ContainerDesired(image="test", args=args, stdin=stdin, **desired)
        spec, _ = build_spec(
            request, ImageConfig(), id=container, namespace=self.namespace, accounts=self.accounts,
            host=await host_limits(request), rootfs=str(self.rootfs),
        )  # fmt: skip
        bundle = self.directory / "bundles" / container
        bundle.mkdir(parents=True)
        (bundle / "config.json").write_text(json.dumps(spec))
        self.refs[container] = BundleRef(
            self.namespace, container, str(bundle), str(self.directory / "logs" / container / "log"), self.name,
            terminal=request.terminal, stdin=stdin, log_size=request.log_size, log_files=request.log_files,
        )  # fmt: skip
        return self.refs[container]

    @property
    def namespace(self) -> str:
        """One of this test's own: control groups are the host's."""
        return self.directory.name

    async def start(self, *args: str, **desired: Any) -> tuple[BundleRef, Created]:
        ref = await self.bundle(*args, **desired)
        created = await self.runtime.create(ref)
        await self.runtime.start(ref)
        return ref, created

    async def run(self, *args: str, **desired: Any) -> tuple[Exit, bytes, bytes]:
        """Run to the end and delete; return the exit, stdout and stderr as lines of the log."""
        ref, created = await self.start(*args, **desired)
        ended = await self.runtime.wait(ref, created)
        lines = [line async for line in self.runtime.logs(ref)]
        await self.runtime.delete(ref, created)
        out = "\n".join(line.text for line in lines if line.stream == "stdout")
        return ended, out.encode(), "\n".join(line.text for line in lines if line.stream == "stderr").encode()

    def process(self, ref: BundleRef, *args: str, **request: Any) -> dict[str, Any]:
        spec = json.loads(Path(ref.bundle, "config.json").read_text())
        return exec_process(spec, ExecRequest(args=args, **request), self.accounts)

    async def exec(
        self, ref: BundleRef, *args: str, stdin: bytes = b"", **request: Any
    ) -> tuple[int, bytes, bytes]:
        """Run a process in the container; return code, stdout, stderr."""
        output = {"stdout": b"", "stderr": b""}
        terminal = bool(request.get("terminal"))
        async with (
            self.runtime.exec(
                ref,
                uuid4().hex[:8],
                self.process(ref, *args, **request),
                terminal=terminal,
                stdin=bool(stdin),
            ) as session,
            trio.open_nursery() as nursery,
        ):
            if stdin:
                nursery.start_soon(_feed, session, stdin)
            async for kind, data in session:
                output[kind] += data
            ended = await session.wait()
        return ended.code, output["stdout"], output["stderr"]


async def _feed(session: Any, data: bytes) -> None:
    await session.send(data)
    await session.close_stdin()


@asynccontextmanager
async def running_node(directory: Path, name: str, rootfs: Path | None = None) -> AsyncIterator[Node]:
    """Yield a node; at the end every container that a test left is removed."""
    rootfs = rootfs or directory / "rootfs"
    if not rootfs.exists():
        make_rootfs(rootfs)
    async with ConmonRuntime(str(directory), environment=os.environ) as runtime:
        node = Node(directory, runtime, name, rootfs)
        try:
            yield node
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 60):
                for ref in node.refs.values():
                    await runtime.delete(ref, await runtime.recover_created(ref))
