"""What an agent doesn't need isn't loaded into it."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from tricorn import lean_logging
lean_logging.load()
import structlog
from tricorn import daemon, logs
logs.configure("info", "console")
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger().exception("told")
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"rich", "pygments", "greenlet", "pyroute2", "trio_asyncio", "cryptography", "h2"}))
assert "asyncio" not in sys.modules, sorted(sys.modules)
import asyncio.events, greenlet, rich.console
asyncio.run(asyncio.sleep(0))
"""


def test_the_agent_is_loaded_without_what_it_does_not_need() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert "ZeroDivisionError" in done.stderr
