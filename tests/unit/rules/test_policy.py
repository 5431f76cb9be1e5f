"""What the image policy says of names and digests, before anything is verified."""

from __future__ import annotations

from typing import Any

import pytest

from tricorn.errors import InvalidArgument
from tricorn.model.ids import Digest
from tricorn.rules.policy import Decision, Policy, decide, matches, parse_policy, requirement

A, B = Digest.of(b"a"), Digest.of(b"b")


def policy(*rules: dict[str, Any], **rest: Any) -> Policy:
    named = [{"name": f"r{i}", **rule} for i, rule in enumerate(rules)]
    return parse_policy({"version": 1, "rule": named, **rest}, "policy.toml")


def allowed(rules: Policy, name: str, digest: Digest | None = A, namespace: str = "default") -> bool:
    return decide(rules, namespace, name, digest).allowed


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("docker.io/library/*", "docker.io/library/redis", True),
        ("docker.io/library/*", "docker.io/library/a/b", False),
        ("docker.io/**", "docker.io/library/a/b", True),
        ("docker.io*", "docker.io.evil.example/x", False),
        ("docker.io*/**", "docker.io.evil.example/x", True),  # what is written is what is meant
        ("*.corp.example/**", "a.corp.example/x", True),
        ("*.corp.example/**", "evil.example/a.corp.example/x", False),
        ("registry.corp.example/app", "registry-corp.example/app", False),
        ("registry.corp.example/app", "registry.corp.example/app\n", False),
        ("r.example/v?", "r.example/v1", True),
        ("r.example/v?", "r.example/v/", False),
        ("**", "anything/at/all:1", True),
    ],
)
def test_patterns(pattern: str, text: str, fits: bool) -> None:
    assert matches(pattern, text) is fits


def test_what_no_rule_names_gets_the_default_and_that_is_to_deny() -> None:
    assert decide(policy(), "default", "redis", A) == Decision(
        allowed=False,
        rule="",
        reason="no rule names it, and the default is to deny",
        remedy='add a rule with images = ["docker.io/library/redis"], or use an image that a rule allows',
    )
    assert allowed(policy(default="allow"), "redis")


def test_the_first_rule_that_names_image_and_namespace_decides() -> None:
    rules = policy(
        {"images": ["docker.io/library/redis:latest"], "action": "deny"},
        {"images": ["docker.io/library/*"], "namespaces": ["ci-*"]},
    )
    assert allowed(rules, "redis:7", namespace="ci-1")
    assert not allowed(rules, "redis", namespace="ci-1")
    assert not allowed(rules, "redis:7", namespace="default")


@pytest.mark.parametrize("name", ["redis", "docker.io/library/redis:latest", "index.docker.io/library/redis"])
def test_however_a_name_is_spelt_the_same_rule_names_it(name: str) -> None:
    assert not allowed(
        policy({"images": ["docker.io/library/redis"], "action": "deny"}, default="allow"), name
    )


def test_a_reference_is_pinned_by_its_digest_or_by_a_pin() -> None:
    rules = policy({"images": ["**"], "pinned": True, "pins": {"redis:7": str(A)}})
    assert allowed(rules, f"alpine@{A}")
    assert allowed(rules, "redis:7", A)
    assert allowed(rules, "redis:7", None)
    unpinned = decide(rules, "default", "alpine:3", A)
    assert (unpinned.allowed, unpinned.rule) == (False, "r0")
    assert f"docker.io/library/alpine@{A}" in unpinned.remedy
    moved = decide(rules, "default", "redis:7", B)
    assert not moved.allowed
    assert moved.reason == f"it is pinned to {A} and stands for {B}"


def test_pins_hold_where_nothing_else_is_demanded() -> None:
    rules = policy({"images": ["**"], "pins": {"redis:7": str(A)}})
    assert allowed(rules, "alpine", B)
    assert not allowed(rules, "redis:7", B)
    assert not allowed(rules, f"redis:7@{B}", B)


@pytest.mark.parametrize("default", [{"default": "allow"}, {"rule": [{"name": "all", "images": ["**"]}]}])
def test_a_name_that_carries_another_digest_than_it_stands_for_is_refused(default: dict[str, Any]) -> None:
    rules = parse_policy({"version": 1, **default}, "policy.toml")
    assert not allowed(rules, f"redis@{A}", B)
    assert allowed(rules, f"redis@{A}", A)


def test_names_that_are_no_references_are_matched_as_they_are() -> None:
    rules = policy({"images": ["My Image"]})
    assert allowed(rules, "My Image")
    assert not allowed(rules, "My Other Image")


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "version"),
        ({"version": 2}, "version"),
        ({"version": 1, "deafult": "allow"}, "deafult"),
        ({"version": 1, "default": "maybe"}, "default"),
        ({"version": 1, "rule": [{"images": ["**"]}]}, "rule[0].name"),
        ({"version": 1, "rule": [{"name": "x", "images": []}]}, "rule[0].images"),
        ({"version": 1, "rule": [{"name": "x", "images": ["**"]}] * 2}, "rule[0]"),
        ({"version": 1, "rule": [{"name": "x", "images": ["**"], "signed_by": ["k"]}]}, "rule[0].signed_by"),
        ({"version": 1, "rule": [{"name": "x", "images": ["**"], "verifiers": ["k"]}]}, "rule[0].verifiers"),
        ({"version": 1, "rule": [{"name": "x", "images": ["**"], "pins": {"a": "b"}}]}, "rule[0].pins"),
        ({"version": 1, "rule": [{"name": "x", "images": ["**"], "action": "deny", "pinned": True}]}, "rule[0]"),
        ({"version": 1, "signers": {"k": {"keys": []}}}, "signers.k.keys"),
        ({"version": 1, "signers": {"k": {"keys": ["k.pub"]}}}, "signers.k.keys"),
        ({"version": 1, "verifiers": {"k": {"directory": "x"}}}, "verifiers.k.directory"),
        ({"version": 1, "verifiers": {"k": {"directory": "/x", "deadline": 0}}}, "verifiers.k.deadline"),
        ({"version": 1, "verifiers": {"k": {"directory": "/x", "max": 0}}}, "verifiers.k.max"),
    ],
)  # fmt: skip
def test_a_policy_with_a_mistake_is_refused_whole(document: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_policy(document, "policy.toml")
    assert (caught.value.field or "").startswith(field)


def test_the_requirement_changes_with_keys_and_settings_and_with_nothing_else() -> None:
    signers = {"k": {"keys": ["/k"]}}
    rule = {"images": ["**"], "signed_by": ["k"]}
    first, renamed = policy(rule, signers=signers), policy({**rule, "name": "other"}, signers=signers)
    other = policy(rule, signers={"k": {"keys": ["/k"], "identities": ["**"]}})

    def fingerprint(rules: Policy, key: bytes = b"pem") -> str:
        return requirement(rules, decide(rules, "default", "redis", A), {"/k": key})

    assert fingerprint(first) == fingerprint(renamed)
    assert len({fingerprint(first), fingerprint(other), fingerprint(first, b"new")}) == 3
