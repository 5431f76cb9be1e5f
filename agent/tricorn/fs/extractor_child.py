"""The fork server of layer extractors, and the extractor itself.

The agent starts `serve` once, while it is small; forking from here stays cheap for ever. Each request
is a message with four descriptors (source file, target directory, progress pipe, result socket) and the
child that is forked for it is locked into the target before it reads a byte of the layer. A request with
`job` is work of another kind: `diff_child` says what its descriptors are. Nothing here may import trio,
attrs or structlog: what this process holds, every extractor holds.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NoReturn

from tricorn.errors import Internal, ResourceExhausted, TricornError
from tricorn.fs import confine, copy_child, diff_child, repack_child, seccomp, unpacking
from tricorn.fs.archive import LayerApplier
from tricorn.fs.entrychecks import in_user_namespace
from tricorn.fs.filling import Filling
from tricorn.fs.tarstream import TarStream
from tricorn.fs.unpacking import Unpacked

PACKET: Final = 65536  # of a result, which may take several
_REQUEST_SIZE: Final = 65536
_DESCRIPTORS: Final = 4

_confined_user = False
_unpackers: dict[int, int] = {}  # of each extractor, while both run
_OTHER_JOBS: Final = {
    "diff": diff_child.answer, "repack": repack_child.answer, "copy": copy_child.answer,
}  # fmt: skip

_CAPABILITIES: Final = frozenset({
    confine.CHOWN, confine.DAC_OVERRIDE, confine.FOWNER, confine.FSETID, confine.MKNOD, confine.SETFCAP,
})  # fmt: skip


# ------------------------------------------------------------------ the server
def serve(control: int) -> None:
    """Fork an extractor for each request on the socket `control`, until its other end is closed."""
    requests = socket.socket(fileno=control)
    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the agent's affair
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    confine.name_process(b"tricorn-unpack")
    confine.adopt_orphans()  # what an extractor that was killed leaves behind
    confine.keep_freed_memory()
    os.umask(0)
    _warm_up()
    poller = select.poll()
    poller.register(requests, select.POLLIN)
    poller.register(wake_read, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poller.poll()}
        if wake_read in ready:
            os.read(wake_read, 4096)
            _reap()
        if requests.fileno() in ready and not _take_request(requests):
            return  # the children follow by their parent-death signal


def _warm_up() -> None:
    """Load what an extractor will need: it has no file system to import from."""
    json.loads(json.dumps({"codec": "warm"}))
    "ä".encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    hashlib.sha256(b"").hexdigest()
    global _confined_user  # noqa: PLW0603 - asked once, while there is a /proc
    _confined_user = in_user_namespace()
    for names in (seccomp.LAYER, seccomp.COMPUTE, seccomp.FILL, seccomp.COPY):
        seccomp.prepare(names)
    gc.collect()
    gc.freeze()


def _reap() -> None:
    try:
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            _part(pid)
    except ChildProcessError:
        pass


def _part(ended: int) -> None:
    """Let no unpacking process outlive the extractor that it works for."""
    unpacker = _unpackers.pop(ended, 0)
    if unpacker:
        os.kill(unpacker, signal.SIGKILL)  # not reaped so far, so the number is still its own
        return
    for extractor in [extractor for extractor, its in _unpackers.items() if its == ended]:
        del _unpackers[extractor]


def _take_request(requests: socket.socket) -> bool:
    message, descriptors, _, _ = socket.recv_fds(requests, _REQUEST_SIZE, _DESCRIPTORS)
    if not message:
        return False
    try:
        if len(descriptors) == _DESCRIPTORS:
            _fork(json.loads(message), descriptors)
    finally:
        for fd in descriptors:
            os.close(fd)
    return True


def _fork(request: dict[str, Any], descriptors: list[int]) -> None:
    server = os.getpid()
    unpacked = None
    if "job" not in request:
        source, target, progress, _ = descriptors
        unpacked = unpacking.start(source, progress, target, request["compression"])
    pid = os.fork()
    if not pid:
        _extractor(request, descriptors, unpacked, server)
    if unpacked is not None:
        unpacked.leave()
        _unpackers[pid] = unpacked.process
    pidfd = os.pidfd_open(pid)
    try:
        with socket.socket(fileno=os.dup(descriptors[3])) as result:
            socket.send_fds(result, [b"started"], [pidfd], socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
    except OSError:
        os.kill(pid, signal.SIGKILL)  # nobody waits for it any more
    finally:
        os.close(pidfd)


# ------------------------------------------------------------------ one extractor
def _extractor(
    request: dict[str, Any], descriptors: list[int], unpacked: Unpacked | None, server: int
) -> NoReturn:
    status = 1
    try:
        confine.die_with_parent(server)
        if unpacked is None:
            source, target, progress, result = _keep_only(descriptors)
            answer = _told(lambda: _OTHER_JOBS[request["job"]](request, source, target, progress))
        else:
            target, result, *link = _keep_only([descriptors[1], descriptors[3], *unpacked.descriptors])
            unpacked.descriptors = link
            answer = _told(lambda: _apply(unpacked, target, request))
        _send(result, json.dumps(answer).encode())
        status = 0
    finally:
        os._exit(status)  # neither the server's clean-up nor its frames are this process's


def _keep_only(descriptors: list[int]) -> list[int]:
    """Close all but the standard streams (on /dev/null) and `descriptors`; return the numbers of these."""
    signal.set_wakeup_fd(-1)
    confine.silence()
    high = [os.dup2(fd, 100 + index) for index, fd in enumerate(descriptors)]
    low = [os.dup2(fd, 3 + index, inheritable=False) for index, fd in enumerate(high)]
    os.closerange(3 + len(low), os.sysconf("SC_OPEN_MAX"))
    return low


def _apply(unpacked: Unpacked, target: int, request: dict[str, Any]) -> dict[str, Any]:
    form = request["whiteouts"]
    confine.enter_root(target)
    confine.limit_resources()
    confine.forbid_tracing()
    filling = None
    if request["beside"] is not None:
        with suppress(OSError):  # it goes without
            filling = unpacked.filling(int(request["beside"]))
    # Only the opaque mark, a `trusted.` attribute, takes this wide a capability.
    more = {confine.SYS_ADMIN} if form == "overlay" else set()
    confine.keep_capabilities(_CAPABILITIES | more)
    seccomp.install()
    return extract(unpacked, target, form, filling)


def _told(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `work` does, or the document of the error that it met."""
    try:
        return work()
    except TricornError as error:
        return {"error": error.problem()}
    except MemoryError:
        return {"error": ResourceExhausted("the layer takes too much memory").problem()}
    except Exception as error:  # noqa: BLE001 - the one place where a defect can be told to the agent
        return {"error": Internal("the layer extractor failed", why=_where(error)).problem()}


