"""How the agent would reach a registry: what `GET /v1/registry` answers. Never a secret."""

from __future__ import annotations

from attrs import frozen


@frozen
class RegistryPlanHost:
    """One host, in the order of asking. `headers` are names only; `credentials` says in words where they
    would come from if the host wants them, in order.
    """

    url: str
    role: str  # mirror or registry
    capabilities: tuple[str, ...]
    ns_query: bool = False  # it is told which registry it stands for
    tls: str = ""  # none, verified or unverified
    ca: tuple[str, ...] = ()
    client: tuple[str, ...] = ()  # certificates
    headers: tuple[str, ...] = ()
    dial_timeout: float | None = None  # seconds; None: the agent's usual one
    credentials: tuple[str, ...] = ()


@frozen
class RegistryPlan:
    """`source` is the file or directory that the plan comes from, "" where nothing is configured."""

    registry: str
    source: str
    hosts: tuple[RegistryPlanHost, ...]
