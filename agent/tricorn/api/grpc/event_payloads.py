"""Events of the journal, which keeps JSON, as the typed messages that containerd's clients read and send.

The agent's own events have the fields of the message that their topic stands for. A client's event of
another type bears it as `@type`; one that JSON can't tell whole keeps its bytes under `@value`, base64.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tricorn import wire
from tricorn.errors import InvalidArgument
from tricorn.model.records import Event

_TYPE, _VALUE = "@type", "@value"
_EVENTS: Final = "containerd.events."
_IMAGES: Final = "containerd.services.images.v1."
_OWN: Final[Mapping[str, frozenset[str]]] = {"/tasks/oom": frozenset({"count"})}  # no field of the message
_ANY: Final = wire.message("google.protobuf.Any")
_JSON: Final = "tricorn.Event"  # what no message stands for

TYPES: Final[Mapping[str, str]] = {
    **{f"/containers/{verb}": f"{_EVENTS}Container{verb.title()}" for verb in ("create", "update", "delete")},
    **{f"/content/{verb}": f"{_EVENTS}Content{verb.title()}" for verb in ("create", "delete")},
    **{f"/images/{verb}": f"{_IMAGES}Image{verb.title()}" for verb in ("create", "update", "delete")},
    **{f"/namespaces/{verb}": f"{_EVENTS}Namespace{verb.title()}" for verb in ("create", "update", "delete")},
    **{f"/sandboxes/{verb}": f"{_EVENTS}Sandbox{verb.title()}" for verb in ("create", "start", "exit")},
    **{f"/snapshot/{verb}": f"{_EVENTS}Snapshot{verb.title()}" for verb in ("prepare", "commit", "remove")},
    **{
        f"/tasks/{verb}": f"{_EVENTS}Task{verb.title()}"
        for verb in ("create", "start", "exit", "delete", "paused", "resumed", "checkpointed")
    },
    "/tasks/oom": f"{_EVENTS}TaskOOM",
    "/tasks/exec-added": f"{_EVENTS}TaskExecAdded",
    "/tasks/exec-started": f"{_EVENTS}TaskExecStarted",
}


def envelope(event: Event) -> Any:
    """Return an event as Subscribe sends it."""
    return wire.message("containerd.types.Envelope")(
        timestamp=wire.timestamp(event.timestamp),
        namespace=event.namespace,
        topic=event.topic,
        event=packed(event.topic, event.event),
    )


def packed(topic: str, body: Mapping[str, Any]) -> Any:
    """Return the Any of an event in the journal; what fits no message goes as JSON."""
    url = body[_TYPE] if _TYPE in body else TYPES.get(topic, "")
    if topic in _OWN:
        body = {key: value for key, value in body.items() if key not in _OWN[topic]}
    if _VALUE in body:
        return _ANY(type_url=url, value=base64.b64decode(body[_VALUE]))
    try:
        message = wire.message_of(url.rpartition("/")[2], body)
        return _ANY(type_url=url, value=message.SerializeToString())
    except (InvalidArgument, KeyError):  # what no message stands for
        return _as_json(body)


def _as_json(body: Mapping[str, Any]) -> Any:
    return _ANY(type_url=_JSON, value=msgspec.json.encode(body))


def unpacked(topic: str, event: Any) -> dict[str, Any]:
    """Return what the journal keeps of a client's Any, so that `packed` gives the same message again."""
    url = event.type_url
    try:
        body = wire.mapping_of(wire.unpack(event))
        if TYPES.get(topic) != url:
            body[_TYPE] = url
        if packed(topic, body).value == event.value:
            return body
    except InvalidArgument:  # a type of somebody else's
        pass
    return {_TYPE: url, _VALUE: base64.b64encode(event.value).decode()}
