#!/usr/bin/python
# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_config
short_description: Manage parts of the configuration of a Tricorn node
version_added: 0.1.0
author:
  - Tricorn authors (@tricorn)
description:
  - Makes sure that a file of C(conf.d) beside the agent's configuration holds these settings and no others. The agent
    merges such files into its configuration in the order of their names.
  - The agent's own program checks what comes of it, and writes nothing that the agent wouldn't take. It need not run.
  - A running agent reads some settings anew at once; for others RV(restart_required) tells that it has to be restarted,
    which is left to a handler. Containers outlive that.
attributes:
  action:
    description: The controller asks the agent's program itself; the module runs only where it cannot.
    support: full
  async:
    description: Can be used with the C(async) keyword.
    support: full
  check_mode:
    description: Can run in check mode and return changed status without changing anything.
    support: full
  diff_mode:
    description: Returns what has changed, or would change in check mode.
    support: full
    details:
      - Of secrets it tells the names only.
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
  platform:
    description: Target OS/families that can be operated against.
    support: full
    platforms: Linux
options:
  name:
    description:
      - Name of the file, without C(.toml). Files with later names win.
    type: str
    default: 50-ansible
  state:
    description:
      - V(present) makes sure that the file is there with O(settings), V(absent) that it is not.
    type: str
    choices: [present, absent]
    default: present
  settings:
    description:
      - The settings, as C(tricornd config default) prints them, without those that have their default.
    type: dict
    default: {}
  secrets:
    description:
      - Contents of files that settings refer to, by names. They are in C(secrets) beside C(conf.d), and only root may read
        them. One with no value is removed.
    type: dict
    default: {}
  config_file:
    description:
      - The agent's configuration, whose C(conf.d) is meant.
    type: path
    default: /etc/tricorn/config.toml
  program:
    description:
      - Path of the agent's program.
    type: path
    default: /usr/local/bin/tricornd
  reload:
    description:
      - Have a running agent read the settings that it can take over without a restart.
    type: bool
    default: true
seealso:
  - module: tricorn.containerd.node_info
  - ref: tricorn.containerd.agent role <ansible_collections.tricorn.containerd.agent_role>
    description: Installs the agent, and writes the configuration itself.
"""

EXAMPLES = r"""
- name: Have the agent say more
  tricorn.containerd.node_config:
    name: 60-debugging
    settings:
      log_level: debug

- name: Log in to a registry
  tricorn.containerd.node_config:
    name: 40-registry
    settings:
      registry:
        credentials:
          - host: registry.example.org
            username: nodes
            password_file: /etc/tricorn/secrets/registry
    secrets:
      registry: "{{ vault_registry_password }}"
  register: registry

- name: Restart the agent for it
  ansible.builtin.systemd_service:
    name: tricornd.service
    state: restarted
  when: registry.restart_required

- name: Have it say as much as before
  tricorn.containerd.node_config:
    name: 60-debugging
    state: absent
"""

RETURN = r"""
file:
  description: Path of the file.
  returned: success
  type: str
  sample: /etc/tricorn/conf.d/60-debugging.toml
reload_required:
  description: Whether a running agent has yet to read something that it can take over without a restart.
  returned: success
  type: bool
restart_required:
  description: Whether something changed that a running agent takes over at a restart only.
  returned: success
  type: bool
reload_keys:
  description: The parts of the configuration that changed and need no restart.
  returned: success
  type: list
  elements: str
  sample: [log_level]
restart_keys:
  description: The parts of the configuration that changed and wait for a restart.
  returned: success
  type: list
  elements: str
  sample: [registry]
secrets:
  description: Names of the secrets that changed.
  returned: success
  type: list
  elements: str
  sample: [registry]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tricorn.containerd.plugins.module_utils import _node_config
from ansible_collections.tricorn.containerd.plugins.module_utils._arguments import MODULES


def main():
    module = AnsibleModule(supports_check_mode=True, **MODULES["node_config"])
    words = _node_config.command(module.params, module.check_mode)
    code, output, errors = module.run_command(words, data=_node_config.document(module.params), binary_data=True)
    result = _node_config.result(module.params, code, output, errors)
    if not module._diff:
        result.pop("diff", None)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
