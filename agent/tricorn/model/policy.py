"""The image policy as clients see it: what is in force, and what it says of an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import field, frozen

from tricorn.model.requests import RegistryAuth


@frozen
class PolicyQuestion:
    """An image to ask about, and how its registry is reached."""

    reference: str
    plain_http: bool = False
    auth: RegistryAuth | None = field(default=None, repr=False)


@frozen
class PolicyFinding:
    """What came of one thing that a rule demands. `kind` is `signer` or `verifier`."""

    kind: str
    name: str
    passed: bool
    reason: str


@frozen
class PolicyAnswer:
    """`rule` is empty where the policy's default decided, or where there is no policy."""

    reference: str
    allowed: bool
    rule: str
    reason: str
    remedy: str = ""
    digest: str = ""  # what the reference stands for; empty if it was refused without asking the registry
    findings: tuple[PolicyFinding, ...] = ()


@frozen
class PolicyView:
    """`state` is `off` without a policy, and `broken` for one that can't be used: nothing is brought then."""

    state: Literal["off", "in force", "broken"]
    file: str = ""
    error: str = ""
    fingerprint: str = ""  # of the file's bytes
    default: str = ""
    without_image: str = ""
    rules: tuple[Mapping[str, Any], ...] = ()
