"""Lists on stdout: columns apart by tabs for a script, a table for a person. And the answers to `?`."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from smallest_cli.cli.console import print_json
from smallest_cli.errors import DeviceError
from smallest_cli.models import Voice
from smallest_cli.security import printable
from smallest_cli.text.graphemes import display_width
from smallest_cli.voices import bundled_voices

if TYPE_CHECKING:
    from smallest_cli.audio.speaker import Device

VOICE_COLUMNS = ("id", "name", "model", "gender", "accent", "age", "languages")
DEVICE_COLUMNS = ("name", "default", "rate")
GAP = "  "


def answer_question(voice: str | None, device: str | None, *, as_json: bool = False) -> None:
    """Answer the option that is `?`: which loudspeakers there are, or which voices. Raises DeviceError."""
    if device == "?":
        print_devices(list_loudspeakers(), as_json=as_json)
    elif voice == "?":
        print_voices(bundled_voices(), as_json=as_json)


def list_loudspeakers() -> list[Device]:
    """Every loudspeaker, kept for the shell to complete. Raises DeviceError."""
    from smallest_cli.audio.speaker import list_devices
    from smallest_cli.cli.completion_lists import keep_devices

    devices = list_devices()
    keep_devices(each.name for each in devices)
    return devices


def print_devices(devices: Sequence[Device], *, as_json: bool) -> None:
    """Loudspeakers. Raises DeviceError where there is none."""
    if not devices:
        raise DeviceError("no output device found", hint="use -o FILE")
    if as_json:
        told = [{"name": each.name, "default": each.default, "rate": each.rate} for each in devices]
        print_json({"devices": told})
        return
    print_list(
        DEVICE_COLUMNS,
        [(each.name, "default" if each.default else "", f"{each.rate} Hz") for each in devices],
    )


def print_voices(voices: Sequence[Voice], *, as_json: bool) -> None:
    """Voices, a row each."""
    if as_json:
        print_json({"voices": [voice._asdict() for voice in voices]})
        return
    rows = [tuple(_cell(getattr(voice, column)) for column in VOICE_COLUMNS) for voice in voices]
    if sys.stdout.isatty():
        _page_table(VOICE_COLUMNS, rows)
    else:
        print_rows(rows)


def _cell(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value or "")


def print_list(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """A table for a person, rows for a script."""
    if sys.stdout.isatty():
        print_table(columns, rows)
    else:
        print_rows(rows)


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and values: a table of one row for a person, a row for each for a script."""
    if sys.stdout.isatty():
        print_table(tuple(facts), [tuple(map(str, facts.values()))])
    else:
        print_rows((name, str(value)) for name, value in facts.items())


def print_rows(rows: Iterable[tuple[str, ...]]) -> None:
    """Rows for a script to cut: no header, no padding, nothing that acts on a terminal."""
    for row in rows:
        print("\t".join(printable(cell) for cell in row))


def print_table(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """Rows for a person. Nothing is cut short: a cell is folded between words, and where the words are too
    wide each row is a list."""
    print("\n".join(_lines(columns, rows)))


def _page_table(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """As `print_table`, but through $PAGER where the terminal does not hold it."""
    lines = _lines(columns, rows)
    pager = _pager()
    if len(lines) < shutil.get_terminal_size().lines or not pager or not shutil.which(pager[0]):
        print("\n".join(lines))
        return
    import subprocess

    subprocess.run(pager, input="\n".join(lines) + "\n", encoding="utf-8", check=False)


def _pager() -> list[str]:
    """The command that shows a long table; [] for none, as an empty $PAGER and a dumb terminal ask for."""
    if os.environ.get("TERM", "dumb") in ("", "dumb"):
        return []
    try:
        return shlex.split(os.environ.get("PAGER", "less -FRX"))
    except ValueError:  # a quote that is not closed
        return []


def _lines(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> list[str]:
    shown = [tuple(columns), *(tuple(map(printable, row)) for row in rows)]
    widths = _fit(shown, shutil.get_terminal_size().columns - 1)
    lines = _table(shown, widths) if widths else _lists(shown)
    return [f" {line}".rstrip() for line in lines]


def _fit(rows: Sequence[tuple[str, ...]], width: int) -> list[int] | None:
    """Each column as wide as its widest cell, or less where that is too much; None where words do not fit."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(display_width, column)) for column in columns]
    over = sum(widths) + len(GAP) * (len(widths) - 1) - width
    if over <= 0:
        return widths
    words = [[word for cell in column for word in cell.split()] for column in columns]
    least = [max(map(display_width, column), default=0) for column in words]
    for _ in range(over):
        widest = max(range(len(widths)), key=lambda at: (widths[at] > least[at], widths[at]))
        if widths[widest] <= least[widest]:
            return None
        widths[widest] -= 1
    return widths


def _table(rows: Sequence[tuple[str, ...]], widths: Sequence[int]) -> list[str]:
    """Columns two blanks apart. rich's own table takes 0.1 s for all voices."""
    lines = [line for row in rows[:1] for line in _folded(row, widths)]
    lines.append("─" * (sum(widths) + len(GAP) * (len(widths) - 1)))
    return lines + [line for row in rows[1:] for line in _folded(row, widths)]


def _folded(row: tuple[str, ...], widths: Sequence[int]) -> Iterator[str]:
    """One row in as many lines as its highest cell needs."""
    from itertools import zip_longest

    cells = [_fold(cell, width) for cell, width in zip(row, widths, strict=True)]
    for parts in zip_longest(*cells, fillvalue=""):
        yield GAP.join(
            part + " " * (width - display_width(part)) for part, width in zip(parts, widths, strict=True)
        )


def _fold(cell: str, width: int) -> list[str]:
    """A cell in lines of at most `width`, which holds its longest word."""
    if display_width(cell) <= width:
        return [cell]
    lines = [""]
    for word in cell.split():
        longer = f"{lines[-1]} {word}".strip()
        if display_width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line for line in lines if line]


def _lists(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Each row as a list of its columns, with a line between two."""
    columns, *rest = rows
    width = max(map(len, columns))
    lines = []
    for row in rest:
        lines += [f"{name:{width}}{GAP}{cell}" for name, cell in zip(columns, row, strict=True) if cell]
        lines.append("")
    return lines[:-1]
