"""Starting programs and recognising processes: posix_spawn, pidfds, start times.

`os.fork` and `preexec_fn` cost 10-40 ms and grow with the agent's memory; posix_spawn takes one. Children
get an explicit environment (never the agent's NOTIFY_SOCKET, WATCHDOG_* or LISTEN_*) and no descriptor but
those named.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import DeadlineExceeded, Unimplemented
from tricorn.model.records import ProcessIdentity
from tricorn.runtime.spawning import Spawner

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_CHILD_SUBREAPER: Final = 36
_SYS_PIDFD_GETFD: Final = 438  # the same number on every architecture
_ABOVE_TARGETS: Final = 64  # descriptors that children are given start below this
_OUTPUT: Final = 64 * limits.KIB
_ORPHAN_SWEEP: Final = 3.0
_SIGNALS: Final = signal.valid_signals()
_SPAWNER: Final = Spawner()
_GRACE: Final = 5.0  # a cancelled call of a runtime may end by itself, rather than half-way


@frozen
class Completed:
    """A program that ended: `code` is 128 + n for signal n; outputs hold at most 64 KiB each."""

    code: int
    stdout: bytes = b""
    stderr: bytes = b""


def become_subreaper() -> None:
    """Let orphaned descendants become this process's children, so that their codes can be read."""
    if _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def spawn(
    argv: Sequence[str],
    environment: Mapping[str, str],
    descriptors: Mapping[int, int],
    *,
    session: bool = False,
) -> int:
    """Start `argv` and return its pid, with `session` in a session of its own. `descriptors` maps numbers
    in the child to the agent's; of 0, 1 and 2 those not named are /dev/null.
    """
    lifted: dict[int, int] = {}
    try:
        for target, source in descriptors.items():
            lifted[target] = fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, _ABOVE_TARGETS)
        actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
            (os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0)
            for number in (0, 1, 2)
            if number not in lifted
        ]
        actions += [(os.POSIX_SPAWN_DUP2, source, target) for target, source in lifted.items()]
        spawn = partial(
            os.posix_spawn,
            argv[0],
            list(argv),
            dict(environment),
            file_actions=actions,
            setsigmask=[],
            setsigdef=_SIGNALS,
            setsid=session,
        )
        return _SPAWNER.call(spawn)
    finally:
        for fd in lifted.values():
            os.close(fd)


def exit_code(info: os.waitid_result) -> int:
    return info.si_status if info.si_code == os.CLD_EXITED else 128 + info.si_status


def zombies_of_others() -> set[int]:
    """Return the ended children that other programs started and left to this process (a subreaper).

    They are told from its own by their session: runtimes and monitors make new ones, and what the agent
    itself starts and waits for stays in the agent's.
    """
    own = os.getsid(0)
    found = set()
    for thread in os.listdir("/proc/self/task"):
        with suppress(OSError), open(f"/proc/self/task/{thread}/children", encoding="ascii") as file:
            for pid in map(int, file.read().split()):
                stat = _stat(pid)
                if stat and stat[0] == "Z" and int(stat[3]) != own:
                    found.add(pid)
    return found


async def reap_orphans(interval: float = _ORPHAN_SWEEP) -> None:
    """Reap, for ever, orphans that nobody waited for between two looks."""
    before: set[int] = set()
    while True:
        now = zombies_of_others()
        for pid in now & before:
            reap(pid)
        before = now - before
        await trio.sleep(interval)


def reap(pid: int) -> int | None:
    """Return the exit code of a child that ended; None if it runs or isn't (or no longer) a child."""
    try:
        info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    return exit_code(info) if info else None


async def run(argv: Sequence[str], environment: Mapping[str, str], *, seconds: float) -> Completed:
    """Run a program to its end. DeadlineExceeded (it is killed) after `seconds`.

    On cancellation it may finish by itself for a few seconds before it is killed: runtimes leave less
    behind when they aren't cut short.
    """
    out_read, out_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    err_read, err_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        for fd in (out_write, err_write):
            os.set_blocking(fd, True)
        pid = spawn(argv, environment, {1: out_write, 2: err_write})
    except BaseException:
        os.close(out_read)
        os.close(err_read)
        raise
    finally:
        os.close(out_write)
        os.close(err_write)
    pidfd = os.pidfd_open(pid)
    buffers = (bytearray(), bytearray())
    try:
        await _until_exit(pidfd, ((out_read, buffers[0]), (err_read, buffers[1])), seconds, argv)
    except DeadlineExceeded:
        _kill_and_reap(pid, pidfd)
        raise
    except trio.Cancelled:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _GRACE):
            await trio.lowlevel.wait_readable(pidfd)
        _kill_and_reap(pid, pidfd)
        raise
    finally:
        for fd in (out_read, err_read, pidfd):
            os.close(fd)
    return Completed(_reap_ended(pid), bytes(buffers[0]), bytes(buffers[1]))


