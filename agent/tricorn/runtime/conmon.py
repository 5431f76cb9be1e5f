"""conmon: one small monitor process per container or exec.

The sync pipe is a FIFO in the bundle that conmon holds open for reading and writing: conmon 2.1.6 dies on
EPIPE when the agent goes, and leaves the container without a monitor. The exit code is in a file before
conmon itself ends, so waiting for conmon's pidfd and then reading the file has no race.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import DeadlineExceeded, FailedPrecondition, Unimplemented
from tricorn.failpoints import failpoint
from tricorn.model.records import ProcessIdentity
from tricorn.runtime import process
from tricorn.runtime.bundle import Bundle

_PROGRAM: Final = "conmon"
SYNC_FD: Final = 3
STDIN_FD: Final = 4  # a client end of the attach socket that the monitor itself keeps open
START_FD: Final = 5
ATTACH_FD: Final = 6
RUNTIME_FD: Final = 15  # the runtime itself, where it is started from the agent's memory
_CONSOLE_BASE: Final = 107 - len("/12345678/conmon-term.123456")
_SO_ATTACH_FILTER: Final = 26
_BPF_RET: Final = 0x06
_MESSAGE: Final = 64 * limits.KIB


@frozen
class MonitorOptions:
    """How conmon is to treat the process's stdio. `log` is a path, or `` to pass stdio through."""

    log: str = ""
    terminal: bool = False
    stdin: bool = False
    process_file: str = ""  # an exec's OCI process object
    exec_attach: bool = False
    no_pivot: bool = False
    restore: tuple[str, ...] = ()  # further arguments of a restore


def find_conmon(environment: Mapping[str, str]) -> str:
    path = shutil.which("conmon", path=environment.get("PATH"))
    if path is None:
        raise Unimplemented(
            "containers need conmon", why="there is no conmon in PATH", hint="install the package conmon"
        )
    return path


def command(
    conmon: str, bundle: Bundle, name: str, runtime: Sequence[str], options: MonitorOptions
) -> list[str]:
    """Return conmon's command line. `runtime` is the runtime's path and its global arguments."""
    argv = [
        conmon, "--api-version", "1", "--sync", "-c", bundle.container, "-u", name, "-n", name,
        "-r", runtime[0], "-b", bundle.path, "-p", bundle.file("pid"),
        "--persist-dir", bundle.file("persist"), "--exit-dir", bundle.file("exit"),
        "-l", f"k8s-file:{options.log}" if options.log else "passthrough",
        "--log-level", "warning", "--full-attach", "--no-sync-log",
    ]  # fmt: skip
    if options.terminal and not options.log:
        argv[argv.index("passthrough")] = "null"
    for argument in runtime[1:]:
        argv += ["--runtime-arg", argument]
    if options.terminal:
        argv.append("-t")
    elif options.stdin and options.log:
        argv.append("-i")
    if options.process_file:
        argv += ["-e", "--exec-process-spec", options.process_file]
    if options.no_pivot:
        argv.append("--no-pivot")
    if options.exec_attach:
        argv.append("--exec-attach")
    return argv + list(options.restore)


@contextmanager
def console_directory(base: str) -> Iterator[dict[str, str]]:
    """Yield what to add to the environment so that conmon's console socket is made in a directory that is
    gone afterwards: a conmon that is killed leaves its socket behind, in /tmp as a rule.
    """
    if len(os.fsencode(base)) > _CONSOLE_BASE:  # such a socket's path would be cut
        yield {}
        return
    os.makedirs(base, mode=0o700, exist_ok=True)
    path = tempfile.mkdtemp(prefix="", dir=base)
    try:
        yield {"TMPDIR": path}
    finally:
        shutil.rmtree(path, ignore_errors=True)


@frozen
class Monitor:
    """A started conmon. `sync` is the reading end of its FIFO, closed by `wait_started`."""

    bundle: Bundle
    identity: ProcessIdentity
    sync: int
    errors: int  # a memory file with what conmon said before it let go of its stderr, or -1

    def close(self) -> None:
        os.close(self.sync)
        if self.errors >= 0:
            os.close(self.errors)


