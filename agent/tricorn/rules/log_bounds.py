"""Which bounds a container's log may be given. Pure."""

from __future__ import annotations

from typing import Final

from tricorn import limits
from tricorn.errors import InvalidArgument
from tricorn.model.requests import ContainerDesired

LEAST: Final = 64 * limits.KIB  # a smaller file would be rotated all the time
MOST: Final = limits.GIB
MOST_FILES: Final = 100


def check_log(desired: ContainerDesired) -> None:
    """Refuse bounds that can't be kept to; 0 is the configuration's. InvalidArgument."""
    if desired.log_size and not LEAST <= desired.log_size <= MOST:
        raise InvalidArgument(
            f"a log of {desired.log_size} bytes a file can't be had", why=f"it must be {LEAST} to {MOST}",
            hint="0 takes the configuration's default", field="log_size",
        )  # fmt: skip
    if not 0 <= desired.log_files <= MOST_FILES:
        raise InvalidArgument(
            f"{desired.log_files} files of a log are out of range", why=f"at most {MOST_FILES}",
            field="log_files",
        )  # fmt: skip
