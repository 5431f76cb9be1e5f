"""The agent's configuration: one TOML file, then `conf.d/*.toml` beside it, in the order of their names.

Tables merge key by key, lists and values replace. Unknown keys are refused by name, so that a typo never
passes for a setting.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import toml
from attrs import Factory, frozen

from tricorn import limits
from tricorn.errors import InvalidArgument, NotFound
from tricorn.model.id_spans import parse_span
from tricorn.model.scrubbing import ScrubSettings
from tricorn.model.usage import BudgetRule
from tricorn.structuring import structure

DEFAULT_PATH = "/etc/tricorn/config.toml"
CONFIG_SIZE = limits.MIB


@frozen
class Runtimes:
    """`default` names the OCI runtime of containers that name none ("" lets the agent choose);
    `paths` adds or overrides runtimes by name. `criu` is the path of the CRIU to use (a program of that
    name); "" takes the one in PATH.
    """

    default: str = ""
    criu: str = ""
    paths: Mapping[str, str] = Factory(dict)


@frozen
class Credential:
    """How the agent proves itself to the registry `host`: a user whose password stands in `password_file`,
    an identity token in `identity_token_file`, or a credential `helper` (the absolute path of a program).
    Secrets are in files of mode 0600, never here.
    """

    host: str
    username: str = ""
    password_file: str = ""
    identity_token_file: str = ""
    helper: str = ""


@frozen
class RegistryConfig:
    """`hosts_dir` lists trees of hosts.toml files, separated by colons. `docker_config` is the path of a
    config.json with credentials, which may be missing; `credential_helpers` are the absolute paths of the
    helpers that it may name.
    """

    hosts_dir: str = "/etc/tricorn/hosts.d:/etc/docker/certs.d"
    parallel_downloads: int = limits.REGISTRY_PARALLEL_DOWNLOADS
    credentials: tuple[Credential, ...] = ()
    docker_config: str = "/etc/tricorn/docker/config.json"
    credential_helpers: tuple[str, ...] = ()
    credential_helper_timeout: float = limits.REGISTRY_HELPER_TIMEOUT


@frozen
class Snapshots:
    """`sync` flushes an image's unpacked files to disk before the image is recorded."""

    default: str = "overlayfs"
    sync: bool = False


@frozen
class PeerAllowance:
    """Peers that any of `names` fits (patterns of alternative names; `cn:…` for common names) may have
    images that any of `repositories` fits.
    """

    names: tuple[str, ...]
    repositories: tuple[str, ...] = ("**",)


@frozen
class MigrationAllowance:
    """Peers that any of `names` fits may bring containers into `namespaces`: with host directories that any
    of the patterns `mounts` fits, into networks that any of `networks` fits, with `ports` publishing some,
    in user namespaces with ids of the node that are in one of the ranges `ids` (FIRST:COUNT), with
    `privileges` whatever they want, with `images` a name for its image. They may come by repositories that
    any of the patterns `registries` fits.
    """

    names: tuple[str, ...]
    namespaces: tuple[str, ...] = ("default",)
    mounts: tuple[str, ...] = ()
    privileges: bool = False
    images: bool = False
    networks: tuple[str, ...] = ()
    ports: bool = False
    ids: tuple[str, ...] = ()
    registries: tuple[str, ...] = ()


@frozen
class Peers:
    """Serving the content store to other nodes, as a read-only registry over mutual TLS: off without a
    `listen` address (`HOST:PORT`). `namespaces` and `repositories` (patterns of `HOST/REPOSITORY`) say what
    is served, `allow` to whom; without `allow`, to all whose certificate `client_ca` vouches for. `rate` is
    in bytes per second for all peers together, 0 for no limit. `migrations` says which containers are taken
    from whom (none without it); `nodes` are the addresses (`HOST:PORT`) of other nodes' doors by name; a
    migration is called uncertain after `patience` seconds of a node's silence.
    """

    listen: str = ""
    certificate: str = ""
    key: str = ""
    client_ca: str = ""
    namespaces: tuple[str, ...] = ("default",)
    repositories: tuple[str, ...] = ("**",)
    allow: tuple[PeerAllowance, ...] = ()
    migrations: tuple[MigrationAllowance, ...] = ()
    nodes: Mapping[str, str] = Factory(dict)
    patience: float = limits.MIGRATION_PATIENCE
    connections: int = limits.PEER_CONNECTIONS
    connections_each: int = limits.PEER_CONNECTIONS_EACH
    rate: int = 0


