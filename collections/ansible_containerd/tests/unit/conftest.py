# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets plain pytest find the collection of a checkout; ansible-test has a loader of its own for that."""

from __future__ import annotations

import sys
from pathlib import Path

COLLECTIONS = Path(__file__).resolve().parents[3]

if COLLECTIONS.joinpath("ansible_collections").is_dir():
    # before an installed copy
    sys.path.insert(0, str(COLLECTIONS))
