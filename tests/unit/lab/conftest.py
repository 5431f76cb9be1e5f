"""Lets tests import the lab, which is a tool beside the agent."""

from __future__ import annotations

import sys
from pathlib import Path

TOOLS = str(Path(__file__).parents[3] / "tools")
if TOOLS not in sys.path:
    sys.path.append(TOOLS)
