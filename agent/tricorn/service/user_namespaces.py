"""Containers in user namespaces of their own: which ids they get, and layers that belong to those.

A container's ids are those of its spec: they are free again when its record is gone, and no crash loses them.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final
from uuid import uuid4

import structlog
import trio
from attrs import evolve, frozen

from tricorn import limits
from tricorn.errors import AlreadyExists, FailedPrecondition
from tricorn.failpoints import failpoint
from tricorn.fs.failures import typed
from tricorn.fs.idmapped import Owners
from tricorn.fs.shifting import shift_tree
from tricorn.model.id_spans import Span
from tricorn.model.requests import ContainerDesired
from tricorn.rules.id_ranges import free_span, granted, require_regainable
from tricorn.rules.user_namespaces import (
    IdMaps,
    IdRange,
    is_automatic,
    maps_in,
    owner_labels,
    shifted_key,
    spans_of,
    wanted_maps,
)
from tricorn.service.held_lease import held_lease
from tricorn.service.locks import KeyedLock
from tricorn.service.mounts import MountService
from tricorn.service.snapshots import SnapshotService
from tricorn.store.db import Database

log = structlog.get_logger(__name__)
_LIMITER: Final = trio.CapacityLimiter(1)  # bound by the disk
_FILES: Final = ("/etc/subuid", "/etc/subgid")


@frozen
class IdSettings:
    """`user` names whose ranges of /etc/subuid and /etc/subgid are used; "": the ids of `span` that those
    files give to nobody. Each container gets `size`. `shifted`: layers are shifted even where mounts could
    map them.
    """

    span: Span
    size: int = 65536
    user: str = ""
    shifted: bool = False
    files: tuple[str, str] = _FILES


@frozen
class Placed:
    """A container as it is made: with the ids that it was given, standing on the snapshot `top`. `maps` are
    those that its mounts have to show.
    """

    desired: ContainerDesired
    top: str
    maps: IdMaps | None = None


@frozen
class _Held:
    uids: tuple[Span, ...]
    gids: tuple[Span, ...]


class UserNamespaces:
    def __init__(
        self, db: Database, snapshots: SnapshotService, mounts: MountService, settings: IdSettings
    ) -> None:
        self._db = db
        self._snapshots = snapshots
        self._mounts = mounts
        self._settings = settings
        if settings.shifted:
            snapshots.no_maps = "the configuration has layers shifted (`user_namespaces.layers`)"
        self._choosing = trio.Lock()
        self._shifting = KeyedLock()
        self._held: list[_Held] = []  # by containers that are not on record yet

    @asynccontextmanager
    async def placed(
        self, namespace: str, desired: ContainerDesired, snapshotter: str, top: str
    ) -> AsyncIterator[Placed]:
        """Give ids and layers to a container that is made within the context, and put on record in it.

        ResourceExhausted when all ids are taken; InvalidArgument for malformed mappings; FailedPrecondition
        where files that should tell the ids don't.
        """
        async with AsyncExitStack() as stack:
            if is_automatic(desired):
                maps = await stack.enter_async_context(self._chosen())
                desired = evolve(
                    desired, uid_map=tuple(map(str, maps.uids)), gid_map=tuple(map(str, maps.gids))
                )
            wanted = wanted_maps(desired)
            if wanted is None or not top or not await self._must_shift(snapshotter):
                yield Placed(desired, top, wanted)
                return
            lease = await stack.enter_async_context(held_lease(self._db, namespace, "shift"))
            yield Placed(desired, await self._shifted(namespace, snapshotter, top, wanted, lease))

    # ------------------------------------------------------------ ids
    @asynccontextmanager
    async def _chosen(self) -> AsyncIterator[IdMaps]:
        """Hold ids that no other container has."""
        size = self._settings.size
        async with self._choosing:
            pools = await trio.to_thread.run_sync(self._pools, limiter=_LIMITER)
            taken = await self._taken()
            uids, gids = (
                free_span(
                    pool, [*others, *(span for each in taken for span in getattr(each, kind))], size, what
                )
                for (pool, others), kind, what in zip(
                    pools, ("uids", "gids"), ("user ids", "group ids"), strict=True
                )
            )
            held = _Held((uids,), (gids,))
            self._held.append(held)
        try:
            yield IdMaps((IdRange(0, uids.first, size),), (IdRange(0, gids.first, size),))
        finally:
            self._held.remove(held)

    @asynccontextmanager
    async def regained(self, maps: IdMaps) -> AsyncIterator[None]:
        """Hold the ids that dumped processes had, in place of ids that the agent chooses.

        Conflict when a container has some of them, FailedPrecondition for ids that are not set aside here.
        """
        held = _Held(*spans_of(maps))
        async with self._choosing:
            pools = await trio.to_thread.run_sync(self._pools, limiter=_LIMITER)
            taken = await self._taken()
            for (pool, others), kind in zip(pools, ("uids", "gids"), strict=True):
                used = [span for each in taken for span in getattr(each, kind)]
                require_regainable(getattr(held, kind), pool, others, used)
            self._held.append(held)
        try:
            yield
        finally:
            self._held.remove(held)

    async def _taken(self) -> list[_Held]:
        specs = await self._db.read(lambda tx: tx.containers.mapped_specs())
        return [_Held(*spans_of(maps)) for maps in map(maps_in, specs) if maps] + self._held

    def _pools(self) -> list[tuple[list[Span], list[Span]]]:
        """Return for users and groups the ids to choose from, and those among them that aren't to be had."""
        found = []
        for path in self._settings.files:
            text = _text(path)
            if not self._settings.user:
                found.append(([self._settings.span], granted(text)))
                continue
            pool = granted(text, (self._settings.user,))
            if not pool:
                raise FailedPrecondition(
                    f"{path} gives user {self._settings.user} no ids for containers",
                    why="`user_namespaces.user` of the configuration says that it does",
                    hint=f"for example the line `{self._settings.user}:1000000:6553600`",
                )
            found.append((pool, []))
        return found

    # ------------------------------------------------------------ layers
    async def _must_shift(self, snapshotter: str) -> bool:
        reason = await self._snapshots.unmapped(snapshotter)
        if reason:
            log.info("layers are shifted", snapshotter=snapshotter, why=reason)
        return bool(reason)

    async def _shifted(self, namespace: str, snapshotter: str, top: str, maps: IdMaps, lease: str) -> str:
        """Return a committed snapshot with the files of `top`, owned as in the user namespace."""
        key = shifted_key(top, maps)
        async with self._shifting.hold(namespace, f"{snapshotter}/{key}"):
            if await self._snapshots.hold(namespace, snapshotter, [key], lease):
                return key
            active = f"shift-{uuid4().hex}"
            items = await self._snapshots.prepare(namespace, snapshotter, active, top, lease=lease)
            try:
                owners = Owners(tuple(map(str, maps.uids)), tuple(map(str, maps.gids)))
                async with self._mounts.temporary(items) as directory:
                    await trio.to_thread.run_sync(partial(_shift, directory, owners), limiter=_LIMITER)
                failpoint("shift.shifted")
                await self._snapshots.commit(
                    namespace, snapshotter, key, active, labels=owner_labels(maps), lease=lease
                )
            except BaseException as error:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLEANUP_DEADLINE):
                    await self._snapshots.delete(namespace, snapshotter, active)
                if not isinstance(error, AlreadyExists):
                    raise
        return key


def _shift(directory: str, owners: Owners) -> None:
    try:
        shift_tree(directory, owners)
    except OSError as error:
        raise typed(error, "cannot give the layers to a user namespace") from error


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(limits.MIB).decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise FailedPrecondition(f"cannot read {path}", why=os.strerror(error.errno or 0)) from None
