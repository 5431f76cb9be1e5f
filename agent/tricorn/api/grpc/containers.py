"""Container records: containerd.services.containers.v1."""

from __future__ import annotations

from typing import Any, Final

from tricorn import wire
from tricorn.api.grpc.face import Face, FaceCall, rpc
from tricorn.api.grpc.payloads import SPEC, any_message, any_value, binary_of, packed_runc_options
from tricorn.errors import InvalidArgument
from tricorn.model.records import Container
from tricorn.rules.authorise import Role
from tricorn.rules.runtime_names import shown_binary, shown_runtime

_MESSAGES: Final = wire.package("containerd.services.containers.v1")


class ContainersFace(Face):
    """Records whichever door made them: those of the HTTP door show the runtime and spec they run with."""

    service = "containerd.services.containers.v1.Containers"

    @rpc("Get", Role.READ, quick=True)
    async def get(self, call: FaceCall, request: Any) -> Any:
        found = await self.services.container_records.get(call.namespace, request.id)
        return _MESSAGES.GetContainerResponse(container=message_of(found))

    @rpc("List", Role.READ)
    async def list(self, call: FaceCall, request: Any) -> Any:
        found = await self.services.container_records.list(call.namespace, request.filters)
        return _MESSAGES.ListContainersResponse(containers=map(message_of, found))

    @rpc("ListStream", Role.READ)
    async def list_stream(self, call: FaceCall, request: Any) -> None:
        for item in await self.services.container_records.list(call.namespace, request.filters):
            await call.send(_MESSAGES.ListContainerMessage(container=message_of(item)))

    @rpc("Create", Role.OPERATE)
    async def create(self, call: FaceCall, request: Any) -> Any:
        wanted = container_of(request.container)
        if not request.container.HasField("spec"):
            raise InvalidArgument("the container has no spec", field="spec")
        made = await self.services.container_records.create(
            call.namespace, wanted, binary=binary_of(wanted.runtime_options)
        )
        return _MESSAGES.CreateContainerResponse(container=message_of(made))

    @rpc("Update", Role.OPERATE)
    async def update(self, call: FaceCall, request: Any) -> Any:
        if not request.container.id:
            raise InvalidArgument("the container to update has no id", field="container.id")
        made = await self.services.container_records.update(
            call.namespace, container_of(request.container), request.update_mask.paths
        )
        return _MESSAGES.UpdateContainerResponse(container=message_of(made))

    @rpc("Delete", Role.OPERATE)
    async def delete(self, call: FaceCall, request: Any) -> Any:
        await self.services.container_records.delete(call.namespace, request.id)
        return wire.message("google.protobuf.Empty")()


def container_of(message: Any) -> Container:
    """Return the record that a client describes; its times are the server's to set."""
    return Container(
        id=message.id,
        image=message.image,
        snapshotter=message.snapshotter,
        snapshot_key=message.snapshot_key,
        spec=message.spec.value,
        spec_type=message.spec.type_url,
        labels=dict(message.labels),
        extensions={name: value for name, one in message.extensions.items() if (value := any_value(one))},
        runtime_name=message.runtime.name,
        runtime_options=any_value(message.runtime.options),
        sandbox=message.sandbox,
    )


def message_of(container: Container) -> Any:
    """Return a record as clients see it."""
    runtime = _MESSAGES.Container.Runtime(name=shown_runtime(container))
    if container.runtime_options:
        runtime.options.CopyFrom(any_message(container.runtime_options))
    elif binary := shown_binary(container):
        runtime.options.CopyFrom(packed_runc_options(binary))
    return _MESSAGES.Container(
        id=container.id,
        labels=container.labels,
        image=container.image,
        runtime=runtime,
        spec={"type_url": container.spec_type or SPEC, "value": container.spec},
        snapshotter=container.snapshotter,
        snapshot_key=container.snapshot_key,
        created_at=wire.timestamp(container.created_at),
        updated_at=wire.timestamp(container.updated_at),
        extensions={name: any_message(value) for name, value in container.extensions.items()},
        sandbox=container.sandbox,
    )
