# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever speaks to the agent has an action plugin, arguments, a conversation, and a place in the action group."""

from __future__ import annotations

from pathlib import Path

import yaml

from ansible.plugins.loader import action_loader
from ansible_collections.tricorn.containerd.plugins.module_utils._arguments import MODULES
from ansible_collections.tricorn.containerd.plugins.module_utils._conversation import CONVERSATIONS
from ansible_collections.tricorn.containerd.plugins.plugin_utils._relay import RelayAction

ROOT = Path(__file__).resolve().parents[4]


def names(kind):
    return {path.stem for path in ROOT.glob("plugins/%s/*.py" % kind)} - {"__init__"}


def test_every_module_has_its_twin_and_every_twin_its_module():
    speaking = set(CONVERSATIONS)
    assert speaking <= set(MODULES)
    assert speaking <= names("modules")
    assert speaking <= names("action")
    assert names("action") <= names("modules")


def test_twins_relay():
    for name in CONVERSATIONS:
        found = action_loader.get("tricorn.containerd." + name, class_only=True)
        assert issubclass(found, RelayAction), name
        assert found._supports_async, name


def test_the_action_group_has_all_of_them():
    group = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]["node"]
    assert set(CONVERSATIONS) <= set(group) <= names("modules")
