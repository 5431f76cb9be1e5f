# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re

import yaml

from ansible.plugins.connection import ssh


def _options():
    """Return the options of Ansible's own ssh connection as they are in the Ansible that runs.

    What they say of versions is of Ansible's, not of this collection.
    """
    options = yaml.safe_load(ssh.DOCUMENTATION)["options"]
    return re.sub(r'"version_added(_collection)?": "[^"]*"(, )?|, "version_added": "[^"]*"', "", json.dumps(options))


class ModuleDocFragment:
    """Its text is made when Ansible asks for it."""


ModuleDocFragment.DOCUMENTATION = '{"options": %s}' % _options()
