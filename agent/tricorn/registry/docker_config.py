"""Docker's config.json: what it says about one registry.

Source: docs.docker.com/reference/cli/docker/login; github.com/docker/cli, cli/config. `credHelpers` go before
`credsStore`, and both before what stands in `auths` itself; other keys are none of ours.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from tricorn.model.requests import HeaderAuth, RegistryAuth
from tricorn.registry.secret_files import unusable
from tricorn.rules.hosts import DOCKER_HUB, DOCKER_HUB_SERVER

HUB_KEY: Final = "https://index.docker.io/v1/"  # what Docker calls its own registry there
_HUB_NAMES: Final = frozenset({DOCKER_HUB, DOCKER_HUB_SERVER, "index.docker.io"})


@frozen
class DockerEntry:
    """What the file has for a registry: the name of a helper ("" for none), and whether `auths` names it.

    `server` is the registry's name as helpers and `auths` know it.
    """

    server: str
    helper: str = ""
    auth: RegistryAuth | None = None


def is_docker_hub(host: str) -> bool:
    """Whether `host` is one of the names of Docker's own registry."""
    return host in _HUB_NAMES


def server_name(host: str) -> str:
    """Return what Docker's file and its helpers call the registry `host`."""
    return HUB_KEY if is_docker_hub(host) else host


def docker_entry(text: str, host: str, path: str) -> DockerEntry:
    """Return what the config.json `text` (read from `path`) has for the registry `host`.

    Raises FailedPrecondition naming path and key, never a value.
    """
    document = _document(text, path)
    helpers = _table(document, "credHelpers", path)
    helper = _text(helpers.get(_key_of(helpers, host)), path, f"credHelpers.{host}")
    helper = helper or _text(document.get("credsStore"), path, "credsStore")
    auths = _table(document, "auths", path)
    entry = auths.get(_key_of(auths, host))
    return DockerEntry(
        server_name(host), helper, None if entry is None else _auth(entry, path, f"auths.{host}")
    )


def _document(text: str, path: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise unusable("Docker's configuration", f"{path} is no JSON") from None
    if not isinstance(document, dict):
        raise unusable("Docker's configuration", f"{path} is no JSON object")
    return document


def _table(document: Mapping[str, Any], key: str, path: str) -> Mapping[str, Any]:
    table = document.get(key)
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise _malformed(path, key)
    return table


def _key_of(table: Mapping[str, Any], host: str) -> str:
    """Return the key that stands for `host`: as it is, or as a URL, which `docker login` may write."""
    if is_docker_hub(host):
        names = [HUB_KEY, *sorted(_HUB_NAMES)]
        return next((name for name in names if name in table), "")
    if host in table:
        return host
    return next((key for key in table if _host_of(key) == host), "")


def _host_of(key: str) -> str:
    return key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]


def _auth(entry: Any, path: str, key: str) -> RegistryAuth | None:
    """None for the empty entries that `docker login` leaves beside a credential store."""
    if not isinstance(entry, dict):
        raise _malformed(path, key)
    fields = {name: _text(entry.get(name), path, f"{key}.{name}") for name in _FIELDS}
    if fields["registrytoken"]:
        return HeaderAuth(header=f"Bearer {fields['registrytoken']}")
    username, password = fields["username"], fields["password"]
    if fields["auth"]:
        username, password = _pair(fields["auth"], path, key)
    if not username and not password and not fields["identitytoken"]:
        return None
    return RegistryAuth(username, password, fields["identitytoken"])


_FIELDS: Final = ("auth", "username", "password", "identitytoken", "registrytoken")


def _pair(encoded: str, path: str, key: str) -> tuple[str, str]:
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        colon = ""
    if not colon:
        raise _malformed(path, f"{key}.auth")
    return user, password.rstrip("\0")  # Docker pads with them


def _text(value: Any, path: str, key: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _malformed(path, key)
    return value


def _malformed(path: str, key: str) -> Exception:
    return unusable("Docker's configuration", f"{path}: {key[:200]} is malformed", "log in again")
