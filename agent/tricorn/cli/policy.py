"""`tricorn policy …`."""

from __future__ import annotations

from typing import Any, Final

import click

from tricorn.cli import complete
from tricorn.cli.door import calls
from tricorn.cli.output import clean, emit_json, table
from tricorn.cli.settings import Settings, command
from tricorn.errors import PolicyDenied

DENIED: Final = PolicyDenied.exit_status

policy_command = click.Group("policy", help="See which images may be used, and why others may not.")


@command("show", examples="tricorn policy show\ntricorn --json policy show | jq .rules")
def show(settings: Settings) -> int:
    """Show the image policy in force.

    The status is 8 for a policy that can't be used: no image passes then.
    """
    answer = settings.door.call(calls.policy())
    if settings.json:
        emit_json(answer)
        return 8 if answer["state"] == "broken" else 0
    if answer["state"] == "off":
        click.echo("there is no image policy: every image may be used")
        return 0
    if answer["state"] == "broken":
        click.echo(clean(f"{answer['file']} can't be used, no image passes: {answer['error']}"))
        return 8
    rows = [
        (rule["name"], rule["action"], " ".join(rule["images"]), _demands(rule)) for rule in answer["rules"]
    ]
    table(("RULE", "ACTION", "IMAGES", "DEMANDS"), rows)
    click.echo(
        clean(
            f"everything else: {answer['default']}; containers without an image: {answer['without_image']};"
            f" from {answer['file']}"
        )
    )
    return 0


def _demands(rule: dict[str, Any]) -> str:
    demands = ["pinned"] if rule["pinned"] else []
    demands += [f"{rule['pins']} pins"] if rule["pins"] else []
    demands += [f"signed by {name}" for name in rule["signed_by"]]
    demands += [f"verifiers {name}" for name in rule["verifiers"]]
    return ", ".join(demands)


@command(
    "check",
    examples="tricorn policy check redis:7\n"
    "tricorn -n ci policy check registry.example/team/app:1.4 && tricorn run registry.example/team/app:1.4",
)
@click.argument("reference", shell_complete=complete.images)
@click.option("--plain-http", is_flag=True, help="Ask the registry without TLS.")
def check(settings: Settings, reference: str, plain_http: bool) -> int:
    """Say whether the image policy lets REFERENCE be used, and change nothing.

    Signatures and verifiers are asked afresh. The status is 6 if the image is refused.
    """
    question = {"reference": reference, "plain_http": plain_http}
    answer = settings.door.call(calls.check_policy(settings.namespace, question))
    if settings.json:
        emit_json(answer)
        return 0 if answer["allowed"] else DENIED
    by = f"rule {answer['rule']}: " if answer["rule"] else ""
    verdict = "allowed" if answer["allowed"] else "refused"
    click.echo(clean(f"{answer['reference']} is {verdict}: {by}{answer['reason']}"))
    if answer.get("digest"):
        click.echo(clean(f"  digest    {answer['digest']}"))
    for finding in answer.get("findings") or ():
        passed = "passed" if finding["passed"] else "FAILED"
        click.echo(clean(f"  {finding['kind']:<9} {finding['name']} {passed}: {finding['reason']}"))
    if answer.get("remedy"):
        click.echo(clean(f"  remedy    {answer['remedy']}"))
    return 0 if answer["allowed"] else DENIED


for _made in (show, check):
    policy_command.add_command(_made)
