"""The gRPC door: every method of containerd's services, through authorisation to one service call each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import trio

from tricorn import wire
from tricorn.api.grpc.containers import ContainersFace
from tricorn.api.grpc.content import ContentFace
from tricorn.api.grpc.diff import DiffFace
from tricorn.api.grpc.errors import translate
from tricorn.api.grpc.events import EventsFace
from tricorn.api.grpc.face import Bound, Face, Rpc
from tricorn.api.grpc.gate import Gate
from tricorn.api.grpc.health import HealthFace
from tricorn.api.grpc.images import ImagesFace
from tricorn.api.grpc.introspection import IntrospectionFace
from tricorn.api.grpc.leases import LeasesFace
from tricorn.api.grpc.mounts import MountsFace
from tricorn.api.grpc.namespaces import NamespacesFace
from tricorn.api.grpc.sandboxes import SandboxControllerFace, SandboxStoreFace
from tricorn.api.grpc.snapshots import SnapshotsFace
from tricorn.api.grpc.streaming import StreamingFace
from tricorn.api.grpc.tasks import TasksFace
from tricorn.api.grpc.transfer import TransferFace
from tricorn.api.grpc.version import VersionFace
from tricorn.api.metrics import Metrics
from tricorn.errors import Unimplemented
from tricorn.grpc import GrpcServer, Method
from tricorn.rules.authorise import Authoriser, Peer, Role
from tricorn.service import Services

# One line a service.
FACES: Final[Sequence[Callable[[Services], Face]]] = (
    VersionFace,
    NamespacesFace,
    LeasesFace,
    EventsFace,
    SandboxStoreFace,
    SandboxControllerFace,
    ContentFace,
    ImagesFace,
    SnapshotsFace,
    DiffFace,
    MountsFace,
    TransferFace,
    StreamingFace,
    ContainersFace,
    TasksFace,
)  # fmt: skip


class GrpcApi:
    """Serves containerd's API on connections that somebody else accepts. `authoriser` may be replaced while
    it runs. `ready` is set once the agent is up to date.
    """

    def __init__(
        self, services: Services, *, authoriser: Authoriser, metrics: Metrics, ready: trio.Event
    ) -> None:
        self._gate = Gate(authoriser, ready.is_set)
        faces = [make(services) for make in FACES]
        served = (*(face.service for face in faces), IntrospectionFace.service, HealthFace.service)
        faces += [IntrospectionFace(services, served), HealthFace(services, ready, served)]
        methods = {method.path: method for face in faces for method in methods_of(face, self._gate)}
        self._server = GrpcServer(
            methods,
            translate=translate,
            observe=lambda path, code, seconds: metrics.observe_call(path, code.name, seconds),
        )

    @property
    def authoriser(self) -> Authoriser:
        return self._gate.authoriser

    @authoriser.setter
    def authoriser(self, authoriser: Authoriser) -> None:
        self._gate.authoriser = authoriser

    async def serve_connection(self, stream: trio.SocketStream, peer: Peer, first_bytes: bytes) -> None:
        """Serve one client until either side closes."""
        await self._server.serve_connection(stream, peer, first_bytes)

    def drain(self) -> None:
        """Take no new calls, let those under way finish, and end those that never would."""
        self._server.drain()

    def abort(self) -> None:
        """Cut all calls off; their clients are told that the agent stops."""
        self._server.abort()

    def shed(self) -> bool:
        """Close the connection that has been idle longest, and return whether there was one."""
        return self._server.shed()

    def statistics(self) -> dict[str, Any]:
        return dict(self._server.statistics())


def methods_of(face: Face, gate: Gate) -> Iterator[Method]:
    """Yield all methods that the face's service has on the wire.

    Raises TypeError for one that the face neither handles nor gives a reason for, and for names that the
    service doesn't have.
    """
    handlers = {spec.method: (spec, bound) for spec, bound in face.handlers()}
    descriptor = wire.service(face.service)
    names = {method.name for method in descriptor.methods}
    if wrong := names.symmetric_difference([*handlers, *face.missing]):
        raise TypeError(f"{type(face).__name__}: {', '.join(sorted(wrong))} of {face.service}")
    for method in descriptor.methods:
        path = f"/{face.service}/{method.name}"
        spec, bound = handlers.get(method.name) or _missing(method.name, face.missing[method.name])
        yield Method(
            path=path,
            request=wire.message(method.input_type.full_name),
            response=wire.message(method.output_type.full_name),
            client_streaming=method.client_streaming,
            server_streaming=method.server_streaming,
            handler=partial(gate.run, path, spec, bound),
            endless=spec.endless,
            quick=spec.quick,
        )


def _missing(name: str, reason: str) -> tuple[Rpc, Bound]:
    async def refuse(*_: object) -> None:
        raise Unimplemented(f"{name} is not there", why=reason)

    return Rpc(name, Role.READ), refuse
