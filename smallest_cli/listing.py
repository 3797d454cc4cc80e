"""Lists on stdout: columns apart by tabs for a script, a table for a person. And the answers to `?`."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from smallest_cli import catalogue
from smallest_cli.safety import safe

if TYPE_CHECKING:
    from smallest_cli.sinks.speaker import Device


def answer_question(voice: str | None, device: str | None) -> bool:
    """Answer the option that is a question, if one is; whether one was."""
    if device == "?":
        print_rows((each.name, "default" if each.default else "") for each in list_loudspeakers())
    elif voice == "?":
        print_rows(
            (each.id, each.name, each.model, each.gender or "", each.accent or "", ", ".join(each.languages))
            for each in catalogue.bundled()
        )
    else:
        return False
    return True


def list_loudspeakers() -> list[Device]:
    """Every loudspeaker, kept for the shell to complete. Raises DeviceError."""
    from smallest_cli.shells import keep_devices
    from smallest_cli.sinks.speaker import list_devices

    devices = list_devices()
    keep_devices(each.name for each in devices)
    return devices


def print_rows(rows: Iterable[tuple[str, ...]]) -> None:
    """Rows for a script to cut: no header, no padding, nothing that acts on a terminal."""
    for row in rows:
        print("\t".join(safe(cell) for cell in row))


def print_table(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """Rows for a person, through $PAGER where the terminal does not hold them. Nothing is cut short."""
    lines = _align([tuple(columns), *(tuple(map(safe, row)) for row in rows)])
    lines.insert(1, "─" * max(map(len, lines)))
    text = "\n".join(f" {line}" for line in lines) + "\n"
    pager = shlex.split(os.environ.get("PAGER") or "less -FRX")
    if len(lines) < shutil.get_terminal_size().lines or not shutil.which(pager[0]):
        print(text, end="")
        return
    import subprocess

    subprocess.run(pager, input=text, encoding="utf-8", check=False)


def _align(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their widest cell, two blanks apart. rich's own table takes 0.1 s for all voices."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
