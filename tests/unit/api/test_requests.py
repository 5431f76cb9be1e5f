"""What clients send wrong is refused by name, before anything happens."""

from __future__ import annotations

from typing import Any

import pytest

from tricorn import limits
from tricorn_testing.api import DIGEST, Server

C = "/v1/default/containers/web"


@pytest.mark.parametrize(
    ("method", "target", "body", "words"),
    [
        ("GET", "/v1/version?verbose=1", None, ["'verbose'", "takes none"]),
        ("GET", "/v1/default/containers?filterr=x", None, ["'filterr'", "all, filter"]),
        ("GET", "/v1/default/containers?all=yes", None, ["'all'", "true or false"]),
        ("GET", "/v1/default/containers?all=true&all=true", None, ["'all'", "twice"]),
        ("GET", f"{C}/logs?tail=-1", None, ["'tail'", "whole number"]),
        ("GET", f"{C}/logs?tail=%D9%A3", None, ["'tail'", "whole number"]),
        ("GET", f"{C}/logs?since=yesterday", None, ["'since'", "a time like"]),
        ("GET", f"{C}/logs?since=2026-01-31T12:00:00", None, ["'since'", "offset"]),
        ("GET", f"{C}/wait?condition=born", None, ["'condition'", "one of stopped"]),
        ("DELETE", f"{C}?stop_timeout=nan", None, ["'stop_timeout'", "a number"]),
        ("GET", "/v1/default/gc/explain", None, ["'object'", "missing"]),
        ("GET", "/v1/default/containers?filter=%ff", None, ["query", "malformed"]),
        ("PUT", C, {"imgae": "redis"}, ["image"]),
        ("PUT", C, {"image": "redis", "imgae": 1}, ["'imgae'", "known keys", "entrypoint"]),
        ("PUT", C, {"image": 1}, ["expected text", '"field":"image"']),
        ("PUT", C, {"image": "r", "log_size": "1"}, ["whole number", '"field":"log_size"']),
        ("PUT", C, {"image": "r", "log_size": True}, ["whole number, got true"]),
        ("PUT", C, {"image": "r", "privileged": 1}, ["true or false"]),
        ("PUT", C, {"image": "r", "args": "abc"}, ["expected a list", '"field":"args"']),
        ("PUT", C, {"image": "r", "resources": {"memory": 1.5}}, ['"field":"resources.memory"']),
        ("PUT", C, {"image": "r", "mounts": [{"target": "/a"}, {"x": 1}]}, ["mounts[1]"]),
        ("PUT", C, {"image": "r", "env": {"A": 1}}, ["env", "'A'"]),
        ("PUT", C, {"image": "r", "state": "paused"}, ["paused", "started"]),
        ("PUT", C, None, ["no body", "image"]),
        ("PUT", C, b"{", ["isn't JSON"]),
        ("PUT", C, b'"text"', ["JSON object"]),
        ("PUT", C, b'{"image": "\\ud800"}', ["isn't JSON"]),
        ("PUT", C, b'{"image": "\xff"}', ["isn't JSON"]),
        ("PUT", C, b"[" * 100_000, ["isn't JSON"]),
        ("POST", f"{C}/start", {"now": True}, ["takes no body"]),
        ("POST", f"{C}/resize", {"rows": 0, "columns": 1}, ["1 to 65535"]),
        (
            "POST",
            "/v1/default/containers",
            {"desired": {"image": "r"}, "name": "../x"},
            ["malformed", "name"],
        ),
        ("GET", "/v1/default/containers/..", None, ["malformed"]),
        ("GET", "/v1/default/containers/a%00b", None, ["malformed"]),
        ("GET", "/v1/default/containers/%ff", None, ["UTF-8"]),
        ("GET", "/v1/de%2Ffault/containers", None, ["malformed", "namespace"]),
        ("GET", "/v1/default/content/sha256:abc", None, ["digest"]),
        ("GET", "/v1/default/images/%0a", None, ["malformed"]),
        ("GET", f"/v1/default/images/{'a' * 600}", None, ["malformed"]),
    ],
)
async def test_refused_by_name(server: Server, method: str, target: str, body: Any, words: list[str]) -> None:
    answer = await server.request(method, target, body)
    text = answer.body.decode()
    assert answer.status == 400, text
    assert answer.json()["code"] == "InvalidArgument"
    for word in words:
        assert word in text
    assert server.world.calls == []


@pytest.mark.parametrize(
    "target", ["/", "/v1", "/v1/", "/v2/version", f"{C}/", "/v1//containers", f"{C}/x/y", "*", "x"]
)
async def test_unknown_paths(server: Server, target: str) -> None:
    answer = await server.request("GET", target)
    assert answer.status == 404
    assert answer.json()["code"] == "NotFound"


async def test_wrong_method_lists_the_right_ones(server: Server) -> None:
    answer = await server.request("PATCH", C, {})
    assert answer.status == 405
    assert answer.headers["allow"] == "DELETE, GET, HEAD, PUT, OPTIONS"
    options = await server.request("OPTIONS", C)
    assert (options.status, options.headers["allow"]) == (204, answer.headers["allow"])
    assert (await server.request("OPTIONS", "*")).status == 204
    assert (await server.request("HEAD", f"{C}/wait")).status == 405
    assert (await server.request("BREW", C)).status == 405


async def test_head_is_get_without_body(server: Server) -> None:
    get = await server.request("GET", C)
    head = await server.request("HEAD", C)
    assert head.status == 200
    assert head.body == b""
    assert head.headers["content-length"] == get.headers["content-length"]


async def test_upgrade_required(server: Server) -> None:
    answer = await server.request("GET", f"{C}/attach")
    assert answer.status == 426
    assert answer.headers["upgrade"] == "tricorn-stdio/1"


async def test_other_upgrades_are_ignored(server: Server) -> None:
    answer = await server.request(
        "GET", C, headers={"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"}
    )
    assert answer.status == 200


async def test_body_at_the_limit(server: Server) -> None:
    start, end = b'{"image": "', b'"}'
    fits = start + b"a" * (limits.HTTP_REQUEST_BODY - len(start + end)) + end
    assert (await server.request("PUT", C, fits)).status == 200


async def test_oversized_body_is_refused_before_it_is_sent(server: Server) -> None:
    client = await server.connect()
    head = f"PUT {C} HTTP/1.1\r\nHost: t\r\nContent-Length: {limits.HTTP_REQUEST_BODY + 1}\r\n\r\n"
    await client.stream.send_all(head.encode() + b"x" * 1000)
    assert (await client.rest()).startswith(b"HTTP/1.1 413 ")
    assert server.world.calls == []


async def test_oversized_chunked_body(server: Server) -> None:
    client = await server.connect()
    await client.stream.send_all(
        f"PUT {C} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    for _ in range(limits.HTTP_REQUEST_BODY // 0x100000 + 1):
        await client.stream.send_all(chunk)
    assert (await client.rest()).startswith(b"HTTP/1.1 413 ")


async def test_digest_reaches_the_service_typed(server: Server) -> None:
    await server.request("GET", f"/v1/default/content/{DIGEST}")
    assert server.world.last("content.info")[0][1].algorithm == "sha256"
