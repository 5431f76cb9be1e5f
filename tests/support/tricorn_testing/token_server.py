"""A token server for docker-registry: signs what it is asked for, for one user or for anybody."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from attrs import Factory, define

from tricorn_testing.scripted_http import Exchange
from tricorn_testing.secure_registry import PASSWORD, USER

ISSUER, SERVICE = "test-issuer", "test-registry"


@define
class TokenServer:
    """A handler for `scripted_http.serving`. Its key and certificate lie in `directory`.

    `life` is the tokens' in seconds; the registry checks it, too.
    """

    directory: Path
    life: int = 60
    scopes: list[list[str]] = Factory(list)

    def __attrs_post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=token",
             "-keyout", "token.key", "-out", "token.crt"],
            cwd=self.directory, check=True, capture_output=True, timeout=30,
        )  # fmt: skip

    @property
    def certificate(self) -> Path:
        return self.directory / "token.crt"

    async def __call__(self, exchange: Exchange) -> None:
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if exchange.headers.get("authorization") != expected:
            await exchange.json(401, {"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]})
            return
        scopes = exchange.query.get("scope", [])
        self.scopes.append(scopes)
        await exchange.json(200, {"token": self._token(scopes), "expires_in": self.life})

    def _token(self, scopes: list[str]) -> str:
        now = int(time.time())
        der = subprocess.run(
            ["openssl", "x509", "-in", str(self.certificate), "-outform", "DER"],
            check=True, capture_output=True, timeout=30,
        ).stdout  # fmt: skip
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        claims = {
            "iss": ISSUER, "sub": USER, "aud": SERVICE, "exp": now + self.life, "nbf": now - 5, "iat": now,
            "jti": str(time.monotonic_ns()), "access": [_access(scope) for scope in scopes],
        }  # fmt: skip
        signed = f"{_part(header)}.{_part(claims)}"
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self.directory / "token.key")],
            input=signed.encode(), check=True, capture_output=True, timeout=30,
        ).stdout  # fmt: skip
        return f"{signed}.{_encode(signature)}"


def _access(scope: str) -> dict[str, Any]:
    kind, name, actions = scope.split(":")
    return {"type": kind, "name": name, "actions": actions.split(",")}


def _part(document: dict[str, Any]) -> str:
    return _encode(json.dumps(document).encode())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
