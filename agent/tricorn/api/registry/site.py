"""The read-only registry of OCI's distribution spec that other nodes see: one instance for a connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qs, urlsplit

import structlog

from tricorn import limits
from tricorn.api.http.connection import BodyReader
from tricorn.api.http.problems import mistake
from tricorn.api.http.replies import JSON, Data, Reply, Whole
from tricorn.api.http.wire import Head
from tricorn.api.registry.pace import Pace
from tricorn.errors import InvalidArgument, NotFound, OutOfRange, TricornError, Unavailable
from tricorn.model.oci import OCI_INDEX
from tricorn.rules.authorise import Peer
from tricorn.rules.peers import HEADER, Asked, Identity, parse_range, parse_target
from tricorn.service.peer_referrers import listing
from tricorn.service.peers import PeerService, ServedBlob

log = structlog.get_logger(__name__)
_VERSION: Final = (("Docker-Distribution-API-Version", "registry/2.0"),)
_UNKNOWN: Final = {
    "manifests": "MANIFEST_UNKNOWN", "blobs": "BLOB_UNKNOWN", "tags": "NAME_UNKNOWN",
    "referrers": "NAME_UNKNOWN", "ping": "UNSUPPORTED",
}  # fmt: skip
Headers = tuple[tuple[str, str], ...]


class RegistrySite:
    """Answers one peer. `crowded` tells whether it has more connections than it may have."""

    def __init__(self, service: PeerService, peer: Identity, pace: Pace, crowded: Callable[[], bool]) -> None:
        self._service = service
        self._peer = peer
        self._pace = pace
        self._crowded = crowded

    def endless(self, head: Head) -> bool:  # noqa: ARG002 - what connections ask of a site
        """No request lasts for ever."""
        return False

    async def answer(self, head: Head, body: BodyReader, peer: Peer) -> Reply:  # noqa: ARG002 - a site's
        """Answer one request; failures are OCI error documents."""
        figures = self._service.figures
        figures.requests += 1
        asked = Asked("ping")
        try:
            if head.method not in {"GET", "HEAD"}:
                return _refusal(405, "UNSUPPORTED", "this registry is read-only", (("Allow", "GET, HEAD"),))
            if self._crowded():
                return _refusal(429, "TOOMANYREQUESTS", "too many connections", (("Retry-After", "1"),))
            asked = parse_target(head.target)
            return await self._reply(asked, head)
        except TricornError as error:
            figures.refused += 1
            return _told(error, asked)
        except Exception:
            log.exception("peer's request failed", path=head.target[:300], peer=self._peer.label)
            return _refusal(500, "UNKNOWN", str(mistake()))

    async def _reply(self, asked: Asked, head: Head) -> Reply:
        match asked.kind:
            case "ping":
                return Whole(200, b"{}", JSON, _VERSION)
            case "manifests":
                served, data = await self._service.manifest(self._peer, asked.repository, asked.which)
                headers = (*_VERSION, ("Docker-Content-Digest", served.digest))
                self._service.figures.bytes_served += len(data) if head.method == "GET" else 0
                return Whole(200, data, served.media_type, headers)
            case "blobs":
                served = await self._service.blob(self._peer, asked.repository, asked.which)
                return self._blob(served, head)
            case "tags":
                tags = await self._service.tags(self._peer, asked.repository)
                document = {"name": asked.repository, "tags": tags}
                return Whole(200, json.dumps(document).encode(), JSON, _VERSION)
            case _:
                return await self._referrers(asked, parse_qs(urlsplit(head.target).query))

    async def _referrers(self, asked: Asked, query: Mapping[str, list[str]]) -> Reply:
        kind = query.get("artifactType", [""])[0]
        found = await self._service.referrers(self._peer, asked.repository, asked.which, kind)
        applied = (("OCI-Filters-Applied", "artifactType"),) if kind else ()
        return Whole(200, listing(found), OCI_INDEX, (*_VERSION, *applied))

    def _blob(self, served: ServedBlob, head: Head) -> Data:
        headers: Headers = (
            *_VERSION, ("Docker-Content-Digest", served.digest), ("Accept-Ranges", "bytes"),
        )  # fmt: skip
        part = parse_range(head.headers.get("range", ""), served.size) if head.method == "GET" else None
        status, offset, size = 200, 0, served.size
        if part is not None:
            status, (offset, size) = 206, part
            headers += (("Content-Range", f"bytes {offset}-{offset + size - 1}/{served.size}"),)
        return Data(served.path, size, headers, status, offset, self._sent, limits.PEER_SEND_STALL)

    async def _sent(self, count: int) -> None:
        self._service.figures.bytes_served += count
        await self._pace.spend(count)


def _told(error: TricornError, asked: Asked) -> Whole:
    match error:
        case Unavailable():
            coming = error.details.get("bringing")
            headers: Headers = (("Retry-After", "1"),)
            if coming is not None:
                headers += ((HEADER, f"bringing {coming}"),)
            return _refusal(503, "UNAVAILABLE", error.what, headers)
        case OutOfRange():
            return _refusal(416, "SIZE_INVALID", str(error))
        case NotFound():
            return _refusal(404, _UNKNOWN[asked.kind], error.what, ((HEADER, "none"),))
        case InvalidArgument():
            return _refusal(400, "NAME_INVALID", str(error))
    return _refusal(error.http, "UNKNOWN", error.what)


def _refusal(status: int, code: str, message: str, headers: Headers = ()) -> Whole:
    document = {"errors": [{"code": code, "message": message[:300], "detail": None}]}
    return Whole(status, json.dumps(document).encode(), JSON, (*_VERSION, *headers))
