"""TLS contexts by hosts.toml's settings: made once each, off the event loop."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

import trio

from tricorn.errors import InvalidArgument
from tricorn.rules.hosts import TlsSettings

_CONTEXTS = 64  # kept; settings change only when somebody edits hosts.toml


class TlsContexts:
    """Caches one context for each distinct `TlsSettings`.

    The system's roots come from SSL_CERT_FILE and SSL_CERT_DIR of `environment` where set, as OpenSSL
    itself does it; `ca` files add to them.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._contexts: dict[TlsSettings, ssl.SSLContext] = {}
        self._limiter = trio.CapacityLimiter(1)

    async def get(self, settings: TlsSettings) -> ssl.SSLContext:
        """Return the context for `settings`; raise InvalidArgument naming an unusable file."""
        context = self._contexts.get(settings)
        if context is None:
            context = await trio.to_thread.run_sync(
                _make_context, settings, self._environment, limiter=self._limiter
            )
            if len(self._contexts) >= _CONTEXTS:
                self._contexts.clear()
            self._contexts[settings] = context
        return context


def _make_context(settings: TlsSettings, environment: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load_roots(context, environment)
    for path in settings.ca:
        _load_ca(context, path, "ca")
    for certificate, key in settings.client:
        _load_client(context, certificate, key)
    if settings.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_roots(context: ssl.SSLContext, environment: Mapping[str, str]) -> None:
    file, directory = environment.get("SSL_CERT_FILE"), environment.get("SSL_CERT_DIR")
    if file:
        _load_ca(context, file, "SSL_CERT_FILE")
    if directory:
        context.load_verify_locations(capath=directory)
    if not file and not directory:
        context.load_default_certs()


def _load_ca(context: ssl.SSLContext, path: str, field: str) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise _unusable("CA certificate", path, error, field) from None


def _load_client(context: ssl.SSLContext, certificate: str, key: str) -> None:
    try:
        # An encrypted key must fail here rather than ask the terminal for its passphrase.
        context.load_cert_chain(certificate, key or None, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        raise _unusable("client certificate", certificate, error, "client") from None


def _unusable(kind: str, path: str, error: Exception, field: str) -> InvalidArgument:
    why = getattr(error, "strerror", None) or getattr(error, "reason", None) or type(error).__name__
    return InvalidArgument(f"{kind} {path!r} can't be used", why=str(why), field=field)
