"""The declarative table of the API: what a route takes, gives and needs, and how a path finds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from attrs import Factory, define, field, frozen

from tricorn import limits
from tricorn.api.http.audit import Audit
from tricorn.api.http.problems import MethodNotAllowed, no_such_path
from tricorn.api.http.query import Query
from tricorn.errors import InvalidArgument, TricornError
from tricorn.model import ids
from tricorn.model.ids import Digest
from tricorn.rules.authorise import Authoriser, Peer, Role

if TYPE_CHECKING:
    from tricorn.service import Services


class Shape(Enum):
    """What a successful answer is made of `result`s."""

    ONE = "one"
    LIST = "list"  # {"items": […], "cursor": null}
    LINES = "lines"  # NDJSON
    PAGE = "page"  # one JSON document, or NDJSON when the client follows
    TEXT = "text"
    BYTES = "bytes"
    UPGRADE = "upgrade"  # the frame protocol


class Scope(Enum):
    """Where the peer needs the route's role."""

    OPEN = "open"  # nowhere: whoever may connect may ask
    ANYWHERE = "anywhere"  # in some namespace, or on the node
    NODE = "node"  # on the node as a whole
    NAMESPACE = "namespace"  # in the namespace of the path

    def require(
        self, authoriser: Authoriser, peer: Peer, role: Role, namespace: Callable[[], str | None]
    ) -> None:
        """Raise PermissionDenied unless the peer has the role here; `namespace` is asked if it counts."""
        match self:
            case Scope.OPEN:
                pass
            case Scope.ANYWHERE:
                authoriser.require_anywhere(peer, role)
            case Scope.NODE:
                authoriser.require(peer, None, role)
            case Scope.NAMESPACE:
                authoriser.require(peer, namespace(), role)


@frozen
class About:
    """What the site itself can tell of."""

    ready: Callable[[], bool]
    metrics: Callable[[], Awaitable[bytes]]
    document: Callable[[], Awaitable[bytes]]  # OpenAPI, as JSON


@frozen
class Call:
    """One parsed and authorised request, as its handler sees it."""

    services: Services
    peer: Peer
    namespace: str
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Any = None
    receive: Callable[[], Awaitable[bytes]] | None = None  # the body of a `raw` route, piece by piece
    lines: bool = False  # the client accepts NDJSON
    respond_async: bool = False
    upgrade: bool = False
    audit: Audit = field(kw_only=True)
    about: About = field(kw_only=True)


Handler = Callable[[Call], Awaitable[object]]


@frozen(eq=False)
class Route:
    """`status` is that of the successful answer. `long` routes know three modes: wait, respond-async and
    NDJSON. The body of `raw` routes is bytes of any number, which the handler reads. `endless` ones last as
    long as their client wants, and end at once when the agent stops.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    result: type[Any] | None = None
    shape: Shape = Shape.ONE
    query: tuple[Query, ...] = ()
    body: type[Any] | None = None
    role: Role = Role.READ
    scope: Scope = Scope.NAMESPACE
    status: int = 200
    errors: tuple[type[TricornError], ...] = ()
    long: bool = False
    raw: bool = False
    endless: bool = False
    upgradable: bool = False
    early: bool = False  # answered before the agent is ready
    names: tuple[str, ...] = Factory(
        lambda self: tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{")),
        takes_self=True,
    )

    @property
    def changes(self) -> bool:
        """Whether the route leaves an audit line."""
        return self.role > Role.READ


def _name(text: str, field: str) -> str:
    if not text or len(text) > limits.REFERENCE_LENGTH or not text.isprintable():
        raise InvalidArgument(f"{field} {text[:100]!r} is malformed", field=field)
    return text


_PARSERS: Final[Mapping[str, Callable[[str, str], str]]] = {
    "ns": lambda text, _: ids.namespace(text),
    "namespace": ids.namespace,
    "id": ids.identifier,
    "exec": ids.identifier,
    "digest": Digest.parse,
}


@define
class _Node:
    children: dict[str, _Node] = Factory(dict)
    parameter: _Node | None = None
    routes: dict[str, Route] = Factory(dict)


@frozen
class Match:
    """A route and the raw values of its path's parameters."""

    route: Route
    raw: tuple[str, ...]

    def parameters(self) -> dict[str, str]:
        """Return the parsed parameters; InvalidArgument names a malformed one."""
        return {
            name: _PARSERS.get(name, _name)(value, name)
            for name, value in zip(self.route.names, self.raw, strict=True)
        }


class Router:
    """Finds routes by method and path. A literal segment wins over a parameter."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._root
        for part in route.path.split("/")[1:]:
            if part.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.children.setdefault(part, _Node())
        if route.method in node.routes:
            raise ValueError(f"{route.method} {route.path} is there twice")
        node.routes[route.method] = route

    def match(self, method: str, path: str) -> Match:
        """Return the route for a raw path. Raises NotFound, MethodNotAllowed, InvalidArgument (encoding)."""
        found = self._find(path)
        if found is None:
            raise no_such_path(path)
        node, raw = found
        route = node.routes.get("GET" if method == "HEAD" else method)
        if route is None or (method == "HEAD" and not _headable(route)):
            raise MethodNotAllowed(method, path, _methods(node))
        return Match(route, raw)

    def allowed(self, path: str) -> tuple[str, ...]:
        """Return the path's methods; NotFound if there is no such path."""
        found = self._find(path)
        if found is None:
            raise no_such_path(path)
        return _methods(found[0])

    def _find(self, path: str) -> tuple[_Node, tuple[str, ...]] | None:
        if not path.startswith("/"):
            return None
        parts = path[1:].split("/")  # before unquoting, so that names may hold slashes
        return _walk(self._root, [_unquote(part) for part in parts], 0, ())


def _walk(
    node: _Node, parts: list[str], index: int, raw: tuple[str, ...]
) -> tuple[_Node, tuple[str, ...]] | None:
    if index == len(parts):
        return (node, raw) if node.routes else None
    part = parts[index]
    child = node.children.get(part)
    if child and (found := _walk(child, parts, index + 1, raw)):
        return found
    if node.parameter and part:
        return _walk(node.parameter, parts, index + 1, (*raw, part))
    return None


def _unquote(part: str) -> str:
    if "%" not in part:
        return part
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise InvalidArgument("the path isn't UTF-8", why=repr(part[:100])) from None


def _headable(route: Route) -> bool:
    return route.shape in {Shape.ONE, Shape.LIST, Shape.TEXT, Shape.BYTES} and not route.endless


def _methods(node: _Node) -> tuple[str, ...]:
    names = set(node.routes)
    if "GET" in names and _headable(node.routes["GET"]):
        names.add("HEAD")
    return (*sorted(names), "OPTIONS")
