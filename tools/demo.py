"""`make demo` and `make demo-clean`: from Debian packages to a container that an Ansible playbook runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import demo_image
import demo_traces
from demo_image import BuiltImage, DemoError
from demo_playbook import PlaybookRun, run_playbook
from demo_registry import DemoRegistry
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tricorn_testing import cgroups
from tricorn_testing.agentclient import AgentClient
from tricorn_testing.registry import Registry

PROJECT = Path(__file__).parents[1]
DEMO = PROJECT / ".demo"
BUNDLES = PROJECT / ".ansible/bundles"  # which the tests' lab takes, too
PLAYBOOKS = PROJECT / "collections/ansible_containerd/playbooks"
REPOSITORY = "demo/hello"
CONTAINER = "hello"
PULL_TASK = "Pull the image"  # as the playbook calls it
SOCKET = "/run/tricorn/tricorn.sock"
console = Console(highlight=False, soft_wrap=True)


def step(number: int, title: str, why: str) -> None:
    console.print(f"\n[bold cyan]{number}[/]  [bold]{title}[/]\n   [dim]{why}[/]")


def say(text: str) -> None:
    console.print(f"     {text}")


def bytes_text(size: float) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"


# ---------------------------------------------------------------- up
def up() -> None:
    began = time.monotonic()
    DEMO.mkdir(exist_ok=True)
    image = build_image()
    registry = serve_registry()
    reference = push(image, registry)
    run = apply_playbook(reference)
    client = AgentClient(SOCKET)
    report(client, image, run)
    look_further(reference)
    console.print(
        f"\n[green]Done[/] in {time.monotonic() - began:.0f} s; everything goes on running. "
        "[bold]make demo-clean[/] removes every trace."
    )


def build_image() -> BuiltImage:
    step(1, "Build an image from Debian packages", "three layers in OCI's format, no Dockerfile, no daemon")
    image = demo_image.build(DEMO)
    say(f"[dim]packages[/]  {', '.join(image.packages)}")
    for built in image.layers:
        sizes = f"{bytes_text(len(built.layer.blob))} [dim]of {bytes_text(len(built.layer.tar))} unpacked[/]"
        say(f"[dim]layer[/]     {built.title}: {sizes}")
    say(f"[dim]digest[/]    {image.digest}")
    return image


def serve_registry() -> Registry:
    step(2, "Serve a registry", "Debian's docker-registry, on this machine's loopback address only")
    demo_registry = DemoRegistry(DEMO / "registry")
    registry = demo_registry.running()
    say("runs already" if registry else "started")
    registry = registry or demo_registry.start()
    say(f"[dim]address[/]   http://{registry.address}/v2/")
    return registry


def push(image: BuiltImage, registry: Registry) -> str:
    step(3, "Push the image", "with skopeo, as to any registry")
    name = f"{REPOSITORY}:{image.tag}"
    reference = f"{registry.address}/{name}"
    if pushed_digest(registry, name) == image.digest:
        say("the registry has this digest already")
        return reference
    source = f"oci:{image.layout.path}:{image.tag}"
    command = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", source, f"docker://{reference}"]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode:
        raise DemoError(f"skopeo could not push: {outcome.stderr.strip()[-400:]}", f"see {DEMO}/registry/log")
    say(f"pushed {reference}")
    return reference


def pushed_digest(registry: Registry, name: str) -> str:
    try:
        return registry.digest(name)
    except RuntimeError:
        return ""


def apply_playbook(reference: str) -> PlaybookRun:
    step(4, "Let Ansible do the rest", "ansible-playbook -i inventory/local.yml tricorn.containerd.demo")
    variables = {
        "demo_image": reference,
        "demo_plain_http": True,
        "demo_container": CONTAINER,
        "demo_exec": ["figlet", "tricorn"],
        "agent_bundle_cache": str(BUNDLES),
    }
    run = run_playbook(console, PLAYBOOKS / "demo.yml", variables, DEMO / "playbook.log", DEMO / "ansible")
    if run.returncode:
        raise DemoError(f"the playbook failed; its last words:\n{tail(DEMO / 'playbook.log')}")
    outcome = f"[yellow]changed={run.changed}[/]" if run.changed else "[green]changed=0: nothing to do[/]"
    say(f"ok={run.ok} {outcome} [dim]in {run.duration:.1f} s; the whole output: .demo/playbook.log[/]")
    return run


def tail(path: Path, lines: int = 25) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def report(client: AgentClient, image: BuiltImage, run: PlaybookRun) -> None:
    """Tell what runs now, asked of the agent itself rather than remembered."""
    step(5, "What runs now", "asked of the agent over its socket")
    view = client.get(f"/v1/default/containers/{CONTAINER}")
    task = view["task"] or {}
    if task.get("status") != "running":
        raise DemoError(f"the container isn't running: {task}", f"tricorn logs {CONTAINER}")
    stats = client.get(f"/v1/default/containers/{CONTAINER}/stats")
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 3))
    for key, value in facts(view, task, stats, image, run).items():
        table.add_row(Text(key, style="dim"), Text(value))
    console.print(table)
    banner = execute(client, ["figlet", "-w", "70", "tricorn"])
    page = execute(client, ["wget", "-q", "-O-", "http://127.0.0.1:8080/"])
    words = (
        f"[dim]exec[/] figlet tricorn\n{banner.rstrip()}\n\n[dim]exec[/] wget -O- http://127.0.0.1:8080/\n"
    )
    console.print(
        Panel(Text.from_markup(words) + Text(page.strip()), title="from inside the container", width=84)
    )


def facts(
    view: Mapping[str, Any],
    task: Mapping[str, Any],
    stats: Mapping[str, Any],
    image: BuiltImage,
    run: PlaybookRun,
) -> dict[str, str]:
    same = "the digest built above" if view["image_digest"] == image.digest else "not the digest built above!"
    pull = run.seconds.get(PULL_TASK)
    found = {
        "container": f"{view['id']} ({task['status']}), pid {task['pid']}",
        "image": view["image"],
        "digest": f"{view['image_digest'][:19]}…, {same}",
        "runtime": f"{view['runtime']} under conmon, {view['snapshotter']} snapshots",
        "memory": bytes_text(stats.get("memory_bytes", 0.0)),
        "log": view["log_path"],
    }
    if pull is not None:
        found["pull"] = f"{pull:.1f} s, download, unpacking and Ansible's own work included"
    return {key: value for key, value in found.items() if value}


def execute(client: AgentClient, words: list[str]) -> str:
    """Run a command in the container; a server that has just been started gets a moment to listen."""
    for attempt in range(20):
        result = client.post(f"/v1/default/containers/{CONTAINER}/exec", {"args": words})
        if result["exit_code"] == 0:
            return str(result["stdout"])
        time.sleep(0.1 * (attempt < 19))
    raise DemoError(
        f"{words[0]} ended with {result['exit_code']} in the container: {result['stderr'][-300:]}"
    )


def look_further(reference: str) -> None:
    step(6, "Look further", "the same agent, from three sides")
    for command, what in (
        ("tricorn ps", "containers"),
        (f"tricorn logs {CONTAINER}", "what it wrote"),
        (f"tricorn exec -it {CONTAINER} sh", "a shell inside"),
        (f"tricorn run --rm --plain-http {reference} figlet hi", "one more, for a moment"),
        ("tricorn events", "the journal, live"),
        (f"curl -s --unix-socket {SOCKET} http://tricorn/v1/info", "the HTTP API"),
        ("less .demo/playbook.log", "what Ansible said"),
    ):
        console.print(f"     [bold]{command}[/]{' ' * max(2, 64 - len(command))}[dim]{what}[/]")


# ---------------------------------------------------------------- clean
def clean() -> None:
    console.print("[bold]Removing the demo[/]")
    if Path("/opt/tricorn").exists() or Path("/run/tricorn").exists():
        DEMO.mkdir(exist_ok=True)
        log = DEMO / "clean.log"
        run = run_playbook(console, PLAYBOOKS / "demo_clean.yml", {}, log, DEMO / "ansible")
        if run.returncode:
            raise DemoError(f"the playbook that removes the agent failed; its last words:\n{tail(log)}")
    DemoRegistry(DEMO / "registry").stop()
    say("registry stopped")
    shutil.rmtree(DEMO, ignore_errors=True)
    cgroups.remove(cgroups.agent_cgroups())
    check_clean()


def check_clean() -> None:
    """Wait a moment for what the kernel removes by itself, then insist that nothing is left."""
    deadline = time.monotonic() + 5
    while (left := list(demo_traces.traces(DEMO))) and time.monotonic() < deadline:
        time.sleep(0.2)
    if left:
        raise DemoError("this is left:\n  " + "\n  ".join(left))
    say("[green]no trace left[/]: no file, mount, cgroup, process, network namespace or group of the agent")
    say("[dim]Debian packages stay, and what `make clean` removes: virtual environment, bundle[/]")


def main() -> int:
    try:
        {"up": up, "clean": clean}[sys.argv[1]]()
    except DemoError as error:
        console.print(f"\n[red]failed:[/] {error}", markup=True)
        if error.hint:
            console.print(f"  try: {error.hint}", markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
