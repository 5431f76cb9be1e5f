"""`tricorn completion`: the script that teaches a shell to complete."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from tricorn.cli.settings import Settings, command

_EXAMPLES = """\
source <(tricorn completion bash)
tricorn completion zsh > "${fpath[1]}/_tricorn"
tricorn completion fish > ~/.config/fish/completions/tricorn.fish"""


@command("completion", examples=_EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(settings: Settings, shell: str) -> None:  # noqa: ARG001 - what all commands take
    """Print the completion script for a shell."""
    click.echo(script(shell))


def script(shell: str) -> str:
    """Return the script of bash, zsh or fish."""
    from tricorn.cli import main

    found = get_completion_class(shell)
    assert found is not None
    completer = found(main.root, {}, "tricorn", "_TRICORN_COMPLETE")
    return ShellComplete.source(
        completer
    )  # without BashComplete's own, which starts a bash to ask its version
