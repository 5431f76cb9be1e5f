"""Migrations, whose two sides come into being with the first container that moves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tricorn.assembly.distribution import Distribution
from tricorn.assembly.running import Running
from tricorn.assembly.upkeep import Upkeep
from tricorn.assembly.workers import Workers
from tricorn.config import Config
from tricorn.service.checkpoints import CheckpointService
from tricorn.service.diff import DiffService
from tricorn.service.migrations import MigrationService

if TYPE_CHECKING:
    from tricorn.service.migration_parts import MigrationParts, MigrationSettings


def make_migrations(
    config: Config,
    workers: Workers,
    images: Distribution,
    running: Running,
    upkeep: Upkeep,
    checkpoints: CheckpointService,
    diff: DiffService,
) -> MigrationService:
    """Return what moves containers."""
    place = os.path.join(config.root, "migrations")

    def make() -> tuple[MigrationParts, MigrationSettings]:
        from tricorn.rules.migration_grant import MigrationRule
        from tricorn.service.migration_parts import MigrationParts, MigrationSettings
        from tricorn.service.network_moves import NetworkMoves

        parts = MigrationParts(
            place, workers.machine, str(workers.runtime.cgroup_mode), workers.db, workers.content,
            workers.runtime, running.lifecycle, workers.snapshots, running.specs, running.reviver, diff,
            upkeep.mounts, images.catalog, images.gate, checkpoints, upkeep.operations,
            workers.registry, NetworkMoves(workers.db, running.networks.attachments),
        )  # fmt: skip
        peers = config.peers
        rules = [
            MigrationRule(
                item.names, item.namespaces, item.mounts, item.privileges, item.images, item.networks,
                item.ports, item.ids, item.registries,
            )
            for item in peers.migrations
        ]  # fmt: skip
        return parts, MigrationSettings(
            peers.nodes, peers.certificate, peers.key, peers.client_ca, rules, peers.patience
        )

    return MigrationService(workers.db, place, make, running.networks.attachments.places.held)