def _where(error: Exception) -> str:
    """Describe a defect without the traceback module, which would read source files."""
    frame, line = error.__traceback__, 0
    name = ""
    while frame is not None:
        name, line = frame.tb_frame.f_code.co_name, frame.tb_lineno
        frame = frame.tb_next
    return f"{type(error).__name__}: {error} (in {name}, line {line})"


def _send(result: int, data: bytes) -> None:
    for start in range(0, len(data), PACKET):
        os.write(result, data[start : start + PACKET])


def extract(unpacked: Unpacked, target: int, form: Any, filling: Filling | None) -> dict[str, Any]:
    """Apply the layer that `unpacked` gives to the directory `target`; return the result as a document."""
    gc.disable()
    applier = LayerApplier(target, form, skip_devices=_confined_user, filling=filling)
    stream = TarStream(unpacked.chunks(filling))
    applier.run(stream)
    stream.drain()
    if filling is not None:
        filling.finish()
    diff_id, size = unpacked.finish()
    return {
        "diff_id": diff_id,
        "size": size,
        "entries": stream.entries,
        "warnings": applier.warnings,
        "usage": applier.tally.usage,
        "implied": [os.fsdecode(name) for name in applier.implied],
    }


if __name__ == "__main__":
    serve(int(sys.argv[1]))
