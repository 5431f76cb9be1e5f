"""Mounts that clients have the agent make: activations, each below a directory of its own in the state dir.

Their records lie beside them, written before the first mount and completed after the last, so that a start
finds out what a crash has left: whole activations go on, what is incomplete or unmounted is taken down.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Final
from uuid import uuid4

import msgspec
import structlog
import trio
from attrs import Factory, evolve, frozen

from tricorn import limits
from tricorn.errors import AlreadyExists, InvalidArgument, NotFound, Unimplemented
from tricorn.failpoints import failpoint
from tricorn.fs import mounts, trees
from tricorn.fs.failures import typed
from tricorn.model import filters, ids
from tricorn.ports import Clock, FilesystemMount
from tricorn.rules.gc_labels import BACK_REFERENCE
from tricorn.rules.label_masks import label_changes_of
from tricorn.rules.plan import merged_labels
from tricorn.rules.reach import Kind, Node, Object
from tricorn.service.locks import KeyedLock
from tricorn.store.db import Database
from tricorn.store.gc_graph import Outside

log = structlog.get_logger(__name__)

_RECORD: Final = "activation.json"
_NAME: Final = 1024
_LIMITER: Final = trio.CapacityLimiter(4)


@frozen
class ActiveMount:
    """A mount that the agent has made at `mount_point`."""

    mount: FilesystemMount
    mount_point: str
    mounted_at: datetime


@frozen
class Activation:
    """`system` are the mounts that show it to whoever makes them. It ends with its lease, if it has one,
    or with what its back references name.
    """

    namespace: str
    name: str
    active: tuple[ActiveMount, ...] = ()
    system: tuple[FilesystemMount, ...] = ()
    labels: Mapping[str, str] = Factory(dict)
    lease: str = ""
    complete: bool = False


class MountService:
    """Keeps activations below `directory`, which is private to it."""

    def __init__(self, directory: str, db: Database, clock: Clock) -> None:
        self._directory = directory
        self._db = db
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[str, Activation]] = {}  # with the directory
        self._locks = KeyedLock()

    async def recover(self) -> None:
        """Take up the activations of the agent before, and take down what it left half-made."""
        await trio.to_thread.run_sync(self._recover, limiter=_LIMITER)

    def outside(self) -> list[Outside]:
        """Return the activations as the collector sees them: one without a lease and without a back
        reference stays until it is deactivated.
        """
        return [_outside(item) for _, item in self._known.values()]

    # ------------------------------------------------------------ clients
    async def activate(
        self, namespace: str, name: str, items: Sequence[FilesystemMount], *, temporary: bool = False,
        labels: Mapping[str, str] | None = None, lease: str = "",
    ) -> Activation:  # fmt: skip
        """Make the mounts, each at a place of its own, and return how to reach the last one.

        Unimplemented unless `temporary`: the node can make all of these kinds itself. AlreadyExists for an
        active name; NotFound for the lease.
        """
        _check_name(name)
        checked = ids.labels(labels or {})
        if not items:
            raise InvalidArgument("an activation needs mounts", field="mounts")
        if not temporary:
            raise Unimplemented("no mount needs the agent", why="the caller can make all of them itself")
        async with self._locks.hold(namespace, name):
            if (namespace, name) in self._known:
                raise AlreadyExists(f"mount {name} is active already in namespace {namespace}")
            if lease:
                await self._db.read(lambda tx: tx.leases.get(namespace, lease))
            wanted = Activation(namespace, name, labels=checked, lease=lease)
            path = os.path.join(self._directory, uuid4().hex)
            with trio.CancelScope(shield=True):  # a few system calls; nobody else would undo them
                made = await trio.to_thread.run_sync(self._mount, path, wanted, items, limiter=_LIMITER)
            self._known[namespace, name] = path, made
            return made

    async def deactivate(self, namespace: str, name: str) -> None:
        """Unmount all of it. NotFound; FailedPrecondition while something uses it."""
        async with self._locks.hold(namespace, name):
            path, activation = self._find(namespace, name)
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._unmount, path, activation, limiter=_LIMITER)
            del self._known[namespace, name]

    async def info(self, namespace: str, name: str) -> Activation:
        """NotFound."""
        return self._find(namespace, name)[1]

    async def update(
        self, namespace: str, name: str, labels: Mapping[str, str], paths: Sequence[str] = ()
    ) -> Activation:
        """Change labels as the field mask `paths` says (none: replace all). NotFound, InvalidArgument."""
        async with self._locks.hold(namespace, name):
            path, old = self._find(namespace, name)
            changes = label_changes_of(old.labels, labels, paths, f"mount {name}")
            new = evolve(old, labels=ids.labels(merged_labels(old.labels, changes)))
            await trio.to_thread.run_sync(_write, path, new, limiter=_LIMITER)
            self._known[namespace, name] = path, new
            return new

    async def list(self, namespace: str, expressions: Sequence[str] = ()) -> list[Activation]:
        """Return the namespace's activations that match any of the filters, by name."""
        found = [item for _, (_, item) in sorted(self._known.items()) if item.namespace == namespace]
        return filters.select(expressions, found)

    # ------------------------------------------------------------ the agent itself
    @asynccontextmanager
    async def temporary(self, items: Sequence[FilesystemMount]) -> AsyncIterator[str]:
        """Have the mounts made one over another at a path of their own for the length of the context."""
        path = os.path.join(self._directory, uuid4().hex)
        target = os.path.join(path, "1")
        try:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_mount_at, items, target, limiter=_LIMITER)
            yield target
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._take_down, path, limiter=_LIMITER)

    async def collect(self, node: Node) -> None:
        """Take an activation down that nothing keeps. FailedPrecondition while something uses it."""
        with suppress(NotFound):
            await self.deactivate(node.namespace, node.key)

    # ------------------------------------------------------------ in threads
    def _find(self, namespace: str, name: str) -> tuple[str, Activation]:
        try:
            return self._known[namespace, name]
        except KeyError:
            raise NotFound(f"mount {name} is not active in namespace {namespace}") from None

    def _mount(self, path: str, wanted: Activation, items: Sequence[FilesystemMount]) -> Activation:
        try:
            os.makedirs(path, mode=0o700)
            _write(path, wanted)
            active = []
            for number, item in enumerate(items, 1):
                point = os.path.join(path, str(number))
                _mount_at([item], point)
                failpoint("mounts.mounted")
                active.append(ActiveMount(item, point, self._clock.now()))
            shown = FilesystemMount("bind", active[-1].mount_point, ("rbind",))
            made = evolve(wanted, active=tuple(active), system=(shown,), complete=True)
            _write(path, made)
        except BaseException:
            self._take_down(path)
            raise
        failpoint("mounts.recorded")
        return made

    def _unmount(self, path: str, activation: Activation) -> None:
        for item in reversed(activation.active):
            mounts.unmount(item.mount_point)
        failpoint("mounts.unmounted")
        self._take_down(path)

    def _take_down(self, path: str) -> None:
        for point in mounts.mounted_below(path):
            mounts.unmount(point, detach=True)
        try:
            parent = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            trees.remove_tree(parent, os.path.basename(path))
        except OSError as error:
            raise typed(error, f"cannot remove {path}") from error
        finally:
            os.close(parent)

    def _recover(self) -> None:
        with suppress(FileNotFoundError):
            for entry in sorted(os.listdir(self._directory)):
                path = os.path.join(self._directory, entry)
                found = _read(path)
                if (
                    found
                    and found.complete
                    and all(os.path.ismount(item.mount_point) for item in found.active)
                ):
                    self._known[found.namespace, found.name] = path, found
                    continue
                self._take_down(path)
                log.info("unfinished mount taken down", path=path)


