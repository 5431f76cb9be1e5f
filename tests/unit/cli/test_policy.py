"""`tricorn policy`: what it asks, prints and returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tricorn.errors import FailedPrecondition

Run = Callable[..., Any]
RULE = {
    "name": "ours", "action": "allow", "images": ["r.example/**"], "namespaces": ["*"], "pinned": True,
    "pins": 2, "signed_by": ["release"], "verifiers": ["scan"],
}  # fmt: skip
VIEW = {
    "state": "in force", "file": "/etc/tricorn/policy.toml", "error": "", "fingerprint": "ab", "default": "deny",
    "without_image": "deny", "rules": [RULE],
}  # fmt: skip
ANSWER = {
    "reference": "r.example/app:1", "allowed": False, "rule": "ours", "reason": "signer release: unsigned",
    "remedy": "have it signed", "digest": "sha256:ab",
    "findings": [
        {"kind": "signer", "name": "release", "passed": False, "reason": "unsigned"},
        {"kind": "verifier", "name": "scan/a", "passed": True, "reason": "\x1b[31mclean"},
    ],
}  # fmt: skip


def test_show(agent: Any, tricorn: Run) -> None:
    agent.answer("GET /v1/policy", VIEW)
    shown = tricorn("policy", "show")
    assert shown.status == 0
    assert "pinned, 2 pins, signed by release, verifiers scan" in shown.out
    assert "everything else: deny; containers without an image: deny" in shown.out
    assert tricorn("--json", "policy", "show").json == VIEW


def test_show_without_a_policy_and_with_one_that_cannot_be_used(agent: Any, tricorn: Run) -> None:
    agent.answer("GET /v1/policy", {**VIEW, "state": "off", "rules": []})
    assert "every image may be used" in tricorn("policy", "show").out
    agent.answer("GET /v1/policy", {**VIEW, "state": "broken", "error": "rule[0]: no", "rules": []})
    broken = tricorn("policy", "show")
    assert broken.status == 8
    assert "no image passes: rule[0]: no" in broken.out
    assert tricorn("--json", "policy", "show").status == 8


def test_check(agent: Any, tricorn: Run) -> None:
    line = "POST /v1/ci/policy/check"
    agent.answer(line, ANSWER)
    asked = tricorn("-n", "ci", "policy", "check", "--plain-http", "r.example/app:1")
    assert asked.status == 6
    assert agent.body(line) == {"reference": "r.example/app:1", "plain_http": True}
    assert "r.example/app:1 is refused: rule ours: signer release: unsigned" in asked.out
    assert "signer    release FAILED: unsigned" in asked.out
    assert "scan/a passed" in asked.out
    assert "\x1b" not in asked.out
    assert "have it signed" in asked.out
    agent.answer(line, {**ANSWER, "allowed": True, "findings": [], "remedy": ""})
    assert tricorn("-n", "ci", "policy", "check", "r.example/app:1").status == 0
    assert tricorn("-n", "ci", "--json", "policy", "check", "r.example/app:1").json["allowed"] is True


def test_check_under_a_policy_that_cannot_be_used(agent: Any, tricorn: Run) -> None:
    agent.refuse("POST /v1/default/policy/check", FailedPrecondition("the image policy can't be used"))
    assert tricorn("policy", "check", "redis").status == 8
