"""Where containers' networks are on the node: STATE/networks/NAMESPACE/CONTAINER, with the pinned network
namespace and the files of /etc that go with it. All of it goes with a reboot, and is made again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import trio

from tricorn.private_directories import ensure_directory
from tricorn.rules.network_files import FILES, has_server, hosts_text, resolver_text
from tricorn.runtime import netns

_NETNS, _READY, _HELD, _TABLE = "netns", "ready", "held", ".table"
_RESOLVERS: Final = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")


class NetworkPlaces:
    """Makes and removes them. Removal is idempotent, for recovery repeats it."""

    def __init__(self, state: str) -> None:
        self._directory = os.path.join(state, "networks")
        self._limiter = trio.CapacityLimiter(4)

    def netns(self, namespace: str, container: str) -> str:
        return os.path.join(self._directory, namespace, container, _NETNS)

    def files(self, namespace: str, container: str) -> dict[str, str]:
        """Return what lies over the container's files, by their names in it."""
        directory = os.path.join(self._directory, namespace, container)
        return {target: os.path.join(directory, name) for name, target in FILES.items()}

    async def make(self, namespace: str, container: str) -> str:
        """Make the network namespace, unless it is there; return its path."""
        path = self.netns(namespace, container)
        await trio.to_thread.run_sync(self._make, path, limiter=self._limiter)
        return path

    def _make(self, path: str) -> None:
        directory = os.path.dirname(path)
        ensure_directory(directory)
        for each in (self._directory, os.path.dirname(directory), directory):
            os.chmod(each, 0o711)  # noqa: S103 - a container's root in a user namespace goes through here
        netns.make(path)

    async def write_files(
        self,
        namespace: str,
        container: str,
        *,
        hostname: str,
        addresses: Sequence[str],
        servers: Sequence[str] = (),
        search: Sequence[str] = (),
    ) -> None:
        """Write the files of /etc; with `servers` instead of the node's own name servers."""
        texts = {
            "hosts": hosts_text(addresses, (hostname, container)),
            "hostname": f"{hostname}\n",
        }

        def write() -> None:
            texts["resolv.conf"] = resolver_text(_resolver_of_node(), servers, search, addresses)
            directory = os.path.dirname(self.netns(namespace, container))
            for name, text in texts.items():
                path = os.path.join(directory, name)
                with open(path, "w", encoding="utf-8") as file:  # in place: a container may have it mounted
                    file.write(text)
                os.chmod(path, 0o644)

        await trio.to_thread.run_sync(write, limiter=self._limiter)

    def ready(self, namespace: str, container: str) -> bool:
        """Return whether `mark_ready` was said of the namespace that is pinned there now."""
        path = self.netns(namespace, container)
        return netns.pinned(path) and os.path.exists(os.path.join(os.path.dirname(path), _READY))

    def mark_ready(self, namespace: str, container: str) -> None:
        directory = os.path.dirname(self.netns(namespace, container))
        with open(os.path.join(directory, _READY), "ab"):
            pass

    def note_held(self, namespace: str, container: str, *, held: bool) -> None:
        """Note whether nothing gets through to a container, for an agent that comes after this one."""
        path = os.path.join(os.path.dirname(self.netns(namespace, container)), _HELD)
        if held:
            with open(path, "ab"):
                pass
        else:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def is_held(self, namespace: str, container: str) -> bool:
        """Return whether that was noted of a container."""
        return os.path.exists(os.path.join(os.path.dirname(self.netns(namespace, container)), _HELD))

    def held(self) -> set[tuple[str, str]]:
        """Return (namespace, container) of all of which that was noted."""
        return {key for key in self.on_disk() if self.is_held(*key)}

    async def remove(self, namespace: str, container: str) -> None:
        """Remove the namespace and the files."""
        await trio.to_thread.run_sync(self._remove, namespace, container, limiter=self._limiter)

    def _remove(self, namespace: str, container: str) -> None:
        path = self.netns(namespace, container)
        directory = os.path.dirname(path)
        if os.path.isdir(directory):
            netns.remove(path)
            shutil.rmtree(directory, ignore_errors=True)
        with suppress(OSError):
            os.rmdir(os.path.dirname(directory))

    def on_disk(self) -> set[tuple[str, str]]:
        """Return (namespace, container) of all there are."""
        found = set()
        for namespace in _entries(self._directory):
            if namespace != _TABLE:
                found |= {(namespace, name) for name in _entries(os.path.join(self._directory, namespace))}
        return found

    # ------------------------------------------------------------ the packet rules' mark
    @property
    def has_rules(self) -> bool:
        """Whether the kernel may have rules of this agent."""
        return os.path.exists(os.path.join(self._directory, _TABLE))

    def note_rules(self, *, there: bool) -> None:
        path = os.path.join(self._directory, _TABLE)
        if there:
            os.makedirs(self._directory, exist_ok=True)
            with open(path, "ab"):
                pass
        else:
            with suppress(FileNotFoundError):
                os.unlink(path)


def _resolver_of_node() -> str:
    text = ""
    for path in _RESOLVERS:
        with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(64 * 1024)
            if has_server(text):
                break
    return text


def _entries(path: str) -> list[str]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.listdir(path)
    return []
