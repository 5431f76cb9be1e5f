"""All routes, one file per noun."""

from __future__ import annotations

from typing import Final

from tricorn.api.http.routes import (
    checkpoints,
    collection,
    containers,
    content,
    copies,
    events,
    execs,
    image_work,
    images,
    leases,
    migrations,
    namespaces,
    networks,
    node,
    node_states,
    operations,
    policy,
    registries,
    snapshots,
    states,
    tasks,
    transfer,
    upkeep,
)
from tricorn.api.http.routing import Route

ROUTES: Final[tuple[Route, ...]] = (
    *node.ROUTES,
    *node_states.ROUTES,
    *registries.ROUTES,
    *namespaces.ROUTES,
    *networks.ROUTES,
    *images.ROUTES,
    *transfer.ROUTES,
    *states.ROUTES,
    *image_work.ROUTES,
    *containers.ROUTES,
    *checkpoints.ROUTES,
    *migrations.ROUTES,
    *tasks.ROUTES,
    *execs.ROUTES,
    *copies.ROUTES,
    *content.ROUTES,
    *snapshots.ROUTES,
    *leases.ROUTES,
    *operations.ROUTES,
    *events.ROUTES,
    *collection.ROUTES,
    *upkeep.ROUTES,
    *policy.ROUTES,
)
