"""External verifiers: a directory of programs, each of which is asked whether an image may be used.

They are called as containerd's `bindir` verifier calls its own: `-name NAME -digest DIGEST
-stdin-media-type application/vnd.oci.descriptor.v1+json`, the descriptor as JSON on stdin; status 0 means
yes, and what is printed is the reason. Unlike there, a directory that is missing or empty, or that holds
more programs than allowed, refuses, and so does a program that others than its owner can change.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import structlog
import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import FailedPrecondition
from tricorn.model.oci import Descriptor, document_of
from tricorn.rules.policy import VerifierDirectory
from tricorn.runtime import process

log = structlog.get_logger(__name__)
_MEDIA_TYPE: Final = "application/vnd.oci.descriptor.v1+json"
_KEPT: Final = frozenset(
    {"PATH", "HOME", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
     "SSL_CERT_FILE", "SSL_CERT_DIR"}
)  # fmt: skip


@frozen
class Judgement:
    """What one program said; `reason` is what it printed, at most VERIFIER_OUTPUT bytes."""

    program: str
    accepted: bool
    reason: str


class Verifiers:
    """Runs verifiers with what they need of the agent's environment: paths, proxies, roots of trust."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {key: value for key, value in environment.items() if key in _KEPT}

    async def judge(self, verifier: VerifierDirectory, name: str, descriptor: Descriptor) -> list[Judgement]:
        """Ask the directory's programs in the order of their names, up to the first that refuses.

        Raises FailedPrecondition for a directory or a program that can't be trusted or started.
        """
        judgements: list[Judgement] = []
        for path in await trio.to_thread.run_sync(_programs, verifier):
            judgement = await self._ask(path, verifier.deadline, name, descriptor)
            judgements.append(judgement)
            if not judgement.accepted:
                break
        return judgements

    async def _ask(self, path: str, deadline: float, name: str, descriptor: Descriptor) -> Judgement:
        argv = [path, "-name", name, "-digest", str(descriptor.digest), "-stdin-media-type", _MEDIA_TYPE]
        question = _in_memory(json.dumps(document_of(descriptor)).encode())
        out, out_theirs = _pipe()
        err, err_theirs = _pipe()
        try:
            try:
                given = {0: question, 1: out_theirs, 2: err_theirs}
                pid = process.spawn(argv, self._environment, given, session=True)
            except OSError as error:
                raise FailedPrecondition(f"can't start the verifier {path}", why=str(error)) from None
            finally:
                for fd in (question, out_theirs, err_theirs):
                    os.close(fd)
            return await _judgement(path, pid, deadline, (out, err))
        finally:
            os.close(out)
            os.close(err)


def _programs(verifier: VerifierDirectory) -> list[str]:
    try:
        _trusted(verifier.directory, stat.S_ISDIR)
        names = sorted(os.listdir(verifier.directory))
        paths = [os.path.join(verifier.directory, name) for name in names]
        for path in paths:
            _trusted(path, stat.S_ISREG)
    except OSError as error:
        raise FailedPrecondition(
            f"the verifiers in {verifier.directory} can't be used", why=f"{error.filename}: {error.strerror}"
        ) from None
    if not 0 < len(paths) <= verifier.max:
        raise FailedPrecondition(
            f"there are {len(paths)} verifiers in {verifier.directory}",
            why=f"at least one is needed, and at most {verifier.max} are started",
        )
    return paths


def _trusted(path: str, kind: object) -> None:
    """Raise FailedPrecondition unless only root or the agent's own user can change what is at `path`."""
    found = os.stat(path)
    assert callable(kind)
    runnable = found.st_mode & 0o111
    if not kind(found.st_mode) or not runnable:
        raise FailedPrecondition(f"{path} is no verifier", why="a directory of programs was expected")
    if found.st_uid not in {0, os.geteuid()} or found.st_mode & 0o022:
        raise FailedPrecondition(
            f"{path} can't be trusted as a verifier",
            why="others than root can change it",
            hint=f"chown root {path}; chmod go-w {path}",
        )


def _in_memory(data: bytes) -> int:
    fd = os.memfd_create("descriptor", os.MFD_CLOEXEC)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _pipe() -> tuple[int, int]:
    """Return a pipe whose reading end doesn't block."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(ours, False)
    fcntl.fcntl(theirs, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    return ours, theirs


async def _judgement(path: str, pid: int, deadline: float, pipes: tuple[int, int]) -> Judgement:
    program = os.path.basename(path)
    pidfd = os.pidfd_open(pid)
    said, complained = bytearray(), bytearray()
    try:
        with trio.move_on_after(deadline) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_read, pipes[0], said)
                nursery.start_soon(_read, pipes[1], complained)
                await trio.lowlevel.wait_readable(pidfd)
                nursery.cancel_scope.cancel()  # a child left behind may hold the pipes open for ever
    finally:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # with all that it started
        with trio.CancelScope(shield=True):
            await trio.lowlevel.wait_readable(pidfd)
        code = process.reap(pid)
        os.close(pidfd)
    for fd, text in zip(pipes, (said, complained), strict=True):
        _drain(fd, text)
    log.debug("verifier ended", program=path, code=code, stderr=_text(complained)[:1000])
    if scope.cancelled_caught:
        return Judgement(program, accepted=False, reason=f"no answer within {deadline:g} s")
    return Judgement(program, accepted=code == 0, reason=_text(said) or f"it ended with {code}")


async def _read(fd: int, text: bytearray) -> None:
    while True:
        await trio.lowlevel.wait_readable(fd)
        if not _drain(fd, text):
            return


def _drain(fd: int, text: bytearray) -> bool:
    """Read what is there, keeping no more than allowed; return whether more may come."""
    for _ in range(64):
        try:
            data = os.read(fd, 64 * limits.KIB)
        except BlockingIOError:
            return True
        if not data:
            return False
        text += data[: max(0, limits.VERIFIER_OUTPUT - len(text))]
    return True


def _text(data: bytearray) -> str:
    """Return printed bytes as one line that is safe to show."""
    text = data.decode(errors="replace")
    return "".join(c if c.isprintable() else " " for c in text).strip()
