"""Whom a process in a container runs as: `USER[:GROUP]` against the image's passwd and group files. Pure.

A string of digits is a number, in range or refused, and never a name (CVE-2026-46680, CVE-2024-40635);
what a hostile passwd file says is taken only where it is well-formed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from tricorn import limits
from tricorn.errors import InvalidArgument, NotFound, ResourceExhausted
from tricorn.model.spec import Account, Accounts, Group, Identity

_NAME: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@\\ -]{0,254}\$?")
_DIGITS: Final = re.compile(r"[+-]?[0-9]+")


def parse_accounts(passwd: bytes, group: bytes) -> Accounts:
    """Read the two files; malformed lines and out-of-range ids are skipped. ResourceExhausted over 10 MiB."""
    for name, data in (("passwd", passwd), ("group", group)):
        if len(data) > limits.PASSWD_SIZE:
            raise ResourceExhausted(
                f"the image's /etc/{name} is too large",
                why=f"{len(data)} bytes, at most {limits.PASSWD_SIZE}",
            )
    return Accounts(tuple(_users(passwd)), tuple(_groups(group)))


def _users(data: bytes) -> Iterator[Account]:
    for fields in _fields(data):
        uid, gid = (_id(text) for text in fields[2:4]) if len(fields) >= 6 else (None, None)
        if uid is not None and gid is not None and _NAME.fullmatch(fields[0]):
            yield Account(fields[0], uid, gid, _home(fields[5]))


def _groups(data: bytes) -> Iterator[Group]:
    for fields in _fields(data):
        gid = _id(fields[2]) if len(fields) >= 4 else None
        if gid is not None and _NAME.fullmatch(fields[0]):
            yield Group(fields[0], gid, tuple(filter(None, fields[3].split(","))))


def _fields(data: bytes) -> Iterator[list[str]]:
    for line in data.decode("utf-8", "replace").split("\n"):
        text = line.strip()
        if text and not text.startswith("#"):
            yield text.split(":")


def _id(text: str) -> int | None:
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        return None
    value = int(text)
    return value if value <= limits.UID_MAX else None


def _home(text: str) -> str:
    """Return the home directory if it can't smuggle anything into an environment (CVE-2022-4318)."""
    return text if text.startswith("/") and text.isprintable() else "/"


def resolve_user(text: str, accounts: Accounts, extra: Sequence[str] = (), field: str = "user") -> Identity:
    """Return whom `USER[:GROUP]` stands for ("" is root) with the supplementary groups.

    As Docker has it: without a group, the user's own and those of the group file; with one, that alone.
    `extra` names further groups. InvalidArgument when malformed or out of range, NotFound for a name that
    the image doesn't know.
    """
    user_text, colon, group_text = text.partition(":")
    if colon and not group_text:
        raise InvalidArgument(f"user {text[:80]!r} is malformed", why="the group is empty", field=field)
    account = _user(user_text, accounts, field)
    if colon:
        gid = _group(group_text, accounts, field)
        groups = [gid]
    else:
        gid = account.gid
        groups = [
            gid,
            *(group.gid for group in accounts.groups if account.name and account.name in group.members),
        ]
    groups += [_group(name, accounts, "groups") for name in extra]
    return Identity(account.uid, gid, tuple(dict.fromkeys(groups)), account.home)


def _user(text: str, accounts: Accounts, field: str) -> Account:
    if not text:
        text = "0"
    if _DIGITS.fullmatch(text):
        uid = _number(text, field)
        return next((user for user in accounts.users if user.uid == uid), Account("", uid, 0, "/"))
    _check_name(text, field)
    for user in accounts.users:
        if user.name == text:
            return user
    if text == "root":  # images from scratch have no passwd, and everybody says root
        return Account("root", 0, 0, "/root")
    raise NotFound(f"user {text!r} isn't in the image's /etc/passwd", hint="give a number", field=field)


def _group(text: str, accounts: Accounts, field: str) -> int:
    if _DIGITS.fullmatch(text):
        return _number(text, field)
    _check_name(text, field)
    for group in accounts.groups:
        if group.name == text:
            return group.gid
    if text == "root":
        return 0
    raise NotFound(f"group {text!r} isn't in the image's /etc/group", hint="give a number", field=field)


def _number(text: str, field: str) -> int:
    if not text.isdigit() or len(text) > 10 or int(text) > limits.UID_MAX:
        raise InvalidArgument(
            f"id {text[:80]} is out of range", why=f"it must be within 0 and {limits.UID_MAX}", field=field
        )
    return int(text)


def _check_name(text: str, field: str) -> None:
    if not _NAME.fullmatch(text):
        raise InvalidArgument(f"name {text[:80]!r} is malformed", field=field)
