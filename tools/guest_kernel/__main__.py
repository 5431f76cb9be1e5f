"""`make test-guest`: what this machine's kernel can't show, under Debian's: rounds of memory, cgroup v2."""

from __future__ import annotations

import argparse
import compileall
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from guest_kernel.kernel import Unusable, debian_kernel
from guest_kernel.machine import run

_ROOT: Final = Path(__file__).parents[2]
_LAB: Final = _ROOT / ".lab"
_CRIU: Final = _ROOT / "collections/ansible_containerd/roles/agent/files/criu_beside.sh"
_TESTS: Final = ("tests/integration/test_precopy.py", "tests/integration/test_tasks_in_full.py")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make test-guest", description=__doc__)
    parser.add_argument("--minutes", type=float, default=75.0, help="how long it may take (default: 75)")
    parser.add_argument("tests", nargs="*", default=_TESTS, help=f"for pytest (default: {' '.join(_TESTS)})")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the guest ends with this
    try:
        subprocess.run([_CRIU, _LAB / "criu"], check=True)  # the guest has no network
        for each in ("agent", "tests/support"):  # where it takes ten times as long, it isn't done
            compileall.compile_dir(_ROOT / each, quiet=2)
        (_LAB / "guest-tests").write_text("".join(f"{test}\n" for test in options.tests))
        return run(debian_kernel(_LAB / "kernels"), options.minutes * 60)
    except (Unusable, TimeoutError, subprocess.CalledProcessError) as error:
        print(f"test-guest: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
