"""Messages as JSON-like mappings under their wire names, and back (protobuf's JSON mapping)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format

from tricorn.errors import InvalidArgument
from tricorn.wire.descriptors import message, pool


def mapping_of(source: Any) -> dict[str, Any]:
    """Return the fields that are set. InvalidArgument if the message holds an Any of a type that isn't ours,
    or what JSON has no words for.
    """
    try:
        return json_format.MessageToDict(source, preserving_proto_field_name=True, descriptor_pool=pool())
    except (TypeError, ValueError, json_format.Error) as error:
        raise InvalidArgument(
            f"{source.DESCRIPTOR.full_name} can't be told as JSON", why=str(error)[:300]
        ) from error


def message_of(name: str, mapping: Mapping[str, Any]) -> Any:
    """Return the message with this full name that `mapping` describes; keys that it has no field for are
    left out. InvalidArgument when a value doesn't fit its field, KeyError for an unknown name.
    """
    made = message(name)()
    try:
        json_format.ParseDict(dict(mapping), made, ignore_unknown_fields=True, descriptor_pool=pool())
    except (TypeError, ValueError, json_format.ParseError) as error:
        raise InvalidArgument(f"that is no {name}", why=str(error)[:300]) from error
    return made
