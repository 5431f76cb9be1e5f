"""Registries, as the services ask them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from attrs import field, frozen

from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.model.reference import Reference
from tricorn.model.requests import RegistryAuth
from tricorn.ports.content import BlobSink


class CredentialSource(Protocol):
    """Credentials that somebody is asked for only once a registry wants them."""

    def known(self, host: str) -> RegistryAuth | None:
        """Return what was answered for `host` (`name[:port]`) before, if anything."""
        ...

    async def ask(self, host: str, challenges: Sequence[str]) -> RegistryAuth | None:
        """Return credentials for `host`, which sent these WWW-Authenticate lines; None for none."""
        ...


Auth = RegistryAuth | CredentialSource


@frozen
class RegistryWay:
    """How one request reaches a registry, beside the agent's own configuration. `hosts_dir` stands in for
    the configured tree of hosts.toml files; `headers` go to the registry that the reference names. `trace`
    is told of each request and its answer, in lines, without what is secret.
    """

    hosts_dir: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    trace: Callable[[str], None] | None = None


DEFAULT_WAY = RegistryWay()
PushOutcome = Literal["pushed", "exists", "mounted"]


class Push(Protocol):
    """One push to one repository. All calls may run side by side; children before what names them."""

    async def blob(
        self,
        descriptor: Descriptor,
        path: str,
        *,
        mounts: Sequence[str] = (),
        sent: Callable[[int], None] = lambda _: None,
    ) -> PushOutcome:
        """Bring the file at `path` there, unless the registry has it or can mount it from one of the
        repositories `mounts`. Broken uploads are resumed; `sent` learns how many bytes are there.
        """
        ...

    async def manifest(self, descriptor: Descriptor, data: bytes, name: str = "") -> PushOutcome:
        """Put a manifest or index under the tag `name`, or under its digest alone."""
        ...

    async def remove(self, digest: Digest, *, manifest: bool = False) -> bool:
        """Delete a blob or a manifest from the repository; return whether it was there. FailedPrecondition
        or PermissionDenied where the registry has none of it: many keep what they were given.
        """
        ...


class Registry(Protocol):
    async def resolve(
        self,
        reference: Reference,
        *,
        auth: Auth | None = None,
        plain_http: bool = False,
        way: RegistryWay = DEFAULT_WAY,
    ) -> Descriptor:
        """Ask the registry (hosts.toml's order) what the reference names: one HEAD, or a GET where the
        answer to HEAD lacks the digest. NotFound, Unauthenticated, PermissionDenied, Unavailable.
        """
        ...

    async def fetch(
        self,
        reference: Reference,
        descriptor: Descriptor,
        sink: BlobSink,
        *,
        auth: Auth | None = None,
        plain_http: bool = False,
        way: RegistryWay = DEFAULT_WAY,
    ) -> None:
        """Bring exactly `descriptor.size` bytes into `sink`, starting at its offset. Retries with backoff,
        resumes by Range, breaks stalled connections. The caller verifies the digest.
        """
        ...  # fmt: skip

    async def fetch_document(
        self,
        reference: Reference,
        descriptor: Descriptor,
        *,
        auth: Auth | None = None,
        plain_http: bool = False,
        way: RegistryWay = DEFAULT_WAY,
    ) -> bytes:
        """Return a small blob or manifest whole, verified against digest and size (DataLoss)."""
        ...  # fmt: skip

    async def push(
        self,
        reference: Reference,
        *,
        auth: Auth | None = None,
        plain_http: bool = False,
        way: RegistryWay = DEFAULT_WAY,
    ) -> Push:
        """Prepare to push to the repository of `reference`, on the first host that may be pushed to."""
        ...


class Referrals(Protocol):
    """What a registry knows of artifacts that refer to images."""

    async def referrers(
        self,
        reference: Reference,
        subject: Digest,
        artifact_type: str = "",
        *,
        auth: Auth | None = None,
        plain_http: bool = False,
        way: RegistryWay = DEFAULT_WAY,
    ) -> list[Descriptor]:
        """Return what refers to `subject` in the repository of `reference`, of one artifact type or all,
        from the first host that knows of any. The errors of `Registry.resolve`, but for NotFound.
        """
        ...

    async def refer(
        self,
        reference: Reference,
        subject: Digest,
        referrer: Descriptor,
        *,
        auth: Auth | None = None,
        plain_http: bool = False,
        way: RegistryWay = DEFAULT_WAY,
    ) -> bool:
        """Let the registry tell of a referrer whose manifest was pushed to the repository of `reference`.
        Returns whether the list under the subject's tag had to be written for that.
        """
        ...
