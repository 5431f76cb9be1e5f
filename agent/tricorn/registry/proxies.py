"""HTTP_PROXY, HTTPS_PROXY and NO_PROXY, read as curl and Go programs read them."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

from tricorn.errors import InvalidArgument, Unimplemented
from tricorn.registry.url import Origin
from tricorn.rules.hosts import is_literal_loopback


@frozen
class Proxy:
    """An HTTP proxy; `authorization` is the value of Proxy-Authorization or empty."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)


def proxy_for(origin: Origin, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy to reach `origin` through, or None for a direct connection.

    Loopback is always direct. Raises InvalidArgument naming the variable when its URL is malformed.
    """
    name = f"{origin.scheme}_proxy"
    value, variable = _look_up(environment, name)
    if not value or is_literal_loopback(origin.host) or _excluded(origin, environment):
        return None
    return _parse(value, variable)


def _look_up(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    for variable in (name, name.upper()):
        if environment.get(variable):
            return environment[variable], variable
    return "", name


def _parse(value: str, variable: str) -> Proxy:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port = parts.port
    except ValueError:
        raise InvalidArgument("proxy URL is malformed", field=variable) from None
    if parts.scheme != "http":
        raise Unimplemented("only http:// proxies are supported", field=variable)
    if not parts.hostname:
        raise InvalidArgument("proxy URL names no host", field=variable)
    authorization = ""
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(secret.encode()).decode()
    return Proxy(parts.hostname, port or 80, authorization)


def _excluded(origin: Origin, environment: Mapping[str, str]) -> bool:
    entries = _look_up(environment, "no_proxy")[0].split(",")
    return any(_covers(entry.strip().lower(), origin) for entry in entries if entry.strip())


def _covers(entry: str, origin: Origin) -> bool:
    if entry == "*":
        return True
    if "/" in entry or entry.count(":") > 1:
        return _covers_address(entry.strip("[]"), origin.host)
    name, _, port = entry.partition(":")
    if port and port != str(origin.port):
        return False
    bare = name.removeprefix("*").removeprefix(".")
    return origin.host.endswith(f".{bare}") or (origin.host == bare and not name.startswith((".", "*")))


def _covers_address(entry: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
