# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: to_toml
short_description: Convert a dictionary to TOML
version_added: 0.1.0
author:
  - Tricorn authors (@tricorn)
description:
  - Writes a dictionary as a TOML document, its keys in their order, tables after values.
  - TOML has no null; keys without a value are left out.
options:
  _input:
    description: The dictionary.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Write a configuration
  ansible.builtin.copy:
    content: "{{ {'log_level': 'info', 'logs': {'files': 3}} | tricorn.containerd.to_toml }}"
    dest: /etc/tricorn/conf.d/logs.toml
    mode: "0644"
"""

RETURN = r"""
_value:
  description: The TOML document.
  type: str
"""

import json
import re
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(document):
    """Return a mapping as a TOML document."""
    if not isinstance(document, Mapping):
        raise AnsibleFilterError("to_toml needs a dictionary, not %s" % type(document).__name__)
    return "\n".join(_table(document, ())).lstrip("\n") + "\n"


def _table(table, path):
    """Yield a table's lines: its values first, as TOML demands, then the tables in it."""
    nested = []
    for key, value in table.items():
        if isinstance(value, Mapping) or _is_table_array(value):
            nested.append((path + (_key(key),), value))
        elif value is not None:
            yield "%s = %s" % (_key(key), _value(value))
    for name, value in nested:
        header = ".".join(name)
        for item, line in [(value, "[%s]")] if isinstance(value, Mapping) else [(item, "[[%s]]") for item in value]:
            yield ""
            yield line % header
            yield from _table(item, name)


def _is_table_array(value):
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _key(key):
    return key if _BARE_KEY.fullmatch(key) else _value(key)


def _value(value):
    if isinstance(value, (list, tuple)):
        return "[%s]" % ", ".join(_value(item) for item in value)
    if isinstance(value, Mapping):
        return "{%s}" % ", ".join("%s = %s" % (_key(key), _value(item)) for key, item in value.items())
    if isinstance(value, (bool, int, float, str)):
        # JSON writes these as TOML does, DEL apart
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    raise AnsibleFilterError("to_toml cannot write a value of type %s" % type(value).__name__)


class FilterModule:
    def filters(self):
        return {"to_toml": to_toml}
