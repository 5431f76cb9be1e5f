"""What `crun delete` does, done without a process of crun, which costs 5 ms.

crun keeps a directory for each container, which is all that is left of one when its processes and control
groups are gone. Where a spec asks for more (hooks after the end, cache allocation), crun is called.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any


def forget(state: str, config: Mapping[str, Any]) -> bool:
    """Remove crun's directory of a container that has neither processes nor control groups any more; False,
    with nothing done, where crun has more to clear up. `config` is the container's spec.
    """
    if (config.get("hooks") or {}).get("poststop") or (config.get("linux") or {}).get("intelRdt"):
        return False
    shutil.rmtree(state, ignore_errors=True)
    return not os.path.exists(state)
