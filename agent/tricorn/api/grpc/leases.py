"""Leases, and what they hold."""

from __future__ import annotations

from typing import Any, Final

from tricorn import wire
from tricorn.api.grpc.face import Face, FaceCall, rpc
from tricorn.model.records import Lease, LeaseResource
from tricorn.rules.authorise import Role

_MESSAGES: Final = wire.package("containerd.services.leases.v1")
_EMPTY: Final = wire.message("google.protobuf.Empty")


class LeasesFace(Face):
    service = "containerd.services.leases.v1.Leases"

    @rpc("Create", Role.OPERATE)
    async def create(self, call: FaceCall, request: Any) -> Any:
        """A lease lasts until it is deleted, unless a label says when it expires."""
        lease = await self.services.leases.create(
            call.namespace, request.id or None, dict(request.labels), expire_seconds=0
        )
        return _MESSAGES.CreateResponse(lease=_message(lease))

    @rpc("Delete", Role.OPERATE)
    async def delete(self, call: FaceCall, request: Any) -> Any:
        await self.services.leases.delete(call.namespace, request.id, sync=request.sync)
        return _EMPTY()

    @rpc("List", Role.READ)
    async def list(self, call: FaceCall, request: Any) -> Any:
        leases = await self.services.leases.list(call.namespace, list(request.filters))
        return _MESSAGES.ListResponse(leases=map(_message, leases))

    @rpc("AddResource", Role.OPERATE)
    async def add_resource(self, call: FaceCall, request: Any) -> Any:
        await self.services.leases.add_resource(call.namespace, request.id, _resource(request))
        return _EMPTY()

    @rpc("DeleteResource", Role.OPERATE)
    async def delete_resource(self, call: FaceCall, request: Any) -> Any:
        await self.services.leases.remove_resource(call.namespace, request.id, _resource(request))
        return _EMPTY()

    @rpc("ListResources", Role.READ)
    async def list_resources(self, call: FaceCall, request: Any) -> Any:
        held = await self.services.leases.resources(call.namespace, request.id)
        return _MESSAGES.ListResourcesResponse(
            resources=[_MESSAGES.Resource(id=item.id, type=item.type) for item in held]
        )


def _resource(request: Any) -> LeaseResource:
    return LeaseResource(request.resource.type, request.resource.id)


def _message(lease: Lease) -> Any:
    return _MESSAGES.Lease(id=lease.id, created_at=wire.timestamp(lease.created_at), labels=lease.labels)
