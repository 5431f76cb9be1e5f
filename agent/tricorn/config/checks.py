"""What the values of the configuration must look like. InvalidArgument names the key."""

from __future__ import annotations

import ipaddress
import os

from tricorn import limits
from tricorn.config.settings import Config, Networks, Peers, RegistryConfig, UserNamespaceConfig
from tricorn.errors import InvalidArgument
from tricorn.model.id_spans import parse_span


def check(config: Config) -> None:
    """Raise InvalidArgument for what no agent could run with, naming the key and the remedy."""
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
    if network.pool6:
        _check_pool6(network.pool6)
    _absolute("network.cni_lists", network.cni_lists)
    _absolute("network.cni_plugins", *filter(None, network.cni_plugins.split(":")))


def _check_pool6(text: str) -> None:
    field, hint = "network.pool6", "such as fd12:3456:789a::/48; without one the agent makes its own"
    try:
        pool = ipaddress.IPv6Network(text)
    except ValueError as error:
        raise InvalidArgument(
            "network.pool6 must be an IPv6 subnet", why=str(error), hint=hint, field=field
        ) from None
    if pool.prefixlen > 126:
        raise InvalidArgument(f"{pool} has no room for a network", hint=hint, field=field)


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
