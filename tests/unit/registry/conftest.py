"""A client with short times, and a sink that remembers."""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tricorn.registry.client import RegistryClient
from tricorn.registry.pacing import Pacing
from tricorn_testing.certificates import Certificates, make_certificates

PACING = Pacing(
    connect=2.0, stall=5.0, slowest=1000, backoff_first=0.001, backoff_max=0.05, attempts=4, resumes=12
)
ClientMaker = Callable[..., AbstractAsyncContextManager[RegistryClient]]


@pytest.fixture
def client() -> ClientMaker:
    """Make a client: `async with client(hosts_dir=…, environment=…, credentials=…) as c`."""

    @asynccontextmanager
    async def make(hosts_dir: str = "", **more: object) -> AsyncIterator[RegistryClient]:
        arguments = {"environment": {}, "user_agent": "tricorn/test", "pacing": PACING, **more}
        async with RegistryClient(hosts_dir, random=random.Random(7), **arguments) as made:
            yield made

    return make


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def server_tls(certificates: Certificates) -> ssl.SSLContext:
    return certificates.server_context()


@pytest.fixture
def hosts_toml(tmp_path: Path) -> Callable[[str, str], str]:
    """Write HOSTS_DIR/<registry>/hosts.toml; return HOSTS_DIR."""

    def write(registry: str, text: str) -> str:
        directory = tmp_path / "hosts.d" / registry
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "hosts.toml").write_text(text)
        return str(tmp_path / "hosts.d")

    return write
