"""What clients ask for of containers and what runs in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import Factory, frozen

from tricorn.model.health import HealthCheck
from tricorn.model.networks import Port
from tricorn.model.requests.images import PullPolicy


@frozen
class Mount:
    """`type` is bind, tmpfs or any type the runtime takes; options as mount(8) spells them."""

    target: str
    source: str = ""
    type: str = "bind"
    options: tuple[str, ...] = ()


@frozen
class BlkioLimit:
    """Bounds of one block device, by its numbers (`8:0`): bytes and operations a second; 0 is no bound."""

    device: str
    read_bps: int = 0
    write_bps: int = 0
    read_iops: int = 0
    write_iops: int = 0


@frozen
class Resources:
    """Limits of a container's cgroup. None leaves a limit unset."""

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    cpus: float | None = None  # cores, 1.5 = one and a half
    cpu_shares: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids: int | None = None
    blkio_weight: int | None = None  # share of the devices' time, 10 to 1000
    blkio: tuple[BlkioLimit, ...] = ()


@frozen
class LimitsUpdate:
    """Body of `POST …/containers/{id}/update`: None keeps a limit, -1 takes it away."""

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    cpus: float | None = None
    cpu_shares: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids: int | None = None
    blkio_weight: int | None = None
    blkio: tuple[BlkioLimit, ...] | None = None


@frozen
class Rlimit:
    type: str  # RLIMIT_NOFILE and so on
    soft: int
    hard: int


@frozen
class ContainerDesired:
    """Body of `PUT /v1/{namespace}/containers/{id}`: the whole desired container.

    `entrypoint`/`args` replace the image's Entrypoint/Cmd when not None. `network` is `private` or
    `none` (an own network namespace with loopback up), `host`, `path:/…` (a namespace), `container:NAME`,
    a network's name or `cni:NAME`; `ports` are published through the latter two. `namespaces` joins others by
    kind (pid, ipc, uts, mount, cgroup, user): `private`, `host` or a path. `seccomp` is `default`,
    `unconfined` or an absolute path of a profile on the node. `restart` says when a container that has ended
    is started again: after any end (`always`), after any end unless it was stopped by hand, or after
    failures, N in a row at most.
    """

    image: str
    state: Literal["present", "started", "stopped", "absent"] = "started"
    pull: PullPolicy = "missing"
    platform: str = ""
    plain_http: bool = False
    entrypoint: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: Mapping[str, str] = Factory(dict)
    cwd: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    devices: tuple[str, ...] = ()  # HOST[:CONTAINER[:rwm]]
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    read_only: bool = False
    no_new_privileges: bool = True
    terminal: bool = False
    stdin: bool = False
    network: str = "private"
    ports: tuple[Port, ...] = ()
    namespaces: Mapping[str, str] = Factory(dict)
    uid_map: tuple[str, ...] = ()  # CONTAINER:HOST:SIZE, of a user namespace of its own; empty: as gid_map
    gid_map: tuple[str, ...] = ()
    resources: Resources = Resources()
    rlimits: tuple[Rlimit, ...] = ()
    sysctls: Mapping[str, str] = Factory(dict)
    seccomp: str = "default"
    annotations: Mapping[str, str] = Factory(dict)
    labels: Mapping[str, str] = Factory(dict)
    runtime: str = ""  # crun, runc or a name from the config; empty: the agent's choice
    snapshotter: str = ""
    stop_signal: str = ""
    stop_timeout: float = 10.0
    health: HealthCheck | None = None
    restart: str = "no"  # always, unless-stopped, on-failure or on-failure:N
    log_size: int = 0  # bytes per log file; 0: the config's default
    log_files: int = 0


@frozen
class ExecRequest:
    """Body of `POST …/containers/{id}/exec`; `user`, `cwd` and `env` default to the container's."""

    args: tuple[str, ...]
    env: Mapping[str, str] = Factory(dict)
    cwd: str = ""
    user: str = ""
    terminal: bool = False
    stdin: str = ""  # text given to the process; for streams use the upgraded form
    timeout: float = 0.0  # 0: none; at the end the process group is killed
    privileged: bool = False


@frozen
class KillRequest:
    signal: str = "SIGTERM"
    all: bool = False


@frozen
class StopRequest:
    timeout: float | None = None  # None: the container's stop_timeout
