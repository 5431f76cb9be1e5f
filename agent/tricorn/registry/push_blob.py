"""Uploads one blob: mounted, in one request, or resumed after a broken connection.

Source: OCI distribution-spec 1.1, "Pushing blobs". Small blobs go with the request that ends the session, as
containerd sends them; large ones in one before it, as Docker does, since registries keep what came of that
when it breaks. A session that the registry has forgotten, or can't tell the state of, is begun anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import urlencode

from attrs import define, evolve, field

from tricorn import limits
from tricorn.errors import NotFound, PermissionDenied, TricornError, Unauthenticated, Unavailable
from tricorn.model.oci import Descriptor
from tricorn.ports import PushOutcome
from tricorn.registry.connection import Header
from tricorn.registry.fetch import Buffers
from tricorn.registry.push_body import FilePart
from tricorn.registry.push_to import PushTo, check_digest
from tricorn.registry.url import Url
from tricorn.registry.wire import Response
from tricorn.rules.hosts import RegistryHost

_BINARY: Final = ("Content-Type", "application/octet-stream")
_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,18})")
_MINIMUM: Final = re.compile(r"\d{1,12}")


@define
class BlobUpload:
    """One blob on its way into one repository, over as many connections as it takes."""

    to: PushTo
    descriptor: Descriptor
    path: str
    mounts: Sequence[str]
    sent: Callable[[int], None]
    buffers: Buffers
    confirmed: int = field(default=0, init=False)  # bytes that the registry said it has
    _session: Url | None = field(default=None, init=False)
    _minimum: int = field(default=0, init=False)  # bytes of a piece that the registry takes at least
    _in_pieces: bool = field(default=False, init=False)
    _resumed: bool = field(default=False, init=False)

    async def run(self, _: RegistryHost) -> PushOutcome:
        """Bring the blob there, going on where the last try broke off. Unavailable: try again."""
        if self._session is not None:
            await self._find_out()
        if self._session is None:
            if await self._begin():
                return "mounted"
            if self.descriptor.size <= limits.REGISTRY_WHOLE and not self._in_pieces:
                await self._whole()
                return "pushed"
        while self.confirmed < self.descriptor.size:
            await self._piece()
        await self._finish()
        return "pushed"

    async def _begin(self) -> bool:
        """Open a session; True if the registry mounted the blob instead."""
        self.confirmed = 0
        if self.mounts:
            try:
                return await self._open_session(self.mounts[:1])
            except (Unauthenticated, PermissionDenied, NotFound):
                self.mounts = ()  # the other repository is not ours to read: upload as if it weren't there
        return await self._open_session(())

    async def _open_session(self, mounted: Sequence[str]) -> bool:
        query = urlencode({"mount": str(self.descriptor.digest), "from": mounted[0]}) if mounted else ""
        async with self.to.ask("POST", "/blobs/uploads/", query=query, mounted=mounted) as response:
            if response.status == 201 and mounted:
                check_digest(response, self.descriptor.digest)
                return True
            if response.status != 202:
                raise await self.to.refused(response)
            self._session = self.to.place(response)
            minimum = response.head.get("oci-chunk-min-length").strip()
            self._minimum = int(minimum) if _MINIMUM.fullmatch(minimum) else 0
            return False

    async def _whole(self) -> None:
        """Send all in the request that also ends the session."""
        part = FilePart(self.path, 0, self.descriptor.size, self.buffers, self.sent)
        async with self.to.ask_at("PUT", self._final(), (_BINARY,), part) as response:
            self._check_room(response, part)
            await self._stored(response)

    def _check_room(self, response: Response, part: FilePart) -> None:
        """Go on in pieces where a proxy's bound on bodies lets nothing larger pass."""
        if response.status == 413 and not self._in_pieces:
            self._in_pieces, self._session = True, None
            raise Unavailable(f"{self.to.host} takes no body of {part.length} bytes at once")

    async def _piece(self) -> None:
        """Send all the rest, or a piece of it where that is needed."""
        end = self.descriptor.size
        if self._in_pieces:
            end = min(self.confirmed + max(limits.REGISTRY_PIECE, self._minimum), end)
        part = FilePart(self.path, self.confirmed, end, self.buffers, self.sent)
        headers: tuple[Header, ...] = (_BINARY,)
        if part.length < self.descriptor.size:
            headers += (("Content-Range", f"{part.start}-{part.end - 1}"),)
        async with self.to.ask_at("PATCH", self._open_place(), headers, part) as response:
            self._check_room(response, part)
            if response.status != 202:
                raise await self._broken(response)
            self._session = self.to.place(response)
            reached = _reached(response)
            self.confirmed = end if reached is None else min(reached, end)
            if self.confirmed <= part.start:
                raise Unavailable(f"{self.to.host} took nothing of a piece")

    async def _finish(self) -> None:
        async with self.to.ask_at("PUT", self._final(), (_BINARY,)) as response:
            await self._stored(response)

    async def _stored(self, response: Response) -> None:
        if response.status not in {201, 204}:
            raise await self._broken(response)
        check_digest(response, self.descriptor.digest)
        self.sent(self.descriptor.size)

    async def _broken(self, response: Response) -> Exception:
        """What a refusal in the middle of an upload means: some of them, to begin anew."""
        if response.status in {404, 410, 416}:
            self._session = None
            return Unavailable(f"{self.to.host} has lost an upload", why=f"it answers {response.status}")
        error = await self.to.refused(response)
        if response.status == 400 and self._resumed:
            # Registries may still write what the broken request sent when they are asked how much they have.
            self._session, self._resumed = None, False
            return Unavailable(f"{self.to.host} has muddled a resumed upload", why=str(error))
        return error

    async def _find_out(self) -> None:
        """Ask how much the registry has of a session whose connection broke."""
        place, self._session = self._open_place(), None
        try:
            async with self.to.ask_at("GET", place) as response:
                reached = _reached(response)
                # 0-0 says either nothing or one byte: not to be built upon
                if response.status not in {200, 202, 204} or not reached or reached == 1:
                    return
                if reached > self.descriptor.size:
                    return
                self.confirmed, self._resumed = reached, True
                self._session = self.to.place(response) if response.head.get("location") else place
        except Unavailable:
            self._session = place
            raise
        except TricornError:
            return

    def _open_place(self) -> Url:
        assert self._session is not None
        return self._session

    def _final(self) -> Url:
        place = self._open_place()
        digest = urlencode({"digest": str(self.descriptor.digest)})
        return evolve(place, query="&".join(filter(None, (place.query, digest))))


def _reached(response: Response) -> int | None:
    """Return how many bytes the registry says it has, None if it doesn't say."""
    match = _RANGE.fullmatch(response.head.get("range").strip())
    return int(match[1]) + 1 if match else None
