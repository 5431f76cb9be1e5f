"""How values become columns: JSON by msgspec, times as microseconds since 1970 (UTC)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from tricorn.model.ids import Digest
from tricorn.model.oci import Descriptor
from tricorn.model.records import AnyValue, Task

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def _encode_unknown(value: Any) -> Any:
    if isinstance(value, str):  # Digest and other refinements of str
        return str.__str__(value)
    raise TypeError(f"{type(value).__name__} cannot be stored")


def _decode_unknown(kind: type, value: Any) -> Any:
    if kind is Digest:
        return Digest.parse(value)
    raise TypeError(f"{kind.__name__} cannot be read")


_encoder: Final = msgspec.json.Encoder(enc_hook=_encode_unknown)
_mapping: Final = msgspec.json.Decoder(dict[str, Any])
_labels: Final = msgspec.json.Decoder(dict[str, str])
_descriptor: Final = msgspec.json.Decoder(Descriptor, dec_hook=_decode_unknown)
_task: Final = msgspec.json.Decoder(Task)
_any_value: Final = msgspec.json.Decoder(AnyValue)
_any_values: Final = msgspec.json.Decoder(dict[str, AnyValue])


def to_json(value: Any) -> bytes:
    return _encoder.encode(value)


def to_mapping(data: bytes) -> dict[str, Any]:
    return _mapping.decode(data)


def to_labels(data: bytes) -> dict[str, str]:
    return _labels.decode(data)


def to_descriptor(data: bytes) -> Descriptor:
    return _descriptor.decode(data)


def to_any_value(data: bytes) -> AnyValue | None:
    """Read what `to_json` wrote of a value (its bytes are base64 there); None where there is nothing."""
    return _any_value.decode(data) if data else None


def to_any_values(data: bytes) -> dict[str, AnyValue]:
    return _any_values.decode(data)


def to_task(data: bytes) -> Task:
    return _task.decode(data)


def to_microseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


def to_time(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
