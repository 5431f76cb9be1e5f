"""Where a registry's requests go: hosts.toml read into an ordered plan.

The format is containerd's (docs/hosts.md): `server`, `[host."URL"]` tables in the order they are written,
and the upstream last. Plain HTTP is spoken only where somebody wrote it down: an `http://` URL in hosts.toml,
a request's `plain_http`, or a literal loopback address; what a name resolves to never decides it.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import SplitResult, urlsplit

from attrs import evolve, field, frozen

from tricorn.errors import InvalidArgument

Scheme = Literal["http", "https"]
CAPABILITIES: Final = frozenset({"pull", "resolve", "push", "referrers"})
DOCKER_HUB: Final = "docker.io"
DOCKER_HUB_SERVER: Final = "registry-1.docker.io"
_HOST_KEYS: Final = frozenset(
    {"capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"}
)
_FILE_KEYS: Final = _HOST_KEYS | {"server", "host"}
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "range"})
_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DEFAULT_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}


@frozen
class TlsSettings:
    """How one host is trusted. `ca` adds to the system's roots; `client` pairs are (certificate, key)."""

    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str], ...] = ()
    skip_verify: bool = False


@frozen
class RegistryHost:
    """One place to ask. `upstream` is the registry that the reference names; the others are mirrors of it.

    `headers` may hold secrets, so they stay out of the repr.
    """

    scheme: Scheme
    host: str  # without port and brackets
    port: int
    path_prefix: str = "/v2"
    capabilities: frozenset[str] = CAPABILITIES
    tls: TlsSettings = TlsSettings()
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    dial_timeout: float | None = None  # seconds
    upstream: bool = False
    plain_by_request: bool = (
        False  # a request's wish took TLS away: not to be trusted with what is configured
    )

    @property
    def authority(self) -> str:
        """`host[:port]` as it stands in a URL and in the Host header."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == _DEFAULT_PORTS[self.scheme] else f"{name}:{self.port}"

    @property
    def endpoint(self) -> str:
        """`host:port`, the port always written."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"{name}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path_prefix}"


@frozen
class HostPlan:
    """The hosts to ask for `registry` (the host part of a reference), in order; `source` is the file or
    directory that says so, "" where nothing is configured.
    """

    registry: str
    hosts: tuple[RegistryHost, ...]
    source: str = ""

    def able(self, capability: str) -> tuple[RegistryHost, ...]:
        """Return the hosts that may be asked for `capability`, in order."""
        return tuple(host for host in self.hosts if capability in host.capabilities)

    def is_mirror(self, host: RegistryHost) -> bool:
        """Whether `host` needs to be told (`?ns=`) which registry it stands in for."""
        if self.registry == DOCKER_HUB and host.host == DOCKER_HUB_SERVER:
            return False
        return self.registry.lower() not in {host.authority, host.endpoint}

    def is_registry_itself(self, host: RegistryHost) -> bool:
        """Whether `host` has the name that references use, so that what is known for that name is for it."""
        if not host.upstream:
            return False
        named = _split(f"https://{self.registry}", "reference").hostname
        return host.host == named or not self.is_mirror(host)


def plan_hosts(
    registry: str,
    document: Mapping[str, Any] | None = None,
    *,
    base_dir: str = "/",
    plain_http: bool = False,
    source: str = "hosts.toml",
) -> HostPlan:
    """Return the plan for `registry` by hosts.toml's `document`, or the registry itself without one.

    Relative file names are taken from `base_dir`. Raises InvalidArgument naming the dotted field of
    `source` for unknown keys, wrong types and malformed values.
    """
    named = source if document is not None else ""
    document = document or {}
    _refuse_unknown(document, _FILE_KEYS, source)
    tables = document.get("host", {})
    if not isinstance(tables, Mapping):
        raise InvalidArgument('expected tables like [host."https://mirror.example"]', field=f"{source}.host")
    hosts = [_mirror(url, table, base_dir, f'{source}.host."{url}"') for url, table in tables.items()]
    hosts.append(_upstream(registry, document, base_dir, plain_http, source))
    return HostPlan(registry, tuple(hosts), named)