@frozen
class PolicyConfig:
    """`file` is the image policy's absolute path; without one every image may be used."""

    file: str = ""


@frozen
class Collection:
    """Garbage collection: `schedule` false leaves it to `tricorn gc`. The other keys are containerd's: the
    share of the time that collecting may take, how many deletions (more than so many) and changes (0: no
    number) are worth a collection, and delays in seconds.
    """

    schedule: bool = True
    pause_threshold: float = 0.02
    deletion_threshold: int = 0
    mutation_threshold: int = 100
    schedule_delay: float = 0.0
    startup_delay: float = 0.1


@frozen
class Content:
    """`sharing` says how a namespace gets a blob that another one has: by naming its digest (`shared`), or
    only by sending its bytes (`isolated`), unless the other is labelled
    `containerd.io/namespace.shareable=true`.
    """

    sharing: Literal["shared", "isolated"] = "shared"


@frozen
class Networks:
    """`pool` is where networks get their subnets from that name none. `cni_lists` is the directory of CNI
    configuration lists (*.conflist), `cni_plugins` are directories of plugins, separated by colons.
    """

    pool: str = "10.90.0.0/16"
    cni_lists: str = "/etc/cni/net.d"
    cni_plugins: str = "/usr/lib/cni:/opt/cni/bin"


@frozen
class Access:
    """Who may do what, where: names or numbers of users and groups, namespaces (`*` for all)."""

    role: Literal["none", "read", "operate", "admin"]
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ("*",)


@frozen
class Logs:
    """Bounds of each container's log: `size` bytes a file, `files` files. `programs` are the absolute paths
    of logging programs that clients may name for a container's output (`binary://`); they run as root.
    """

    size: int = limits.LOG_SIZE
    files: int = limits.LOG_FILES
    programs: tuple[str, ...] = ()


@frozen
class UserNamespaceConfig:
    """Ids for containers with a user namespace of their own that name none (`--userns private`): `size` each,
    none twice. `user` names whose ranges in /etc/subuid and /etc/subgid they are; "" takes those of `range`
    (FIRST:COUNT) that these files give to nobody. `layers`: `auto` shows files with other owners by id-mapped
    mounts, and copies shifted layers where the host has none; `shifted` always copies.
    """

    user: str = ""
    range: str = "1879048192:268304384"  # what systemd's UIDS-GIDS(7) calls unused
    size: int = 65536
    layers: Literal["auto", "shifted"] = "auto"


@frozen
class Config:
    root: str = "/var/lib/tricorn"
    state: str = "/run/tricorn"
    socket: str = ""  # STATE/tricorn.sock when empty
    socket_group: str = "tricorn"
    cgroup: str = "/tricorn"  # the parent of all containers' cgroups; each agent of a host needs its own
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    runtimes: Runtimes = Runtimes()
    registry: RegistryConfig = RegistryConfig()
    snapshots: Snapshots = Snapshots()
    gc: Collection = Collection()
    content: Content = Content()
    scrub: ScrubSettings = Factory(ScrubSettings)
    budgets: tuple[BudgetRule, ...] = ()
    policy: PolicyConfig = PolicyConfig()
    peers: Peers = Peers()
    logs: Logs = Logs()
    network: Networks = Networks()
    user_namespaces: UserNamespaceConfig = UserNamespaceConfig()
    access: tuple[Access, ...] = ()

    @property
    def socket_path(self) -> str:
        return self.socket or os.path.join(self.state, "tricorn.sock")


# Top-level keys that a running agent takes over at SIGHUP; the others wait for a restart.
LIVE_KEYS = frozenset({"log_level", "log_format", "access", "policy"})


