"""The entry of `tricornd`."""

from __future__ import annotations

import sys

import click

from tricorn import class_code
from tricorn.errors import TricornError


def main() -> None:
    """Run one command line: typed errors become one line and their exit status."""
    class_code.start()
    try:
        from tricorn.agent_command import cli

        cli(prog_name="tricornd")
    except TricornError as error:
        click.echo(f"tricornd: {error.one_line()}", err=True)
        sys.exit(error.exit_status)
    finally:
        class_code.finish()


if __name__ == "__main__":
    main()
