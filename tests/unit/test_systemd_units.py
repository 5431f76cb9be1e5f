"""The units in agent/systemd are the role's templates with its defaults: one is never edited without the other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import jinja2
import pytest
import yaml

PROJECT = Path(__file__).parents[2]
ROLE = PROJECT / "collections/ansible_containerd/roles/agent"
UNITS = PROJECT / "agent/systemd"
NAMES = sorted(path.name.removesuffix(".j2") for path in ROLE.glob("templates/tricornd*.j2"))


def rendered(name: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROLE / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["relpath"] = os.path.relpath
    variables = {
        **yaml.safe_load((ROLE / "defaults/main.yml").read_text()),
        **yaml.safe_load((ROLE / "vars/main.yml").read_text()),
    }
    for key in ("agent_socket", "agent_config_file"):
        variables[key] = environment.from_string(variables[key]).render(variables)
    return environment.get_template(f"{name}.j2").render(variables)


def test_every_template_has_its_unit() -> None:
    assert sorted(path.name for path in UNITS.iterdir()) == NAMES
    assert len(NAMES) == 3


@pytest.mark.parametrize("name", NAMES)
def test_units_are_the_templates_with_defaults(name: str) -> None:
    assert (UNITS / name).read_text() == rendered(name)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """Only complaints about the units themselves count: the commands aren't installed here."""
    for name in NAMES:
        text = re.sub("/usr/local/bin/tricornd?", "/bin/true", (UNITS / name).read_text())
        (tmp_path / name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in NAMES)]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in outcome.stderr.splitlines() if "tricornd" in line]
    assert complaints == []
    assert outcome.returncode == 0, outcome.stderr
