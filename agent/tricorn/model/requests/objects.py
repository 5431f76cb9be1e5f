"""Desired states of leases and snapshots, and what any desired state changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import Factory, frozen

from tricorn.model.records import LeaseResource


@frozen
class LeaseDesired:
    """Body of `PUT /v1/{namespace}/leases/{lease}`. `expire_seconds` counts for a new lease and with `renew`
    (None: 24 hours, 0: never). With `resources` it holds these and no others, without them what it holds.
    """

    state: Literal["present", "absent"] = "present"
    labels: Mapping[str, str] = Factory(dict)
    expire_seconds: float | None = None
    renew: bool = False
    resources: tuple[LeaseResource, ...] | None = None


@frozen
class ContentDesired:
    """Body of `PUT /v1/{namespace}/content/{digest}`. Labels that aren't named stay, "" removes one."""

    state: Literal["present", "absent"] = "present"
    labels: Mapping[str, str] = Factory(dict)


@frozen
class SnapshotDesired:
    """Body of `PUT /v1/{namespace}/snapshots/{snapshotter}/{key}`. A new one stands on `parent` ("": on
    nothing); one that is there keeps the parent that it has, which must be this one if one is named. What
    is `committed` is made of the active snapshot `source`, whose key is free then. A new one is held by
    `lease`, if one is named.
    """

    state: Literal["active", "view", "committed", "absent"] = "active"
    parent: str = ""
    source: str = ""
    labels: Mapping[str, str] = Factory(dict)
    lease: str = ""


@frozen
class Action:
    """One step of a plan, in the order of execution."""

    verb: str  # pull, create, recreate, start, stop, remove, update, unpack
    object: str
    reason: str = ""


@frozen
class Change:
    """What a desired-state request did, or would do under `plan=true`."""

    changed: bool
    actions: tuple[Action, ...] = ()
    before: Mapping[str, Any] = Factory(dict)
    after: Mapping[str, Any] = Factory(dict)
    warnings: tuple[str, ...] = ()
