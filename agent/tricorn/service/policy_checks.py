"""What a policy demands of an image beyond its name: signatures and external verifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio
from attrs import field, frozen

from tricorn import limits
from tricorn.errors import FailedPrecondition, NotFound, TricornError
from tricorn.model.oci import Descriptor, Manifest, parse_image_document
from tricorn.model.policy import PolicyFinding
from tricorn.model.reference import Reference
from tricorn.ports import DEFAULT_WAY, Auth, Referrals, Registry, RegistryWay
from tricorn.rules.policy import Decision, parsed
from tricorn.rules.simple_signing import REFERRER_TYPE, problem_of, signature_tag, signatures_in
from tricorn.runtime.verifiers import Verifiers
from tricorn.service.policy_files import LoadedPolicy

Signed = tuple[bytes, bytes]  # a signature and what it is of
_TAG_LENGTH: Final = 128


@frozen
class Subject:
    """An image to decide on: its name, what it stands for, and how its registry is reached."""

    namespace: str
    name: str
    target: Descriptor
    auth: Auth | None = field(default=None, repr=False)
    plain_http: bool = False
    way: RegistryWay = DEFAULT_WAY


class PolicyChecks:
    """Verifies; a few images at a time."""

    def __init__(self, registry: Registry, referrals: Referrals, verifiers: Verifiers) -> None:
        self._registry = registry
        self._referrals = referrals
        self._verifiers = verifiers
        self._limiter = trio.CapacityLimiter(limits.POLICY_VERIFICATIONS)

    async def run(self, loaded: LoadedPolicy, decision: Decision, subject: Subject) -> list[PolicyFinding]:
        """Return what came of each signer and each program that was asked.

        Raises the registry's errors when signatures can't be fetched, FailedPrecondition for verifiers that
        can't be used.
        """
        findings: list[PolicyFinding] = []
        async with self._limiter:
            if decision.signed_by:
                findings += await self._signatures(loaded, decision, subject)
            for name in decision.verifiers:
                verifier = loaded.policy.verifiers[name]
                for said in await self._verifiers.judge(verifier, subject.name, subject.target):
                    place = f"{name}/{said.program}"
                    findings.append(PolicyFinding("verifier", place, said.accepted, said.reason))
        return findings

    async def _signatures(
        self, loaded: LoadedPolicy, decision: Decision, subject: Subject
    ) -> list[PolicyFinding]:
        found = await self._tagged(subject)
        findings = _judged(loaded, decision, subject, found)
        if not all(each.passed for each in findings):
            found += await self._referring(subject)
            findings = _judged(loaded, decision, subject, found)
        return findings

    async def _tagged(self, subject: Subject) -> list[Signed]:
        """Return the signatures under the image's signature tag, with their payloads; none if it has none."""
        place = _place(subject)
        if place is None:
            return []
        try:
            descriptor = await self._registry.resolve(
                place, auth=subject.auth, plain_http=subject.plain_http, way=subject.way
            )
            return await self._signed(subject, place, descriptor)
        except NotFound:
            return []
        except TricornError as error:
            raise _unverifiable(subject, error) from None

    async def _referring(self, subject: Subject) -> list[Signed]:
        """Return the signatures that the registry lists as referrers of the image."""
        place = _place(subject)
        if place is None:
            return []
        found: list[Signed] = []
        try:
            listed = await self._referrals.referrers(
                place, subject.target.digest, REFERRER_TYPE,
                auth=subject.auth, plain_http=subject.plain_http, way=subject.way,
            )  # fmt: skip
            for descriptor in listed[: limits.SIGNATURES_PER_IMAGE]:
                found += await self._signed(subject, place, descriptor)
        except NotFound:
            return found
        except TricornError as error:
            raise _unverifiable(subject, error) from None
        return found[: limits.SIGNATURES_PER_IMAGE]

    async def _signed(self, subject: Subject, place: Reference, descriptor: Descriptor) -> list[Signed]:
        data = await self._document(subject, place, descriptor)
        manifest = parse_image_document(data, descriptor.media_type)
        signatures = signatures_in(manifest) if isinstance(manifest, Manifest) else []
        return [(each.signature, await self._document(subject, place, each.payload)) for each in signatures]

    async def _document(self, subject: Subject, place: Reference, descriptor: Descriptor) -> bytes:
        return await self._registry.fetch_document(
            place, descriptor, auth=subject.auth, plain_http=subject.plain_http, way=subject.way
        )


def _place(subject: Subject) -> Reference | None:
    """Where signatures lie: beside the image. None for a name that is no reference, or whose digest is too
    long for a tag.
    """
    reference, tag = parsed(subject.name), signature_tag(subject.target.digest)
    return Reference(reference.host, reference.path, tag) if reference and len(tag) <= _TAG_LENGTH else None


def _judged(
    loaded: LoadedPolicy, decision: Decision, subject: Subject, found: Sequence[Signed]
) -> list[PolicyFinding]:
    findings = []
    for name in decision.signed_by:
        signer = loaded.policy.signers[name]
        checks = [loaded.checks[key] for key in signer.keys]
        problems = [
            problem_of(signer, checks, signature, payload, subject.name, subject.target.digest)
            for signature, payload in found
        ]
        passed = "" in problems
        reason = "; ".join(dict.fromkeys(problems)) or "it has no signatures"
        findings.append(PolicyFinding("signer", name, passed, "signed" if passed else reason))
    return findings


def _unverifiable(subject: Subject, error: TricornError) -> TricornError:
    cls = type(error) if type(error).__init__ is TricornError.__init__ else FailedPrecondition
    return cls(
        f"can't verify the signatures of {subject.name}",
        why=str(error),
        hint=error.hint or "the image policy demands them; try again when they can be fetched",
    )  # fmt: skip
