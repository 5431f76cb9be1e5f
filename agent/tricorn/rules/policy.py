"""The image policy: which images may be brought and run, and what has to be verified of them first.

A policy is a list of rules; the first whose patterns name the image and the namespace decides, and what no
rule names gets the policy's default. Patterns are matched against `HOST/REPOSITORY` and against
`HOST/REPOSITORY:TAG` of the normalised reference: `*` and `?` stay within one part of a path, `**` crosses
slashes, so that no pattern can be outwitted by a longer host name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final, Literal

from attrs import Factory, asdict, frozen

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest
from tricorn.model.reference import Reference
from tricorn.structuring import structure

Verdict = Literal["allow", "deny"]
_SECONDS: Final = (0.1, 300.0)  # of an external verifier


@frozen
class Signer:
    """Whose signatures count: those of any of the `keys` (files of PEM public keys).

    `identities` are patterns of the repository that a signature may have been made for; without them it
    must be the image's own.
    """

    keys: tuple[str, ...]
    identities: tuple[str, ...] = ()


@frozen
class VerifierDirectory:
    """Programs that are all asked, in the order of their names, as containerd's `bindir` verifier does.

    `deadline` is each program's, in seconds.
    """

    directory: str
    deadline: float = limits.VERIFIER_DEADLINE
    max: int = limits.VERIFIERS


@frozen
class Rule:
    """`images` and `namespaces` are patterns. An image that the rule allows must also pass what it demands:

    - `pinned`: the reference carries a digest, or `pins` has it;
    - `pins`: references with the one digest that each may stand for;
    - `signed_by`: names of signers, each of whom must have signed it;
    - `verifiers`: names of directories of programs, which all must accept it.
    """

    name: str
    images: tuple[str, ...]
    namespaces: tuple[str, ...] = ("*",)
    action: Verdict = "allow"
    pinned: bool = False
    pins: Mapping[str, Digest] = Factory(dict)
    signed_by: tuple[str, ...] = ()
    verifiers: tuple[str, ...] = ()


@frozen
class Policy:
    """`without_image` is about containers whose root file system comes from no image of the agent's."""

    version: Literal[1]
    default: Verdict = "deny"
    without_image: Verdict = "deny"
    rule: tuple[Rule, ...] = ()
    signers: Mapping[str, Signer] = Factory(dict)
    verifiers: Mapping[str, VerifierDirectory] = Factory(dict)

    def key_files(self) -> tuple[str, ...]:
        """Return the files of all signers' keys, each once."""
        return tuple(dict.fromkeys(key for signer in self.signers.values() for key in signer.keys))


@frozen
class Decision:
    """What the policy says of an image before anything is verified. With `allowed`, `signed_by` and
    `verifiers` are still to be asked; otherwise `reason` and `remedy` tell why not and what would help.
    """

    allowed: bool
    rule: str  # "" for the policy's default
    reason: str
    remedy: str = ""
    signed_by: tuple[str, ...] = ()
    verifiers: tuple[str, ...] = ()


def parse_policy(document: Mapping[str, Any], source: str) -> Policy:
    """Return the policy in `document` (TOML values); InvalidArgument naming the first bad field."""
    policy = structure(document, Policy, f"the image policy {source}")
    names = [rule.name for rule in policy.rule]
    for index, rule in enumerate(policy.rule):
        where = f"rule[{index}]"
        if not rule.name or names.count(rule.name) > 1:
            raise InvalidArgument("each rule has a name of its own", why=repr(rule.name), field=where)
        if not rule.images:
            raise InvalidArgument("a rule needs patterns of images", field=f"{where}.images")
        _check_demands(policy, rule, where)
    for name, signer in policy.signers.items():
        _check_signer(signer, f"signers.{name}")
    for name, verifier in policy.verifiers.items():
        _check_verifier(verifier, f"verifiers.{name}")
    return policy


def _check_demands(policy: Policy, rule: Rule, where: str) -> None:
    for kind, wanted, known in (
        ("signed_by", rule.signed_by, policy.signers),
        ("verifiers", rule.verifiers, policy.verifiers),
    ):
        for name in wanted:
            if name not in known:
                table = "signers" if kind == "signed_by" else kind
                raise InvalidArgument(
                    f"{name!r} is not defined", hint=f"add [{table}.{name}]", field=f"{where}.{kind}"
                )
    demands = rule.pinned or rule.pins or rule.signed_by or rule.verifiers
    if rule.action == "deny" and demands:
        raise InvalidArgument("a rule that denies has nothing to verify", field=where)
    for pin in rule.pins:
        if Reference.parse(pin, f"{where}.pins").digest is not None:
            raise InvalidArgument("a pin's name carries no digest", why=repr(pin), field=f"{where}.pins")


def _check_signer(signer: Signer, where: str) -> None:
    if not signer.keys:
        raise InvalidArgument("a signer needs public keys", field=f"{where}.keys")
    for key in signer.keys:
        if not key.startswith("/"):
            raise InvalidArgument("a key's file is an absolute path", why=repr(key), field=f"{where}.keys")


