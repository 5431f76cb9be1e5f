"""Values that need more than a field: Any with containerd's type URLs, and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.message import DecodeError

from tricorn.errors import InvalidArgument
from tricorn.wire.descriptors import message

_ANY: Final = "google.protobuf.Any"
_TIMESTAMP: Final = "google.protobuf.Timestamp"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_GO_ZERO: Final = -62135596800  # the year 1: what Go programs send for "never"


def any_of(packed: Any) -> Any:
    """Return the message in an Any under containerd's type URL: the bare full name, without a prefix."""
    return message(_ANY)(type_url=packed.DESCRIPTOR.full_name, value=packed.SerializeToString())


def unpack(packed: Any) -> Any:
    """Return the message that an Any holds, whatever stands before the last slash of its type URL.

    Raises InvalidArgument when the type is unknown or the bytes aren't such a message.
    """
    name = packed.type_url.rpartition("/")[2]
    try:
        return message(name).FromString(packed.value)
    except KeyError:
        raise InvalidArgument(f"unknown message type {packed.type_url[:200]!r}", field="type_url") from None
    except DecodeError:
        raise InvalidArgument(f"the value is no {name}", field="value") from None


def timestamp(moment: datetime | None) -> Any:
    """Return the Timestamp of a moment; of None, what Go programs send and expect for "never"."""
    if moment is None:
        return message(_TIMESTAMP)(seconds=_GO_ZERO)
    since = moment - _EPOCH
    return message(_TIMESTAMP)(seconds=since.days * 86400 + since.seconds, nanos=since.microseconds * 1000)


def datetime_of(stamp: Any) -> datetime | None:
    """Return the moment of a Timestamp in UTC, to the microsecond; None when it isn't set or says "never".

    Raises InvalidArgument when it lies outside the years 1 to 9999.
    """
    if stamp.seconds == _GO_ZERO or not (stamp.seconds or stamp.nanos):
        return None
    try:
        return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000)
    except OverflowError:
        raise InvalidArgument("the time lies outside the years 1 to 9999", field="timestamp") from None
