"""Arrows between the agent's layers go down only; siblings never import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "agent/tricorn"

# Whom each unit (a package or module right below tricorn) may import. Everyone may import GROUND.
GROUND = {"errors", "limits", "failpoints", "private_directories", "__init__"}
MODEL = {"model", "structuring"}
WORKER = MODEL | {"rules", "ports"}
SERVICE = WORKER | {"store", "fs", "registry", "runtime", "service"}
ALLOWED = {
    "__init__": set(),
    "errors": set(),
    "limits": set(),
    "failpoints": {"errors"},
    "private_directories": set(),
    "model": {"model"},
    "structuring": {"model"},
    "exchange": {"frames"},
    "frames": set(),
    "systemd": set(),
    "memory": set(),
    "ports": {"model", "ports"},
    "config": MODEL | {"config"},
    "config_files": MODEL | {"config"},
    "rules": MODEL | {"ports", "rules"},
    "store": WORKER | {"store"},
    "fs": WORKER | {"fs"},
    "registry": WORKER | {"registry"},
    "runtime": WORKER | {"runtime"},
    "service": SERVICE,
    "connections": set(),
    "grpc": {"connections", "grpc"},
    "wire": {"wire"},
    "api": WORKER | {"service", "connections", "frames", "grpc", "wire", "api"},
    "client": MODEL | {"exchange", "frames", "client"},
    "fleet": {"client", "exchange", "fleet"},
    "cli": {"model", "client", "exchange", "frames", "fleet", "cli"},
    "logs": set(),
    "lean_logging": set(),
    "directories": set(),
    "assembly": SERVICE | {"config", "assembly"},
    "app": SERVICE | {"config", "assembly"},
    "daemon": {"app", "api", "config", "directories", "logs", "memory", "systemd"},
    "class_code": set(),
    "agent_command": {"class_code", "config", "config_files", "daemon", "directories", "lean_logging", "store"},
    "__main__": {"agent_command", "class_code"},
}  # fmt: skip


def unit_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and unit of every import of the package, those inside functions and TYPE_CHECKING included."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = _targets(node, path)
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            if head == "tricorn":
                yield node.lineno, rest.partition(".")[0] or "__init__"


def _targets(node: ast.ImportFrom, path: Path) -> list[str]:
    if node.level:
        package = ("tricorn", *path.relative_to(PACKAGE).parts[: -node.level])
        base = ".".join([*package, *filter(None, [node.module])])
    else:
        base = node.module or ""
    if (
        base == "tricorn"
    ):  # `from tricorn import limits` names a unit, `from tricorn import __version__` doesn't
        known = {unit_of(file) for file in PACKAGE.iterdir()}
        return [f"tricorn.{alias.name}" if alias.name in known else "tricorn" for alias in node.names]
    return [base]


SOURCES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    unit = unit_of(path)
    assert unit in ALLOWED, f"{unit} is new at the top: say in this table where it stands"
    allowed = ALLOWED[unit] | GROUND
    wrong = [f"line {line}: {unit} → {target}" for line, target in imports_of(path) if target not in allowed]
    assert not wrong, "\n".join(wrong)


def test_the_walk_sees_imports(tmp_path: Path) -> None:
    source = tmp_path / "sample.py"
    source.write_text(
        "from tricorn import limits, __version__\nimport tricorn.store.db\n"
        "def f():\n    from tricorn.fs.mounts import mount\n"
    )
    assert [unit for _, unit in imports_of(source)] == ["limits", "__init__", "store", "fs"]


def test_only_known_units_are_in_the_table() -> None:
    targets = set().union(*ALLOWED.values())
    assert targets <= set(ALLOWED)
