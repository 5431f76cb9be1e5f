"""`tricorn completion`: the script that teaches a shell to complete."""

from __future__ import annotations

import os
from typing import Final

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ShellComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from tricorn.cli.settings import Settings, command

_EXAMPLES: Final = """\
source <(tricorn completion bash)
tricorn completion zsh > "${fpath[1]}/_tricorn"
tricorn completion fish > ~/.config/fish/completions/tricorn.fish"""

_BASH: Final = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    response=$(env TRICORN_LINE="${COMP_LINE:0:COMP_POINT}" TRICORN_BREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1")
    COMPREPLY=()
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Completion for bash that survives its habit of breaking words at colons, which images are full of."""

    source_template = _BASH
    _typed = ""

    def source(self) -> str:
        """Return the script, without starting a bash to ask for its version."""
        return ShellComplete.source(self)

    def get_completion_args(self) -> tuple[list[str], str]:
        """Split the line itself: the words that bash offers are broken already."""
        line = os.environ.get("TRICORN_LINE", "")
        words = split_arg_string(line)[1:]
        if words and not line[-1:].isspace():
            self._typed = words.pop()
        return words, self._typed

    def format_completion(self, item: CompletionItem) -> str:
        """Return an item; bash replaces what follows the last colon only, so leave out what precedes it."""
        typed, colon, _ = self._typed.rpartition(":")
        value = str(item.value)
        if colon and ":" in os.environ.get("TRICORN_BREAKS", ":"):
            value = value.removeprefix(typed + colon)
        return f"{item.type},{value}"


add_completion_class(Bash, "bash")


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
    return found(main.root, {}, "tricorn", main.VARIABLE).source()
