"""A push to one repository: what is there already stays, blobs go side by side, manifests last.

Source: OCI distribution-spec 1.1, "Push". Cross-repository mounts save the upload of what the registry has
under another name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from attrs import frozen

from tricorn.errors import FailedPrecondition, NotFound, PermissionDenied
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.ports import PushOutcome
from tricorn.registry.answers import refusal
from tricorn.registry.fetch import Buffers
from tricorn.registry.push_blob import BlobUpload
from tricorn.registry.push_to import PushTo, check_digest
from tricorn.registry.referrers import note_referrer
from tricorn.registry.resolve import ACCEPT
from tricorn.registry.rounds import Attempts
from tricorn.rules.hosts import RegistryHost

_DELETED: Final = frozenset({200, 202, 204})  # 202 by the specification
_CREATED: Final = frozenset({200, 201, 202, 204})  # 201 by the specification; others are seen


@frozen
class Uploads:
    """ports.Push. Errors are those of `refusal`, with all tries named in `why`."""

    _to: PushTo
    _attempts: Callable[[str], Attempts]
    _buffers: Buffers

    async def blob(
        self,
        descriptor: Descriptor,
        path: str,
        *,
        mounts: Sequence[str] = (),
        sent: Callable[[int], None] = lambda _: None,
    ) -> PushOutcome:
        """Bring the file at `path` to the repository as the blob `descriptor`; see ports.Push."""
        what = f"can't push {descriptor.digest} to {self._to.reference.name}"
        if await self._attempts(what).run(lambda _: self._has(f"/blobs/{descriptor.digest}", descriptor)):
            sent(descriptor.size)
            return "exists"
        upload = BlobUpload(self._to, descriptor, path, mounts, sent, self._buffers)
        attempts = self._attempts(what)
        attempts.offset = lambda: upload.confirmed
        return await attempts.run(upload.run)

    async def manifest(self, descriptor: Descriptor, data: bytes, name: str = "") -> PushOutcome:
        """Put a manifest or an index there, by the tag `name` or by its digest; see ports.Push."""
        repository = self._to.reference.name
        what = (
            f"can't push {repository}:{name}" if name else f"can't push {descriptor.digest} to {repository}"
        )
        path = f"/manifests/{name or descriptor.digest}"

        async def put(_: RegistryHost) -> PushOutcome:
            if await self._has(path, descriptor):
                return "exists"
            await self._put(path, descriptor, data)
            return "pushed"

        return await self._attempts(what).run(put)

    async def remove(self, digest: Digest, *, manifest: bool = False) -> bool:
        """Delete a blob or a manifest from the repository; see ports.Push."""
        path = f"/manifests/{digest}" if manifest else f"/blobs/{digest}"
        what = f"can't delete {digest} from {self._to.reference.name}"
        return await self._attempts(what).run(lambda _: self._delete(path))

    async def _delete(self, path: str) -> bool:
        async with self._to.ask_to_delete(path) as response:
            if response.status in _DELETED:
                return True
            error = await refusal(response)
            if response.status == 405:
                raise FailedPrecondition(
                    error.what, why=error.why or "it deletes nothing",
                    hint="Docker's own registry deletes where `storage.delete.enabled` is true",
                )  # fmt: skip
        if isinstance(error, NotFound):
            return False
        if isinstance(error, PermissionDenied):
            raise PermissionDenied(error.what, why=error.why, hint="these credentials may not delete there")
        raise error

    async def refer(self, subject: Digest, referrer: Descriptor) -> bool:
        """Let the registry tell of `referrer`; see `note_referrer`."""
        what = f"can't say in {self._to.reference.name} what {referrer.digest} refers to"
        return await self._attempts(what).run(lambda _: note_referrer(self._to, subject, referrer))

    async def _put(self, path: str, descriptor: Descriptor, data: bytes) -> None:
        headers = (("Content-Type", descriptor.media_type),)
        async with self._to.ask("PUT", path, headers, body=data) as response:
            if response.status not in _CREATED:
                raise await self._to.refused(response)
            check_digest(response, descriptor.digest)

    async def _has(self, path: str, descriptor: Descriptor) -> bool:
        """Whether the registry has exactly `descriptor` at `path`; a tag may stand for something else."""
        async with self._to.ask("HEAD", path, ACCEPT if "/manifests/" in path else ()) as response:
            if response.status == 200:
                digest = response.head.get("docker-content-digest").strip()
                by_digest = path.endswith(str(descriptor.digest))
                return digest == str(descriptor.digest) or (by_digest and not digest)
            error = await self._to.refused(response)
        if isinstance(error, NotFound):
            return False
        raise error
