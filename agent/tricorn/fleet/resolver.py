# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts an inventory has and how each is reached, as JSON. A program of its own: it is never imported.

Ansible's interpreter runs it, so that inventory plugins, sources of variables, vaults and ansible.cfg count
as they do in a playbook. What it prints is all that the command line knows of Ansible.

usage: resolver.py '{"sources": [PATH…], "limit": PATTERN}'
"""

# mypy: ignore-errors
# Ansible's own modules carry few types.

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ansible import constants
from ansible.cli import CLI
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader, init_plugin_loader
from ansible.template import Templar
from ansible.utils.path import unfrackpath
from ansible.vars.manager import VariableManager

NODES = "nodes"  # the group that playbooks of the collection work on
_OPTIONS = (
    "host", "port", "remote_user", "private_key_file", "ssh_args", "ssh_common_args", "ssh_extra_args",
    "ssh_executable", "host_key_checking", "timeout",
)  # fmt: skip
_BECOME = ("ansible_become", "ansible_become_method", "ansible_become_user", "ansible_become_exe")


def main() -> None:
    asked = json.loads(sys.argv[1])
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever plugins print is no part of the answer
    try:
        found = {"hosts": resolve(asked["sources"], asked["limit"])}
    except AnsibleError as error:
        found = {"error": str(error)}
    with answer:
        json.dump(found, answer)


def resolve(sources: list[str], limit: str) -> list[dict[str, Any]]:
    """Return the hosts of the group `nodes`, of all where there is no such group, within `limit`."""
    init_plugin_loader()
    loader = DataLoader()
    identities = list(constants.DEFAULT_VAULT_IDENTITY_LIST)
    files = [constants.DEFAULT_VAULT_PASSWORD_FILE] if constants.DEFAULT_VAULT_PASSWORD_FILE else []
    secrets = CLI.setup_vault_secrets(
        loader, vault_ids=identities, vault_password_files=files, auto_prompt=False
    )
    loader.set_vault_secrets(secrets)
    inventory = InventoryManager(loader=loader, sources=sources or constants.DEFAULT_HOST_LIST)
    if limit:
        inventory.subset(limit)
    variables = VariableManager(loader=loader, inventory=inventory)
    nodes = NODES in inventory.groups and inventory.groups[NODES].get_hosts()
    hosts = inventory.list_hosts(NODES if nodes else "all")
    return [_described(host, variables.get_vars(host=host), loader) for host in hosts]


def _described(host: Any, variables: dict[str, Any], loader: DataLoader) -> dict[str, Any]:
    groups = sorted(group.name for group in host.get_groups() if group.name not in ("all", "ungrouped"))
    found = {"name": host.name, "groups": groups}
    try:
        return {**found, **_reach(variables, Templar(loader=loader, variables=variables))}
    except AnsibleError as error:
        return {**found, "error": str(error)}


def _reach(variables: dict[str, Any], templar: Templar) -> dict[str, Any]:
    def value(name: str, default: Any = None) -> Any:
        return templar.template(variables[name]) if name in variables else default

    kind = value("ansible_connection", constants.DEFAULT_TRANSPORT)
    plugin = connection_loader.get("ssh" if kind == "smart" else kind, PlayContext(), os.devnull)
    if plugin is None:
        return {"error": f"there is no connection plugin {kind}"}
    loaded = plugin._load_name  # noqa: SLF001 - under which the options of a plugin are kept
    names = constants.config.get_plugin_vars("connection", loaded)
    plugin.set_options(var_options={name: value(name) for name in names if name in variables})
    python = constants.config.get_config_value("INTERPRETER_PYTHON", variables=variables)
    reach = {
        "connection": loaded.rpartition(".")[2],
        "python": str(value("ansible_python_interpreter", python)),
        "socket": value("agent_socket", ""),
        "become": {name.removeprefix("ansible_"): value(name) for name in _BECOME if name in variables},
    }
    if reach["connection"] == "ssh":
        reach["ssh"] = {name: plugin.get_option(name) for name in _OPTIONS}
        reach["ssh"]["control_path"] = _control_path(plugin)
        reach["password"] = bool(plugin.get_option("password"))
    return json.loads(json.dumps(reach, default=str))


def _control_path(plugin: Any) -> str:
    """Return where playbooks keep the connection to this host, to share it; "" if that can't be told."""
    options = [plugin.get_option(name) for name in ("host", "port", "remote_user")]
    name = getattr(plugin, "_create_control_path", None)  # no part of the plugin's interface
    path = plugin.get_option("control_path") or (name and name(*options)) or ""
    return path % {"directory": unfrackpath(plugin.get_option("control_path_dir"))} if path else ""


if __name__ == "__main__":
    main()
