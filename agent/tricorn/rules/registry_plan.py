"""A host's settings as they are shown to people: names of headers, never their values."""

from __future__ import annotations

from collections.abc import Iterable

from tricorn.model.registry_plan import RegistryPlanHost
from tricorn.rules.hosts import RegistryHost

_ORDER = ("pull", "resolve", "push", "referrers")


def plan_host(host: RegistryHost, *, mirror: bool, credentials: Iterable[str]) -> RegistryPlanHost:
    """Return what may be shown of `host`."""
    verified = "unverified" if host.tls.skip_verify else "verified"
    return RegistryPlanHost(
        url=str(host),
        role="registry" if host.upstream else "mirror",
        capabilities=tuple(name for name in _ORDER if name in host.capabilities),
        ns_query=mirror,
        tls="none" if host.scheme == "http" else verified,
        ca=host.tls.ca,
        client=tuple(certificate for certificate, _ in host.tls.client),
        headers=tuple(dict.fromkeys(name for name, _ in host.headers)),
        dial_timeout=host.dial_timeout,
        credentials=tuple(credentials),
    )