def load(path: str | None = None, instead: Mapping[str, Mapping[str, Any] | None] | None = None) -> Config:
    """Read the file at `path` and its `conf.d`; None means the default place, which may be missing. `instead`
    holds what files of `conf.d` are taken to contain, by their paths: None for one that isn't there.

    Raises NotFound if a named file is missing, InvalidArgument naming file, key and remedy.
    """
    place = Path(path or DEFAULT_PATH)
    if path is not None and not place.is_file():
        raise NotFound(f"config file {path} does not exist", hint="`tricornd config default` prints one")
    merged: dict[str, Any] = {}
    given = {Path(name): content for name, content in (instead or {}).items()}
    for file in [place, *sorted({*place.parent.glob("conf.d/*.toml"), *given})]:
        if file in given:
            merged = _merge(merged, given[file] or {})
        elif file.is_file():
            merged = _merge(merged, read_file(file))
    config = structure(merged, Config, "the configuration")
    _check(config)
    return config


def read_file(file: Path) -> dict[str, Any]:
    """Return what one file of the configuration holds; InvalidArgument naming it if it can't be read."""
    try:
        with file.open("rb") as stream:
            data = stream.read(CONFIG_SIZE + 1)
        if len(data) > CONFIG_SIZE:
            raise InvalidArgument(f"{file} is too large", why=f"over {CONFIG_SIZE} bytes")
        return toml.loads(data.decode())
    except OSError as error:
        raise InvalidArgument(f"cannot read {file}", why=os.strerror(error.errno or 0)) from None
    except (toml.TomlDecodeError, UnicodeDecodeError, IndexError, ValueError, KeyError, TypeError) as error:
        # toml 0.10 lets several kinds escape on malformed files
        raise InvalidArgument(f"{file} is not valid TOML", why=str(error)[:300]) from None


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]  # narrowed by `both`
    return merged


def _check(config: Config) -> None:
    for key in ("root", "state", "cgroup"):
        value = getattr(config, key)
        if not os.path.isabs(value) or os.path.normpath(value) != value:
            raise InvalidArgument(f"{key} must be an absolute, clean path", why=repr(value), field=key)
    if config.root == config.state:
        raise InvalidArgument("root and state must be different directories", field="state")
    if config.snapshots.default not in {"overlayfs", "native"}:
        raise InvalidArgument(
            f"no snapshotter {config.snapshots.default!r}",
            hint="overlayfs or native",
            field="snapshots.default",
        )
    _check_registry(config.registry)
    _absolute("policy.file", *filter(None, [config.policy.file]))
    _check_peers(config.peers)
    for path in config.logs.programs:
        if not os.path.isabs(path) or os.path.normpath(path) != path:
            raise InvalidArgument(
                "a logging program must be an absolute, clean path", why=repr(path), field="logs.programs"
            )
    _check_networks(config.network)
    _check_user_namespaces(config.user_namespaces)
    criu = config.runtimes.criu
    if criu and (not os.path.isabs(criu) or os.path.basename(criu) != "criu"):
        raise InvalidArgument(
            "CRIU must be an absolute path of a program with the name criu", why=repr(criu),
            hint="runtimes look for that name in PATH", field="runtimes.criu",
        )  # fmt: skip
    _check_ranges(config)


def _check_networks(network: Networks) -> None:
    try:
        pool = ipaddress.IPv4Network(network.pool)
    except ValueError as error:
        raise InvalidArgument(
            "network.pool must be an IPv4 subnet", why=str(error), field="network.pool"
        ) from None
    if pool.prefixlen > 30:
        raise InvalidArgument(f"{pool} has no room for a network", field="network.pool")
    _absolute("network.cni_lists", network.cni_lists)
    _absolute("network.cni_plugins", *filter(None, network.cni_plugins.split(":")))


def _check_user_namespaces(found: UserNamespaceConfig) -> None:
    span = parse_span(found.range, "user_namespaces.range")
    if not 1 <= found.size <= span.size:
        raise InvalidArgument(
            "a user namespace needs at least one id, and at most as many as there are",
            why=f"{found.size} of {span.size}", field="user_namespaces.size",
        )  # fmt: skip


