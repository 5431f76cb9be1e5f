from __future__ import annotations

import pytest

from tricorn.rules.runtimes import choose_default, known_defects, parse_version


@pytest.mark.parametrize(
    ("text", "expected"), [("1.1.5+ds1", (1, 1, 5)), ("v1.3.0-rc.1", (1, 3, 0)), ("1.21", (1, 21)), ("x", ())]
)
def test_versions(text, expected):
    assert parse_version(text) == expected


@pytest.mark.parametrize(
    ("flavour", "version", "hit"),
    [
        ("runc", "1.1.5+ds1", "CVE-2024-21626"),
        ("runc", "1.1.14", "CVE-2025-31133"),
        ("runc", "1.3.2", "CVE-2025-31133"),
        ("crun", "1.21", "CVE-2026-30892"),
        ("crun", "1.8.1", "CVE-2025-24965"),
    ],
)
def test_defects_are_named(flavour, version, hit):
    assert any(hit in warning for warning in known_defects(flavour, version))


@pytest.mark.parametrize(
    ("flavour", "version", "absent"),
    [
        ("runc", "1.1.12", "CVE-2024-21626"),
        ("runc", "1.2.8", "CVE-2025-31133"),
        ("runc", "1.4.3", "CVE-2026-41579"),
        ("runc", "1.6.0", "CVE"),
        ("crun", "1.18", "CVE-2026-30892"),
        ("crun", "1.28", "CVE"),
        ("youki", "0.1", "CVE"),
        ("runc", "", "CVE"),
    ],
)
def test_fixed_versions_are_not_warned_of(flavour, version, absent):
    assert not any(absent in warning for warning in known_defects(flavour, version))


def test_the_default_is_crun_if_usable():
    assert choose_default({"runc": True, "crun": True}) == "crun"
    assert choose_default({"runc": True, "crun": False}) == "runc"
    assert choose_default({"runc": False, "crun": False, "youki": True}) == "youki"
    assert choose_default({}) == ""
