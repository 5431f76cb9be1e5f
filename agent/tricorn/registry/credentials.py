"""What the agent itself knows for registries that want to know who asks.

In this order: the entries of the configuration, then Docker's config.json. Looked up anew for each
challenge, so that changed files hold at once and nothing secret stays in memory but tokens; never on the
event loop. Credentials of a request go before all of these (`access.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Final

import trio
from attrs import field, frozen

from tricorn import limits
from tricorn.errors import FailedPrecondition
from tricorn.model.requests import RegistryAuth
from tricorn.registry.credential_helper import Helpers
from tricorn.registry.docker_config import DockerEntry, docker_entry, is_docker_hub, server_name
from tricorn.registry.secret_files import read_secret

_READERS: Final = trio.CapacityLimiter(2)


@frozen
class CredentialEntry:
    """One configured registry: a user with a file that holds the password, a file that holds an identity
    token, or a helper (the absolute path of a program).
    """

    host: str
    username: str = ""
    password_file: str = ""
    identity_token_file: str = ""
    helper: str = ""

    def __str__(self) -> str:
        if self.helper:
            return f"configuration: helper {self.helper}"
        if self.identity_token_file:
            return f"configuration: identity token in {self.identity_token_file}"
        return f"configuration: user {self.username}, password in {self.password_file}"


@frozen
class CredentialSettings:
    """`docker_config` is the path of a config.json, which may be missing; `helpers` are the absolute paths of
    the programs that may be run, `helper_timeout` is in seconds.
    """

    entries: tuple[CredentialEntry, ...] = ()
    docker_config: str = ""
    helpers: tuple[str, ...] = ()
    helper_timeout: float = limits.REGISTRY_HELPER_TIMEOUT
    environment: Mapping[str, str] = field(factory=dict, repr=False)


class CredentialBook:
    """Looks credentials up by the host's name, as references or hosts.toml have it (`host[:port]`)."""

    def __init__(self, settings: CredentialSettings) -> None:
        self._settings = settings
        named = (entry.helper for entry in settings.entries if entry.helper)
        allowed = (*settings.helpers, *named)
        self._helpers = Helpers(allowed, settings.environment, settings.helper_timeout)

    async def find(self, host: str) -> RegistryAuth | None:
        """Return the credentials for `host`, None when nothing is configured for it.

        Raises FailedPrecondition when something is and can't be had: a file that is missing or open to
        others, a helper that isn't allowed or fails.
        """
        for entry in self._entries(host):
            found = await self._of_entry(entry, host)
            if found is not None:
                return found
        docker = await self._docker(host)
        if docker is None:
            return None
        if docker.helper:
            found = await self._helpers.get(docker.helper, docker.server)
            if found is not None:
                return found
        return docker.auth

    async def sources(self, host: str) -> list[str]:
        """Return in words where credentials for `host` come from, in order; no helper is run, and no secret
        is in them. What can't be used is among them, with the reason.
        """
        described = [str(entry) for entry in self._entries(host)]
        try:
            docker = await self._docker(host)
            return described + (_described(docker, self._settings.docker_config) if docker else [])
        except FailedPrecondition as error:
            return [*described, f"unusable: {error.one_line()}"]

    def _entries(self, host: str) -> Iterator[CredentialEntry]:
        hub = is_docker_hub(host)
        return (e for e in self._settings.entries if e.host == host or (hub and is_docker_hub(e.host)))

    async def _of_entry(self, entry: CredentialEntry, host: str) -> RegistryAuth | None:
        if entry.helper:
            return await self._helpers.get(entry.helper, server_name(host))
        what = f"the credentials of {entry.host}"
        path = entry.identity_token_file or entry.password_file
        secret = (await trio.to_thread.run_sync(read_secret, path, what, limiter=_READERS)).strip()
        if entry.identity_token_file:
            return RegistryAuth(entry.username, identity_token=secret)
        return RegistryAuth(entry.username, secret)

    async def _docker(self, host: str) -> DockerEntry | None:
        path = self._settings.docker_config
        if not path or not await trio.to_thread.run_sync(os.path.lexists, path, limiter=_READERS):
            return None
        text = await trio.to_thread.run_sync(read_secret, path, "Docker's configuration", limiter=_READERS)
        return docker_entry(text, host, path)


def _described(docker: DockerEntry, path: str) -> list[str]:
    helper = [f"{path}: helper {docker.helper}"] if docker.helper else []
    return helper + ([f"{path}: auths"] if docker.auth else [])
