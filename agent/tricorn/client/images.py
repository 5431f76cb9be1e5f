"""Images, as the client's methods."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from tricorn.client import image_calls as calls
from tricorn.client.nouns import Noun
from tricorn.client.stream import Work, open_bytes, open_work
from tricorn.client.values import plain, value, values
from tricorn.model.image_requests import (
    ConversionResult,
    ImageCheck,
    ImageConversion,
    ImageUsages,
    ReferrersQuery,
    ReferrersResult,
)
from tricorn.model.requests import (
    ArchiveExport,
    ArchiveImport,
    Change,
    ImageDesired,
    ImagePush,
    ImageTags,
    ImageView,
    ImportResult,
    OperationView,
    PushResult,
)


class Images(Noun):
    async def list(self, filters: Sequence[str] = ()) -> list[ImageView]:
        return values(await self._pool.call(calls.images(self._ns, filters)), ImageView)

    async def get(self, name: str) -> ImageView:
        return value(await self._pool.call(calls.image(self._ns, name)), ImageView)

    async def put(self, desired: ImageDesired, *, plan: bool = False) -> Change:
        """Bring the image into the desired state, waiting for a pull; cancelled with the caller."""
        return value(await self._pool.call(calls.put_image(self._ns, plain(desired), plan=plan)), Change)

    def work(self, desired: ImageDesired) -> AbstractAsyncContextManager[Work[Change]]:
        """Like `put`, with the progress to iterate over."""
        call = calls.put_image(self._ns, plain(desired), stream=True)
        return open_work(self._pool, call, lambda raw: value(raw, Change))

    async def begin(self, desired: ImageDesired) -> OperationView:
        """Like `put`, but return at once: the operation outlives the caller."""
        return value(
            await self._pool.call(calls.put_image(self._ns, plain(desired), detach=True)), OperationView
        )

    async def delete(self, name: str, *, sync: bool = False, plan: bool = False) -> Change:
        return value(await self._pool.call(calls.delete_image(self._ns, name, sync=sync, plan=plan)), Change)

    async def push(self, name: str, wanted: ImagePush | None = None) -> PushResult:
        """Push an image, by default under its own name; cancelled with the caller."""
        call = calls.push_image(self._ns, name, plain(wanted or ImagePush()))
        return value(await self._pool.call(call), PushResult)

    def push_work(
        self, name: str, wanted: ImagePush | None = None
    ) -> AbstractAsyncContextManager[Work[PushResult]]:
        """Like `push`, with the progress to iterate over."""
        call = calls.push_image(self._ns, name, plain(wanted or ImagePush()), stream=True)
        return open_work(self._pool, call, lambda raw: value(raw, PushResult))

    async def tag(self, name: str, reference: str) -> ImageView:
        """Give an image one more name; a name that stands for another image is moved."""
        return value(await self._pool.call(calls.tag_image(self._ns, name, reference)), ImageView)

    async def label(self, name: str, labels: Mapping[str, str]) -> ImageView:
        """Set labels; an empty value removes one."""
        return value(await self._pool.call(calls.label_image(self._ns, name, dict(labels))), ImageView)

    async def convert(self, name: str, wanted: ImageConversion) -> ConversionResult:
        """Make an image in another form or with other compression; cancelled with the caller."""
        return value(
            await self._pool.call(calls.convert_image(self._ns, name, plain(wanted))), ConversionResult
        )

    def convert_work(
        self, name: str, wanted: ImageConversion
    ) -> AbstractAsyncContextManager[Work[ConversionResult]]:
        """Like `convert`, with the progress to iterate over."""
        call = calls.convert_image(self._ns, name, plain(wanted), stream=True)
        return open_work(self._pool, call, lambda raw: value(raw, ConversionResult))

    async def referrers(self, name: str, *, type: str = "", platform: str = "") -> ReferrersResult:
        """Return the artifacts on the node that refer to an image."""
        call = calls.referrers(self._ns, name, type=type, platform=platform)
        return value(await self._pool.call(call), ReferrersResult)

    async def ask_referrers(self, name: str, wanted: ReferrersQuery | None = None) -> ReferrersResult:
        """Return the artifacts that the image's registry knows of; `fetch` brings them."""
        call = calls.ask_referrers(self._ns, name, plain(wanted or ReferrersQuery()))
        return value(await self._pool.call(call), ReferrersResult)

    async def check(
        self, names: Sequence[str] = (), *, platform: str = "", all_platforms: bool = False
    ) -> Sequence[ImageCheck]:
        """Return whether images (without names, all) are whole."""
        call = calls.check_images(self._ns, names, platform=platform, all_platforms=all_platforms)
        return values(await self._pool.call(call), ImageCheck)

    async def usage(self, names: Sequence[str] = ()) -> ImageUsages:
        """Return what images (without names, all) take."""
        return value(await self._pool.call(calls.image_usage(self._ns, names)), ImageUsages)

    async def tagged(self, name: str, wanted: ImageTags, *, plan: bool = False) -> Change:
        """Make sure that the image has these names, too."""
        return value(await self._pool.call(calls.put_tags(self._ns, name, plain(wanted), plan=plan)), Change)

    async def pushed(self, name: str, wanted: ImagePush, *, plan: bool = False) -> Change:
        """Make sure that a registry has the image; it is asked first."""
        return value(await self._pool.call(calls.put_push(self._ns, name, plain(wanted), plan=plan)), Change)

    async def exported(self, wanted: ArchiveExport, *, plan: bool = False) -> Change:
        """Make sure that a file of the node is the archive of these images."""
        return value(await self._pool.call(calls.put_export(self._ns, plain(wanted), plan=plan)), Change)

    async def imported(self, wanted: ArchiveImport, *, plan: bool = False) -> Change:
        """Make sure that the images of an archive on the node are in the agent."""
        return value(await self._pool.call(calls.put_import(self._ns, plain(wanted), plan=plan)), Change)

    def export(
        self, names: Sequence[str], *, platform: str = "", all_platforms: bool = False, operation: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Give the bytes of an archive of images, chunk by chunk. With an id for its `operation` its
        progress can be had from `operations.progress` meanwhile.
        """
        call = calls.export_images(
            self._ns, names, platform=platform, all_platforms=all_platforms, operation=operation
        )
        return open_bytes(self._pool, call)

    async def load(
        self,
        archive: AsyncIterable[bytes],
        *,
        base_name: str = "",
        platform: str = "",
        all_platforms: bool = False,
        unpack: bool = True,
        compress: bool = False,
        operation: str = "",
        size: int = 0,
    ) -> ImportResult:
        """Import an archive whose bytes are given; `size` is how many, if that is known. With an id for its
        `operation` its progress can be had from `operations.progress` meanwhile.
        """
        call = calls.import_images(
            self._ns,
            base_name=base_name,
            platform=platform,
            all_platforms=all_platforms,
            unpack=unpack,
            compress=compress,
            operation=operation,
            size=size,
        )
        return value(await self._pool.upload(call, archive), ImportResult)
