"""Requests that are well-formed messages and nonsense otherwise: each is answered, none is a mistake."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from tricorn import wire
from tricorn.grpc import Code, RpcError, open_channel
from tricorn_testing.daemon import Daemon, running_daemon

pytestmark = [pytest.mark.root, pytest.mark.integration]

TABLE = Path(__file__).parents[1] / "conformance/containerd_api.tsv"
ROUNDS = 12  # of every method
# These do what they are told on the host, or wait: nonsense has no place there.
LEFT_OUT = ("Diff/", "Mounts/Activate", "Tasks/Create", "Transfer/", "Events/Subscribe", "Streaming/", "Wait")
DIGEST = "sha256:" + "0" * 64
TEXTS = (
    "", "a", "web", "A" * 77, "a/b", "-", "..", "\x00", "\u2028", "é", "version", DIGEST, "sha256:zz", "native",
    "overlayfs", "labels", "labels.a", "labels.", "spec", "content", "snapshots/native", "/a", "/tasks/start",
    "id==a", "name~=[", 'labels."a', "~=", "io.containerd.runc.v2", "containerd.runc.v1.Options", "x" * 5000,
    "containerd.types.RuntimeRequest", "types.containerd.io/opencontainers/runtime-spec/1/Spec", "2026-01-01T00:00:00Z",
    "types.containerd.io/opencontainers/runtime-spec/1/Process", "containerd.io/gc.expire", "task",
    "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", "io.containerd.runtime.v2",
)  # fmt: skip
DATA = (b"", b"{}", b"[]", b"null", b"\xff", b'{"args": 1}', b'{"process": []}', b"\x0a\x01a", b"[" * 500)
NUMBERS = (0, 1, 2, 9, 2**31 - 1)


def methods() -> list[str]:
    names = [line.split("\t")[1] for line in TABLE.read_text().splitlines() if line.startswith("service\t")]
    known = [name for name in names if name.startswith("containerd.services.") and ".ttrpc." not in name]
    paths = [f"/{name}/{method.name}" for name in known for method in wire.service(name).methods]
    return [path for path in paths if not any(word in path for word in LEFT_OUT)]


def fill(message: Any, dice: random.Random, depth: int = 0) -> Any:
    """Set some fields of a message to something that its type allows."""
    for field in message.DESCRIPTOR.fields:
        if depth > 4 or dice.random() < 0.3:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _fill_map(getattr(message, field.name), field, dice, depth)
        elif field.is_repeated:
            _fill_list(getattr(message, field.name), field, dice, depth)
        elif field.message_type is not None:
            part = getattr(message, field.name)
            part.SetInParent()
            fill(part, dice, depth + 1)
        else:
            setattr(message, field.name, _scalar(field, dice))
    return message


def _fill_map(target: Any, field: Any, dice: random.Random, depth: int) -> None:
    value = field.message_type.fields_by_name["value"]
    for _ in range(dice.randrange(3)):
        key = dice.choice(TEXTS)
        if value.message_type is not None:
            fill(target[key], dice, depth + 1)
        else:
            target[key] = _scalar(value, dice)


def _fill_list(target: Any, field: Any, dice: random.Random, depth: int) -> None:
    for _ in range(dice.randrange(3)):
        if field.message_type is not None:
            fill(target.add(), dice, depth + 1)
        else:
            target.append(_scalar(field, dice))


def _scalar(field: Any, dice: random.Random) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return dice.choice(TEXTS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return dice.choice(DATA)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return dice.random() < 0.5
    if field.type == FieldDescriptor.TYPE_INT64:
        return dice.choice((*NUMBERS, -1, 2**62, -(2**63)))
    if field.type == FieldDescriptor.TYPE_INT32:
        return dice.choice((*NUMBERS, -1))
    return dice.choice(NUMBERS)


@pytest.fixture(scope="module")
def agent() -> Iterator[Daemon]:
    with running_daemon() as daemon:
        yield daemon


@pytest.mark.parametrize("path", methods())
async def test_nonsense_is_answered(agent: Daemon, path: str) -> None:
    _, service, name = path.split("/")
    method = wire.service(service).methods_by_name[name]
    dice = random.Random(path)
    async with open_channel(agent.socket_path) as channel:
        for _ in range(ROUNDS):
            request = fill(wire.message(method.input_type.full_name)(), dice)
            metadata = [("containerd-namespace", "fuzz")]
            if dice.random() < 0.2:
                metadata.append(("containerd-lease", "a"))
            code = await answer_of(channel, path, method, request, metadata)
            assert code not in {Code.INTERNAL, Code.UNKNOWN, Code.DEADLINE_EXCEEDED}, request


async def answer_of(
    channel: Any, path: str, method: Any, request: Any, metadata: list[tuple[str, str]]
) -> Code:
    answer = wire.message(method.output_type.full_name)
    try:
        async with channel.stream(path, answer, metadata, 60.0) as call:
            await call.send(request, end=True)
            while await call.receive() is not None:
                pass
            await call.finish()
    except RpcError as error:
        print(error)
        return error.status.code
    return Code.OK
