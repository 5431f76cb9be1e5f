# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: containers
short_description: Containers of Tricorn agents
version_added: 0.1.0
author:
  - Tricorn authors (@tricorn)
description:
  - The containers that agents know, as hosts that tasks can run in at once; the connections
    P(tricorn.containerd.container#connection) and P(tricorn.containerd.container_ssh#connection) lead into them.
  - The agents are that of the controller, or those of nodes that ssh reaches, which the file names or an inventory
    source before this one. All nodes are asked at the same time.
  - The file's name ends in C(containers.yml) or C(containers.yaml).
  - Hosts are called after container, namespace and node, as in C(web.shop.n1), see O(hostname). The controller is the
    node C(localhost).
  - Each has RV(ignore:tricorn_container), RV(ignore:tricorn_namespace), RV(ignore:tricorn_node), RV(ignore:tricorn_image),
    RV(ignore:tricorn_image_digest), RV(ignore:tricorn_status), RV(ignore:tricorn_health), RV(ignore:tricorn_pid),
    RV(ignore:tricorn_runtime), and RV(ignore:tricorn_labels).
  - What containers say of themselves is text and never a template.
extends_documentation_fragment:
  - constructed
  - inventory_cache
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [tricorn.containerd.containers]
  local:
    description:
      - Whether to ask the agent of the controller. By default that is done when there are no nodes.
    type: bool
  nodes:
    description:
      - Nodes by name, and for each the variables of Ansible's ssh connection that reach it, such as
        RV(ignore:ansible_host), RV(ignore:ansible_user) and RV(ignore:ansible_ssh_private_key_file).
      - The containers get the same variables. RV(ignore:ansible_python_interpreter) is taken for the node's own.
    type: dict
    default: {}
  node_groups:
    description:
      - Groups of inventory sources before this one whose hosts are nodes, too, with the variables that they have.
    type: list
    elements: str
    default: []
  socket:
    description:
      - Path of the agents' sockets.
    type: str
    default: /run/tricorn/tricorn.sock
    env:
      - name: TRICORN_SOCKET
  namespaces:
    description:
      - The agents' namespaces to look into. All when left out.
    type: list
    elements: str
  filters:
    description:
      - Filters of containerd that containers have to match one of, such as V(labels.app==shop).
    type: list
    elements: str
    default: []
  running:
    description:
      - Leave out containers that do not run.
    type: bool
    default: false
  hostname:
    description:
      - Jinja2 expression for the name of a container's host, of the variables that it has.
    type: str
    default: tricorn_container ~ '.' ~ tricorn_namespace ~ '.' ~ tricorn_node
  group_by:
    description:
      - What groups are made of; they are called as in C(namespace_shop), C(node_n1), C(image_redis_7),
        C(status_running), and, for a label C(app) that is C(web), C(label_app_web).
    type: list
    elements: str
    choices: [namespace, node, image, label, status]
    default: [namespace, node, image, label, status]
  agent_timeout:
    description:
      - Seconds that an agent may be silent.
    type: float
    default: 30
  all_nodes:
    description:
      - Fail when a node cannot be asked. Else it is warned of, and its containers are missing.
    type: bool
    default: false
"""

EXAMPLES = r"""
# containers.yml: of this machine
plugin: tricorn.containerd.containers
running: true
---
# shop.containers.yml: of two nodes
plugin: tricorn.containerd.containers
nodes:
  n1: {ansible_host: 10.89.77.11, ansible_user: root}
  n2: {ansible_host: 10.89.77.12, ansible_user: root}
namespaces: [shop]
filters: [labels.app==shop]
hostname: tricorn_container ~ '-' ~ tricorn_node
keyed_groups:
  - {key: tricorn_labels.tier | default('none'), prefix: tier}
groups:
  unhealthy: tricorn_health == 'unhealthy'
---
# lab.containers.yml: of the nodes of another source, as in
#   ansible -i inventory/lab.yml -i lab.containers.yml status_running -m ansible.builtin.raw -a hostname
plugin: tricorn.containerd.containers
node_groups: [nodes]
"""

from concurrent.futures import ThreadPoolExecutor

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.playbook.play_context import PlayContext
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.plugins.loader import connection_loader
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, request
from ansible_collections.tricorn.containerd.plugins.plugin_utils._words import as_text

LOCAL = "localhost"
AT_ONCE = 32  # nodes
OF_THE_NODE = ("ansible_connection", "ansible_python_interpreter", "ansible_become")


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    NAME = "tricorn.containerd.containers"

    def verify_file(self, path):
        """Return whether the file is called as one of containers."""
        return super().verify_file(path) and path.endswith(("containers.yml", "containers.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        reach = self._reach()
        for node, containers in sorted(self._containers(reach, path, cache).items()):
            for container in containers if node in reach else ():
                self._add(container, node, reach[node])

    def _reach(self):
        """Return the variables of the connection into containers, by node."""
        nodes = {name: dict(variables or {}) for name, variables in self.get_option("nodes").items()}
        for group in self.get_option("node_groups"):
            if group not in self.inventory.groups:
                raise AnsibleParserError("node_groups: no inventory source before this one has a group %r" % group)
            for host in self.inventory.groups[group].get_hosts():
                nodes.setdefault(host.name, self._variables(host))
        reach = {name: self._through_ssh(name, variables) for name, variables in nodes.items()}
        local = self.get_option("local")
        if local or local is None and not reach:
            reach[LOCAL] = {"ansible_connection": "tricorn.containerd.container"}
        for variables in reach.values():
            variables.setdefault("ansible_tricorn_socket", self.get_option("socket"))
        return reach

    def _variables(self, host):
        known = dict(host.get_vars())
        for group in reversed(host.get_groups()):
            for key, value in group.get_vars().items():
                known.setdefault(key, value)
        return {key: value for key, value in known.items() if key.startswith("ansible_")}

    def _through_ssh(self, name, variables):
        reach = {key: value for key, value in variables.items() if not key.startswith(OF_THE_NODE)}
        python = str(variables.get("ansible_python_interpreter", ""))
        if python.startswith("/"):
            reach.setdefault("ansible_tricorn_node_python", python)
        reach.setdefault("ansible_host", name)
        return dict(reach, ansible_connection="tricorn.containerd.container_ssh")

    def _containers(self, reach, path, cache):
        """Return the containers by node, as found now or as cached when that is wanted, and remember them."""
        key = self.get_cache_key(path)
        wanted = self.get_option("cache")
        if wanted and cache:
            try:
                return self._cache[key]
            except KeyError:
                pass
        found = self._ask_all(reach)
        if wanted:
            self._cache[key] = found
        return found

    def _ask_all(self, reach):
        connections = {name: self._connection(variables) for name, variables in reach.items()}
        found, failed = {}, {}
        with ThreadPoolExecutor(max(1, min(AT_ONCE, len(connections)))) as pool:
            asked = {name: pool.submit(self._ask, connection) for name, connection in connections.items()}
        for name, future in asked.items():
            try:
                found[name] = future.result()
            except (AgentError, AnsibleError) as error:
                failed[name] = error
        for name, error in failed.items():
            if self.get_option("all_nodes"):
                raise AnsibleParserError("%s: %s" % (name, error))
            self.display.warning("The containers of %s are missing: %s" % (name, error))
        return found

    def _connection(self, variables):
        """Return the very connection that tasks would have, so that they find it open."""
        connection = connection_loader.get(variables["ansible_connection"], PlayContext(), "/dev/null")
        given = {key: self.templar.template(value) for key, value in variables.items()}
        given["ansible_tricorn_timeout"] = self.get_option("agent_timeout")
        connection.set_options(var_options=given)
        return connection

    def _ask(self, connection):
        namespaces = self.get_option("namespaces")
        if namespaces is None:
            namespaces = [each["name"] for each in self._items(connection, "namespaces")]
        query = [("filter", text) for text in self.get_option("filters")]
        found = []
        for namespace in namespaces:
            found += self._items(connection, namespace, "containers", query=query)
        return [_summary(each) for each in found]

    def _items(self, connection, *place, **options):
        with connection.agent() as stream:
            response = stream.call(request("GET", *place, **options))
        return [] if response.missing else response.result()["items"]

    def _add(self, container, node, reach):
        if self.get_option("running") and container["tricorn_status"] != "running":
            return
        variables = as_text(dict(container, tricorn_node=node))
        name = self._compose(self.get_option("hostname"), variables)
        if name in self.inventory.hosts:
            raise AnsibleParserError("hostname: there are two hosts %r; have namespace and node in the name" % name)
        self.inventory.add_host(name)
        own = dict(reach, ansible_tricorn_container=container["tricorn_container"])
        own["ansible_tricorn_namespace"] = container["tricorn_namespace"]
        for key, value in {**own, **variables}.items():
            self.inventory.set_variable(name, key, value)
        for group in self._group_names(container, node):
            self.inventory.add_host(name, group=self.inventory.add_group(self._sanitize_group_name(group)))
        self._construct(name)

    def _group_names(self, container, node):
        of = {
            "namespace": ["namespace_" + container["tricorn_namespace"]],
            "node": ["node_" + node],
            "image": ["image_" + container["tricorn_image"]],
            "status": ["status_" + container["tricorn_status"]],
            "label": ["label_%s_%s" % pair for pair in container["tricorn_labels"].items()],
        }
        return [name for kind in self.get_option("group_by") for name in of[kind]]

    def _construct(self, name):
        strict = self.get_option("strict")
        variables = self.inventory.get_host(name).get_vars()
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        variables = self.inventory.get_host(name).get_vars()
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)


def _summary(view):
    """Return the variables that tell of a container."""
    task = view.get("task") or {}
    return {
        "tricorn_container": view["id"],
        "tricorn_namespace": view["namespace"],
        "tricorn_image": view["image"],
        "tricorn_image_digest": view["image_digest"],
        "tricorn_labels": dict(view.get("labels") or {}),
        "tricorn_runtime": view["runtime"],
        "tricorn_status": task.get("status", "created"),
        "tricorn_health": (task.get("health") or {}).get("status", ""),
        "tricorn_pid": task.get("pid", 0),
    }
