"""A small blocking client of an agent's HTTP API, for tests and the demo."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode


class ApiError(Exception):
    """An answer of 400 or more: `status` and the problem document."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{status} {json.dumps(problem)}")
        self.status = status
        self.problem = dict(problem)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("tricorn", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


class AgentClient:
    """Blocking requests to an agent's socket, each on a connection of its own."""

    def __init__(self, socket_path: str) -> None:
        self.socket_path = socket_path

    def exchange(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float = 60.0,
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a fresh connection: status, lower-case headers, the whole body."""
        connection = UnixConnection(self.socket_path, timeout)
        try:
            data = None if body is None else json.dumps(body)
            fields = ({"Content-Type": "application/json"} if data else {}) | dict(headers or {})
            connection.request(method, path, body=data, headers=fields)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, content

    def request(
        self, method: str, path: str, body: Any = None, *, timeout: float = 60.0, **query: Any
    ) -> Any:
        """One request; returns the JSON answer, raises ApiError for 400 and more."""
        words = {
            key: str(value).lower() if isinstance(value, bool) else value for key, value in query.items()
        }
        target = f"{path}?{urlencode(words, doseq=True)}" if words else path
        status, _, content = self.exchange(method, target, body, timeout=timeout)
        document = json.loads(content) if content else None
        if status >= 400:
            raise ApiError(status, document or {})
        return document

    def get(self, path: str, **query: Any) -> Any:
        return self.request("GET", path, **query)

    def put(self, path: str, body: Any, **query: Any) -> Any:
        return self.request("PUT", path, body, **query)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        return self.request("POST", path, body, **query)

    def delete(self, path: str, **query: Any) -> Any:
        return self.request("DELETE", path, **query)

    def lines(self, method: str, path: str, body: Any = None, *, timeout: float = 60.0) -> list[Any]:
        """Return all lines of an NDJSON answer, once it has ended."""
        accept = {"Accept": "application/x-ndjson"}
        _, _, content = self.exchange(method, path, body, accept, timeout=timeout)
        return [json.loads(line) for line in content.splitlines()]


def segment(name: str) -> str:
    """Percent-encode a name for one path segment."""
    return quote(name, safe="")
