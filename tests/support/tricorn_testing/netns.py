"""Network namespaces for tests: with a name, loopback up, and a way to run a piece of Python inside."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def named_netns() -> Iterator[str]:
    """Yield the path of a network namespace with loopback up, which is removed at the end."""
    name = f"tricorn-test-{secrets.token_hex(4)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield f"/run/netns/{name}"
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def inside(path: str, work: Callable[[], T]) -> T:
    """Return what `work` returns in the namespace at `path`: a thread goes there, and ends with it."""
    results: list[T] = []
    failures: list[BaseException] = []

    def visit() -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _LIBC.setns(fd, _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns {path}")
            finally:
                os.close(fd)
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            failures.append(error)

    thread = threading.Thread(target=visit)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
