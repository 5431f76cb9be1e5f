from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricorn import limits
from tricorn.errors import InvalidArgument, NotFound, ResourceExhausted
from tricorn.model.spec import Accounts
from tricorn.rules.accounts import parse_accounts, resolve_user

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
# a comment
app:x:1000:100:app:/home/app:/bin/sh
4294967296:x:0:0::/root:/bin/sh
123:x:0:0::/root:/bin/sh
huge:x:4294967296:0::/:/bin/sh
evil:x:7:7::/home\x07bell:/bin/sh
short:x:1
"""
GROUP = b"root:x:0:\nusers:x:100:\nmedia:x:44:app,other\nadm:x:4:other\nbroken:x\n"
ACCOUNTS = parse_accounts(PASSWD, GROUP)


def who(text: str, *extra: str) -> tuple[int, int, tuple[int, ...], str]:
    found = resolve_user(text, ACCOUNTS, extra)
    return found.uid, found.gid, found.groups, found.home


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 0, (0,), "/root")),
        ("root", (0, 0, (0,), "/root")),
        ("app", (1000, 100, (100, 44), "/home/app")),
        ("1000", (1000, 100, (100, 44), "/home/app")),
        ("app:media", (1000, 44, (44,), "/home/app")),
        ("1000:1000", (1000, 1000, (1000,), "/home/app")),
        ("4000", (4000, 0, (0,), "/")),
        ("4000:5", (4000, 5, (5,), "/")),
        (str(limits.UID_MAX), (limits.UID_MAX, 0, (0,), "/")),
        ("123", (123, 0, (0,), "/")),  # a number, though passwd has a user of that name
    ],
)
def test_users_and_their_groups(text, expected):
    assert who(text) == expected


def test_extra_groups_come_after_the_own_and_once():
    assert who("app", "adm", "44", "99")[2] == (100, 44, 4, 99)


@pytest.mark.parametrize(
    "text", ["4294967296", "2147483648", "-1", "+0", "1:4294967296", "99999999999999999999", "1:-1"]
)
def test_numbers_out_of_range_are_refused_and_never_names(text):
    """CVE-2024-40635, CVE-2026-46680."""
    with pytest.raises(InvalidArgument, match="out of range"):
        who(text)


@pytest.mark.parametrize("text", ["a\nroot2:x:0:0", "a:", ":", "a b\0", "../x", "a:b\n", "é"])
def test_malformed_users_are_refused(text):
    with pytest.raises((InvalidArgument, NotFound)) as caught:
        who(text)
    assert caught.value.field == "user"


@pytest.mark.parametrize("text", ["nobody", "app:nogroup", "huge"])
def test_unknown_names_are_not_found(text):
    with pytest.raises(NotFound):
        who(text)


def test_root_is_known_without_a_passwd_file():
    assert resolve_user("root:root", Accounts()).home == "/root"


def test_a_home_with_control_characters_is_not_taken():
    assert who("evil")[3] == "/"


def test_oversized_files_are_refused():
    """CVE-2026-47262."""
    with pytest.raises(ResourceExhausted):
        parse_accounts(b"x" * (limits.PASSWD_SIZE + 1), b"")


@given(st.text(max_size=40))
def test_any_text_gives_an_identity_in_range_or_a_typed_error(text):
    try:
        found = resolve_user(text, ACCOUNTS)
    except (InvalidArgument, NotFound):
        return
    assert all(0 <= number <= limits.UID_MAX for number in (found.uid, found.gid, *found.groups))
    if text.partition(":")[0].isdigit():
        assert found.uid == int(text.partition(":")[0])


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_files_are_read_without_failing(passwd, group):
    for user in parse_accounts(passwd, group).users:
        assert 0 <= user.uid <= limits.UID_MAX
        assert user.home.startswith("/")
