"""Where a push goes, and what it may do there: one host, one repository, the scopes that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from attrs import frozen

from tricorn.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from tricorn.model.ids import Digest
from tricorn.model.reference import Reference
from tricorn.registry.access import Access, Call, Outgoing
from tricorn.registry.answers import refusal
from tricorn.registry.connection import Header, Upload
from tricorn.registry.url import Url, origin_of
from tricorn.registry.wire import Response
from tricorn.rules.hosts import RegistryHost


@frozen
class PushTo:
    """Sends a push's requests, with permission to pull and push, and to pull from what it mounts."""

    access: Access
    call: Call
    host: RegistryHost

    @property
    def reference(self) -> Reference:
        return self.call.reference

    def scope(self, *mounted: str) -> str:
        """Return the scope of this push, with the repositories that it mounts blobs from."""
        own = f"repository:{self.reference.path}:pull,push"
        return " ".join([own, *(f"repository:{path}:pull" for path in mounted)])

    def ask_to_delete(self, path: str) -> AbstractAsyncContextManager[Response]:
        """Ask to delete `path` below the repository, which takes a permission of its own."""
        return self.ask("DELETE", path, scope=f"repository:{self.reference.path}:pull,push,delete")

    def ask(
        self,
        method: str,
        path: str,
        headers: tuple[Header, ...] = (),
        *,
        body: bytes = b"",
        query: str = "",
        mounted: Sequence[str] = (),
        scope: str = "",
    ) -> AbstractAsyncContextManager[Response]:
        """Ask for `path` below the repository; `scope` is that of a push unless given."""
        out = Outgoing(body=body, query=query, scope=scope or self.scope(*mounted))
        return self.access.open(self.call, self.host, method, path, headers, out)

    def ask_at(
        self, method: str, url: Url, headers: tuple[Header, ...] = (), upload: Upload | None = None
    ) -> AbstractAsyncContextManager[Response]:
        """Ask at a place that the registry named."""
        out = Outgoing(url=url, upload=upload, scope=self.scope())
        return self.access.open(self.call, self.host, method, "", headers, out)

    def place(self, response: Response) -> Url:
        """Return where an answer says to go on. It may lie elsewhere, never on plain HTTP after TLS.

        Raises FailedPrecondition.
        """
        location = response.head.get("location")
        if not location:
            raise FailedPrecondition(f"{self.host} doesn't say where to upload to")
        try:
            url = response.url.join(location)
        except InvalidArgument as error:
            raise FailedPrecondition(f"{self.host} names no place to upload to", why=str(error)) from None
        if origin_of(self.host).scheme == "https" and url.origin.scheme != "https":
            raise FailedPrecondition(
                f"{self.host} wants an upload over plain HTTP",
                why=f"{url.origin} is not sent to without TLS",
                hint="registries behind a TLS proxy must know their own address (X-Forwarded-Proto)",
            )
        return url

    async def refused(self, response: Response) -> Exception:
        """Return the error for an answer that isn't a success, with words for a push."""
        error = await refusal(response)
        if isinstance(error, PermissionDenied):
            return PermissionDenied(error.what, why=error.why, hint="these credentials may not push there")
        if isinstance(error, NotFound):
            hint = "the repository may have to be created before it can be pushed to"
            return NotFound(error.what, why=error.why, hint=hint)
        return error


def check_digest(response: Response, digest: Digest) -> None:
    """Raise DataLoss if the registry says that it stored something else."""
    stored = response.head.get("docker-content-digest").strip()
    if stored and stored != str(digest) and stored.partition(":")[0] == digest.algorithm:
        raise DataLoss(f"{response.url.origin} stored other bytes than were sent", why=f"it says {stored}")
