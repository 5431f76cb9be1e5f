"""The keys of the configuration, and their values unless others are given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

from attrs import Factory, frozen

from tricorn import limits
from tricorn.model.scrubbing import ScrubSettings
from tricorn.model.usage import BudgetRule


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
    """`pool` is where networks get their subnets from that name none, `pool6` those of IPv6: by default
    unique local addresses of the node's own (RFC 4193). `cni_lists` is the directory of CNI configuration
    lists (*.conflist), `cni_plugins` are directories of plugins, separated by colons.
    """

    pool: str = "10.90.0.0/16"
    pool6: str = ""
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
