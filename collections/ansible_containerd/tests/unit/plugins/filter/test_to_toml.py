# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible.errors import AnsibleFilterError
from ansible_collections.tricorn.containerd.plugins.filter.to_toml import to_toml

tomllib = pytest.importorskip("tomllib")

DOCUMENT = {
    "text": 'a "quoted" \\ text\nwith\ttabs, \u00e9, \U0001f433 and \x7f',
    "number": -3,
    "share": 0.25,
    "yes": True,
    "list": ["a", "b"],
    "nested": [[1, 2], []],
    "mixed": [1, {"a": "b"}],
    "table": {"a": 1, "a b": {"c.d": "e"}, "empty": {}},
    "tables": [{"a": 1, "inner": {"b": 2}}, {"a": 2}],
    "after": "a table",
}


def test_a_parser_reads_it_back():
    assert tomllib.loads(to_toml(DOCUMENT)) == DOCUMENT


def test_what_has_no_value_is_left_out():
    assert to_toml({"a": None, "b": 1}) == "b = 1\n"


@pytest.mark.parametrize("document", [[], "a", {"a": object()}])
def test_what_toml_cannot_say_is_refused(document):
    with pytest.raises(AnsibleFilterError):
        to_toml(document)
