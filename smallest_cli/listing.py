"""Lists on stdout: columns apart by tabs for a script, a table for a person. And the answers to `?`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from smallest_cli import catalogue
from smallest_cli.safety import safe


def answer_question(voice: str | None, device: str | None) -> bool:
    """Answer the option that is a question, if one is; whether one was."""
    if device == "?":
        from smallest_cli.sinks.speaker import list_devices

        print_rows((each.name, "default" if each.default else "") for each in list_devices())
    elif voice == "?":
        print_rows(
            (each.id, each.name, each.model, each.gender or "", each.accent or "", ", ".join(each.languages))
            for each in catalogue.bundled()
        )
    else:
        return False
    return True


def print_rows(rows: Iterable[tuple[str, ...]]) -> None:
    """Rows for a script to cut: no header, no padding, nothing that acts on a terminal."""
    for row in rows:
        print("\t".join(safe(cell) for cell in row))


def print_table(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """Rows for a person, through a pager where the terminal does not hold them. Nothing is cut short."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0, overflow="fold", min_width=4)
    for row in rows:
        table.add_row(*(Text(safe(cell)) for cell in row))  # Text: nothing in it is markup
    if len(rows) + 3 < console.height:
        console.print(table)
        return
    with console.pager(styles=True):
        console.print(table)
