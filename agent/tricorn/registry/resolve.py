"""What a reference names: its descriptor, as the registry tells it and as far as that can be checked."""

from __future__ import annotations

from typing import Final

import trio

from tricorn import limits
from tricorn.errors import DataLoss, FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from tricorn.model.ids import Digest
from tricorn.model.oci import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
)
from tricorn.registry.access import Access, Call
from tricorn.registry.answers import refusal
from tricorn.registry.connection import Head
from tricorn.registry.wire import Response
from tricorn.rules.hosts import RegistryHost

ACCEPT: Final = (("Accept", f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_INDEX}, {DOCKER_MANIFEST}"),)
_KNOWN: Final = INDEX_TYPES | MANIFEST_TYPES
_NO_HEAD: Final = frozenset({400, 403, 405, 501})  # no HEAD there, or a refusal whose reason is in a body


async def resolve_on(access: Access, call: Call, host: RegistryHost) -> Descriptor:
    """Ask `host` what the call's reference names: HEAD, or GET where its answer isn't complete.

    Raises DataLoss if the registry's digest differs from the reference's, and the errors of `refusal`.
    """
    path = f"/manifests/{call.reference.object}"
    async with access.open(call, host, "HEAD", path, ACCEPT) as response:
        if response.status == 200:
            descriptor = _from_head(response, call)
            if descriptor is not None:
                return descriptor
        elif response.status not in _NO_HEAD:
            raise await refusal(response)
    async with access.open(call, host, "GET", path, ACCEPT) as response:
        if response.status != 200:
            raise await refusal(response)
        return await _from_body(response, call)


def _from_head(response: Response, call: Call) -> Descriptor | None:
    """The descriptor, or None where a header is missing and the document itself has to tell."""
    digest, media_type = _digest(response.head, call), _media_type(response.head)
    if digest is None or not media_type or response.length is None:
        return None
    return Descriptor(media_type, digest, _checked_size(response.length, call))


async def _from_body(response: Response, call: Call) -> Descriptor:
    claimed, media_type = _digest(response.head, call), _media_type(response.head)
    if not media_type:
        raise FailedPrecondition(
            f"can't resolve {call.reference}", why=f"{response.url.origin} serves it without a media type"
        )
    body = await read_document(response, limits.MANIFEST_SIZE)
    wanted = call.reference.digest or claimed
    digest = Digest.of(body, wanted.algorithm if wanted else "sha256")
    if wanted is not None and digest != wanted:
        raise DataLoss(
            f"manifest of {call.reference} is damaged", why=f"it has digest {digest}, not {wanted}"
        )
    return Descriptor(media_type, digest, len(body))


async def read_document(response: Response, limit: int) -> bytes:
    """Return a body of at most `limit` bytes; Unavailable when it takes longer than four stall periods."""
    seconds = 4 * response.pacing.stall
    with trio.move_on_after(seconds):
        return await response.read(limit)
    raise Unavailable(f"{response.url.origin} is too slow", why=f"document not complete in {seconds:g} s")


def _digest(head: Head, call: Call) -> Digest | None:
    text = head.get("docker-content-digest")
    if not text:
        return None
    try:
        digest = Digest.parse(text, "Docker-Content-Digest")
    except InvalidArgument:
        raise DataLoss(f"can't resolve {call.reference}", why="the registry names no valid digest") from None
    wanted = call.reference.digest
    if wanted is not None and wanted.algorithm == digest.algorithm and digest != wanted:
        raise DataLoss(f"can't resolve {call.reference}", why=f"the registry answers for {digest}")
    return digest if wanted in {None, digest} else None


def _media_type(head: Head) -> str:
    """The type in Content-Type; empty if there is none. FailedPrecondition for what is no image."""
    name = head.get("content-type").partition(";")[0].strip().lower()
    if not name or name in _KNOWN:
        return name
    raise FailedPrecondition(
        f"unsupported manifest media type {name[:120]!r}",
        hint="OCI and Docker schema 2 images are supported; schema 1 has been withdrawn",
    )


def _checked_size(size: int, call: Call) -> int:
    if size > limits.MANIFEST_SIZE:
        raise ResourceExhausted(
            f"manifest of {call.reference} is too large", why=f"{size} bytes, at most {limits.MANIFEST_SIZE}"
        )
    return size
