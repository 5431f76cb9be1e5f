"""Where configured credentials come from, in which order, and to whom they go."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio

from tricorn.errors import FailedPrecondition, Unauthenticated
from tricorn.model.reference import Reference
from tricorn.model.requests import RegistryAuth
from tricorn.ports import RegistryWay
from tricorn.registry.auth import basic
from tricorn.registry.client import RegistryClient
from tricorn.registry.credentials import CredentialBook, CredentialEntry, CredentialSettings
from tricorn_testing.scripted_http import Exchange, serving

ClientMaker = Callable[..., AbstractAsyncContextManager[RegistryClient]]
Writer = Callable[[str, str], str]
PASSWORD = "configured-s3cret"
HEAD = {
    "Docker-Content-Digest": "sha256:" + "a" * 64,
    "Content-Type": "application/vnd.oci.image.manifest.v1+json",
    "Content-Length": "7",
}


def secret_file(path: Path, text: str = f"{PASSWORD}\n", mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def helper(path: Path, secret: str) -> str:
    path.write_text(f"""#!/bin/sh\necho '{{"Username": "helped", "Secret": "{secret}"}}'\n""")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def docker_config(tmp_path: Path) -> str:
    document = {
        "auths": {
            "filed.example": {"username": "filed", "password": "f"},
            "both.example": {"auth": "Ym90aDpi"},
        },
        "credHelpers": {"helped.example": "one", "both.example": "none"},
    }
    return secret_file(tmp_path / "config.json", json.dumps(document))


@pytest.fixture
def book(tmp_path: Path, docker_config: str) -> CredentialBook:
    one = helper(tmp_path / "docker-credential-one", "h")
    none = tmp_path / "docker-credential-none"
    none.write_text("#!/bin/sh\necho credentials not found; exit 1\n")
    none.chmod(0o755)
    entries = (
        CredentialEntry("reg.example", "me", secret_file(tmp_path / "password")),
        CredentialEntry("token.example", identity_token_file=secret_file(tmp_path / "token", "t")),
        CredentialEntry("mine.example", helper=helper(tmp_path / "own-helper", "o")),
        CredentialEntry("filed.example", "first", secret_file(tmp_path / "first", "1")),
        CredentialEntry("docker.io", "hub", secret_file(tmp_path / "hub", "h")),
    )
    return CredentialBook(
        CredentialSettings(entries, docker_config, (one, str(none)), environment=dict(os.environ))
    )


@pytest.mark.parametrize(
    ("host", "auth"),
    [
        ("reg.example", RegistryAuth("me", PASSWORD)),
        ("token.example", RegistryAuth(identity_token="t")),
        ("mine.example", RegistryAuth("helped", "o")),
        ("filed.example", RegistryAuth("first", "1")),
        ("helped.example", RegistryAuth("helped", "h")),
        ("both.example", RegistryAuth("both", "b")),
        ("registry-1.docker.io", RegistryAuth("hub", "h")),
        ("reg.example:5000", None),
        ("other.example", None),
    ],
)
async def test_the_order_of_the_sources(book: CredentialBook, host: str, auth: RegistryAuth | None) -> None:
    assert await book.find(host) == auth


async def test_the_sources_are_told_without_secrets(book: CredentialBook, tmp_path: Path) -> None:
    assert await book.sources("reg.example") == [f"configuration: user me, password in {tmp_path}/password"]
    assert await book.sources("both.example") == [
        f"{tmp_path}/config.json: helper none", f"{tmp_path}/config.json: auths"
    ]  # fmt: skip
    assert await book.sources("other.example") == []
    (tmp_path / "config.json").chmod(0o644)
    (line,) = await book.sources("both.example")
    assert line.startswith("unusable: Docker's configuration")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
async def test_a_file_that_others_may_read_is_refused(
    book: CredentialBook, tmp_path: Path, mode: int
) -> None:
    (tmp_path / "password").chmod(mode)
    with pytest.raises(FailedPrecondition, match=rf"mode {mode:04o}") as caught:
        await book.find("reg.example")
    assert caught.value.hint == f"chmod 600 {tmp_path}/password"


@pytest.mark.root
async def test_a_file_of_somebody_else_is_refused(book: CredentialBook, tmp_path: Path) -> None:
    os.chown(tmp_path / "password", 1234, 0)
    with pytest.raises(FailedPrecondition, match="user 1234"):
        await book.find("reg.example")


async def test_what_is_no_file_with_text_is_refused_at_once(tmp_path: Path) -> None:
    fifo, binary, gone = tmp_path / "fifo", tmp_path / "binary", tmp_path / "gone"
    os.mkfifo(fifo, 0o600)
    binary.write_bytes(b"\xff\xfe")
    binary.chmod(0o600)
    for path, why in ((fifo, "no regular file"), (binary, "no text"), (gone, "No such file")):
        entry = CredentialEntry("reg.example", "me", str(path))
        with trio.fail_after(30), pytest.raises(FailedPrecondition, match=why):
            await CredentialBook(CredentialSettings((entry,))).find("reg.example")


# ---------------------------------------------------------------- to whom they go
async def wants_basic(exchange: Exchange) -> None:
    if "authorization" in exchange.headers:
        await exchange.answer(200, HEAD)
    else:
        await exchange.answer(401, {"WWW-Authenticate": 'Basic realm="x"'})


