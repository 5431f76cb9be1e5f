"""What other nodes offer to bring, before anything of it comes: whether it can go on here, and what is
missing.
"""

from __future__ import annotations

import os

from attrs import evolve, frozen

from tricorn.errors import AlreadyExists, FailedPrecondition, ResourceExhausted, Unimplemented
from tricorn.model.migrations import Offer
from tricorn.rules.migration_grant import check_nodes
from tricorn.rules.migration_ids import check_ids
from tricorn.rules.migration_made import needed_paths
from tricorn.service.migration_parts import MigrationParts
from tricorn.service.network_moves import Arriving
from tricorn.store.transaction import Transaction


@frozen
class Offers:
    _parts: MigrationParts

    async def preflight(self, offer: Offer) -> Arriving:
        """Return what the container's network will be. Raises what speaks against taking the container."""
        self._parts.lifecycle.cordon.require_open(f"container {offer.name}, which another node brings,")
        found = await self._parts.db.read(lambda tx: tx.containers.find(offer.namespace, offer.name))
        if found is not None:
            raise AlreadyExists(
                f"container {offer.name} exists already on the target", hint="give it another name: --name"
            )
        known = await self._parts.db.read(lambda tx: tx.containers.list_all())
        check_ids(offer.container, ((container.id, container.spec) for _, container in known))
        check_nodes(offer.facts, await self._parts.facts())
        for mount in offer.container.mounts:
            if mount.type != "tmpfs" and not os.path.exists(mount.source):  # noqa: ASYNC240 - one look
                raise FailedPrecondition(
                    f"{mount.source} is not on the target", why=f"the container mounts it at {mount.target}"
                )
        for path, why in needed_paths(offer.made) if offer.made else ():
            if not os.path.exists(path):  # noqa: ASYNC240 - one look
                raise FailedPrecondition(f"{path} is not on the target", why=why)
        if offer.lazy:
            await self._require_lazy(offer)
        room = os.statvfs(os.path.dirname(self._parts.directory))
        if room.f_bavail * room.f_frsize < offer.needed:
            raise ResourceExhausted("the target's disk has no room for it", why=f"{offer.needed} bytes")
        addresses = (offer.address, *offer.more_addresses) if offer.address else ()
        coming = Arriving(offer.namespace, offer.name, offer.container, addresses, offer.keep_address)
        return evolve(coming, keeps=await self._parts.networks.foresee(coming))

    async def _require_lazy(self, offer: Offer) -> None:
        if offer.container.uid_map or offer.container.gid_map:
            raise Unimplemented(
                "giving containers in user namespaces their memory later",
                why="the kernel lets only the node's root have its page faults told",
                hint="migrate it without `lazy` (`--lazy`)", field="lazy",
            )  # fmt: skip
        try:
            await self._parts.runtime.can_restore_lazily(await self.runtime(offer))
        except Unimplemented as error:
            raise Unimplemented(
                "the target can't let it go on before its memory is there", why=f"{error.what}: {error.why}",
                hint="migrate it without `lazy` (`--lazy`)", field="lazy",
            ) from None  # fmt: skip

    async def missing(self, offer: Offer, lease: str) -> list[str]:
        """Return the digests of the blobs that have to be brought; `lease` keeps the others."""

        def look(tx: Transaction) -> list[str]:
            found = []
            for blob in offer.blobs:
                if tx.content.find(offer.namespace, blob.digest) is None:
                    found.append(str(blob.digest))
                else:
                    tx.leases.protect(offer.namespace, lease, "content", blob.digest)
            return found

        return await self._parts.db.write(look)

    async def runtime(self, offer: Offer) -> str:
        """Return the name of the runtime that it is going to have."""
        wanted = await self._parts.snapshots.defaults.runtime(offer.namespace)
        default = await self._parts.specs.runtime_name(wanted)
        asked = offer.made.runtime if offer.made else offer.container.runtime
        return asked or await self._parts.reviver.runtime(default)
