# Copyright (c) 2026, The Tricorn authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import inventory_loader
from ansible.template import Templar
from ansible_collections.tricorn.containerd.plugins.module_utils._client import AgentError, Response

SETTINGS = "plugin: tricorn.containerd.containers\n"
TWO = SETTINGS + "nodes: {n1: {ansible_host: 10.1.1.1, ansible_python_interpreter: /opt/python3}, n2: {}}\n"


def view(name, **more):
    task = {"status": "running", "pid": 7, "health": {"status": "healthy"}}
    return dict({"id": name, "namespace": "shop", "image": "redis:7", "image_digest": "sha256:a", "runtime": "crun",
                 "labels": {"app": "{{ 7 * 7 }}"}, "task": task}, **more)


class Agent:
    """A stream to an agent with one namespace."""

    asked = ()

    def __init__(self, *containers):
        self.containers = containers

    def __enter__(self):
        return self

    def __exit__(self, *dummy):
        pass

    def call(self, request):
        Agent.asked += (request,)
        if request.path == "/v1/namespaces":
            return Response(200, {"items": [{"name": "shop"}, {"name": "gone"}]})
        if "gone" in request.path:
            return Response(404, {})
        return Response(200, {"items": list(self.containers)})


def parse(directory, text, containers=(), failing=(), before=()):
    path = directory / "my.containers.yml"
    path.write_text(text)
    loader, inventory = DataLoader(), InventoryData()
    for group, host, variables in before:
        inventory.add_host(host, group=inventory.add_group(group))
        for key, value in variables.items():
            inventory.set_variable(host, key, value)
    plugin = inventory_loader.get("tricorn.containerd.containers")
    plugin.templar = Templar(loader)
    connection = plugin._connection

    class Connection:
        def __init__(self, variables):
            self.name = connection(variables).get_option("container") and variables.get("ansible_host", "localhost")

        def agent(self):
            if self.name in failing:
                raise AgentError("it is silent")
            return Agent(*containers)

    plugin._connection = Connection
    assert plugin.verify_file(str(path))
    plugin.parse(inventory, loader, str(path), cache=False)
    inventory.reconcile_inventory()
    return inventory


def test_containers_of_this_machine_are_hosts(tmp_path):
    inventory = parse(tmp_path, SETTINGS + "socket: /run/x.sock\n", [view("web"), view("job", task=None, labels={})])
    web = inventory.hosts["web.shop.localhost"].get_vars()
    assert web["ansible_connection"] == "tricorn.containerd.container"
    assert (web["ansible_tricorn_container"], web["ansible_tricorn_namespace"]) == ("web", "shop")
    assert (web["ansible_tricorn_socket"], web["tricorn_health"], web["tricorn_pid"]) == ("/run/x.sock", "healthy", 7)
    assert Templar(DataLoader()).template(web["tricorn_labels"]["app"]) == "{{ 7 * 7 }}"
    groups = inventory.get_groups_dict()
    assert groups["status_running"] == groups["label_app____7___7___"] == ["web.shop.localhost"]
    assert groups["status_created"] == ["job.shop.localhost"]
    assert len(groups["namespace_shop"]) == len(groups["node_localhost"]) == len(groups["image_redis_7"]) == 2


def test_nodes_are_reached_by_their_own_variables(tmp_path):
    before = [("fleet", "n3", {"ansible_host": "10.1.1.3", "ansible_become": True, "ansible_user": "root", "x": 1})]
    inventory = parse(tmp_path, TWO + "node_groups: [fleet]\n", [view("web")], before=before)
    hosts = {name: inventory.hosts["web.shop." + name].get_vars() for name in ("n1", "n2", "n3")}
    assert {each["ansible_connection"] for each in hosts.values()} == {"tricorn.containerd.container_ssh"}
    assert [each["ansible_host"] for each in hosts.values()] == ["10.1.1.1", "n2", "10.1.1.3"]
    assert hosts["n1"]["ansible_tricorn_node_python"] == "/opt/python3"
    assert "ansible_python_interpreter" not in hosts["n1"]
    assert hosts["n3"]["ansible_user"] == "root"
    assert not {"ansible_become", "x"} & set(hosts["n3"])


def test_it_is_constructed_and_filtered(tmp_path):
    text = SETTINGS + "running: true\ngroup_by: []\nfilters: ['labels.app==x']\nhostname: tricorn_container\nnamespaces: [shop]\n"
    text += "compose: {size: tricorn_container | length}\nkeyed_groups: [{key: tricorn_runtime, prefix: by}]\n"
    Agent.asked = ()
    inventory = parse(tmp_path, text, [view("web"), view("job", task=None)])
    assert list(inventory.hosts) == ["web"]
    assert inventory.hosts["web"].get_vars()["size"] == 3
    assert inventory.get_groups_dict()["by_crun"] == ["web"]
    assert [(each.path, each.query) for each in Agent.asked] == [("/v1/shop/containers", [("filter", "labels.app==x")])]


def test_a_node_that_is_silent_is_missing(tmp_path):
    inventory = parse(tmp_path, TWO, [view("web")], failing=["10.1.1.1"])
    assert list(inventory.hosts) == ["web.shop.n2"]
    with pytest.raises(AnsibleParserError, match="n1: it is silent"):
        parse(tmp_path, TWO + "all_nodes: true\n", failing=["10.1.1.1"])


def test_two_hosts_of_one_name_are_refused(tmp_path):
    with pytest.raises(AnsibleParserError, match="two hosts 'web'"):
        parse(tmp_path, TWO + "hostname: tricorn_container\n", [view("web")])


def test_groups_have_to_be_there(tmp_path):
    with pytest.raises(AnsibleParserError, match="no inventory source before"):
        parse(tmp_path, SETTINGS + "node_groups: [none]\n")
