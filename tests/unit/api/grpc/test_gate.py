"""Readiness, authorisation and audit, before and after a handler; and what becomes of exceptions."""

from __future__ import annotations

import errno
from types import SimpleNamespace

import pytest
import structlog
from structlog.testing import capture_logs

from tricorn import wire
from tricorn.api.grpc.errors import translate
from tricorn.api.grpc.face import ANYWHERE, NAMESPACE, NODE, OPEN, Rpc
from tricorn.api.grpc.gate import Gate
from tricorn.errors import (
    BY_CODE,
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from tricorn.grpc import Code
from tricorn.rules.authorise import AccessRule, Authoriser, Peer, Role

ROOT = Peer(pid=1, uid=0, gid=0)
READER = Peer(pid=2, uid=1000, gid=1000)
STRANGER = Peer(pid=3, uid=2000, gid=2000)
RULES = Authoriser((AccessRule(Role.READ, users=frozenset({1000}), namespaces=("ci-*",)),))
PATH = "/containerd.services.leases.v1.Leases/Create"


def call(peer: Peer = ROOT, **metadata: str) -> SimpleNamespace:
    return SimpleNamespace(
        peer=peer, metadata={key.replace("_", "-"): value for key, value in metadata.items()},
        deadline=None, send=None, receive=None, set_trailing=None,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def fresh_logs():
    before = structlog.get_config()
    structlog.reset_defaults()
    yield
    structlog.configure(**before)


async def run(
    spec: Rpc, peer: Peer = ROOT, *, ready: bool = True, error: Exception | None = None, **metadata
):
    seen = []

    async def handler(face_call, request):
        seen.append(face_call)
        if error is not None:
            raise error
        return request

    request = wire.message("containerd.services.leases.v1.CreateRequest")(id="l1")
    gate = Gate(RULES, lambda: ready)
    assert await gate.run(PATH, spec, handler, call(peer, **metadata), request) is request
    return seen[0]


async def test_a_namespace_is_required_and_checked():
    spec = Rpc("Create", Role.READ)
    with pytest.raises(FailedPrecondition, match="namespace is required"):
        await run(spec)
    with pytest.raises(InvalidArgument):
        await run(spec, containerd_namespace="a/b")
    seen = await run(spec, containerd_namespace="demo", containerd_lease="l")
    assert (seen.namespace, seen.lease) == ("demo", "l")


@pytest.mark.parametrize(
    ("scope", "role", "namespace", "allowed"),
    [
        (NAMESPACE, Role.READ, "ci-1", True),
        (NAMESPACE, Role.OPERATE, "ci-1", False),
        (NAMESPACE, Role.READ, "other", False),
        (NODE, Role.READ, "ci-1", False),
        (ANYWHERE, Role.READ, "", True),
        (ANYWHERE, Role.OPERATE, "", False),
        (OPEN, Role.ADMIN, "", True),
    ],
)
async def test_the_same_rules_as_on_the_other_door(scope, role, namespace, allowed):
    try:
        await run(Rpc("Create", role, scope), READER, containerd_namespace=namespace)
    except PermissionDenied:
        assert not allowed
    else:
        assert allowed


async def test_strangers_get_nowhere():
    for scope in (NAMESPACE, NODE, ANYWHERE):
        with pytest.raises(PermissionDenied):
            await run(Rpc("Get", Role.READ, scope), STRANGER, containerd_namespace="ci-1")


async def test_before_the_agent_is_ready_only_early_methods_answer():
    with pytest.raises(Unavailable, match="not ready"):
        await run(Rpc("Get", Role.READ, OPEN), ready=False)
    await run(Rpc("Version", Role.READ, OPEN, early=True), ready=False)


async def test_changes_and_refusals_leave_a_line_that_names_their_object():
    change = Rpc("Create", Role.OPERATE)
    with capture_logs() as lines:
        await run(change, containerd_namespace="demo")
        with pytest.raises(AlreadyExists):
            await run(change, containerd_namespace="demo", error=AlreadyExists("it is there"))
        with pytest.raises(ZeroDivisionError):
            await run(change, containerd_namespace="demo", error=ZeroDivisionError())
        with pytest.raises(PermissionDenied):
            await run(Rpc("Get", Role.READ), STRANGER, containerd_namespace="demo")
        await run(Rpc("Get", Role.READ), containerd_namespace="demo")
    assert [line["outcome"] for line in lines] == ["ok", "AlreadyExists", "Internal", "PermissionDenied"]
    assert {"uid": 0, "namespace": "demo", "method": "gRPC", "path": PATH, "id": "l1"}.items() <= lines[
        0
    ].items()


def test_every_error_keeps_its_code():
    for kind in BY_CODE.values():
        status = translate(kind("a thing", why="a reason", hint="a remedy", field="a.field"))
        assert status.code == kind.grpc
        assert status.message.startswith("a.field: a thing: a reason (hint: a remedy)")


def test_clients_know_errors_by_their_last_words():
    assert translate(Conflict("held by somebody")).message == "held by somebody: conflict"
    assert translate(AlreadyExists("it is there")).message == "it is there: already exists"


def test_what_a_nursery_wrapped_is_unwrapped():
    group = ExceptionGroup("nursery", [ExceptionGroup("inner", [NotFound("no such thing")])])
    assert translate(group).code is Code.NOT_FOUND


def test_a_full_disk_is_no_mistake():
    with capture_logs() as lines:
        status = translate(OSError(errno.ENOSPC, "No space left on device"))
    assert status.code is Code.RESOURCE_EXHAUSTED
    assert "free space" in status.message
    assert lines == []


def test_mistakes_are_logged_under_the_id_that_the_client_is_told():
    with capture_logs() as lines:
        status = translate(KeyError("secret"))
    assert status.code is Code.INTERNAL
    assert lines[0]["id"] in status.message
    assert "secret" not in status.message
