"""What the agent is made of: its parts under containerd's names, its identity, its runtimes."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tricorn import wire
from tricorn.api.grpc.face import ANYWHERE, Face, FaceCall, rpc
from tricorn.api.grpc.payloads import any_value, binary_of
from tricorn.errors import InvalidArgument
from tricorn.grpc import Code
from tricorn.model.oci import Platform
from tricorn.rules.authorise import Role
from tricorn.rules.plugins import RUNTIME_ID, RUNTIME_TYPE, Plugin
from tricorn.service import Services
from tricorn.service.introspection import RuntimeView

_MESSAGES: Final = wire.package("containerd.services.introspection.v1")
_TYPES: Final = wire.package("containerd.types")
_ANY: Final = wire.message("google.protobuf.Any")
_STATUS: Final = wire.message("google.rpc.Status")
FEATURES: Final = "types.containerd.io/opencontainers/runtime-spec/1/features/Features"


class IntrospectionFace(Face):
    service = "containerd.services.introspection.v1.Introspection"

    def __init__(self, services: Services, served: tuple[str, ...]) -> None:
        super().__init__(services)
        self._served = served

    @rpc("Plugins", Role.READ, scope=ANYWHERE, quick=True)
    async def plugins(self, _call: FaceCall, request: Any) -> Any:
        found = await self.services.introspection.plugins(self._served, list(request.filters))
        return _MESSAGES.PluginsResponse(plugins=map(_message, found))

    @rpc("Server", Role.READ, scope=ANYWHERE, quick=True)
    async def server(self, _call: FaceCall, _request: Any) -> Any:
        """Nothing that this agent offers is deprecated."""
        found = await self.services.introspection.server()
        return _MESSAGES.ServerResponse(uuid=found.uuid, pid=found.pid, pidns=found.pid_namespace)

    @rpc("PluginInfo", Role.READ, scope=ANYWHERE)
    async def plugin_info(self, _call: FaceCall, request: Any) -> Any:
        """With a RuntimeRequest as its options, the runtime plugin tells of one runtime."""
        plugin = await self.services.introspection.plugin(self._served, request.type, request.id)
        extra = None
        if (plugin.type, plugin.id) == (RUNTIME_TYPE, RUNTIME_ID):
            extra = await self._runtime(request.options)
        return _MESSAGES.PluginInfoResponse(plugin=_message(plugin), extra=extra)

    async def _runtime(self, packed: Any) -> Any:
        asked = wire.unpack(packed) if packed.type_url else _TYPES.RuntimeRequest()
        if not isinstance(asked, _TYPES.RuntimeRequest):
            raise InvalidArgument(
                f"expected a containerd.types.RuntimeRequest, got {packed.type_url[:200]!r}", field="options"
            )
        options = asked.options if asked.HasField("options") else None
        binary = binary_of(any_value(options)) if options is not None else ""
        view = await self.services.introspection.runtime(asked.runtime_path, binary)
        return wire.any_of(_runtime_message(view, options))


def _runtime_message(view: RuntimeView, options: Any) -> Any:
    features = _ANY(type_url=FEATURES, value=msgspec.json.encode(view.features)) if view.features else None
    return _TYPES.RuntimeInfo(
        name=view.name,
        version=_TYPES.RuntimeVersion(version=view.version),
        options=options,
        features=features,
        annotations=view.annotations,
    )


def _message(plugin: Plugin) -> Any:
    error = _STATUS(code=Code.UNAVAILABLE, message=plugin.init_error) if plugin.init_error else None
    return _MESSAGES.Plugin(
        type=plugin.type,
        id=plugin.id,
        requires=plugin.requires,
        platforms=map(_platform, plugin.platforms),
        exports=plugin.exports,
        capabilities=plugin.capabilities,
        init_err=error,
    )


def _platform(platform: Platform) -> Any:
    return _TYPES.Platform(
        os=platform.os,
        architecture=platform.architecture,
        variant=platform.variant,
        os_version=platform.os_version,
    )
