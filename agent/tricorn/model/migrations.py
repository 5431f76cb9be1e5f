"""Migrations: what one is asked for, what both nodes keep of it, and what they say to each other."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

from attrs import Factory, frozen

from tricorn.model.oci import Descriptor
from tricorn.model.requests import ContainerDesired

Role = Literal["out", "in"]
State = Literal[
    "preflight", "seed", "precopy", "freeze", "final", "restore", "uncertain", "acked",  # of the source
    "accepted", "seeded", "restoring", "running",  # of the target
    "done", "failed", "refused",
]  # fmt: skip
PATH: Final = "/tricorn/v1/migrations"  # on the door for other nodes


@frozen
class MigrationReport:
    """What a migration cost, as its source saw it. `downtime_ms` is from the freeze until the source heard
    that the container runs. `rounds` of memory went before the freeze, of `round_bytes` each, which took
    `precopy_ms`; `precopy` says why none did. `address_kept`: it has the address that it had. `image` is
    what was left in a registry, with all that was in memory, and `image_stays` why it couldn't be deleted
    there.
    """

    image_bytes: int = 0  # blobs that the target lacked
    rw_bytes: int = 0  # changed files, sent while the container ran
    final_rw_bytes: int = 0  # those that changed since
    dump_bytes: int = 0
    rounds: int = 0
    round_bytes: tuple[int, ...] = ()
    precopy: str = ""
    address_kept: bool = False
    image: str = ""
    image_stays: str = ""
    seed_ms: int = 0
    precopy_ms: int = 0
    dump_ms: int = 0
    send_ms: int = 0
    restore_ms: int = 0
    downtime_ms: int = 0
    total_ms: int = 0


@frozen
class Left:
    """What is in a registry for the length of a migration: the manifest's digest, and those of the blobs
    that it names, which are secret.
    """

    repository: str
    manifest: str
    blobs: tuple[str, ...]
    plain_http: bool = False


@frozen
class Migration:
    """A migration as one of its nodes has it on record. `node` is the other one, as it is called here."""

    id: str
    role: Role
    namespace: str
    container: str
    name: str  # on the target
    node: str
    address: str
    state: State
    reason: str = ""
    report: MigrationReport = MigrationReport()
    lease: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    left: Left | None = None  # what is still to be deleted there


@frozen
class MigrationView:
    """A migration as clients see it. `hint` tells the way out of an uncertain one."""

    id: str
    role: Role
    container: str
    name: str
    node: str
    state: State
    reason: str = ""
    hint: str = ""
    report: MigrationReport = MigrationReport()
    created_at: datetime | None = None
    updated_at: datetime | None = None


@frozen
class MigrateRequest:
    """Body of `POST /v1/{namespace}/containers/{id}/migrate`.

    `to` is a name of `[peers.nodes]` in the configuration, or HOST:PORT of the other agent's door for
    nodes. `name` is the container's name there, its own when empty. With `keep_image` the image has its
    name there, too, if nothing else has it. With `keep_address` it isn't moved unless its address in its
    network moves along; `tcp_established` allows open connections, which need that. `via` is a repository
    (HOST/PATH) through which it goes in place of the direct way, with `plain_http` without TLS. With `lazy`
    it goes on there before its memory was read into it, and gets it as it needs it. Where the kernel can
    tell which memory was written to, up to `rounds` of it go over before it is frozen: null for what fits
    its memory, 0 for none.
    """

    to: str
    name: str = ""
    keep_image: bool = False
    keep_address: bool = False
    tcp_established: bool = False
    via: str = ""
    plain_http: bool = False
    external_unix_sockets: bool = False
    shell_job: bool = False
    file_locks: bool = True
    lazy: bool = False
    rounds: int | None = None


@frozen
class ResolveRequest:
    """Body of `POST /v1/{namespace}/migrations/{id}/resolve`: the copy that is to go on."""

    keep: Literal["source", "target"]


# ---------------------------------------------------------------- between the nodes
@frozen
class NodeFacts:
    """What has to fit between two nodes for a dump of one to be restored on the other."""

    machine: str
    kernel: str
    criu: str
    cgroup: str
    cpu_flags: tuple[str, ...] = ()


@frozen
class Made:
    """A container whose spec (JSON) a client of containerd's API made, with what else such a client wrote
    down. Messages of types that only their owners know are a type and base64.
    """

    spec: str
    runtime: str = ""  # as the agents name it
    runtime_name: str = ""
    runtime_options: tuple[str, str] = ("", "")
    labels: Mapping[str, str] = Factory(dict)
    extensions: Mapping[str, tuple[str, str]] = Factory(dict)


@frozen
class Offer:
    """The source's first message: what it would move. `blobs` are the image's, `needed` an estimate of the
    bytes that will come besides. `address` is the one it has in its network, with the length of its prefix,
    `more_addresses` are others; `keep_address`: it can't do without. With `made` there is no more in
    `container` than its image. `via` is the repository that all but messages come by. With `lazy` it is to
    go on before it has its memory.
    """

    id: str
    namespace: str
    name: str
    container: ContainerDesired
    image: Descriptor
    blobs: tuple[Descriptor, ...]
    facts: NodeFacts
    needed: int = 0
    keep_image: bool = False
    address: str = ""
    keep_address: bool = False
    made: Made | None = None
    via: str = ""
    plain_http: bool = False
    lazy: bool = False
    more_addresses: tuple[str, ...] = ()


@frozen
class Welcome:
    """The answer to an offer: the blobs that the target lacks, and whether the container has its address
    there: what the source then has to make sure of is that nobody answers for it any more.
    """

    missing: tuple[str, ...] = ()
    keeps_address: bool = False


@frozen
class Seed:
    """All of the image has come; `rw` is the layer of changed files, which has come, too."""

    rw: Descriptor | None = None


@frozen
class Pull:
    """The dump is in the repository of the offer, in this image; the target is to bring it, and says so."""

    image: Descriptor


@frozen
class Start:
    """All has come, the dump too: the target is to let the container go on. `rw` are the files that changed
    since the seed. The dump stands on so many `rounds`, all that came, or on none.
    """

    rw: Descriptor | None = None
    external_unix_sockets: bool = False
    shell_job: bool = False
    file_locks: bool = True
    rounds: int = 0


@frozen
class Answer:
    """Where the target stands: `restoring`, `running`, or `refused` for ever, with the reason. `dumped`: it
    has the dump.
    """

    state: State
    reason: str = ""
    dumped: bool = False
