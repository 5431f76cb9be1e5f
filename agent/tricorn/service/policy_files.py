"""Reads the image policy and the keys it names. What others than root can change is not believed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping

import toml
import trio
from attrs import frozen

from tricorn import limits
from tricorn.errors import FailedPrecondition, InvalidArgument
from tricorn.rules.policy import Policy, parse_policy
from tricorn.rules.simple_signing import Check, load_key

# What toml 0.10 raises on malformed input, besides its own ValueError.
_TOML_ERRORS = (ValueError, IndexError, TypeError, KeyError, AttributeError)


@frozen
class LoadedPolicy:
    """A policy with its keys, all as they were when it was read."""

    file: str
    fingerprint: str
    policy: Policy
    keys: Mapping[str, bytes]
    checks: Mapping[str, Check]


async def load_policy(path: str) -> LoadedPolicy:
    """Read the policy at `path`. Raises FailedPrecondition for a file that is missing, unreadable or in
    others' hands, InvalidArgument naming what is wrong in it.
    """
    return await trio.to_thread.run_sync(_load, path)


def _load(path: str) -> LoadedPolicy:
    data = _read(path)
    try:
        document = toml.loads(data.decode())
    except _TOML_ERRORS as error:
        raise InvalidArgument(f"{path} is not valid TOML", why=str(error)[:200]) from None
    policy = parse_policy(document, path)
    keys = {file: _read(file) for file in policy.key_files()}
    checks = {file: load_key(pem, file) for file, pem in keys.items()}
    return LoadedPolicy(path, hashlib.sha256(data).hexdigest(), policy, keys, checks)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            data = file.read(limits.POLICY_SIZE + 1)
    except OSError as error:
        raise FailedPrecondition(f"can't read {path}", why=error.strerror or str(error)) from None
    if not stat.S_ISREG(found.st_mode) or len(data) > limits.POLICY_SIZE:
        raise FailedPrecondition(f"{path} is no file of at most {limits.POLICY_SIZE} bytes")
    if found.st_uid not in {0, os.geteuid()} or found.st_mode & 0o022:
        raise FailedPrecondition(
            f"{path} can't be trusted", why="others than root can change it",
            hint=f"chown root {path}; chmod go-w {path}",
        )  # fmt: skip
    return data
