"""A certificate authority of a test's own, made by openssl."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from attrs import frozen


@frozen
class Certificates:
    """Files: the CA, a server certificate for 127.0.0.1, localhost and `registry.test`, a client's pair."""

    directory: Path

    @property
    def ca(self) -> str:
        return str(self.directory / "ca.crt")

    def file(self, name: str) -> str:
        return str(self.directory / name)

    def server_context(self, *, want_client: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file("server.crt"), self.file("server.key"))
        if want_client:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def make_certificates(directory: Path) -> Certificates:
    """Make a CA, a server's and a client's certificate in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    _openssl(directory, *["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
             *["-subj", "/CN=test-ca", "-keyout", "ca.key", "-out", "ca.crt"])  # fmt: skip
    _issue(directory, "server", "DNS:localhost,DNS:registry.test,IP:127.0.0.1")
    _issue(directory, "client", "DNS:client")
    pem = (directory / "client.crt").read_text() + (directory / "client.key").read_text()
    (directory / "client.pem").write_text(pem)
    return Certificates(directory)


def issue(certificates: Certificates, name: str, alternatives: str) -> None:
    """Issue (or renew) `NAME.crt` and `NAME.key` for some alternative names."""
    _issue(certificates.directory, name, alternatives)


def _issue(directory: Path, name: str, alternatives: str) -> None:
    _openssl(directory, *["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
             "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
    (directory / f"{name}.ext").write_text(f"subjectAltName={alternatives}\n")
    _openssl(directory, *["x509", "-req", "-days", "2", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"],
             "-in", f"{name}.csr", "-out", f"{name}.crt", "-extfile", f"{name}.ext")  # fmt: skip


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=30)
