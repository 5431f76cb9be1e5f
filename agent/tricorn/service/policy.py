"""The gate that images pass before they are brought or run, by the policy of the configuration.

It is asked after a reference was resolved and before anything is fetched or unpacked; for images that come
in archives, before they are unpacked and named; when an image is given a name; and once more when a
container is made of one. What rules say of names and digests is decided anew each time. Signatures and
verifiers are asked at each pull; elsewhere an image that passed them since signers, keys and verifiers last
changed is not asked again, so that containers can be made while a registry is away.

Without a policy everything passes; with one that can't be used nothing does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from tricorn.errors import FailedPrecondition, PolicyDenied, TricornError
from tricorn.model.oci import Descriptor
from tricorn.model.policy import PolicyAnswer, PolicyFinding, PolicyQuestion, PolicyView
from tricorn.model.records import Image
from tricorn.model.reference import Reference
from tricorn.ports import Registry
from tricorn.rules.policy import Decision, decide, requirement, summary
from tricorn.service.policy_checks import PolicyChecks, Subject
from tricorn.service.policy_files import LoadedPolicy, load_policy
from tricorn.store.db import Database

audit_log = structlog.get_logger("audit")
log = structlog.get_logger(__name__)


class PolicyGate:
    """One instance an agent; `load` puts a policy into force."""

    def __init__(self, db: Database, registry: Registry, checks: PolicyChecks) -> None:
        self._db = db
        self._registry = registry
        self._checks = checks
        self._loaded: LoadedPolicy | None = None
        self._broken: TricornError | None = None
        self._file = ""
        self._counts = {"allowed": 0, "denied": 0, "failed": 0}

    async def load(self, file: str) -> None:
        """Put the policy in `file` into force ("" for none). One that can't be used closes the gate: the
        error is told to whoever asks for an image.
        """
        loaded: LoadedPolicy | None = None
        broken: TricornError | None = None
        if file:
            try:
                loaded = await load_policy(file)
            except TricornError as error:
                broken = error
                log.error("image policy can't be used, no image passes", file=file, error=error.one_line())
            else:
                log.info("image policy in force", file=file, rules=len(loaded.policy.rule))
        self._file, self._loaded, self._broken = file, loaded, broken

    # ------------------------------------------------------------ the gate
    async def require(self, subject: Subject, *, fresh: bool = False) -> None:
        """Let the image pass, or raise PolicyDenied naming rule, reference and remedy.

        FailedPrecondition while the policy can't be used; the registry's errors when signatures can't be
        fetched. `fresh` asks signers and verifiers whatever is remembered.
        """
        if not self._file:
            return
        loaded = self._in_force()
        decision = decide(loaded.policy, subject.namespace, subject.name, subject.target.digest)
        if decision.allowed and (decision.signed_by or decision.verifiers):
            try:
                decision = await self._verified(loaded, subject, decision, fresh=fresh)
            except TricornError as error:
                self._tell(subject, decision.rule, "failed", str(error))
                raise
        self._tell(subject, decision.rule, "allowed" if decision.allowed else "denied", decision.reason)
        if not decision.allowed:
            raise _denied(subject.name, str(subject.target.digest), decision)

    async def require_all(self, namespace: str, images: Sequence[Image]) -> None:
        """`require` for images that are about to be named."""
        for image in images:
            await self.require(Subject(namespace, image.name, image.target))

    async def require_container(self, namespace: str, image: Image | None, wanted: str) -> None:
        """Let a container be made of `image`; None: of nothing that the agent knows, though the client may
        call it `wanted`. Raises as `require`.
        """
        if not self._file:
            return
        if image is not None:
            await self.require(Subject(namespace, image.name, image.target))
            return
        if self._in_force().policy.without_image == "allow":
            return
        raise PolicyDenied(
            f"the image policy refuses a container of {wanted or 'no image'}",
            why="nothing can be said of a root file system that comes from no image of this node's",
            hint='pull the image first, or set `without_image = "allow"` in the policy',
            rule="", reference=wanted, digest="",
        )  # fmt: skip

    def _in_force(self) -> LoadedPolicy:
        if self._loaded is not None:
            return self._loaded
        error = self._broken or FailedPrecondition("it was not read yet")
        raise FailedPrecondition(
            "the image policy can't be used, so no image passes",
            why=f"{self._file}: {error.one_line()}",
            hint="mend the file, then reload the agent (SIGHUP)",
            field="policy.file",
        )

    async def _verified(
        self, loaded: LoadedPolicy, subject: Subject, decision: Decision, *, fresh: bool
    ) -> Decision:
        needed = requirement(loaded.policy, decision, loaded.keys)
        name, digest = subject.name, subject.target.digest
        if not fresh and await self._db.read(lambda tx: tx.verifications.passed(name, digest, needed)):
            return decision
        findings = await self._checks.run(loaded, decision, subject)
        decided = _with_findings(decision, findings)
        if decided.allowed:
            await self._db.write(lambda tx: tx.verifications.remember(name, digest, needed))
        return decided

    def _tell(self, subject: Subject, rule: str, outcome: str, reason: str) -> None:
        self._counts[outcome] += 1
        audit_log.info(
            "image policy", logger="audit", namespace=subject.namespace, image=subject.name[:300],
            digest=str(subject.target.digest), rule=rule, outcome=outcome, reason=reason[:1000],
        )  # fmt: skip

    # ------------------------------------------------------------ questions
    async def check(self, namespace: str, question: PolicyQuestion) -> PolicyAnswer:
        """Say what the gate would say of a reference, with everything verified afresh and nothing changed.

        Raises FailedPrecondition while the policy can't be used, and the errors of resolving.
        """
        reference = Reference.parse(question.reference)
        name = str(reference)
        if not self._file:
            return PolicyAnswer(name, allowed=True, rule="", reason="there is no image policy")
        loaded = self._in_force()
        decision = decide(loaded.policy, namespace, name, None)
        if not decision.allowed:
            return _answer(name, "", decision, ())
        target = await self._registry.resolve(reference, auth=question.auth, plain_http=question.plain_http)
        decision = decide(loaded.policy, namespace, name, target.digest)
        findings = await self._findings(loaded, decision, _subject(namespace, name, target, question))
        return _answer(name, str(target.digest), _with_findings(decision, findings), findings)

    async def _findings(
        self, loaded: LoadedPolicy, decision: Decision, subject: Subject
    ) -> list[PolicyFinding]:
        return await self._checks.run(loaded, decision, subject) if decision.allowed else []

    async def view(self) -> PolicyView:
        """Return what is in force."""
        return self._view()

    def _view(self) -> PolicyView:
        if not self._file:
            return PolicyView("off")
        if self._loaded is None:
            return PolicyView("broken", self._file, self._broken.one_line() if self._broken else "")
        policy = self._loaded.policy
        return PolicyView(
            "in force", self._file, "", self._loaded.fingerprint, policy.default, policy.without_image,
            tuple(summary(policy)),
        )  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """Return what `info` tells of the policy."""
        view = self._view()
        told = {"state": view.state, "file": view.file, "error": view.error, "rules": len(view.rules)}
        return {key: value for key, value in told.items() if value not in ("", 0)}

    def statistics(self) -> dict[str, int]:
        """Return the decisions since the start."""
        return dict(self._counts)


def _subject(namespace: str, name: str, target: Descriptor, question: PolicyQuestion) -> Subject:
    return Subject(namespace, name, target, question.auth, question.plain_http)


def _with_findings(decision: Decision, findings: Sequence[PolicyFinding]) -> Decision:
    refusals = [f"{each.kind} {each.name}: {each.reason}" for each in findings if not each.passed]
    if not refusals:
        return decision
    remedy = "have it signed and accepted by those that the rule names, or use an image that is"
    return Decision(allowed=False, rule=decision.rule, reason="; ".join(refusals), remedy=remedy)


def _answer(name: str, digest: str, decision: Decision, findings: Sequence[PolicyFinding]) -> PolicyAnswer:
    return PolicyAnswer(
        name, decision.allowed, decision.rule, decision.reason, decision.remedy, digest, tuple(findings)
    )


def _denied(name: str, digest: str, decision: Decision) -> PolicyDenied:
    by = f"rule {decision.rule!r}: " if decision.rule else ""
    return PolicyDenied(
        f"the image policy refuses {name}", why=by + decision.reason, hint=decision.remedy,
        rule=decision.rule, reference=name, digest=digest,
    )  # fmt: skip
