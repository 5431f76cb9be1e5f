"""Credential helpers: programs that give a registry's user and password when asked.

Source: github.com/docker/docker-credential-helpers. `PROGRAM get` reads the registry's name from stdin and
answers with JSON on stdout. A helper is run without a shell and without the agent's environment, with a
deadline and a bounded answer, in a session of its own so that what it leaves behind ends with it.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import trio

from tricorn import limits
from tricorn.errors import FailedPrecondition
from tricorn.model.requests import RegistryAuth
from tricorn.registry.secret_files import unusable

PREFIX: Final = "docker-credential-"
_IDENTITY: Final = "<token>"  # as user name: the secret is an identity token
_NOT_FOUND: Final = b"credentials not found"
_PROXIES: Final = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_PASSED: Final = ("HOME", "PATH", "LANG", *_PROXIES)
_READ: Final = 4096


class Helpers:
    """Runs the programs of `allowed` (absolute paths) and no others; at most a few at a time."""

    def __init__(self, allowed: tuple[str, ...], environment: Mapping[str, str], timeout: float) -> None:
        self._allowed = allowed
        self._environment = {key: environment[key] for key in _PASSED if key in environment}
        self._environment.setdefault("PATH", os.defpath)
        self._timeout = timeout
        self._slots = trio.Semaphore(limits.REGISTRY_HELPERS)

    def program(self, name: str) -> str:
        """Return the path that is allowed for a helper: `name` is an absolute path, or the end of its name
        as Docker's configuration has it (`ecr-login`). FailedPrecondition if none is.
        """
        for path in self._allowed:
            if name == path or os.path.basename(path) == PREFIX + name:
                return path
        shown = name if "/" in name else PREFIX + name
        raise unusable(
            f"credential helper {shown[:200]!r}",
            "the agent's configuration doesn't allow it",
            "add its absolute path to registry.credential_helpers",
        )

    async def get(self, name: str, server: str) -> RegistryAuth | None:
        """Return what the helper has for `server`, None if it says that it has nothing.

        Raises FailedPrecondition when it may not run, fails, takes too long or answers nonsense; what it
        wrote goes into no error.
        """
        path = self.program(name)
        await trio.to_thread.run_sync(_check, path)
        async with self._slots:
            status, output = await self._run(path, server)
        if status and _NOT_FOUND in output[:_READ].lower():
            return None
        if status:
            raise _failed(path, server, f"it ended with status {status}")
        return _answer(path, server, output)

    async def _run(self, path: str, server: str) -> tuple[int, bytes]:
        process = await self._start(path)
        assert process.stdout is not None
        output = bytearray()
        try:
            with trio.move_on_after(self._timeout) as scope:
                await _tell(process, server)
                while data := await process.stdout.receive_some(_READ):
                    output += data
                    if len(output) > limits.REGISTRY_HELPER_OUTPUT:
                        raise _failed(path, server, f"it wrote over {limits.REGISTRY_HELPER_OUTPUT} bytes")
                await _exited(process)
        finally:
            await _end(process)
        if scope.cancelled_caught:
            raise _failed(path, server, f"no answer in {self._timeout:g} s")
        return process.returncode or 0, bytes(output)

    async def _start(self, path: str) -> trio.Process:
        try:
            return await trio.lowlevel.open_process(
                [path, "get"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise unusable(f"credential helper {path!r}", error.strerror or "") from None


async def _tell(process: trio.Process, server: str) -> None:
    assert process.stdin is not None
    with suppress(trio.BrokenResourceError):  # a helper may answer without having read
        await process.stdin.send_all(f"{server}\n".encode())
    await process.stdin.aclose()


async def _exited(process: trio.Process) -> None:
    """Wait for the end, but leave the process unreaped: its number names its session until then."""
    descriptor = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(descriptor)
    finally:
        os.close(descriptor)


async def _end(process: trio.Process) -> None:
    """End what is left of the helper's session, and take its status."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
        await process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                await stream.aclose()


def _check(path: str) -> None:
    """Refuse a program that somebody else could have put there. Blocks."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise unusable(f"credential helper {path!r}", error.strerror or "", "install it") from None
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
        raise unusable(f"credential helper {path!r}", "it is no program", f"chmod 755 {path}")
    if status.st_uid not in {0, os.geteuid()} or status.st_mode & 0o022:
        why = f"user {status.st_uid} owns it, mode {stat.S_IMODE(status.st_mode):04o}"
        raise unusable(f"credential helper {path!r}", why, f"chown root {path}; chmod 755 {path}")


def _answer(path: str, server: str, output: bytes) -> RegistryAuth:
    try:
        document: Any = json.loads(output)
        username, secret = document["Username"], document["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _failed(path, server, "its answer isn't what a helper answers") from None
    if not isinstance(username, str) or not isinstance(secret, str):
        raise _failed(path, server, "its answer isn't what a helper answers")
    if username == _IDENTITY:
        return RegistryAuth(identity_token=secret)
    return RegistryAuth(username, secret)


def _failed(path: str, server: str, why: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"credential helper {path} gives nothing for {server}",
        why=why,
        hint=f"as the agent's user: echo {server} | {path} get",
    )
