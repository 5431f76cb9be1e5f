"""`tricorn registry …`."""

from __future__ import annotations

from typing import Any

import click

from tricorn.cli import complete
from tricorn.cli.door import calls
from tricorn.cli.output import clean, emit_json
from tricorn.cli.settings import Settings, command

registry_command = click.Group("registry", help="Look at how registries are reached.")


@command(
    "explain",
    examples="tricorn registry explain docker.io\ntricorn --json registry explain registry.lan:5000",
)
@click.argument("host", metavar="HOST", shell_complete=complete.hosts)
def explain(settings: Settings, host: str) -> None:
    """Show the hosts that are asked for HOST's images, in order, what each may be asked for, and where
    credentials would come from. Nobody is asked, and no secret is shown.
    """
    answer = settings.door.call(calls.registry(host))
    if settings.json:
        emit_json(answer)
        return
    click.echo(clean(f"{answer['registry']}  ({answer['source'] or 'nothing configured'})"))
    for number, item in enumerate(answer["hosts"], 1):
        click.echo(clean(f"{number}. {item['url']}  ({item['role']})"))
        for name, text in _fields(item):
            click.echo(clean(f"     {name}: {text}"))


def _fields(item: dict[str, Any]) -> list[tuple[str, str]]:
    timeout = item.get("dial_timeout")
    fields = [
        ("capabilities", ", ".join(item["capabilities"])),
        ("TLS", item["tls"]),
        ("CA", ", ".join(item["ca"])),
        ("client certificate", ", ".join(item["client"])),
        ("headers", ", ".join(item["headers"])),
        ("dial timeout", f"{timeout:g} s" if timeout else ""),
        *(("credentials", text) for text in item["credentials"] or ["none: asked as nobody"]),
    ]
    return [(name, text) for name, text in fields if text]


registry_command.add_command(explain)
