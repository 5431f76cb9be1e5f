"""A face: the methods of one gRPC service, each thin over one service call.

    class NamespacesFace(Face):
        service = "containerd.services.namespaces.v1.Namespaces"

        @rpc("Get", Role.READ)
        async def get(self, call: FaceCall, request: Any) -> Any: ...

Handlers are shaped as those of `tricorn.grpc`: a unary one returns its response, a server stream sends with
`call.send`, one whose client streams takes no request and reads with `call.receive`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, ClassVar, Final, TypeVar

from attrs import frozen

from tricorn.api.http.audit import Audit
from tricorn.api.http.routing import Scope
from tricorn.errors import FailedPrecondition
from tricorn.grpc import Call
from tricorn.model import ids
from tricorn.rules.authorise import Authoriser, Peer, Role
from tricorn.service import Services

NAMESPACE: Final = Scope.NAMESPACE
NODE: Final = Scope.NODE
ANYWHERE: Final = Scope.ANYWHERE
OPEN: Final = Scope.OPEN

NAMESPACE_KEY: Final = "containerd-namespace"
LEASE_KEY: Final = "containerd-lease"
_MARK: Final = "__rpc__"

Bound = Callable[..., Awaitable[Any]]
H = TypeVar("H", bound=Callable[..., Awaitable[Any]])


@frozen
class Rpc:
    """What a method needs: `role` at `scope`. An `endless` one lasts as long as its client wants, and ends at
    once, as Unavailable, when the agent stops. `early` ones answer before the agent is ready. `quick` ones
    look something up by its key: see `Method`.
    """

    method: str
    role: Role
    scope: Scope = Scope.NAMESPACE
    endless: bool = False
    early: bool = False
    quick: bool | Callable[[Any], bool] = False

    @property
    def changes(self) -> bool:
        """Whether the method leaves an audit line."""
        return self.role > Role.READ


def rpc(
    method: str,
    role: Role,
    *,
    scope: Scope = NAMESPACE,
    endless: bool = False,
    early: bool = False,
    quick: bool | Callable[[Any], bool] = False,
) -> Callable[[H], H]:
    """Make a coroutine method the handler of the service's method of this name."""

    def mark(handler: H) -> H:
        setattr(handler, _MARK, Rpc(method, role, scope, endless, early, quick))
        return handler

    return mark


class Face:
    """Base of all faces. `missing` gives the reason for each method that is not there."""

    service: ClassVar[str]
    missing: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self.services = services

    def handlers(self) -> Iterator[tuple[Rpc, Bound]]:
        """Yield what each method needs, and its bound handler."""
        for name in dir(type(self)):
            spec = getattr(getattr(type(self), name), _MARK, None)
            if isinstance(spec, Rpc):
                yield spec, getattr(self, name)


class FaceCall:
    """One authorised call, as its handler sees it."""

    def __init__(self, call: Call, peer: Peer, audit: Audit, authoriser: Callable[[], Authoriser]) -> None:
        self._call = call
        self._audit = audit
        self._authoriser = authoriser
        self.peer = peer
        self.metadata: Mapping[str, str] = call.metadata
        self.deadline = call.deadline
        self.send = call.send
        self.receive = call.receive
        self.set_trailing = call.set_trailing

    @property
    def namespace(self) -> str:
        """The namespace that the client works in. FailedPrecondition without one, InvalidArgument for a
        malformed one: both never in a handler whose scope is the namespace.
        """
        return namespace_of(self.metadata)

    @property
    def lease(self) -> str:
        """The lease that is to hold whatever the call makes; "" for none."""
        return self.metadata.get(LEASE_KEY, "")

    def note(self, **values: Any) -> None:
        """Add facts to the audit line of the call. Never secrets."""
        self._audit.note(**values)

    def may_read(self, namespace: str | None) -> bool:
        """Whether the peer may read in that namespace (None: on the node), by the rules in force now."""
        return self._authoriser().role(self.peer, namespace) >= Role.READ

    def require(self, namespace: str | None, role: Role) -> None:
        """Raise PermissionDenied unless the peer has the role there: for handlers that touch more than the
        scope they are declared with.
        """
        self._authoriser().require(self.peer, namespace, role)


def namespace_of(metadata: Mapping[str, str]) -> str:
    """Return the valid namespace in a call's metadata; FailedPrecondition, InvalidArgument."""
    name = metadata.get(NAMESPACE_KEY, "")
    if not name:
        raise FailedPrecondition(
            "namespace is required", hint=f"send it as the metadata {NAMESPACE_KEY}", field="namespace"
        )
    return ids.namespace(name)
