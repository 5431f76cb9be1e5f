"""Sandboxes: the store keeps their records; controllers, which run them, are not there yet."""

from __future__ import annotations

from typing import Any, Final

from tricorn import wire
from tricorn.api.grpc.face import Face, FaceCall, rpc
from tricorn.api.grpc.payloads import any_message, any_value
from tricorn.model.records import Sandbox, SandboxRuntime
from tricorn.rules.authorise import Role

_MESSAGES: Final = wire.package("containerd.services.sandbox.v1")
_TYPES: Final = wire.package("containerd.types")
_NO_CONTROLLER: Final = "this agent runs no sandboxes yet; the store keeps their records"


class SandboxStoreFace(Face):
    service = "containerd.services.sandbox.v1.Store"

    @rpc("Create", Role.OPERATE)
    async def create(self, call: FaceCall, request: Any) -> Any:
        made = await self.services.sandboxes.create(call.namespace, _record(request.sandbox))
        return _MESSAGES.StoreCreateResponse(sandbox=_message(made))

    @rpc("Update", Role.OPERATE)
    async def update(self, call: FaceCall, request: Any) -> Any:
        changed = await self.services.sandboxes.update(
            call.namespace, _record(request.sandbox), list(request.fields)
        )
        return _MESSAGES.StoreUpdateResponse(sandbox=_message(changed))

    @rpc("Delete", Role.OPERATE)
    async def delete(self, call: FaceCall, request: Any) -> Any:
        await self.services.sandboxes.delete(call.namespace, request.sandbox_id)
        return _MESSAGES.StoreDeleteResponse()

    @rpc("List", Role.READ)
    async def list(self, call: FaceCall, request: Any) -> Any:
        found = await self.services.sandboxes.list(call.namespace, list(request.filters))
        return _MESSAGES.StoreListResponse(list=map(_message, found))

    @rpc("Get", Role.READ)
    async def get(self, call: FaceCall, request: Any) -> Any:
        found = await self.services.sandboxes.get(call.namespace, request.sandbox_id)
        return _MESSAGES.StoreGetResponse(sandbox=_message(found))


class SandboxControllerFace(Face):
    service = "containerd.services.sandbox.v1.Controller"
    missing = dict.fromkeys(
        ("Create", "Start", "Platform", "Stop", "Wait", "Status", "Shutdown", "Metrics", "Update"),
        _NO_CONTROLLER,
    )


def _record(message: Any) -> Sandbox:
    return Sandbox(
        message.sandbox_id,
        SandboxRuntime(message.runtime.name, any_value(message.runtime.options)),
        spec=any_value(message.spec),
        sandboxer=message.sandboxer,
        labels=dict(message.labels),
        extensions={name: kept for name, value in message.extensions.items() if (kept := any_value(value))},
    )


def _message(sandbox: Sandbox) -> Any:
    options, spec = sandbox.runtime.options, sandbox.spec
    return _TYPES.Sandbox(
        sandbox_id=sandbox.id,
        runtime=_TYPES.Sandbox.Runtime(
            name=sandbox.runtime.name, options=any_message(options) if options else None
        ),
        spec=any_message(spec) if spec else None,
        labels=sandbox.labels,
        created_at=wire.timestamp(sandbox.created_at),
        updated_at=wire.timestamp(sandbox.updated_at),
        extensions={name: any_message(value) for name, value in sandbox.extensions.items()},
        sandboxer=sandbox.sandboxer,
    )