def one_entry(tmp_path: Path, host: str) -> CredentialBook:
    entry = CredentialEntry(host, "me", secret_file(tmp_path / "password"))
    return CredentialBook(CredentialSettings((entry,)))


async def test_they_wait_for_a_challenge_and_edits_hold_at_once(client: ClientMaker, tmp_path: Path) -> None:
    async def guarded(exchange: Exchange) -> None:
        if exchange.headers.get("authorization") == basic(RegistryAuth("me", "new")):
            await exchange.answer(200, HEAD)
        else:
            await exchange.answer(401, {"WWW-Authenticate": 'Basic realm="x"'})

    async with serving(guarded) as server, client(credentials=one_entry(tmp_path, server.address)) as c:
        with pytest.raises(Unauthenticated):
            await c.resolve(Reference.parse(f"{server.address}/a:1"))
        secret_file(tmp_path / "password", "new")
        await c.resolve(Reference.parse(f"{server.address}/a:1"))
    assert "authorization" not in server.seen[0].headers


async def test_a_server_by_another_name_gets_what_is_for_that_name_only(
    client: ClientMaker, hosts_toml: Writer, tmp_path: Path
) -> None:
    async with serving(wants_basic) as server:
        hosts_dir = hosts_toml("reg.example", f'server = "{server.url}"\n')
        reference = Reference.parse("reg.example/a:1")
        async with client(hosts_dir, credentials=one_entry(tmp_path, "reg.example")) as c:
            with pytest.raises(Unauthenticated):
                await c.resolve(reference)
        async with client(hosts_dir, credentials=one_entry(tmp_path, server.address)) as c:
            await c.resolve(reference)


async def test_a_registry_on_another_port_is_the_same_registry(
    client: ClientMaker, hosts_toml: Writer, tmp_path: Path
) -> None:
    async with serving(wants_basic) as server:
        hosts_dir = hosts_toml("127.0.0.1", f'server = "{server.url}"\n')
        async with client(hosts_dir, credentials=one_entry(tmp_path, "127.0.0.1")) as c:
            await c.resolve(Reference.parse("127.0.0.1/a:1"))


async def test_mirrors_have_their_own(client: ClientMaker, hosts_toml: Writer, tmp_path: Path) -> None:
    async with serving(wants_basic) as mirror, serving(wants_basic) as up:
        text = f'server = "{up.url}"\n[host."{mirror.url}"]\ncapabilities = ["pull", "resolve"]\n'
        hosts_dir = hosts_toml("reg.example", text)
        async with client(hosts_dir, credentials=one_entry(tmp_path, mirror.address)) as c:
            await c.resolve(Reference.parse("reg.example/a:1"))
    assert len(mirror.seen) == 2
    assert not up.seen


async def test_a_clients_own_hosts_toml_gets_none(
    client: ClientMaker, hosts_toml: Writer, tmp_path: Path
) -> None:
    async with serving(wants_basic) as server:
        hosts_dir = hosts_toml(server.address, f'server = "{server.url}"\n')
        async with client(credentials=one_entry(tmp_path, server.address)) as c:
            with pytest.raises(Unauthenticated):
                way = RegistryWay(hosts_dir=hosts_dir)
                await c.resolve(Reference.parse(f"{server.address}/a:1"), way=way)
    assert all("authorization" not in each.headers for each in server.seen)


async def test_unusable_credentials_are_told_rather_than_left_out(
    client: ClientMaker, tmp_path: Path
) -> None:
    async with serving(wants_basic) as server, client(credentials=one_entry(tmp_path, server.address)) as c:
        (tmp_path / "password").chmod(0o644)
        with pytest.raises(FailedPrecondition, match=server.address) as caught:
            await c.resolve(Reference.parse(f"{server.address}/a:1"))
    assert "chmod 600" in caught.value.hint
    assert len(server.seen) == 1


async def test_the_plan_is_explained(client: ClientMaker, hosts_toml: Writer, tmp_path: Path) -> None:
    text = (
        'server = "https://reg.example:8443"\n[host."https://mirror.example"]\n'
        'capabilities = ["pull"]\nca = "ca.crt"\nclient = [["c.crt", "c.key"]]\ndial_timeout = "3s"\n'
        '[host."https://mirror.example".header]\nx-key = "header-s3cret"\n[host."http://10.0.0.1"]\n'
    )
    hosts_dir = hosts_toml("reg.example", text)
    async with client(hosts_dir, credentials=one_entry(tmp_path, "reg.example")) as c:
        plan = await c.explain("reg.example")
        nothing = await c.explain("127.0.0.1:5000")
    directory = f"{hosts_dir}/reg.example"
    mirror, plain, registry = plan.hosts
    assert plan.source == f"{directory}/hosts.toml"
    assert (mirror.url, mirror.role, mirror.capabilities) == (
        "https://mirror.example/v2",
        "mirror",
        ("pull",),
    )
    assert (mirror.ca, mirror.client) == ((f"{directory}/ca.crt",), (f"{directory}/c.crt",))
    assert (mirror.headers, mirror.dial_timeout, mirror.tls) == (("x-key",), 3.0, "verified")
    assert (plain.tls, plain.credentials, plain.ns_query) == ("none", (), True)
    assert registry.credentials == (f"configuration: user me, password in {tmp_path}/password",)
    assert "s3cret" not in repr(plan)
    assert (nothing.source, [host.url for host in nothing.hosts]) == ("", ["http://127.0.0.1:5000/v2"])