def with_headers(plan: HostPlan, headers: Sequence[tuple[str, str]]) -> HostPlan:
    """Return the plan with `headers` added to what the registry itself is sent; mirrors don't get them.

    Raises InvalidArgument for a header that isn't HTTP or belongs to the framing.
    """
    if not headers:
        return plan
    more = _headers(dict(headers), "headers")
    hosts = (evolve(host, headers=(*host.headers, *more)) if host.upstream else host for host in plan.hosts)
    return evolve(plan, hosts=tuple(hosts))


def is_host(host: str) -> bool:
    """Whether `host` is an address or a name that DNS and TLS can take."""
    if ":" in host:
        try:
            return ipaddress.IPv6Address(host).scope_id is None
        except ValueError:
            return False
    return len(host) <= 253 and _NAME.fullmatch(host) is not None


def is_literal_loopback(host: str) -> bool:
    """Whether `host` is `localhost` or a loopback address by its own spelling."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _mirror(url: str, table: Any, base_dir: str, where: str) -> RegistryHost:
    if not isinstance(table, Mapping):
        raise InvalidArgument("expected a table", field=where)
    _refuse_unknown(table, _HOST_KEYS, where)
    return _host(url, table, base_dir, where, upstream=False)


def _upstream(
    registry: str, document: Mapping[str, Any], base_dir: str, plain_http: bool, source: str
) -> RegistryHost:
    server = document.get("server", "")
    if not isinstance(server, str):
        raise InvalidArgument("expected a URL", field=f"{source}.server")
    if not server:
        explicit_tls = any(key in document for key in ("ca", "client", "skip_verify"))
        server = _default_server(registry, plain_http=plain_http, explicit_tls=explicit_tls)
    host = _host(server, document, base_dir, f"{source}", upstream=True)
    by_request = plain_http and not document.get("server") and host.scheme == "http"
    return evolve(host, plain_by_request=by_request and not is_literal_loopback(host.host))


def _default_server(registry: str, *, plain_http: bool, explicit_tls: bool) -> str:
    if registry == DOCKER_HUB:
        return f"https://{DOCKER_HUB_SERVER}"
    if plain_http:
        return f"http://{registry}"
    parts = _split(f"https://{registry}", "reference")
    loopback = is_literal_loopback(parts.hostname or "") and parts.port not in {None, 443}
    return f"http://{registry}" if loopback and not explicit_tls else f"https://{registry}"


def _host(url: str, table: Mapping[str, Any], base_dir: str, where: str, *, upstream: bool) -> RegistryHost:
    parts = _split(url if "://" in url else f"https://{url}", where)
    scheme: Scheme = "http" if parts.scheme == "http" else "https"
    override = _boolean(table, "override_path", where)
    return RegistryHost(
        scheme=scheme,
        host=parts.hostname or "",
        port=parts.port or _DEFAULT_PORTS[scheme],
        path_prefix=_prefix(parts.path, override=override),
        capabilities=_capabilities(table, where),
        tls=TlsSettings(
            ca=_files(table.get("ca"), base_dir, f"{where}.ca"),
            client=_client_pairs(table.get("client"), base_dir, f"{where}.client"),
            skip_verify=_boolean(table, "skip_verify", where),
        ),
        headers=_headers(table.get("header", {}), f"{where}.header"),
        dial_timeout=_dial_timeout(table.get("dial_timeout"), f"{where}.dial_timeout"),
        upstream=upstream,
    )


def _split(url: str, where: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidArgument("registry URL is malformed", why=str(error)[:160], field=where) from None
    if parts.scheme not in _DEFAULT_PORTS or not is_host(parts.hostname or "") or port == 0:
        raise InvalidArgument(f"{url[:200]!r} is no http or https URL of a registry", field=where)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidArgument(
            "a registry URL takes no user, query or fragment",
            hint="give credentials with the request, or an authorization header in [host.….header]",
            field=where,
        )
    if not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
        raise InvalidArgument("a registry URL is printable ASCII", field=where)
    return parts


def _prefix(path: str, *, override: bool) -> str:
    clean = posixpath.normpath(path).rstrip("/") if path else ""
    clean = "" if clean == "." else "/" + clean.lstrip("/") if clean else ""
    return clean if override or clean.endswith("/v2") else clean + "/v2"


def _capabilities(table: Mapping[str, Any], where: str) -> frozenset[str]:
    names = _strings(table.get("capabilities", []), f"{where}.capabilities")
    for name in names:
        if name.lower() not in CAPABILITIES:
            raise InvalidArgument(
                f"unknown capability {name[:64]!r}",
                hint="pull, resolve, push and referrers are known",
                field=f"{where}.capabilities",
            )
    return frozenset(name.lower() for name in names) or CAPABILITIES


def _files(raw: Any, base_dir: str, where: str) -> tuple[str, ...]:
    names = [] if raw is None else [raw] if isinstance(raw, str) else _strings(raw, where)
    return tuple(posixpath.join(base_dir, name) for name in names)


def _client_pairs(raw: Any, base_dir: str, where: str) -> tuple[tuple[str, str], ...]:
    """A string or a list's string is one file with certificate and key; a pair names two files."""
    if raw is None:
        return ()
    if isinstance(raw, str):
        return ((posixpath.join(base_dir, raw), ""),)
    if not isinstance(raw, list):
        raise InvalidArgument("expected a file, a list of files or a list of pairs", field=where)
    return tuple(_client_pair(item, base_dir, where) for item in raw)


