"""Sandboxes: the store keeps their records, the controller runs them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from attrs import evolve

from tricorn import wire
from tricorn.api.grpc.face import Face, FaceCall, rpc
from tricorn.api.grpc.metrics_v1 import metrics_v1
from tricorn.api.grpc.metrics_v2 import metrics_v2
from tricorn.api.grpc.payloads import any_message, any_value, binary_of
from tricorn.errors import InvalidArgument, Unimplemented
from tricorn.model.processes import CgroupFiles
from tricorn.model.records import Sandbox, SandboxRuntime
from tricorn.model.sandbox_instances import SandboxState, SandboxStatus
from tricorn.rules.authorise import Role
from tricorn.service.sandbox_controller import SandboxController

_MESSAGES: Final = wire.package("containerd.services.sandbox.v1")
_TYPES: Final = wire.package("containerd.types")
# The states as CRI has them; one that was created and not started has no name there.
_STATES: Final = {
    SandboxState.CREATED: "SANDBOX_CREATED",
    SandboxState.RUNNING: "SANDBOX_READY",
    SandboxState.EXITED: "SANDBOX_NOTREADY",
}
# What would have no effect here.
_REFUSED: Final = {
    "rootfs": "the process that holds it has a root file system of its own, with nothing else in it",
    "options": "a sandbox is described by its OCI spec",
}


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
    """`sandboxer` "" stands for the only controller there is: not all clients name one."""

    service = "containerd.services.sandbox.v1.Controller"

    @rpc("Create", Role.OPERATE)
    async def create(self, call: FaceCall, request: Any) -> Any:
        controller = self._controller(call, request)
        for field, why in _REFUSED.items():
            if getattr(request, field) if field == "rootfs" else request.HasField(field):
                raise Unimplemented(f"a sandbox with {field}", why=why, field=field)
        if not request.HasField("sandbox"):
            raise InvalidArgument("the sandbox to create is not described", field="sandbox")
        record = evolve(_record(request.sandbox), id=request.sandbox_id or request.sandbox.sandbox_id)
        await controller.create(
            call.namespace, record, netns=request.netns_path, annotations=dict(request.annotations),
            binary=binary_of(record.runtime.options),
        )  # fmt: skip
        return _MESSAGES.ControllerCreateResponse(sandbox_id=record.id)

    @rpc("Start", Role.OPERATE)
    async def start(self, call: FaceCall, request: Any) -> Any:
        started = await self._controller(call, request).start(call.namespace, request.sandbox_id)
        return _MESSAGES.ControllerStartResponse(
            sandbox_id=started.id,
            pid=started.init.pid if started.init else 0,
            created_at=wire.timestamp(started.created_at),
        )

    @rpc("Platform", Role.READ)
    async def platform(self, call: FaceCall, request: Any) -> Any:
        machine = await self._controller(call, request).platform(call.namespace, request.sandbox_id)
        return _MESSAGES.ControllerPlatformResponse(
            platform=_TYPES.Platform(
                os=machine.os, architecture=machine.architecture, variant=machine.variant
            )
        )

    @rpc("Stop", Role.OPERATE)
    async def stop(self, call: FaceCall, request: Any) -> Any:
        controller = self._controller(call, request)
        await controller.stop(call.namespace, request.sandbox_id, float(request.timeout_secs))
        return _MESSAGES.ControllerStopResponse()

    @rpc("Wait", Role.READ, endless=True)
    async def wait(self, call: FaceCall, request: Any) -> Any:
        end = await self._controller(call, request).wait(call.namespace, request.sandbox_id)
        return _MESSAGES.ControllerWaitResponse(exit_status=end.code, exited_at=wire.timestamp(end.at))

    @rpc("Status", Role.READ)
    async def status(self, call: FaceCall, request: Any) -> Any:
        found = await self._controller(call, request).status(call.namespace, request.sandbox_id)
        return _MESSAGES.ControllerStatusResponse(
            sandbox_id=found.id,
            pid=found.pid,
            state=_STATES[found.state] if found.state else "",
            info=_info(found) if request.verbose and found.state else {},
            created_at=wire.timestamp(found.created_at),
            exited_at=wire.timestamp(found.exited_at),
        )

    @rpc("Shutdown", Role.OPERATE)
    async def shutdown(self, call: FaceCall, request: Any) -> Any:
        await self._controller(call, request).shutdown(call.namespace, request.sandbox_id)
        return _MESSAGES.ControllerShutdownResponse()

    @rpc("Metrics", Role.READ)
    async def metrics(self, call: FaceCall, request: Any) -> Any:
        figures = await self._controller(call, request).figures(call.namespace, request.sandbox_id)
        return _MESSAGES.ControllerMetricsResponse(
            metrics=_TYPES.Metric(
                timestamp=wire.timestamp(datetime.now(UTC)), id=request.sandbox_id, data=_sample(figures)
            )
        )

    @rpc("Update", Role.OPERATE)
    async def update(self, call: FaceCall, request: Any) -> Any:
        controller = self._controller(call, request)
        if not request.HasField("sandbox"):
            raise InvalidArgument("the sandbox to follow is not described", field="sandbox")
        record = _record(request.sandbox)
        await controller.update(call.namespace, request.sandbox_id, record, list(request.fields))
        return _MESSAGES.ControllerUpdateResponse()

    def _controller(self, call: FaceCall, request: Any) -> SandboxController:
        """FailedPrecondition without a namespace, NotFound for a controller that isn't there, InvalidArgument
        without an id.
        """
        _ = call.namespace
        self.services.sandbox_controller.check(request.sandboxer)
        if not request.sandbox_id:
            raise InvalidArgument("the sandbox has no id", field="sandbox_id")
        return self.services.sandbox_controller


def _sample(figures: CgroupFiles) -> Any:
    return wire.any_of((metrics_v2 if figures.version == 2 else metrics_v1)(figures.files))


def _info(status: SandboxStatus) -> dict[str, str]:
    """Return what a verbose status tells beside the rest, as JSON under `info`, where CRI's clients look."""
    told = {"pid": status.pid, "runtimeType": status.runtime, "namespaces": status.namespaces}
    return {"info": msgspec.json.encode(told).decode()}


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
