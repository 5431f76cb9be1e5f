"""No secret of a registry is to be found anywhere but in the file it was given in: logs, answers, events,
operations, the database, metrics, the command line and its errors.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from tricorn.client import Client
from tricorn_testing.daemon import ApiError, Daemon, running_daemon
from tricorn_testing.faulty_registry import REPOSITORY, FaultyRegistry
from tricorn_testing.images import ImageLayout
from tricorn_testing.paths import short_directory
from tricorn_testing.pulling import noisy_layout
from tricorn_testing.scripted_http import Exchange, Server, serving

pytestmark = [pytest.mark.root, pytest.mark.integration]
MARK = "s3cr3t"  # in every secret here, plain and encoded
CONFIG = """
log_level = "debug"
[registry]
hosts_dir = "{directory}/etc/hosts.d"
docker_config = "{directory}/etc/docker.json"
credential_helpers = ["{directory}/etc/docker-credential-test"]
[[registry.credentials]]
host = "127.0.0.1:1"
username = "filed"
password_file = "{directory}/etc/password"
"""
HELPER = f"""#!/bin/sh
echo '{{"Username": "helped", "Secret": "{MARK}-of-a-helper"}}'
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with short_directory() as directory:
        etc = directory / "etc"
        etc.mkdir()
        for name, text, mode in (
            ("password", f"{MARK}-of-a-file", 0o600),
            ("docker.json", json.dumps({"credsStore": "test"}), 0o600),
            ("docker-credential-test", HELPER, 0o755),
        ):
            (etc / name).write_text(text)
            (etc / name).chmod(mode)
        with running_daemon(CONFIG.format(directory=directory)) as daemon:
            # its files are where the configuration says, in a directory of the test's own
            daemon.secrets = etc  # type: ignore[attr-defined]
            yield daemon


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageLayout, str]:
    return noisy_layout(tmp_path_factory.mktemp("secrets"))