def launch(
    argv: Sequence[str], bundle: Bundle, environment: Mapping[str, str], descriptors: Mapping[int, int]
) -> Monitor:
    """Start conmon. The bundle is prepared; `descriptors` 0-2 become the process's stdio in
    passthrough.
    """
    env = dict(environment)
    env["_OCI_SYNCPIPE"] = str(SYNC_FD)
    given = dict(descriptors)
    argv = _with_its_runtime(argv, given)
    if START_FD in given:
        env["_OCI_STARTPIPE"] = str(START_FD)
    if ATTACH_FD in given:
        env["_OCI_ATTACHPIPE"] = str(ATTACH_FD)
    errors = -1
    sync = os.open(bundle.file("sync"), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        held = os.open(bundle.file("sync"), os.O_RDWR | os.O_CLOEXEC)
        try:
            if 2 not in given:
                errors = os.memfd_create("conmon-stderr")
                given[2] = errors
            given[SYNC_FD] = held
            pid = process.spawn(argv, env, given)
        finally:
            os.close(held)
        failpoint("monitor.spawned")
        identity = process.identify(pid)
        assert identity is not None, "an unreaped child has a stat file"
        return Monitor(bundle, identity, sync, errors)
    except BaseException:
        os.close(sync)
        if errors >= 0:
            os.close(errors)
        raise


def _with_its_runtime(argv: Sequence[str], given: dict[int, int]) -> list[str]:
    """Give the monitor a descriptor of its own for a runtime that is named by one of the agent's: it may have
    to start it after the agent has gone.
    """
    own = f"/proc/{os.getpid()}/fd/"
    position = argv.index("-r") + 1
    if not argv[position].startswith(own):
        return list(argv)
    given[RUNTIME_FD] = int(argv[position].removeprefix(own))
    return [*argv[:position], f"/proc/self/fd/{RUNTIME_FD}", *argv[position + 1 :]]


async def wait_started(monitor: Monitor, *, seconds: float = limits.RUNTIME_CALL) -> int:
    """Return the pid of the process that the runtime made.

    Raises FailedPrecondition with the runtime's words, DeadlineExceeded after `seconds`.
    """
    with trio.move_on_after(seconds):
        line = await read_message(monitor.sync)
        if line is None:
            raise FailedPrecondition("the monitor ended early", why=_stderr(monitor))
        pid = int(line.get("data") or line.get("pid") or -1)
        if pid > 0:
            return pid
        raise FailedPrecondition("the runtime refused", why=str(line.get("message") or _stderr(monitor)))
    raise DeadlineExceeded("the runtime does not answer", why=f"waited {seconds:g} s")


async def wait_ready(pipe: int) -> None:
    """Wait until a monitor of an exec can be attached to; FailedPrecondition when it ended instead."""
    if await read_message(pipe) is None:
        raise FailedPrecondition("the monitor ended early")


async def read_message(sync: int) -> dict[str, Any] | None:
    """Return the next line of a sync FIFO, None once the monitor closed it."""
    buffer = b""
    while b"\n" not in buffer and len(buffer) < _MESSAGE:
        try:
            data = os.read(sync, _MESSAGE)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sync)
            continue
        if not data:
            break
        buffer += data
    try:
        line = json.loads(buffer.split(b"\n", 1)[0])
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _stderr(monitor: Monitor) -> str:
    if monitor.errors < 0:
        return ""
    text = os.pread(monitor.errors, _MESSAGE, 0).decode(errors="replace")
    return " ".join(text.split())[-1000:]


def make_client() -> socket.socket:
    """Return a socket for `connect`."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)


def make_stdin_holder() -> socket.socket:
    """Return a client that only writes. A copy of it in the monitor keeps a container's stdin open when the
    agent goes.

    What the monitor sends it is dropped by a filter that lets nothing in: unread, it would stop the
    container once the buffer is full, and a shut-down reading side makes conmon 2.1.6 use freed memory
    (it then forgets to close the container's stdin).
    """
    client = make_client()
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RET, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(drop_all))
    client.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    return client


def connect(client: socket.socket, bundle: Bundle) -> None:
    """Connect to the monitor's attach socket, however long its path is."""
    directory = os.open(bundle.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        client.connect(f"/proc/self/fd/{directory}/attach")
    finally:
        os.close(directory)


def control(bundle: Bundle, message: str) -> bool:
    """Write to the monitor's control FIFO; return False when nobody listens any more."""
    try:
        fd = os.open(bundle.file("ctl"), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fd, message.encode("ascii"))
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


async def wait_ended(identity: ProcessIdentity) -> None:
    """Wait until a monitor ended, and reap it if it is a child."""
    await process.wait_gone(identity)
    process.reap(identity.pid)


def find_by_bundle(bundle: Bundle) -> list[ProcessIdentity]:
    """Return the monitors that run for a bundle directory, as their command lines tell."""
    wanted = f"\0-b\0{bundle.path}\0".encode()
    found = []
    for name in filter(process.is_called(_PROGRAM), filter(str.isdigit, os.listdir("/proc"))):
        with suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as file:
            line = file.read(64 * limits.KIB)
            if b"conmon" in line.split(b"\0", 1)[0] and wanted in line:
                identity = process.identify(int(name))
                found += [identity] if identity else []
    return found
