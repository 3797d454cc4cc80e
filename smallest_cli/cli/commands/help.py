"""`smallest help`."""

from typing import Annotated

import typer

from smallest_cli.cli.option_groups import grouped


@grouped
def show_help(
    words: Annotated[list[str] | None, typer.Argument(metavar="[COMMAND]...", help="Command.")] = None,
) -> None:
    """Show the help of a command."""
    from smallest_cli.cli.app import invoke

    invoke([*(words or []), "--help"])
