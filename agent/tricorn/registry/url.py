"""URLs of registries, token servers and redirect targets, parsed once and shown without secrets."""

from __future__ import annotations

from typing import Final
from urllib.parse import urljoin, urlsplit

from attrs import frozen

from tricorn.errors import InvalidArgument
from tricorn.rules.hosts import RegistryHost, is_host

_PORTS: Final = {"http": 80, "https": 443}
_LENGTH: Final = 16 * 1024  # signed URLs of storage services take several KiB


@frozen
class Origin:
    """What credentials are bound to: scheme, host and port together."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """`host[:port]` as in a Host header."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == _PORTS[self.scheme] else f"{name}:{self.port}"

    @property
    def endpoint(self) -> str:
        """`host:port`, the port always written."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@frozen
class Url:
    """An absolute http or https URL. `str()` leaves the query out: it may hold a signature or token."""

    origin: Origin
    path: str
    query: str = ""

    @classmethod
    def parse(cls, text: str, what: str = "URL") -> Url:
        """Return the URL in `text`; raise InvalidArgument, without quoting what may be secret."""
        _check_text(text, what)
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise InvalidArgument(f"{what} is malformed") from None
        if parts.scheme not in _PORTS or not parts.hostname or not is_host(parts.hostname) or port == 0:
            raise InvalidArgument(f"{what} is malformed", why="it is no absolute http or https URL")
        if "@" in parts.netloc:
            raise InvalidArgument(f"{what} holds credentials")
        origin = Origin(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])
        return cls(origin, parts.path or "/", parts.query)

    @property
    def target(self) -> str:
        """The request target: path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def absolute(self) -> str:
        """The whole URL, query included: for a proxy's request line only."""
        return f"{self.origin}{self.target}"

    def join(self, location: str) -> Url:
        """Return the target of a redirect from here to `location`; raise InvalidArgument."""
        _check_text(location, "redirect target")  # urljoin would drop control characters silently
        try:
            joined = urljoin(self.absolute, location.partition("#")[0])
        except ValueError:
            raise InvalidArgument("redirect target is malformed") from None
        return Url.parse(joined, "redirect target")

    def __str__(self) -> str:
        return f"{self.origin}{self.path}" + ("?…" if self.query else "")


def _check_text(text: str, what: str) -> None:
    if len(text) > _LENGTH or not text.isascii() or any(c <= " " or c == "\x7f" for c in text):
        raise InvalidArgument(f"{what} is malformed", why="too long, or not printable ASCII")


def origin_of(host: RegistryHost) -> Origin:
    """Return the origin that `host` is asked at."""
    return Origin(host.scheme, host.host, host.port)