def _check_registry(registry: RegistryConfig) -> None:
    for number, entry in enumerate(registry.credentials):
        field = f"registry.credentials[{number}]"
        ways = [entry.password_file, entry.identity_token_file, entry.helper]
        if not entry.host or sum(map(bool, ways)) != 1:
            raise InvalidArgument(
                "a registry's credentials need `host` and one way to get them",
                hint="username with password_file, identity_token_file, or helper",
                field=field,
            )
        if entry.password_file and not entry.username:
            raise InvalidArgument("a password needs its `username`", field=field)
        _absolute(field, *filter(None, ways))
    _absolute("registry.credential_helpers", *registry.credential_helpers)
    _absolute("registry.docker_config", *filter(None, [registry.docker_config]))


def _check_address(field: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidArgument("expected HOST:PORT", why=repr(address), field=field)


def _check_peers(peers: Peers) -> None:
    for name, address in peers.nodes.items():
        _check_address(f"peers.nodes.{name}", address)
    if not (peers.listen or peers.nodes):
        return
    if peers.listen:
        _check_address("peers.listen", peers.listen)
    for key in ("certificate", "key", "client_ca"):
        value = getattr(peers, key)
        if not value:
            raise InvalidArgument("serving other nodes needs mutual TLS", field=f"peers.{key}")
        _absolute(f"peers.{key}", value)
    if 0 < peers.rate < limits.MIB:
        raise InvalidArgument(
            "peers would give up before a piece is there", why="under 1 MiB/s", field="peers.rate"
        )
    if not peers.namespaces or not peers.repositories:
        raise InvalidArgument("nothing would be served", field="peers.namespaces")


def _absolute(field: str, *paths: str) -> None:
    for path in paths:
        if not os.path.isabs(path):
            raise InvalidArgument("expected an absolute path", why=repr(path), field=field)


def _check_ranges(config: Config) -> None:
    ranges: tuple[tuple[str, float, float, float], ...] = (
        ("registry.credential_helper_timeout", config.registry.credential_helper_timeout, 0.1, 300),
        ("peers.connections", config.peers.connections, 1, 4096),
        ("peers.connections_each", config.peers.connections_each, 1, 4096),
        ("peers.rate", config.peers.rate, 0, 2**40),
        ("peers.patience", config.peers.patience, 0.1, 3600),
        ("registry.parallel_downloads", config.registry.parallel_downloads, 1, 32),
        ("logs.size", config.logs.size, 64 * limits.KIB, limits.GIB),
        ("logs.files", config.logs.files, 1, 100),
        ("gc.pause_threshold", config.gc.pause_threshold, 0.0001, 0.5),
        ("gc.deletion_threshold", config.gc.deletion_threshold, 0, 2**31),
        ("gc.mutation_threshold", config.gc.mutation_threshold, 0, 2**31),
        ("gc.schedule_delay", config.gc.schedule_delay, 0, 3600),
        ("gc.startup_delay", config.gc.startup_delay, 0, 3600),
        ("scrub.interval", config.scrub.interval, 60, 3650 * 24 * 3600),
        ("scrub.rate", config.scrub.rate, 64 * limits.KIB, 64 * limits.GIB),
        *(
            (f"budgets[{place}].{kind}", bound, 0, 2**60)
            for place, rule in enumerate(config.budgets)
            for kind, bound in (
                ("bytes", rule.bytes),
                ("images", rule.images),
                ("containers", rule.containers),
            )
            if bound is not None
        ),
    )
    for field, value, low, high in ranges:
        if not low <= value <= high:
            raise InvalidArgument(f"{value} is out of range", why=f"{low} to {high}", field=field)


def dump(config: Config) -> str:
    """Return the whole configuration as TOML."""
    return str(toml.dumps(attrs.asdict(config, value_serializer=_plain)))


def _plain(_: Any, __: Any, value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def changed_keys(old: Config, new: Config) -> list[str]:
    """Return the top-level keys in which the two differ."""
    return [
        field.name for field in attrs.fields(Config) if getattr(old, field.name) != getattr(new, field.name)
    ]
