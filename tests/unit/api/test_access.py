"""Authorisation at the door: every route, before its handler, with an audit line."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from tricorn.api.access import build_authoriser, peer_of
from tricorn.api.http.examples import EXAMPLES
from tricorn.api.http.routes import ROUTES
from tricorn.api.http.routing import Route, Scope, Shape
from tricorn.api.socketfile import listen
from tricorn.config import Access
from tricorn.rules.authorise import AccessRule, Authoriser, Peer, Role
from tricorn_testing.api import DIGEST, LOG, Server

USER = Peer(pid=9, uid=1000, gid=1000)
BODIES = {
    "ImageDesired": {"reference": "redis"}, "ContainerDesired": {"image": "r"},
    "ContainerCreate": {"desired": {"image": "r"}}, "ExecRequest": {"args": ["true"]},
    "ResizeRequest": {"rows": 1, "columns": 1}, "LabelsPatch": {"labels": {}},
    "ImageTag": {"reference": "r"}, "ImagePush": {}, "ImageTags": {"references": ["r"]},
    "ArchiveExport": {"path": "/x", "images": ["r"]}, "ArchiveImport": {"path": "/x"}, "LeaseDesired": {},
    "SnapshotDesired": {},
    "LeaseResource": {"type": "images", "id": "r"},
    "PolicyQuestion": {"reference": "redis"},
}  # fmt: skip
NEEDED = {  # parameters without which a request is not even parsed
    "explain": "object=image/x",
    "registry": "host=x",
    "GET /v1/{ns}/archive": "name=x",
    "GET /v1/{ns}/wait": "container=x",
    "GET /v1/{ns}/containers/{id}/files": "path=/x",
    "GET /v1/{ns}/containers/{id}/archive": "path=/x",
    "PUT /v1/{ns}/containers/{id}/archive": "path=/x",
}


@pytest.fixture
def peer() -> Peer:
    return USER


def rules(role: Role, *namespaces: str) -> Authoriser:
    return Authoriser((AccessRule(role, users=frozenset({1000}), namespaces=namespaces),))


def target(route: Route) -> str:
    values = {"ns": "mine", "namespace": "mine", "digest": str(DIGEST), "id": "web"}
    path = route.path
    for name in route.names:
        path = path.replace(f"{{{name}}}", values.get(name, "x"))
    needed = NEEDED.get(f"{route.method} {route.path}") or NEEDED.get(path.rpartition("/")[2], "")
    return f"{path}?{needed}" if needed else path


@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.label)
@pytest.mark.parametrize("place", ["mine", "other", "*"])
async def test_matrix(server: Server, role: Role, place: str) -> None:
    server.api.authoriser = rules(role, place)
    server.world.stream_items = [LOG]
    for route in ROUTES:
        await check_access(server, route, role, place)


async def check_access(server: Server, route: Route, role: Role, place: str) -> None:
    body = (BODIES | EXAMPLES).get(route.body.__name__) if route.body else None
    server.world.calls.clear()
    answer = await server.request(route.method, target(route), body)
    reaches = {
        Scope.OPEN: True,
        Scope.ANYWHERE: role >= route.role,
        Scope.NODE: role >= route.role and place == "*",
        Scope.NAMESPACE: role >= route.role and place != "other",
    }[route.scope]
    assert (answer.status != 403) == reaches, (route.path, answer.body)
    if not reaches:
        assert server.world.calls == []
        assert answer.json()["code"] == "PermissionDenied"
        assert "[[access]]" in answer.json()["hint"]


@pytest.mark.parametrize("body", [None, b"{", {"imgae": 1}])
async def test_an_unparsed_request_never_reaches_the_decision(server: Server, body: object) -> None:
    server.api.authoriser = rules(Role.ADMIN, "*")
    assert (await server.request("PUT", "/v1/mine/containers/web", body)).status == 400


async def test_names_are_decided_on_as_parsed(server: Server) -> None:
    """Encoded or nested names must not slip past the rule for another namespace."""
    server.api.authoriser = rules(Role.OPERATE, "mine")
    for path in (
        "/v1/%6fther/containers",
        "/v1/mine%2F..%2Fother/containers",
        "/v1/mine/../other/containers",
    ):
        assert (await server.request("GET", path)).status in {400, 403, 404}
    assert (await server.request("GET", "/v1/%6dine/containers")).status == 200
    assert all(args[0] == "mine" for _, args, _ in server.world.calls)


async def test_audit_lines(server: Server) -> None:
    server.api.authoriser = rules(Role.OPERATE, "mine")
    with capture_logs() as lines:
        await server.request("POST", "/v1/mine/containers/web/kill", {"signal": "SIGHUP"})
        await server.request("GET", "/v1/mine/containers")
        await server.request("POST", "/v1/other/containers/web/start")
        await server.request("GET", "/v1/other/containers")
        await server.request("PUT", "/v1/mine/containers/web", {"image": 1})
        await server.request("POST", "/v1/mine/containers/web/exec", {"args": ["sh", "-c", "echo secret"]})
        await server.request(
            "PUT", "/v1/mine/images", {"reference": "r", "auth": {"username": "u", "password": "hidden"}},
            {"Accept": "application/x-ndjson"},
        )  # fmt: skip
        await server.quiet()
    audit = [line for line in lines if line["event"] == "request"]
    assert [(line["method"], line["outcome"]) for line in audit] == [
        ("POST", "ok"), ("POST", "PermissionDenied"), ("GET", "PermissionDenied"), ("PUT", "InvalidArgument"),
        ("POST", "ok"), ("PUT", "ok"),
    ]  # fmt: skip
    assert audit[0] == {
        "event": "request", "log_level": "info", "uid": 1000, "gid": 1000, "pid": 9, "namespace": "mine",
        "method": "POST", "path": "/v1/mine/containers/web/kill", "outcome": "ok", "signal": "SIGHUP", "logger": "audit",
    }  # fmt: skip
    assert audit[4]["program"] == "sh"
    assert "secret" not in str(audit)
    assert "hidden" not in str(lines)


async def test_audit_of_upgraded_exec_and_of_leaving(server: Server) -> None:
    server.api.authoriser = rules(Role.OPERATE, "mine")
    server.world.gates["tasks.stop"] = trio.Event()
    with capture_logs() as lines:
        client = await server.connect()
        await client.send("POST", "/v1/mine/containers/web/stop")
        with trio.fail_after(60):
            while not server.world.calls:  # noqa: ASYNC110 - the fakes have no event for it
                await trio.sleep(0.005)
        await client.stream.aclose()
        await server.quiet()
    assert [line["outcome"] for line in lines if line["event"] == "request"] == ["cancelled"]


def test_every_shape_is_covered() -> None:
    assert {route.shape for route in ROUTES} == set(Shape)


# ---------------------------------------------------------------- identity
async def test_peer_of_this_process(short_path: Path) -> None:
    with listen(str(short_path / "s"), "root") as listener:
        client = await trio.open_unix_socket(str(short_path / "s"))
        connection, _ = listener.accept()
        accepted = trio.socket.from_stdlib_socket(connection)
        peer = peer_of(accepted)
        assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.getuid(), os.getgid())
        accepted.close()
        await client.aclose()


@pytest.mark.root
@pytest.mark.parametrize("count", [2, 300])
async def test_supplementary_groups_of_another_user(short_path: Path, count: int) -> None:
    os.chmod(short_path, 0o755)
    path = str(short_path / "s")
    code = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)"
    with listen(path, "root") as listener:
        os.chmod(path, 0o666)
        nobody = pwd.getpwnam("nobody")
        child = await trio.to_thread.run_sync(
            lambda: subprocess.Popen(
                ["/usr/bin/python3", "-c", code, path],
                user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=range(70_000, 70_000 + count),
            )
        )  # fmt: skip
        try:
            listener.settimeout(10)
            connection, _ = await trio.to_thread.run_sync(listener.accept)
            accepted = trio.socket.from_stdlib_socket(connection)
            peer = peer_of(accepted)
            accepted.close()
        finally:
            await trio.to_thread.run_sync(child.wait)
    assert (peer.uid, peer.gid, peer.pid) == (nobody.pw_uid, nobody.pw_gid, child.pid)
    # Over 256 groups the kernel's list doesn't fit: the user database is asked, which knows none of these.
    assert peer.in_group(70_001) == (count == 2)
    assert peer.in_group(nobody.pw_gid)


def test_names_of_the_configuration() -> None:
    root_group = grp.getgrgid(0).gr_name
    entries = (
        Access("read", users=("nobody", "1234")),
        Access("admin", groups=("no-such-group-here",)),
        Access("operate", groups=(root_group, "no-such-group-here"), namespaces=("ci",)),
    )
    with capture_logs() as lines:
        built = build_authoriser(entries, root_group)
    nobody = pwd.getpwnam("nobody").pw_uid
    assert built.rules == (
        AccessRule(Role.READ, frozenset({nobody, 1234})),
        AccessRule(Role.OPERATE, groups=frozenset({0}), namespaces=("ci",)),
        AccessRule(Role.ADMIN, groups=frozenset({0})),
    )
    assert "access rule left out" in [line["event"] for line in lines]
