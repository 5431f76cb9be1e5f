"""The workers with I/O: database, store, fs, registry, runtime."""

from __future__ import annotations

import os
import platform
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import attrs
import trio
from attrs import define

import tricorn
from tricorn.config import Config, RegistryConfig
from tricorn.fs.extraction import ExtractorPool
from tricorn.fs.native import NativeSnapshotter
from tricorn.fs.overlay import OverlaySnapshotter
from tricorn.model.oci import Platform
from tricorn.ports import Snapshotter
from tricorn.registry.client import RegistryClient
from tricorn.registry.credentials import CredentialBook, CredentialEntry, CredentialSettings
from tricorn.rules import platforms
from tricorn.runtime.supervise import ConmonRuntime
from tricorn.service.snapshots import SnapshotService
from tricorn.store.connection import database_path
from tricorn.store.content import ContentStore
from tricorn.store.db import Database
from tricorn.store.lost_database import refuse_if_lost


class SystemClock:
    """ports.Clock on the system's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@define
class Workers:
    """The four workers with I/O, opened in the order they need each other."""

    clock: SystemClock
    db: Database
    content: ContentStore
    extractor: ExtractorPool
    registry: RegistryClient
    runtime: ConmonRuntime
    snapshots: SnapshotService
    environment: Mapping[str, str]
    machine: Platform
    boot_id: str


@asynccontextmanager
async def open_workers(config: Config, environment: dict[str, str]) -> AsyncIterator[Workers]:
    """Open store, fs, registry and runtime below the configured directories."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        extractor = await enter(ExtractorPool())  # first: its server is forked while we are small
        await trio.to_thread.run_sync(refuse_if_lost, config.root)
        db = await enter(Database.open(database_path(config.root), clock, config.budgets))
        content = ContentStore(os.path.join(config.root, "content"), db, clock, policy=config.content.sharing)
        registry = await enter(
            RegistryClient(
                config.registry.hosts_dir,
                environment=environment,
                user_agent=f"tricorn/{tricorn.__version__}",
                random=random.Random(),  # noqa: S311 - jitter of retries, no secret
                credentials=CredentialBook(credential_settings(config.registry, environment)),
            )
        )
        runtime = await enter(
            ConmonRuntime(
                config.state,
                runtimes=config.runtimes.paths,
                default=config.runtimes.default,
                environment=environment,
                cgroup_top=config.cgroup,
                log_programs=config.logs.programs,
                criu=config.runtimes.criu,
            )
        )
        directory = os.path.join(config.root, "snapshots")
        made: list[Snapshotter] = [
            OverlaySnapshotter(os.path.join(directory, "overlayfs")),
            NativeSnapshotter(os.path.join(directory, "native")),
        ]
        backends = {backend.name: backend for backend in made}
        snapshots = SnapshotService(db, backends, config.snapshots.default, sync=config.snapshots.sync)
        machine = platforms.host_platform(platform.machine())
        yield Workers(
            clock, db, content, extractor, registry, runtime, snapshots, environment, machine, _boot_id()
        )  # fmt: skip


def credential_settings(config: RegistryConfig, environment: Mapping[str, str]) -> CredentialSettings:
    """Return what the configuration says of credentials, as the registry client takes it."""
    return CredentialSettings(
        tuple(CredentialEntry(**attrs.asdict(entry)) for entry in config.credentials),
        config.docker_config,
        config.credential_helpers,
        config.credential_helper_timeout,
        environment,
    )


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