def _check_verifier(verifier: VerifierDirectory, where: str) -> None:
    if not verifier.directory.startswith("/"):
        raise InvalidArgument("expected an absolute path", field=f"{where}.directory")
    low, high = _SECONDS
    if not low <= verifier.deadline <= high:
        raise InvalidArgument(f"expected {low:g} to {high:g} seconds", field=f"{where}.deadline")
    if not 1 <= verifier.max <= 100:
        raise InvalidArgument("expected 1 to 100 programs", field=f"{where}.max")


def decide(policy: Policy, namespace: str, name: str, digest: Digest | None) -> Decision:
    """Return what the policy says of the image `name` that stands for `digest` (None: not known yet)."""
    reference = parsed(name)
    rule = next((rule for rule in policy.rule if _names(rule, namespace, name, reference)), None)
    if (rule.action if rule else policy.default) == "deny":
        return _denied(rule, reference.name if reference else name)
    problem = _mismatch(reference, digest) or (_unpinned(rule, reference, digest) if rule else None)
    if problem:
        reason, remedy = problem
        return Decision(allowed=False, rule=rule.name if rule else "", reason=reason, remedy=remedy)
    if rule is None:
        return Decision(allowed=True, rule="", reason="no rule names it, and the default is to allow")
    return Decision(
        allowed=True, rule=rule.name, reason="it allows this image",
        signed_by=rule.signed_by, verifiers=rule.verifiers,
    )  # fmt: skip


def _denied(rule: Rule | None, repository: str) -> Decision:
    if rule is not None:
        reason, remedy = "it denies this image", "use an image that the policy allows"
        return Decision(allowed=False, rule=rule.name, reason=reason, remedy=remedy)
    remedy = f'add a rule with images = ["{repository}"], or use an image that a rule allows'
    reason = "no rule names it, and the default is to deny"
    return Decision(allowed=False, rule="", reason=reason, remedy=remedy)


def parsed(name: str) -> Reference | None:
    """Return the reference that an image's name is; None for a name that is none."""
    try:
        return Reference.parse(name)
    except InvalidArgument:
        return None


def _names(rule: Rule, namespace: str, name: str, reference: Reference | None) -> bool:
    if not any(fnmatchcase(namespace, pattern) for pattern in rule.namespaces):
        return False
    texts = [reference.name, f"{reference.name}:{reference.tag}"] if reference else [name]
    return any(matches(pattern, text) for pattern in rule.images for text in texts)


def matches(pattern: str, text: str) -> bool:
    """Whether an image pattern covers all of `text`."""
    return _compiled(pattern).fullmatch(text) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    return re.compile("".join(_WILD.get(part) or re.escape(part) for part in parts), re.DOTALL)


_WILD: Final = {"**": ".*", "*": "[^/]*", "?": "[^/]"}


def _mismatch(reference: Reference | None, digest: Digest | None) -> tuple[str, str] | None:
    """A name that carries one digest and stands for another would pass for what it isn't."""
    if reference is None or reference.digest is None or digest in {None, reference.digest}:
        return None
    return f"its name carries {reference.digest}, but it is {digest}", "give it a name without a digest"


def _unpinned(rule: Rule, reference: Reference | None, digest: Digest | None) -> tuple[str, str] | None:
    pins = {str(Reference.parse(name)): pin for name, pin in rule.pins.items()}
    pin = pins.get(f"{reference.name}:{reference.tag}") if reference else None
    if pin is not None:
        if digest is None or digest == pin:
            return None
        return f"it is pinned to {pin} and stands for {digest}", f"use {pin}, or change the pin"
    if not rule.pinned or (reference is not None and reference.digest is not None):
        return None
    named = f"{reference.name}@{digest or 'sha256:…'}" if reference else "a reference with a digest"
    return "its reference carries no digest, and no pin is set for it", f"use {named}, or add a pin"


def requirement(policy: Policy, decision: Decision, keys: Mapping[str, bytes]) -> str:
    """Return a fingerprint of what has to be verified: images that passed it need not be asked again while
    signers, keys and verifiers stay the same.
    """
    signers = {
        name: {
            "identities": policy.signers[name].identities,
            "keys": [hashlib.sha256(keys[key]).hexdigest() for key in policy.signers[name].keys],
        }
        for name in decision.signed_by
    }
    verifiers = {name: asdict(policy.verifiers[name]) for name in decision.verifiers}
    text = json.dumps({"signers": signers, "verifiers": verifiers}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def summary(policy: Policy) -> Sequence[Mapping[str, Any]]:
    """Return the rules as people are shown them."""
    return [
        {
            "name": rule.name, "action": rule.action, "images": list(rule.images),
            "namespaces": list(rule.namespaces), "pinned": rule.pinned, "pins": len(rule.pins),
            "signed_by": list(rule.signed_by), "verifiers": list(rule.verifiers),
        }
        for rule in policy.rule
    ]  # fmt: skip
