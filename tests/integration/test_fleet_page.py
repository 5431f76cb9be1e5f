"""The fleet's page in a real browser: it is drawn without complaint, and hostile names are only shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tricorn.cli.fleet_page import page
from tricorn_testing.browser import show
from tricorn_testing.sample_fleets import HOSTILE, fleet

pytestmark = [pytest.mark.integration]


def test_a_browser_draws_the_page(chromium: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.html"
    file.write_text(page(fleet(12), "Shops"))
    shown = show(chromium, file, tmp_path / "profile")
    assert shown.console == ()
    assert "<title>Shops</title>" in shown.dom  # no script has changed it
    assert not re.search(r"<(script|img)\b", shown.dom)
    assert shown.dom.count('<li class="card') == 12
    assert shown.dom.count("<svg") > 14
    assert HOSTILE.replace("<", "&lt;").replace(">", "&gt;") in shown.dom


def test_the_browser_would_complain(chromium: str, tmp_path: Path) -> None:
    """What the test above relies on: something that is loaded or run all the same is seen."""
    file = tmp_path / "broken.html"
    text = page(fleet(4), "Shops").replace("<main>", "<main><script>document.title='hacked'</script>", 1)
    file.write_text(text)
    shown = show(chromium, file, tmp_path / "profile")
    assert any("Content Security Policy" in line for line in shown.console)
    assert "<title>Shops</title>" in shown.dom
