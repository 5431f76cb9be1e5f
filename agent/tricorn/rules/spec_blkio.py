"""Limits of block devices in a spec. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from tricorn.errors import InvalidArgument
from tricorn.model.requests import Resources

_DEVICE: Final = re.compile(r"(\d{1,4}):(\d{1,7})")
_RATES: Final = {
    "read_bps": "throttleReadBpsDevice",
    "write_bps": "throttleWriteBpsDevice",
    "read_iops": "throttleReadIOPSDevice",
    "write_iops": "throttleWriteIOPSDevice",
}


def block_io(wanted: Resources) -> dict[str, Any]:
    """Return OCI's `blockIO`. InvalidArgument names what is malformed."""
    part: dict[str, Any] = {}
    if wanted.blkio_weight is not None:
        if not 10 <= wanted.blkio_weight <= 1000:
            raise InvalidArgument("blkio_weight must be within 10 and 1000", field="resources.blkio_weight")
        part["weight"] = wanted.blkio_weight
    for index, limit in enumerate(wanted.blkio):
        field = f"resources.blkio[{index}]"
        match = _DEVICE.fullmatch(limit.device)
        if match is None:
            raise InvalidArgument(
                f"device {limit.device[:64]!r} is malformed", hint="its numbers, such as 8:0",
                field=f"{field}.device",
            )  # fmt: skip
        for name, key in _RATES.items():
            rate = getattr(limit, name)
            if rate < 0:
                raise InvalidArgument(f"{name} is negative", hint="0 is no limit", field=f"{field}.{name}")
            if rate:
                entry = {"major": int(match[1]), "minor": int(match[2]), "rate": rate}
                part.setdefault(key, []).append(entry)
    return part
