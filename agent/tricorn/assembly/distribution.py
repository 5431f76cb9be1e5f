"""Images: pulls, pushes, transfers, the policy, other nodes."""

from __future__ import annotations

from attrs import define

from tricorn import limits
from tricorn.assembly.workers import Workers
from tricorn.config import Config, Peers
from tricorn.rules.peers import Grant, PeerRule
from tricorn.runtime.verifiers import Verifiers
from tricorn.service.archive_writer import Exporter
from tricorn.service.archives import Importer
from tricorn.service.catalog import Catalog
from tricorn.service.images import ImageService
from tricorn.service.layers import LayerPipeline
from tricorn.service.peers import PeerService
from tricorn.service.policy import PolicyGate
from tricorn.service.policy_checks import PolicyChecks
from tricorn.service.pull import Puller
from tricorn.service.pull_wide import WidePuller
from tricorn.service.push import Pusher
from tricorn.service.transfer import TransferService


@define
class Distribution:
    """What brings images, and takes them elsewhere."""

    catalog: Catalog
    gate: PolicyGate
    puller: Puller
    wide: WidePuller
    pusher: Pusher
    transfer: TransferService
    images: ImageService


async def make_distribution(config: Config, workers: Workers) -> Distribution:
    """Construct it, with the configured policy in force."""
    db, content, registry = workers.db, workers.content, workers.registry
    catalog = Catalog(db, content, workers.snapshots)
    parallel = config.registry.parallel_downloads
    pipeline = LayerPipeline(content, registry, workers.extractor, parallel, registry.turns)
    gate = policy_gate(workers)
    await gate.load(config.policy.file)
    puller = Puller(db, content, registry, pipeline, workers.snapshots, workers.clock, gate)
    wide = WidePuller(puller, workers.snapshots)
    pusher = Pusher(db, content, registry, limits.REGISTRY_PARALLEL_UPLOADS, registry)
    transfer = TransferService(
        db, puller, wide, workers.snapshots, catalog, pusher, Importer(content, puller, wide),
        Exporter(db, content, workers.machine), workers.machine, workers.clock,
    )  # fmt: skip
    images = ImageService(db, catalog, puller, workers.snapshots, workers.machine)
    return Distribution(catalog, gate, puller, wide, pusher, transfer, images)


def policy_gate(workers: Workers) -> PolicyGate:
    """Return the gate; it has no policy yet."""
    checks = PolicyChecks(workers.registry, workers.registry, Verifiers(workers.environment))
    return PolicyGate(workers.db, workers.registry, checks)


def peer_service(peers: Peers, workers: Workers, puller: Puller) -> PeerService:
    """Return what other nodes may be served by; nobody asks it unless the configuration opens a door."""
    rules = [PeerRule(entry.names, entry.repositories) for entry in peers.allow]
    grant = Grant(peers.namespaces, peers.repositories, rules)
    return PeerService(workers.db, workers.content, puller.coming, workers.registry.turns, grant)
