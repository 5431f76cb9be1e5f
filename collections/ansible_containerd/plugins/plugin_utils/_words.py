# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What agents tell is data: before ansible-core 2.19 it has to be marked, since then it is what isn't marked."""

from __future__ import annotations

try:
    from ansible.template import trust_as_template
except ImportError:
    trust_as_template = None


def as_text(value):
    """Return a value that is never taken for a template."""
    if trust_as_template is not None:
        return value
    from ansible.utils.unsafe_proxy import wrap_var

    return wrap_var(value)
