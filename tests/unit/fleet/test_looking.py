"""Nodes that don't answer, or say something else first."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import trio

from tricorn.errors import Unimplemented
from tricorn.exchange import Call
from tricorn.fleet.links import connect
from tricorn.fleet.looking import Fleet, Wanted
from tricorn.fleet.places import Place
from tricorn.fleet.relay import PROGRAM

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"a": "42"}'


def shell(name: str, script: str) -> Place:
    return Place(name, command=("/bin/sh", "-c", script))


async def test_each_node_that_fails_is_told_in_its_own_words_and_in_time() -> None:
    places = [
        shell("silent", "exec sleep 1000"),
        shell("refusing", "echo 'a banner'; echo 'Permission denied (publickey).' >&2; exit 255"),
        shell("mute", "exit 3"),
        shell("chatty", "exec cat /dev/zero"),
        Place("missing", command=("/nowhere/ssh",)),
        Place("strange", trouble=Unimplemented("connection winrm leads nowhere here")),
    ]
    fleet = Fleet(places, parallel=6, timeout=1.0)
    with trio.fail_after(30):
        view = await fleet.look(Wanted())
        await fleet.close()
    told = {node.name: node.error for node in view.nodes}
    assert list(told) == [place.name for place in places]
    assert told == {
        "silent": "it doesn't answer: waited 1 s",
        "refusing": "it can't be reached: Permission denied (publickey).",
        "mute": "it can't be reached: the command ended with 3",
        "chatty": told["chatty"],
        "missing": "/nowhere/ssh can't be started: No such file or directory",
        "strange": "connection winrm leads nowhere here",
    }
    assert view.unreached == list(view.nodes)


async def test_a_login_may_say_something_before_the_agent_does(tmp_path: Path) -> None:
    path = str(tmp_path / "agent.sock")
    relay = (
        "/bin/sh",
        "-c",
        'echo "Welcome!"; exec "$@"',
        "sh",
        sys.executable,
        "-I",
        "-S",
        "-c",
        PROGRAM,
        path,
    )
    listener = trio.socket.socket(socket.AF_UNIX)
    with listener, trio.fail_after(30):
        await listener.bind(path)
        listener.listen(1)
        async with trio.open_nursery() as nursery:

            async def answer() -> None:
                stream, _ = await listener.accept()
                with stream:
                    for _ in range(2):
                        assert (await stream.recv(4096)).startswith(b"GET /v1/x HTTP/1.1")
                        await stream.send(ANSWER)

            nursery.start_soon(answer)
            link = await connect(Place("n1", socket=path, command=relay))
            for _ in range(2):
                assert await link.call(Call("GET", "/v1/x")) == {"a": "42"}
            await link.close()