def spellings() -> re.Pattern[bytes]:
    """MARK as it is, and in the middle of a base64 text, at any of the three positions there."""
    found = [re.escape(MARK.encode())]
    for before, first in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(b"x" * before + MARK.encode())
        found.append(re.escape(encoded[first : (before + len(MARK)) * 8 // 6]))
    return re.compile(b"|".join(found))


def places(daemon: Daemon) -> Iterator[tuple[str, bytes]]:
    """Everything that can be read of the agent, by where."""
    for path in daemon.directory.rglob("*"):
        if path.is_file() and "content/blobs" not in str(path) and "/snapshots/" not in str(path):
            yield str(path), path.read_bytes()
    for path in ("info", "default/images", "default/operations", "default/leases", "events", "version"):
        yield path, json.dumps(daemon.get(f"/v1/{path}")).encode()
    yield "metrics", daemon.exchange("GET", "/metrics")[2]
    process = Path(f"/proc/{daemon.pid}")
    yield "cmdline", (process / "cmdline").read_bytes()
    yield "environ", (process / "environ").read_bytes()


def check_nowhere(daemon: Daemon, *more: str) -> None:
    pattern = spellings()
    assert all(pattern.search(base64.b64encode(f"{user}:{MARK}".encode())) for user in ("a", "ab", "abc"))
    for place, data in [*places(daemon), *((text, text.encode()) for text in more)]:
        assert not pattern.search(data), f"a secret in {place}"


def denying(scheme: str) -> Any:
    """A registry that takes no credentials."""

    async def handler(exchange: Exchange) -> None:
        errors = {"errors": [{"code": "DENIED", "message": "these credentials are refused"}]}
        if exchange.path == "/token":
            await exchange.json(401, errors)
            return
        realm = f'{scheme} realm="http://{exchange.headers["host"]}/token?key={MARK}",service="x"'
        await exchange.json(401, errors, {"WWW-Authenticate": realm})

    return handler


async def put(daemon: Daemon, reference: str, **more: Any) -> str:
    """Pull; return what a client is told, good or bad."""
    body = {"reference": reference, "plain_http": True, **more}
    try:
        return json.dumps(await trio.to_thread.run_sync(partial(daemon.put, "/v1/default/images", body)))
    except ApiError as error:
        return str(error)


AUTHS: tuple[dict[str, Any], ...] = (
    {},
    {"auth": {"username": "user", "password": f"{MARK}-of-a-request"}},
    {"auth": {"identity_token": f"{MARK}-identity"}},
)


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
async def test_refused_secrets_are_nowhere(daemon: Daemon, scheme: str) -> None:
    async with serving(denying(scheme)) as server:
        write_hosts(daemon, server)
        told = [await put(daemon, f"{server.address}/{REPOSITORY}:1", **auth) for auth in AUTHS]
        given = [each.headers.get("authorization", "") for each in server.seen]
        assert {each.split()[0] for each in given if each} >= {"Basic"}, "nothing was tried"
        assert all(
            each.headers["x-private"].startswith(MARK) for each in server.seen if each.path != "/token"
        )
        done = await trio.to_thread.run_sync(
            partial(
                daemon.cli, "image", "pull", "--plain-http", "-u", "user", "--password-stdin",
                f"{server.address}/{REPOSITORY}:1", stdin=f"{MARK}-of-the-command\n",
            )
        )  # fmt: skip
        explained = await trio.to_thread.run_sync(partial(daemon.cli, "registry", "explain", server.address))
    assert done.returncode == 14
    assert f"{server.address}" in done.stderr
    assert "x-private" in explained.stdout
    assert "helper test" in explained.stdout
    await trio.to_thread.run_sync(check_nowhere, daemon, *told, done.stdout, done.stderr, explained.stdout)


def write_hosts(daemon: Daemon, server: Server) -> None:
    directory = daemon.secrets / "hosts.d" / server.address  # type: ignore[attr-defined]
    directory.mkdir(parents=True)
    (directory / "hosts.toml").write_text(f'server = "{server.url}"\n[header]\nx-private = "{MARK}-header"\n')


async def test_accepted_secrets_are_nowhere(daemon: Daemon, image: tuple[ImageLayout, str]) -> None:
    async with FaultyRegistry(*image, guarded=True, token=f"{MARK}-token").serving() as registry:
        told = [await put(daemon, registry.reference, **auth) for auth in AUTHS]
        sent = [each.headers.get("authorization", "") for each in registry.asked("token")]
    assert any(MARK in base64.b64decode(each.partition(" ")[2]).decode() for each in sent if each)
    assert '"changed": true' in told[0]
    await trio.to_thread.run_sync(check_nowhere, daemon, *told)


async def test_every_client_tells_the_same_plan(daemon: Daemon) -> None:
    told = await trio.to_thread.run_sync(partial(daemon.get, "/v1/registry", host="127.0.0.1:1"))
    done = await trio.to_thread.run_sync(partial(daemon.cli, "--json", "registry", "explain", "127.0.0.1:1"))
    assert json.loads(done.stdout) == told
    async with Client(daemon.socket_path) as client:
        assert attrs.asdict((await client.registry("127.0.0.1:1")).hosts[0], recurse=False) == {
            key: tuple(value) if isinstance(value, list) else value for key, value in told["hosts"][0].items()
        }
    (host,) = told["hosts"]
    password, helper = host["credentials"]
    assert (host["url"], host["role"], told["source"]) == ("http://127.0.0.1:1/v2", "registry", "")
    assert password.startswith("configuration: user filed, password in /")
    assert helper.endswith("docker.json: helper test")

    for malformed in ("", "a/b", "../etc", "a b", "-x.example"):
        with pytest.raises(ApiError) as caught:
            await trio.to_thread.run_sync(partial(daemon.get, "/v1/registry", host=malformed))
        assert caught.value.problem["code"] == "InvalidArgument"
    failed = await trio.to_thread.run_sync(partial(daemon.cli, "registry", "explain", "a b"))
    assert failed.returncode == 2
