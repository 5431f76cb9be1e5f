"""Seccomp filters that crun has compiled, kept for the containers that have the same profile.

libseccomp needs about 20 ms to compile a default profile, more than all the rest of a `crun create`. crun
leaves the filter in its state directory and takes a compiled one by an annotation (crun(1),
`run.oci.seccomp_bpf_data`): so each profile is compiled once, by the very program that loads it. A runtime
that leaves no such file is given its profile as ever.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tricorn import limits

ANNOTATION: Final = "run.oci.seccomp_bpf_data"
_OWN_WAYS: Final = "run.oci.seccomp"  # annotations by which a client already says how
_INSTRUCTION: Final = 8  # bytes of a struct sock_filter


class SeccompCache:
    """Filters in base64 by profile and runtime; those used longest ago make room."""

    def __init__(self, size: int = limits.SECCOMP_FILTERS) -> None:
        self._size = size
        self._filters: OrderedDict[str, str] = OrderedDict()

    def key(self, runtime: str, config: Mapping[str, Any]) -> str:
        """Return what stands for this profile with this program, "" where no filter can be given."""
        profile = (config.get("linux") or {}).get("seccomp")
        annotations = config.get("annotations") or {}
        if not profile or any(name.startswith(_OWN_WAYS) for name in annotations) or _notifies(profile):
            return ""
        try:
            program = os.stat(runtime)
        except OSError:
            return ""
        identity = [runtime, program.st_mtime_ns, program.st_size, profile]
        return hashlib.sha256(msgspec.json.encode(identity, order="deterministic")).hexdigest()

    def apply(self, key: str, config: dict[str, Any]) -> bool:
        """Add the filter to the config's annotations; return False if it isn't known yet."""
        found = self._filters.get(key)
        if found is None:
            return False
        self._filters.move_to_end(key)
        config["annotations"] = {**(config.get("annotations") or {}), ANNOTATION: found}
        return True

    def learn(self, key: str, directory: str) -> None:
        """Keep the filter that a runtime left in a container's state directory, if it did."""
        try:
            with open(f"{directory}/seccomp.bpf", "rb") as file:
                compiled = file.read(limits.SECCOMP_FILTER_SIZE + 1)
        except OSError:
            return
        if not compiled or len(compiled) > limits.SECCOMP_FILTER_SIZE or len(compiled) % _INSTRUCTION:
            return
        self._filters[key] = base64.b64encode(compiled).decode("ascii")
        while len(self._filters) > self._size:
            self._filters.popitem(last=False)


def _notifies(profile: Mapping[str, Any]) -> bool:
    """Return whether calls go to a listener: that needs more than the filter."""
    actions = [profile.get("defaultAction"), *(rule.get("action") for rule in profile.get("syscalls") or ())]
    return bool(profile.get("listenerPath")) or "SCMP_ACT_NOTIFY" in actions
