"""What a spec grants: privileges over the node, namespaces of its own. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def grants(spec: Mapping[str, Any], *capabilities: str) -> bool:
    """Return whether a process may come by one of these capabilities, and has them over the node: in a user
    namespace of its own they are worth nothing outside.
    """
    if (spec.get("linux") or {}).get("uidMappings"):
        return False
    return holds(spec, *capabilities)


def holds(spec: Mapping[str, Any], *capabilities: str) -> bool:
    """Return whether a process may come by one of them, be it in its own user namespace alone."""
    bounding = ((spec.get("process") or {}).get("capabilities") or {}).get("bounding") or ()
    return not {*capabilities}.isdisjoint(bounding)


def namespace_kinds(spec: Mapping[str, Any]) -> frozenset[str]:
    """Return of which kinds there are namespaces that aren't the node's."""
    listed = (spec.get("linux") or {}).get("namespaces") or ()
    return frozenset(str(one.get("type")) for one in listed)
