"""Debian's docker-registry with TLS, with a password, or with a token server before it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tricorn_testing.certificates import Certificates
from tricorn_testing.registry import Registry, free_port, registry_program, wait_for, write_config

USER, PASSWORD = "tester", "s3cret-of-the-test"


@contextlib.contextmanager
def password_registry(directory: Path) -> Iterator[Registry]:
    """A registry on plain HTTP that wants Basic authentication of USER with PASSWORD."""
    registry = Registry(f"127.0.0.1:{free_port()}")
    file = write_config(directory, registry.address)
    made = subprocess.run(
        ["htpasswd", "-Bbn", USER, PASSWORD], check=True, capture_output=True, text=True, timeout=30
    )
    (directory / "htpasswd").write_text(made.stdout)
    auth = f"auth: {{htpasswd: {{realm: test, path: {directory / 'htpasswd'}}}}}\n"
    file.write_text(file.read_text() + auth)
    with _running(file, directory):
        wait_for_status(registry, 401)
        yield registry


@contextlib.contextmanager
def tls_registry(directory: Path, certificates: Certificates, storage: Path) -> Iterator[Registry]:
    """A registry that speaks TLS only, serving the `storage` that another one has filled."""
    registry = Registry(f"127.0.0.1:{free_port()}")
    file = write_config(directory, registry.address)
    text = file.read_text().replace(str(directory / "storage"), str(storage))
    tls = f"tls: {{certificate: {certificates.file('server.crt')}, key: {certificates.file('server.key')}}}"
    file.write_text(text.replace("secret: not-a-secret", f"secret: not-a-secret, {tls}"))
    with _running(file, directory):
        wait_for_status(registry, 400)  # "client sent an HTTP request to an HTTPS server"
        yield registry


def wait_for_status(registry: Registry, status: int) -> None:
    """Return once the registry answers `/v2/` with `status`."""

    class _Asked(Registry):
        def answers(self) -> bool:
            try:
                return self.request("GET", "/v2/")[0] == status
            except OSError:
                return False

    wait_for(_Asked(registry.address))


@contextlib.contextmanager
def _running(file: Path, directory: Path) -> Iterator[None]:
    with open(directory / "registry.log", "wb") as log:
        command = [registry_program(), "serve", str(file)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()