def _outside(item: Activation) -> Outside:
    tied = bool(item.lease) or any(key.startswith(BACK_REFERENCE) for key in item.labels)
    node = Node(Kind.MOUNT, item.namespace, item.name)
    return Outside(
        Object(node, item.labels, pinned="" if tied else "mounts stay until deactivated"), item.lease
    )


def _mount_at(items: Sequence[FilesystemMount], target: str) -> None:
    try:
        os.makedirs(target, mode=0o700, exist_ok=True)
    except OSError as error:
        raise typed(error, f"cannot make {target}") from error
    mounts.mount_all(items, target)


def _write(path: str, activation: Activation) -> None:
    """Write the record, whole or not at all. The state dir is memory: there is nothing to sync."""
    new = os.path.join(path, _RECORD + ".new")
    try:
        with open(new, "wb") as file:
            file.write(msgspec.json.encode(activation))
        os.rename(new, os.path.join(path, _RECORD))
    except OSError as error:
        raise typed(error, f"cannot record a mount in {path}") from error


def _read(path: str) -> Activation | None:
    try:
        with open(os.path.join(path, _RECORD), "rb") as file:
            return msgspec.json.decode(file.read(limits.MIB), type=Activation)
    except (OSError, msgspec.MsgspecError):
        return None


def _check_name(name: str) -> None:
    if not name or len(name) > _NAME or "\0" in name:
        raise InvalidArgument(
            "a mount's name is malformed", why=f"1 to {_NAME} characters, no NUL", field="name"
        )
