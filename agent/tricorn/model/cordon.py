"""Whether a node takes on new containers."""

from __future__ import annotations

from datetime import datetime

from attrs import frozen

from tricorn import limits
from tricorn.errors import InvalidArgument


@frozen
class CordonDesired:
    """Body of `PUT /v1/node/cordon`. The reason is told to those who are refused."""

    reason: str = ""


@frozen
class CordonView:
    """`since` is None where the node isn't cordoned."""

    cordoned: bool = False
    reason: str = ""
    since: datetime | None = None


def check_reason(reason: str) -> str:
    """Return a reason as it can be shown on one line. InvalidArgument for others."""
    if len(reason) > limits.CORDON_REASON:
        raise InvalidArgument(f"the reason is longer than {limits.CORDON_REASON} characters", field="reason")
    if not reason.isprintable():
        raise InvalidArgument("the reason is more than one line of text", field="reason")
    return reason.strip()