async def _until_exit(
    pidfd: int, pipes: tuple[tuple[int, bytearray], ...], seconds: float, argv: Sequence[str]
) -> None:
    with trio.move_on_after(seconds) as scope:
        async with trio.open_nursery() as nursery:
            for fd, buffer in pipes:
                nursery.start_soon(_collect, fd, buffer)
            await trio.lowlevel.wait_readable(pidfd)
            nursery.cancel_scope.cancel()  # a program left behind may hold the pipes open for ever
    if scope.cancelled_caught:
        raise DeadlineExceeded(f"{os.path.basename(argv[0])} does not end", why=f"killed after {seconds:g} s")
    for fd, buffer in pipes:
        _drain(fd, buffer)


async def _collect(fd: int, buffer: bytearray) -> None:
    while True:
        await trio.lowlevel.wait_readable(fd)
        if not _drain(fd, buffer):
            return


def _drain(fd: int, buffer: bytearray) -> bool:
    """Read what is there into the bounded buffer; return whether more may come."""
    while True:
        try:
            data = os.read(fd, _OUTPUT)
        except BlockingIOError:
            return True
        if not data:
            return False
        buffer += data[: max(0, _OUTPUT - len(buffer))]


def _kill_and_reap(pid: int, pidfd: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    _reap_ended(pid)


def _reap_ended(pid: int) -> int:
    try:
        info = os.waitid(os.P_PID, pid, os.WEXITED)
    except ChildProcessError:
        return 255
    return exit_code(info) if info else 255


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of a live process (or unreaped zombie), None if there is none."""
    stat = _stat(pid)
    return ProcessIdentity(pid, int(stat[19])) if stat else None


def is_called(*programs: str) -> Callable[[str], bool]:
    """Return what tells, by its number, whether a process runs one of these programs.

    Ask before its command line is read: that is in its memory, and reading it waits for one that is still
    being given its own, or has it in a file system that doesn't answer.
    """

    def ask(number: str) -> bool:
        with suppress(OSError), open(f"/proc/{number}/comm", encoding="utf-8", errors="replace") as file:
            return file.read(16).strip().startswith(programs)
        return False

    return ask


def parent_of(pid: int) -> int:
    """Return the parent's pid, 0 when the process is gone."""
    stat = _stat(pid)
    return int(stat[1]) if stat else 0


def _stat(pid: int) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rfind(b")") + 2 :].decode("ascii", "replace").split()


def open_process(identity: ProcessIdentity) -> int | None:
    """Return a pidfd of exactly that process (the caller closes it), None when it is gone and reaped."""
    try:
        fd = os.pidfd_open(identity.pid)
    except OSError:  # ESRCH; EINVAL for a pid that now is a thread's
        return None
    # The pidfd was opened first: if the start time fits now, it is that process's
    if identify(identity.pid) != identity:
        os.close(fd)
        return None
    return fd


def alive(identity: ProcessIdentity) -> bool:
    """Return whether the process runs; a zombie doesn't."""
    stat = _stat(identity.pid)
    return stat is not None and int(stat[19]) == identity.start_ticks and stat[0] not in "ZX"


async def wait_gone(identity: ProcessIdentity) -> None:
    """Wait until the process ended; it isn't reaped."""
    fd = open_process(identity)
    if fd is None:
        await trio.lowlevel.checkpoint()
        return
    try:
        await trio.lowlevel.wait_readable(fd)
    finally:
        os.close(fd)


def send(identity: ProcessIdentity, number: int) -> bool:
    """Signal exactly that process; return False when it is gone."""
    fd = open_process(identity)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


def borrow_descriptor(identity: ProcessIdentity, number: int) -> int | None:
    """Return a copy of another process's descriptor, None when the process or the descriptor is gone."""
    process = open_process(identity)
    if process is None:
        return None
    try:
        fd = int(_LIBC.syscall(_SYS_PIDFD_GETFD, process, number, 0))
        error = ctypes.get_errno()
    finally:
        os.close(process)
    if fd >= 0:
        return fd
    if error == 38:
        raise Unimplemented("writing to a container's stdin", why="the kernel has no pidfd_getfd (Linux 5.6)")
    return None
