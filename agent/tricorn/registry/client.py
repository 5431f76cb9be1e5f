"""The registry port's implementation."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from typing import Final, Self

import trio
from attrs import define, field

from tricorn import limits
from tricorn.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.model.reference import Reference
from tricorn.model.registry_plan import RegistryPlan
from tricorn.ports import DEFAULT_WAY, Auth, BlobSink, RegistryWay
from tricorn.registry.access import Access, Call, credential_names
from tricorn.registry.auth import Authorizer
from tricorn.registry.credentials import CredentialBook, CredentialSettings
from tricorn.registry.fetch import Buffers, SinkFailedError, Transfer
from tricorn.registry.hostsdir import HostsDirectory
from tricorn.registry.pacing import Backoff, Pacing
from tricorn.registry.push import Uploads
from tricorn.registry.push_to import PushTo
from tricorn.registry.referrers import referrers_on
from tricorn.registry.resolve import resolve_on
from tricorn.registry.rounds import Attempts
from tricorn.registry.turns import Turns
from tricorn.registry.wire import Wire
from tricorn.rules.hosts import RegistryHost, with_headers
from tricorn.rules.registry_plan import plan_host

_DOCUMENT_ATTEMPTS: Final = 3  # somebody waits for these


@define
class _Memory:
    """A sink in memory, for documents."""

    data: bytearray = field(factory=bytearray)

    @property
    def offset(self) -> int:
        return len(self.data)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.data += data


class RegistryClient:
    """Implements `ports.Registry` over HTTP. An async context manager that owns its connections.

    `hosts_dir` holds the hosts.toml tree ("" for none); `environment` supplies proxies and roots of
    trust; `credentials` gives what is configured for a host, by its name, once it has sent a challenge.
    """

    def __init__(
        self,
        hosts_dir: str,
        *,
        environment: Mapping[str, str],
        user_agent: str,
        random: random.Random,
        credentials: CredentialBook | None = None,
        pacing: Pacing | None = None,
    ) -> None:
        self._pacing = pacing or Pacing()
        self._hosts = HostsDirectory(hosts_dir)
        self._wire = Wire(environment=environment, user_agent=user_agent, pacing=self._pacing)
        self._authorizer = Authorizer(self._wire)
        self._credentials = credentials or CredentialBook(CredentialSettings())
        self._access = Access(self._wire, self._authorizer, self._credentials.find)
        self._buffers = Buffers()
        self._random = random
        self._retries = 0
        self.turns = Turns()

    async def __aenter__(self) -> Self:
        await self._wire.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._wire.__aexit__()

    def statistics(self) -> dict[str, int]:
        """Return counts since the start, and the connections and tokens held now."""
        return {**self._wire.statistics(), "retries": self._retries, "tokens": len(self._authorizer)}

    def forget_buffers(self) -> None:
        """Let go of the buffers that are kept for the next transfer."""
        self._buffers.forget()

    async def explain(self, registry: str) -> RegistryPlan:
        """Return how `registry` (`host[:port]`) would be reached now: nothing is asked, no helper is run.

        Raises InvalidArgument for a malformed name and for a bad hosts.toml, naming file and field.
        """
        plan = await self._hosts.plan(_registry_name(registry))
        hosts = []
        for host in plan.hosts:
            names = credential_names(plan, host)
            sources = [line for name in names for line in await self._credentials.sources(name)]
            hosts.append(plan_host(host, mirror=plan.is_mirror(host), credentials=dict.fromkeys(sources)))
        return RegistryPlan(plan.registry, plan.source, tuple(hosts))

    async def resolve(
        self,
        reference: Reference,
        *,
        auth: Auth | None = None,
        plain_http: bool = False,
        way: RegistryWay = DEFAULT_WAY,
    ) -> Descriptor:
        """Return what `reference` names, from the first host in hosts.toml's order that knows it.

        Raises NotFound, Unauthenticated, PermissionDenied, Unavailable, DataLoss, FailedPrecondition; the
        last host's error, with all attempts named in `why`.
        """
        call = await self._call(reference, auth, way, plain_http=plain_http)
        attempts = self._attempts(f"can't resolve {reference}", call, "resolve", _DOCUMENT_ATTEMPTS)
        try:
            return await attempts.run(lambda host: resolve_on(self._access, call, host))
        finally:
            self._retries += attempts.retries

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
        """Bring the bytes that `sink` lacks of `descriptor`. The digest is the caller's to verify.

        Raises the errors of `resolve`, DataLoss for another length than the descriptor's, and whatever
        `sink.write` raises. The descriptor's `urls` are never used.
        """
        call = await self._call(reference, auth, way, plain_http=plain_http)
        what = f"can't fetch {descriptor.digest} of {reference.name}"
        attempts = self._attempts(what, call, "pull", self._pacing.attempts)
        attempts.hosts = self.turns.trusted(descriptor.digest, attempts.hosts)
        attempts.offset = lambda: sink.offset
        transfer = Transfer(self._access, call, descriptor, sink, self._buffers)
        try:
            with self.turns.taking(descriptor.digest, transfer.run, attempts.offset) as attempt:
                await attempts.run(attempt)
        except SinkFailedError as error:
            raise error.error from None
        except NotFound as error:
            raise _with_foreign_hint(error, descriptor) from None
        finally:
            self._retries += attempts.retries

    async def fetch_document(
        self,
        reference: Reference,
        descriptor: Descriptor,
        *,
        auth: Auth | None = None,
        plain_http: bool = False,
        way: RegistryWay = DEFAULT_WAY,
    ) -> bytes:
        """Return a manifest, index or config whole and verified; ResourceExhausted beyond 4 MiB.

        Raises the errors of `resolve`; DataLoss when no host has bytes of this digest and size.
        """
        if descriptor.size > limits.MANIFEST_SIZE:
            raise ResourceExhausted(
                f"document {descriptor.digest} is too large",
                why=f"{descriptor.size} bytes, at most {limits.MANIFEST_SIZE}",
            )
        call = await self._call(reference, auth, way, plain_http=plain_http)
        what = f"can't fetch {descriptor.digest} of {reference.name}"
        attempts = self._attempts(what, call, "pull", _DOCUMENT_ATTEMPTS)
        try:
            fetch = partial(self._document, call, descriptor)
            with self.turns.taking(descriptor.digest, fetch) as attempt:
                return await attempts.run(attempt)
        finally:
            self._retries += attempts.retries

    async def _document(self, call: Call, descriptor: Descriptor, host: RegistryHost) -> bytes:
        sink = _Memory()
        seconds = 4 * self._pacing.stall
        with trio.move_on_after(seconds) as scope:
            await Transfer(self._access, call, descriptor, sink, self._buffers).run(host)
        if scope.cancelled_caught:
            raise Unavailable(f"{host} is too slow", why=f"document not complete in {seconds:g} s")
        data = bytes(sink.data)
        found = Digest.of(data, descriptor.digest.algorithm)
        if found != descriptor.digest:
            raise DataLoss(f"{host} sends other bytes than asked for", why=f"they have digest {found}")
        return data

    async def push(
        self,
        reference: Reference,
        *,
        auth: Auth | None = None,
        plain_http: bool = False,
        way: RegistryWay = DEFAULT_WAY,
    ) -> Uploads:
        """Prepare to push to the repository of `reference`; nothing is asked yet.

        All goes to one host, the first that may be pushed to: a push that half the mirrors have is none.
        Raises FailedPrecondition when hosts.toml lets none be pushed to.
        """
        call = await self._call(reference, auth, way, plain_http=plain_http)
        able = call.plan.able("push")
        if not able:
            raise FailedPrecondition(
                f"can't push {reference}",
                why="hosts.toml gives no host the capability",
                hint="add push to `capabilities` of a host",
            )

        def attempts(what: str) -> Attempts:
            backoff = Backoff(self._pacing, self._random, self._pacing.attempts)
            return Attempts(what, [able[0]], backoff)

        return Uploads(PushTo(self._access, call, able[0]), attempts, self._buffers)

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
        """Return what refers to `subject` in the repository of `reference`; see `ports.Referrals`.

        Hosts that may be asked for referrers are, or where there are none those that resolve.
        """
        call = await self._call(reference, auth, way, plain_http=plain_http)
        what = f"can't ask what refers to {subject} in {reference.name}"
        capability = "referrers" if call.plan.able("referrers") else "resolve"
        attempts = self._attempts(what, call, capability, _DOCUMENT_ATTEMPTS)
        try:
            return await attempts.run(
                lambda host: referrers_on(self._access, call, host, subject, artifact_type)
            )
        except NotFound:
            return []
        finally:
            self._retries += attempts.retries

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
        """Let the registry tell of a referrer that was pushed there; see `ports.Referrals`."""
        uploads = await self.push(reference, auth=auth, plain_http=plain_http, way=way)
        return await uploads.refer(subject, referrer)

    async def _call(
        self, reference: Reference, auth: Auth | None, way: RegistryWay, *, plain_http: bool
    ) -> Call:
        hosts = HostsDirectory(way.hosts_dir) if way.hosts_dir else self._hosts
        plan = await hosts.plan(reference.host, plain_http=plain_http)
        # A client's own hosts.toml could lead the agent's credentials wherever it likes.
        configured = not way.hosts_dir
        return Call(reference, with_headers(plan, way.headers), auth, way.trace, configured)

    def _attempts(self, what: str, call: Call, capability: str, attempts: int) -> Attempts:
        backoff = Backoff(self._pacing, self._random, min(attempts, self._pacing.attempts))
        return Attempts(what, list(call.plan.able(capability)), backoff)


def _registry_name(text: str) -> str:
    """Return a registry's name as references have it; InvalidArgument for what can't stand in one."""
    reference = Reference.parse(f"{text}/a/name", "host")
    if reference.path != "a/name":
        raise InvalidArgument(
            f"{text[:200]!r} is no registry",
            hint="docker.io, a name with a dot or a port, or localhost",
            field="host",
        )
    return reference.host


def _with_foreign_hint(error: NotFound, descriptor: Descriptor) -> NotFound:
    """Say why a layer that names other places isn't looked for there."""
    if not descriptor.urls:
        return error
    hint = "the layer is foreign; the URLs that its descriptor names are not used: push it to the registry"
    return NotFound(error.what, why=error.why, hint=hint)
