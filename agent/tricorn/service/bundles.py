"""Where containers live on the node: bundle directories in the state dir, logs in the root dir."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import msgspec
import trio

from tricorn.fs.mounts import mount_all, mounted_below, unmount
from tricorn.model.records import Container, Task
from tricorn.ports import BundleRef, FilesystemMount
from tricorn.private_directories import ensure_directory, make_directory
from tricorn.rules.client_spec import mapped_group, wants_terminal
from tricorn.rules.user_namespaces import IdMaps, maps_in


class Bundles:
    """Makes and removes bundles. Every removal is idempotent, for recovery repeats it."""

    def __init__(self, root: str, state: str, log_size: int, log_files: int) -> None:
        self._bundles = os.path.join(state, "bundles")
        self._logs = os.path.join(root, "containers")
        self._dumps = os.path.join(root, "restores")
        self._log_size = log_size
        self._log_files = log_files
        self._limiter = trio.CapacityLimiter(8)

    def path(self, namespace: str, container: str) -> str:
        return os.path.join(self._bundles, namespace, container)

    def rootfs(self, namespace: str, container: str) -> str:
        return os.path.join(self.path(namespace, container), "rootfs")

    def dump(self, namespace: str, container: str) -> str:
        """Return where the dump lies that a container is to be restored from; it goes with the bundle."""
        return os.path.join(self._dumps, namespace, container)

    def ref(self, namespace: str, container: Container, task: Task | None = None) -> BundleRef:
        """Return what the runtime needs to know of a container, and of its task if it has one."""
        desired = container.desired  # as it was checked when it came: to structure it anew takes longer
        if task:
            terminal = task.terminal
        else:
            terminal = bool(desired.get("terminal")) if desired else wants_terminal(container.spec)
        return BundleRef(
            namespace=namespace,
            id=container.id,
            bundle=self.path(namespace, container.id),
            log=os.path.join(self._logs, namespace, container.id, "log"),
            runtime=(task.runtime if task else "") or container.runtime,
            terminal=terminal,
            stdin=bool(desired.get("stdin")),
            log_size=desired.get("log_size") or self._log_size,
            log_files=desired.get("log_files") or self._log_files,
            stdio=task.stdio if task else None,
        )

    def maps(self, container: Container) -> IdMaps | None:
        """Return the mappings of a container with a user namespace of its own, whose request is known."""
        return maps_in(container.spec) if container.desired else None

    async def make(self, namespace: str, container: str, mounts: Sequence[FilesystemMount]) -> None:
        """Make the bundle directory with the root file system mounted in it."""

        def work() -> None:
            self._make_directories(namespace, container)
            mount_all(mounts, self.rootfs(namespace, container))

        await trio.to_thread.run_sync(work, limiter=self._limiter)

    def _make_directories(self, namespace: str, container: str) -> None:
        ensure_directory(os.path.join(self._logs, namespace, container))
        ensure_directory(self.rootfs(namespace, container))

    def ready(self, namespace: str, container: str) -> bool:
        """Return whether the bundle is there with its root file system mounted."""
        return os.path.ismount(self.rootfs(namespace, container))

    async def write_config(self, namespace: str, container: str, spec: bytes) -> None:
        """Write the bundle's config.json, whole or not at all; it goes into memory, as a rule."""
        await trio.lowlevel.checkpoint()
        self._write_config(namespace, container, spec)

    def _write_config(self, namespace: str, container: str, spec: bytes) -> None:
        bundle = self.path(namespace, container)
        let_through(bundle, spec)
        path = os.path.join(bundle, "config.json")
        with open(path + ".new", "wb") as file:
            file.write(spec)
        os.rename(path + ".new", path)

    async def renew(self, namespace: str, container: str) -> None:
        """Make the directory of a task's bundle in place of an earlier one's; it is in memory, as a rule."""
        bundle = self.path(namespace, container)
        try:
            make_directory(bundle)
        except FileExistsError:
            await self.remove(namespace, container)
            make_directory(bundle)
        await trio.lowlevel.checkpoint()

    async def lay_out(
        self, namespace: str, container: str, mounts: Sequence[FilesystemMount], spec: bytes
    ) -> None:
        """Fill the bundle of a task: root file system and config."""

        def work() -> None:
            self._make_directories(namespace, container)
            mount_all(mounts, self.rootfs(namespace, container))
            self._write_config(namespace, container, spec)

        await trio.to_thread.run_sync(work, limiter=self._limiter)

    async def drop_dump(self, namespace: str, container: str) -> None:
        """Remove what a container was restored from, if an agent that ended left it; idempotent."""
        remove = partial(shutil.rmtree, self.dump(namespace, container), ignore_errors=True)
        await trio.to_thread.run_sync(remove, limiter=self._limiter)

    async def remove(self, namespace: str, container: str, *, logs: bool = False) -> None:
        """Unmount and remove the bundle; with `logs` the log files too."""
        await trio.to_thread.run_sync(self._remove, namespace, container, logs, limiter=self._limiter)

    async def remove_all(self, namespace: str, container: str) -> None:
        """Remove the bundle and the log files."""
        await self.remove(namespace, container, logs=True)

    def _remove(self, namespace: str, container: str, logs: bool) -> None:
        bundle = self.path(namespace, container)
        if os.path.isdir(bundle):
            unmount(os.path.join(bundle, "rootfs"), detach=True)
            for leftover in reversed(mounted_below(bundle)):
                unmount(leftover, detach=True)
            shutil.rmtree(bundle, ignore_errors=True)
        if os.path.isdir(dump := self.dump(namespace, container)):
            shutil.rmtree(dump, ignore_errors=True)
        if logs:
            shutil.rmtree(os.path.join(self._logs, namespace, container), ignore_errors=True)
        for base in (self._bundles, self._logs, self._dumps):
            with suppress(OSError):
                os.rmdir(os.path.join(base, namespace))

    def on_disk(self) -> set[tuple[str, str]]:
        """Return (namespace, container) of every bundle and log directory there is."""
        found: set[tuple[str, str]] = set()
        for base in (self._bundles, self._logs, self._dumps):
            for namespace in _directories(base):
                found.update((namespace, name) for name in _directories(os.path.join(base, namespace)))
        return found


def let_through(bundle: str, spec: bytes) -> None:
    """Open the way into a bundle to the root of its user namespace, if it has one: the runtime goes there as
    that.
    """
    group = mapped_group(spec) if b'"gidMappings"' in spec else 0
    if group:
        os.chmod(os.path.dirname(bundle), 0o711)  # noqa: S103 - to be passed, not to be listed
        os.chown(bundle, -1, group)
        os.chmod(bundle, 0o710)  # noqa: S103 - for that group only


def _directories(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def encode_spec(spec: object) -> bytes:
    """Return a spec as the JSON that is stored and given to the runtime."""
    return msgspec.json.encode(spec)
