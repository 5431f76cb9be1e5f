# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets plain pytest find the collection of a checkout; ansible-test has a loader of its own for that."""

from __future__ import annotations

from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

COLLECTIONS = Path(__file__).resolve().parents[3]

if COLLECTIONS.joinpath("ansible_collections").is_dir():
    init_plugin_loader([str(COLLECTIONS)])  # before an installed copy
