"""Namespaces. A call is about the namespace in the request, not about the one it is made in."""

from __future__ import annotations

from typing import Any, Final

from tricorn import wire
from tricorn.api.grpc.face import ANYWHERE, Face, FaceCall, rpc
from tricorn.errors import InvalidArgument
from tricorn.model import ids
from tricorn.model.records import Namespace
from tricorn.rules.authorise import Role

_MESSAGES: Final = wire.package("containerd.services.namespaces.v1")
_EMPTY: Final = wire.message("google.protobuf.Empty")


class NamespacesFace(Face):
    service = "containerd.services.namespaces.v1.Namespaces"

    @rpc("Get", Role.READ, scope=ANYWHERE, quick=True)
    async def get(self, call: FaceCall, request: Any) -> Any:
        name = _allowed(call, request.name, Role.READ)
        return _MESSAGES.GetNamespaceResponse(namespace=_message(await self.services.namespaces.get(name)))

    @rpc("List", Role.READ, scope=ANYWHERE)
    async def list(self, call: FaceCall, request: Any) -> Any:
        """All that the peer may read in."""
        found = await self.services.namespaces.list([request.filter] if request.filter else ())
        shown = [_message(item) for item in found if call.may_read(item.name)]
        return _MESSAGES.ListNamespacesResponse(namespaces=shown)

    @rpc("Create", Role.ADMIN, scope=ANYWHERE)
    async def create(self, call: FaceCall, request: Any) -> Any:
        name = _allowed(call, request.namespace.name, Role.ADMIN)
        made = await self.services.namespaces.create(name, dict(request.namespace.labels))
        return _MESSAGES.CreateNamespaceResponse(namespace=_message(made))

    @rpc("Update", Role.ADMIN, scope=ANYWHERE)
    async def update(self, call: FaceCall, request: Any) -> Any:
        """`labels.<key>` sets or (empty value) removes one label; `labels` or no mask replaces them all."""
        name = _allowed(call, request.namespace.name, Role.ADMIN)
        labels, paths = dict(request.namespace.labels), list(request.update_mask.paths)
        if paths in ([], ["labels"]):
            changed = await self.services.namespaces.replace_labels(name, labels)
        else:
            wanted = {key: labels.get(key, "") for key in map(_label_key, paths)}
            changed = await self.services.namespaces.update(name, wanted)
        return _MESSAGES.UpdateNamespaceResponse(namespace=_message(changed))

    @rpc("Delete", Role.ADMIN, scope=ANYWHERE)
    async def delete(self, call: FaceCall, request: Any) -> Any:
        await self.services.namespaces.delete(_allowed(call, request.name, Role.ADMIN))
        return _EMPTY()


def _allowed(call: FaceCall, name: str, role: Role) -> str:
    """Return the valid name of a namespace in which the peer has the role."""
    call.require(ids.namespace(name, "name"), role)
    return name


def _label_key(path: str) -> str:
    head, _, key = path.partition(".")
    if head != "labels" or not key:
        raise InvalidArgument(
            f"cannot update the field {path[:200]!r} of a namespace",
            hint="labels, or labels.<key>",
            field="update_mask",
        )
    return key


def _message(namespace: Namespace) -> Any:
    return _MESSAGES.Namespace(name=namespace.name, labels=namespace.labels)
