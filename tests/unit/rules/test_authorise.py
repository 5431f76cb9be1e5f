"""Who may do what, where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn.errors import PermissionDenied
from tricorn.rules.authorise import AccessRule, Authoriser, Peer, Role

ROOT = Peer(1, 0, 0)
ALICE = Peer(2, 1000, 1000, frozenset({50}))
BOB = Peer(3, 1001, 1001)
RULES = Authoriser(
    (
        AccessRule(Role.NONE, users=frozenset({1001}), namespaces=("secret",)),
        AccessRule(Role.OPERATE, users=frozenset({1000}), namespaces=("ci-*",)),
        AccessRule(Role.READ, namespaces=("public",)),
        AccessRule(Role.ADMIN, groups=frozenset({50}), namespaces=("team",)),
        AccessRule(Role.READ, groups=frozenset({1001})),
    )
)


@pytest.mark.parametrize(
    ("peer", "namespace", "role"),
    [
        (ROOT, "anything", Role.ADMIN),
        (ROOT, None, Role.ADMIN),
        (ALICE, "ci-7", Role.OPERATE),
        (ALICE, "ci", Role.NONE),
        (ALICE, "public", Role.READ),
        (ALICE, "team", Role.ADMIN),  # by a supplementary group
        (ALICE, None, Role.NONE),
        (ALICE, "default", Role.NONE),
        (BOB, "secret", Role.NONE),  # the first rule decides, although a later one allows
        (BOB, "default", Role.READ),  # by the primary group
        (BOB, None, Role.READ),
        (BOB, "ci-7", Role.READ),
    ],
)
def test_matrix(peer: Peer, namespace: str | None, role: Role) -> None:
    assert RULES.role(peer, namespace) is role
    for needed in Role:
        if needed <= role:
            RULES.require(peer, namespace, needed)
        else:
            with pytest.raises(PermissionDenied):
                RULES.require(peer, namespace, needed)


def test_refusal_names_the_rule_to_add() -> None:
    with pytest.raises(PermissionDenied) as caught:
        RULES.require(ALICE, "default", Role.OPERATE)
    assert 'role = "operate", users = ["1000"], namespaces = ["default"]' in caught.value.hint
    assert "has none" in caught.value.why


def test_the_rule_named_by_a_refusal_would_allow() -> None:
    rule = AccessRule(Role.OPERATE, users=frozenset({1000}), namespaces=("default",))
    Authoriser((rule, *RULES.rules)).require(ALICE, "default", Role.OPERATE)


def test_anywhere() -> None:
    RULES.require_anywhere(ALICE, Role.ADMIN)
    with pytest.raises(PermissionDenied):
        RULES.require_anywhere(BOB, Role.OPERATE)
    with pytest.raises(PermissionDenied):
        Authoriser().require_anywhere(ALICE, Role.READ)


@given(st.integers(1), st.integers(1), st.text(max_size=5))
def test_without_rules_only_root(uid: int, gid: int, namespace: str) -> None:
    assert Authoriser().role(Peer(1, uid, gid), namespace) is Role.NONE
