"""Every example of the collection's documentation is a task that Ansible takes: names, keywords, options, types."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.playbook.task import Task as AnsibleTask
from ansible.plugins.loader import init_plugin_loader, module_loader
from ansible.utils.collection_loader import AnsibleCollectionConfig

from tricorn_testing.ansible_plays import COLLECTION, PROJECT

HOME = PROJECT / "collections/ansible_containerd"
MODULES = sorted(path.stem for path in (HOME / "plugins/modules").glob("[!_]*.py"))
PLUGINS = sorted(
    str(path.relative_to(HOME / "plugins"))
    for kind in ("become", "callback", "connection", "filter", "inventory", "lookup")
    for path in (HOME / "plugins" / kind).glob("[!_]*.py")
)
KEYWORDS = {*AnsibleTask.fattributes, "loop", "with_items"}
BLOCKS = {"block", "rescue", "always"}
TEMPLATE = re.compile(r"{{|{%")
SOME = {"str": "x", "int": 1, "float": 1.0, "bool": True, "dict": {}, "list": [], "path": "/x", "raw": "x"}


@pytest.fixture(scope="module", autouse=True)
def _collection() -> None:
    if AnsibleCollectionConfig.collection_finder is None:  # the collection's unit tests do it, too
        init_plugin_loader([str(PROJECT / "collections")])


@pytest.fixture(scope="module")
def arguments() -> Mapping[str, Mapping[str, Any]]:
    from ansible_collections.tricorn.containerd.plugins.module_utils import _arguments

    found: Mapping[str, Mapping[str, Any]] = _arguments.MODULES
    return found


def documented(path: Path, name: str) -> list[Any]:
    """Return what a plugin has under such a name: a list of YAML documents."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return list(yaml.safe_load_all(ast.literal_eval(node.value)))
    return []


def tasks_of(example: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the tasks of an example: those of blocks, and of whole plays, too."""
    parts = [part for key in ("tasks", "pre_tasks", "post_tasks", *BLOCKS) for part in example.get(key) or ()]
    if not parts:
        yield example
    for part in parts:
        yield from tasks_of(part)


def action_of(task: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the task's module and its options; AssertionError if it isn't one module by its whole name."""
    actions = [key for key in task if key not in KEYWORDS]
    assert len(actions) == 1, f"{task.get('name')}: {actions} instead of one module"
    assert actions[0].count(".") >= 2, f"{actions[0]} isn't the whole name of a module"
    return actions[0], task[actions[0]] or {}


def filled(value: Any, spec: Mapping[str, Any]) -> Any:
    """Return a value with something of the option's type in place of what a template would bring."""
    if isinstance(value, str) and TEMPLATE.search(value):
        return spec["choices"][0] if spec.get("choices") else SOME[spec.get("type", "str")]
    if isinstance(value, list):
        element = {"type": spec.get("elements", "str"), "options": spec.get("options")}
        return [filled(each, element) for each in value]
    if isinstance(value, dict):
        options = spec.get("options") or {}
        return {key: filled(each, options.get(key, {})) for key, each in value.items()}
    return value


def by_any_name(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {name: option for key, option in spec.items() for name in (key, *option.get("aliases", ()))}


def check(task: Mapping[str, Any], arguments: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name of the task's module, whose options are right."""
    name, options = action_of(task)
    module = name.removeprefix(f"{COLLECTION}.")
    if module == name:
        assert module_loader.find_plugin(name), f"there is no {name}"
        return name
    taken = dict(arguments[module])
    spec = taken.pop("argument_spec")
    given = filled(options, {"type": "dict", "options": by_any_name(spec)})
    result = ArgumentSpecValidator(spec, **taken).validate(given)
    assert not result.error_messages, f"{task.get('name')}: {result.error_messages}"
    return module


@pytest.mark.parametrize("module", MODULES)
def test_examples_are_valid_tasks(module: str, arguments: Mapping[str, Mapping[str, Any]]) -> None:
    (examples,) = documented(HOME / f"plugins/modules/{module}.py", "EXAMPLES")
    tasks = [task for example in examples for task in tasks_of(example)]
    assert module in [check(task, arguments) for task in tasks]
    assert all(task.get("name") for task in tasks)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_examples_of_plugins_name_what_there_is(
    plugin: str, arguments: Mapping[str, Mapping[str, Any]]
) -> None:
    """Those that are inventories or variables are only read."""
    documents = documented(HOME / "plugins" / plugin, "EXAMPLES")
    assert documents or plugin.startswith("callback/")  # which are switched on, and have nothing to show
    for example in (each for document in documents if isinstance(document, list) for each in document):
        for task in tasks_of(example):
            check(task, arguments)


def test_the_argument_table_has_each_module(arguments: Mapping[str, Mapping[str, Any]]) -> None:
    assert sorted(arguments) == MODULES
    runtime = yaml.safe_load((HOME / "meta/runtime.yml").read_text())
    apart = ["node_config"]  # asks the agent's program, not the agent
    assert sorted([*runtime["action_groups"]["node"], *apart]) == MODULES
    assert sorted(path.stem for path in (HOME / "plugins/action").glob("[!_]*.py")) == MODULES


@functools.cache
def played() -> frozenset[str]:
    """Return the words that integration tests give to what makes tasks for a playbook."""
    makers = {"task", "module", "example", "examples", "play_examples"}
    return frozenset(
        word.value
        for path in (PROJECT / "tests/integration").glob("test_*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] in makers
        for word in call.args
        if isinstance(word, ast.Constant) and isinstance(word.value, str)
    )


@pytest.mark.parametrize("module", MODULES)
def test_a_playbook_of_the_integration_tests_runs_it(module: str) -> None:
    assert module in played()


def test_a_wrong_example_would_be_found(arguments: Mapping[str, Mapping[str, Any]]) -> None:
    wrong = [
        {"name": "x", f"{COLLECTION}.gc": {"nonsense": 1}},
        {"name": "x", f"{COLLECTION}.image": {"name": "a", "state": "here"}},
        {"name": "x", f"{COLLECTION}.image": {}},
        {"name": "x", f"{COLLECTION}.lease": {"name": "{{ a }}", "resources": [{"type": "images"}]}},
        {"name": "x", "gc": {}},
        {"name": "x", "no.such.module": {}},
        {"name": "x", "whne": "a", f"{COLLECTION}.gc": {}},
    ]
    for task in wrong:
        with pytest.raises((AssertionError, KeyError)):
            check(task, arguments)
    right = {"name": "x", f"{COLLECTION}.image": {"reference": "{{ a }}", "unpack": "{{ b }}"}}
    assert check(right, arguments) == "image"