def _client_pair(raw: Any, base_dir: str, where: str) -> tuple[str, str]:
    names = [raw, ""] if isinstance(raw, str) else _strings(raw, where)
    if len(names) != 2:
        raise InvalidArgument("expected a pair: certificate and key", field=where)
    certificate, key = names
    return posixpath.join(base_dir, certificate), posixpath.join(base_dir, key) if key else ""


def _headers(raw: Any, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(raw, Mapping):
        raise InvalidArgument("expected a table of headers", field=where)
    pairs = [
        (name, value)
        for name, values in raw.items()
        for value in ([values] if isinstance(values, str) else _strings(values, f"{where}.{name}"))
    ]
    for name, value in pairs:
        if not _TOKEN.fullmatch(name) or name.lower() in _FRAMING:
            raise InvalidArgument("this header can't be set", field=f"{where}.{name[:64]}")
        if not value.isascii() or any(c < " " or c == "\x7f" for c in value):
            raise InvalidArgument("a header's value is printable ASCII", field=f"{where}.{name}")
    return tuple(pairs)


def _dial_timeout(raw: Any, where: str) -> float | None:
    if raw is None:
        return None
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        seconds = float(raw)
    elif isinstance(raw, str) and _DURATION.sub("", raw) == "" and raw:
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(raw))
    else:
        raise InvalidArgument("expected a duration like 10s or 1m30s", field=where)
    if not 0 < seconds <= 3600:
        raise InvalidArgument("expected a duration over 0 and up to an hour", field=where)
    return seconds


def _boolean(table: Mapping[str, Any], key: str, where: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise InvalidArgument("expected true or false", field=f"{where}.{key}")
    return value


def _strings(raw: Any, where: str) -> list[str]:
    if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):
        raise InvalidArgument("expected a list of strings", field=where)
    return raw


def _refuse_unknown(table: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise InvalidArgument(
                f"unknown key {str(key)[:64]!r}",
                hint=f"known keys: {', '.join(sorted(known))}",
                field=f"{where}.{str(key)[:64]}",
            )
