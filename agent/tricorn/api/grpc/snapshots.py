"""containerd's snapshot service: keys, parents and mounts.

A foreign daemon that keeps its layers here (see `service.snapshot_places`) calls without a namespace at
times, so each method asks for the role in the place that the call turns out to be about.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from tricorn import wire
from tricorn.api.grpc.face import ANYWHERE, NAMESPACE_KEY, Face, FaceCall, rpc
from tricorn.api.grpc.mount_messages import mount_messages
from tricorn.model.records import Snapshot, SnapshotKind
from tricorn.rules.authorise import Role
from tricorn.service.snapshot_places import PROXIED, Place

snapshots: Final = wire.package("containerd.services.snapshots.v1")
EMPTY: Final = wire.message("google.protobuf.Empty")
_KINDS: Final = {SnapshotKind.VIEW: 1, SnapshotKind.ACTIVE: 2, SnapshotKind.COMMITTED: 3}
_BATCH: Final = 100  # snapshots in one answer of a list


class SnapshotsFace(Face):
    service: ClassVar[str] = "containerd.services.snapshots.v1.Snapshots"

    def _place(self, call: FaceCall, request: Any, role: Role) -> Place:
        # Asked of the call, a missing namespace is an error of its own.
        optional = request.snapshotter == PROXIED
        namespace = call.metadata.get(NAMESPACE_KEY, "") if optional else call.namespace
        place = self.services.snapshots.place(namespace, request.snapshotter)
        call.require(None if place.foreign else place.namespace, role)
        return place

    @rpc("Prepare", Role.OPERATE, scope=ANYWHERE)
    async def prepare(self, call: FaceCall, request: Any) -> Any:
        place = self._place(call, request, Role.OPERATE)
        made = await self.services.snapshots.prepare(
            place.namespace, place.snapshotter, request.key, request.parent,
            labels=place.labels(request.labels), lease=place.lease(call.lease),
        )  # fmt: skip
        return snapshots.PrepareSnapshotResponse(mounts=mount_messages(made))

    @rpc("View", Role.OPERATE, scope=ANYWHERE)
    async def view(self, call: FaceCall, request: Any) -> Any:
        place = self._place(call, request, Role.OPERATE)
        made = await self.services.snapshots.view(
            place.namespace, place.snapshotter, request.key, request.parent,
            labels=place.labels(request.labels), lease=place.lease(call.lease),
        )  # fmt: skip
        return snapshots.ViewSnapshotResponse(mounts=mount_messages(made))

    @rpc("Mounts", Role.READ, scope=ANYWHERE, quick=True)
    async def mounts(self, call: FaceCall, request: Any) -> Any:
        place = self._place(call, request, Role.READ)
        found = await self.services.snapshots.mounts(place.namespace, place.snapshotter, request.key)
        return snapshots.MountsResponse(mounts=mount_messages(found))

    @rpc("Commit", Role.OPERATE, scope=ANYWHERE)
    async def commit(self, call: FaceCall, request: Any) -> Any:
        place = self._place(call, request, Role.OPERATE)
        await self.services.snapshots.commit(
            place.namespace, place.snapshotter, request.name, request.key, parent=request.parent,
            labels=place.labels(request.labels), lease=place.lease(call.lease),
        )  # fmt: skip
        return EMPTY()

    @rpc("Remove", Role.OPERATE, scope=ANYWHERE)
    async def remove(self, call: FaceCall, request: Any) -> Any:
        place = self._place(call, request, Role.OPERATE)
        await self.services.snapshots.delete(place.namespace, place.snapshotter, request.key)
        return EMPTY()

    @rpc("Stat", Role.READ, scope=ANYWHERE, quick=True)
    async def stat(self, call: FaceCall, request: Any) -> Any:
        place = self._place(call, request, Role.READ)
        found = await self.services.snapshots.get(place.namespace, place.snapshotter, request.key)
        return snapshots.StatSnapshotResponse(info=_info(place, found))

    @rpc("Update", Role.OPERATE, scope=ANYWHERE)
    async def update(self, call: FaceCall, request: Any) -> Any:
        place = self._place(call, request, Role.OPERATE)
        changed = await self.services.snapshots.update(
            place.namespace, place.snapshotter, request.info.name, place.labels(request.info.labels),
            tuple(request.update_mask.paths),
        )  # fmt: skip
        return snapshots.UpdateSnapshotResponse(info=_info(place, changed))

    @rpc("List", Role.READ, scope=ANYWHERE)
    async def list(self, call: FaceCall, request: Any) -> None:
        place = self._place(call, request, Role.READ)
        found = await self.services.snapshots.list(place.namespace, place.snapshotter, tuple(request.filters))
        for start in range(0, len(found), _BATCH):
            part = found[start : start + _BATCH]
            await call.send(snapshots.ListSnapshotsResponse(info=[_info(place, one) for one in part]))

    @rpc("Usage", Role.READ, scope=ANYWHERE)
    async def usage(self, call: FaceCall, request: Any) -> Any:
        place = self._place(call, request, Role.READ)
        used = await self.services.snapshots.usage(place.namespace, place.snapshotter, request.key)
        return snapshots.UsageResponse(size=used.size, inodes=used.inodes)

    @rpc("Cleanup", Role.OPERATE, scope=ANYWHERE)
    async def cleanup(self, call: FaceCall, request: Any) -> Any:
        place = self._place(call, request, Role.OPERATE)
        await self.services.gc.clean(place.snapshotter)
        return EMPTY()


def _info(place: Place, snapshot: Snapshot) -> Any:
    return snapshots.Info(
        name=snapshot.key,
        parent=snapshot.parent,
        kind=_KINDS[snapshot.kind],
        created_at=wire.timestamp(snapshot.created_at),
        updated_at=wire.timestamp(snapshot.updated_at),
        labels=place.shown(snapshot.labels),
    )
