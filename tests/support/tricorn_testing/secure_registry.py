"""Debian's docker-registry with TLS, with a password, or with a token server before it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tricorn_testing.certificates import Certificates
from tricorn_testing.registry import Registry, free_port, registry_program, write_config

USER, PASSWORD = "tester", "s3cret-of-the-test"


@contextlib.contextmanager
def password_registry(directory: Path, storage: Path) -> Iterator[Registry]:
    """A registry on plain HTTP that wants Basic authentication of USER with PASSWORD, over the `storage`
    that another one has filled; so the others here.
    """
    file = directory / "htpasswd"
    command = ["htpasswd", "-Bbn", USER, PASSWORD]
    made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    directory.mkdir(parents=True, exist_ok=True)
    file.write_text(made.stdout)
    auth = f"auth: {{htpasswd: {{realm: test, path: {file}}}}}\n"
    with _running(directory, storage, auth=auth, ready=401) as registry:
        yield registry


@contextlib.contextmanager
def tls_registry(directory: Path, storage: Path, certificates: Certificates) -> Iterator[Registry]:
    """A registry that speaks TLS only."""
    tls = f"tls: {{certificate: {certificates.file('server.crt')}, key: {certificates.file('server.key')}}}"
    # 400: "client sent an HTTP request to an HTTPS server"
    with _running(directory, storage, http=tls, ready=400) as registry:
        yield registry


@contextlib.contextmanager
def token_registry(
    directory: Path, storage: Path, *, realm: str, certificate: Path, issuer: str, service: str
) -> Iterator[Registry]:
    """A registry that wants tokens of the server at `realm`, signed for by `certificate`."""
    auth = (
        f"auth: {{token: {{realm: '{realm}', service: {service}, issuer: {issuer},"
        f" rootcertbundle: {certificate}}}}}\n"
    )
    with _running(directory, storage, auth=auth, ready=401) as registry:
        yield registry


@contextlib.contextmanager
def _running(
    directory: Path, storage: Path, *, auth: str = "", http: str = "", ready: int
) -> Iterator[Registry]:
    registry = Registry(f"127.0.0.1:{free_port()}")
    file = write_config(directory, registry.address)
    text = file.read_text().replace(str(directory / "storage"), str(storage))
    file.write_text(text.replace("secret: not-a-secret", f"secret: not-a-secret, {http}".rstrip(", ")) + auth)
    with open(directory / "registry.log", "wb") as log:
        command = [registry_program(), "serve", str(file)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait_for_status(registry, ready)
        yield registry
    finally:
        process.kill()
        process.wait()


def _wait_for_status(registry: Registry, status: int, timeout: float = 15.0) -> None:
    """Return once `/v2/` is answered with `status`; TimeoutError otherwise."""
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(OSError):
            if registry.request("GET", "/v2/")[0] == status:
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"docker-registry doesn't answer {status} on {registry.address}")
        time.sleep(0.05)
