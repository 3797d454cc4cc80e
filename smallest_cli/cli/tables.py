"""Print results on stdout: a table on a terminal, tab-separated values elsewhere, or one JSON object."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from smallest_cli.cli.console import print_json
from smallest_cli.errors import DeviceError
from smallest_cli.models import PRICES, Silence, SpeechRequest, Voice
from smallest_cli.security import child_environment, escape, printable
from smallest_cli.text.graphemes import display_width
from smallest_cli.voices import DEFAULT_VOICE, STANDARD_VOICE, bundled_voices

if TYPE_CHECKING:
    from smallest_cli.audio.speaker import Device
    from smallest_cli.text.segments import Script

VOICE_COLUMNS = ("id", "name", "model", "gender", "accent", "age", "languages")
GAP = "  "


def answer_question(device: str | None, player: str | None = None, *, as_json: bool) -> None:
    """List the players, output devices or voices, for an option that is `?`. Raises DeviceError."""
    if player == "?":
        from smallest_cli.audio.player import PLAYERS, working_players

        works = set(working_players())
        players = [{"name": name, "installed": name in works} for name in PLAYERS]
        rows = [(name, "installed" if name in works else "not installed") for name in PLAYERS]
        print_result({"players": players}, ("name", "state"), rows, as_json=as_json)
        return
    if device != "?":
        print_voices(bundled_voices(), as_json=as_json)
        return
    devices = list_output_devices()
    if not devices:
        raise DeviceError("no output device found", hint="use -o FILE")
    print_result(
        {"devices": [each.as_dict() for each in devices]},
        ("name", "default", "rate"),
        [(each.name, "default" if each.default else "", f"{each.rate} Hz") for each in devices],
        as_json=as_json,
    )


def list_output_devices() -> list[Device]:
    """Return all output devices and save their names for shell completion. Raises DeviceError."""
    from smallest_cli.audio.speaker import list_devices
    from smallest_cli.cli.completion_lists import save_devices

    devices = list_devices()
    save_devices(device.name for device in devices)
    return devices


def print_voices(voices: Sequence[Voice], *, as_json: bool) -> None:
    """Print voices, one per row; a table longer than the terminal goes through $PAGER.

    On a terminal defaults are marked, and a column that is empty for all is left out.
    """
    columns: Sequence[str] = VOICE_COLUMNS
    marked: tuple[str, ...] = ()
    if sys.stdout.isatty() and not as_json:
        columns = [each for each in VOICE_COLUMNS if any(getattr(voice, each) for voice in voices)]
        marked = (DEFAULT_VOICE, STANDARD_VOICE)
    rows = [tuple(_cell(getattr(voice, column)) for column in columns) for voice in voices]
    rows = [(f"{id} *" if id in marked else id, *others) for id, *others in rows]
    as_objects = {"voices": [voice._asdict() for voice in voices]}
    print_result(as_objects, columns, rows, as_json=as_json, paged=True)


def _cell(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value or "")


def print_result(
    result: Mapping[str, Any],
    columns: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    *,
    as_json: bool,
    paged: bool = False,
) -> None:
    """Print `result` for --json; else `rows`, as a table on a terminal and tab-separated elsewhere.

    Tab-separated rows have no header and no padding. Control characters are escaped in both.
    """
    if as_json:
        print_json(result)
    elif not sys.stdout.isatty():
        for row in rows:
            print("\t".join(map(printable, row)))
    elif paged:
        _page(_lines(columns, rows))
    else:
        print("\n".join(_lines(columns, rows)))


def print_facts(facts: Mapping[str, object], *, as_json: bool = False) -> None:
    """Print names and values: a one-row table on a terminal, one per line elsewhere."""
    rows: list[tuple[str, ...]] = [(name, str(value)) for name, value in facts.items()]
    if sys.stdout.isatty():
        rows = [tuple(map(str, facts.values()))]
    print_result(facts, tuple(facts), rows, as_json=as_json)


def print_script(script: Script, template: SpeechRequest, *, local: bool, as_json: bool) -> None:
    """Print what a run would request: its size, price, voice and segments. The offline server is free."""
    prices = [0.0 if local else PRICES.get(each.model or "") for each in script.requests]
    lengths = [len(each.text) for each in script.requests]
    price = sum(price * length for price, length in zip(prices, lengths, strict=True) if price) / 10_000
    is_known = None not in prices
    facts: dict[str, object] = {
        "characters": script.characters,
        "price_usd": round(price, 6) if is_known else None,
        "voice": template.voice,
        "model": template.model,
    }
    if as_json:
        print_json(facts | {"segments": list(_segments_as_fields(script))})
        return
    shown = "0 (offline)" if local else f"{price:.6f}" if is_known else "unknown"
    print_facts(facts | {"segments": script.segments, "price_usd": shown})
    print()
    for item in script.items:
        if isinstance(item, Silence):
            print(f"(pause {item.seconds:g} s)")
        else:
            speaker = f"{item.speaker} ({item.voice}): " if item.speaker else ""
            print(escape(f"{speaker}{item.text.strip()}"))


def _segments_as_fields(script: Script) -> Iterator[dict[str, object]]:
    """Each segment, with the seconds of silence before it."""
    pause_s = 0.0
    for item in script.items:
        if isinstance(item, Silence):
            pause_s += item.seconds
            continue
        speaker = {"speaker": item.speaker} if item.speaker else {}
        yield {"text": item.text, "voice": item.voice, "model": item.model, **speaker, "pause": pause_s}
        pause_s = 0.0


def _page(lines: Sequence[str]) -> None:
    """Print lines, through $PAGER if they do not fit the terminal and it is not dumb."""
    try:
        pager = shlex.split(os.environ.get("PAGER", "less -FRX"))
    except ValueError:  # an unclosed quote
        pager = []
    can_page = pager and os.environ.get("TERM", "dumb") not in ("", "dumb") and shutil.which(pager[0])
    if len(lines) < shutil.get_terminal_size().lines or not can_page:
        print("\n".join(lines))
        return
    import subprocess

    text, env = "\n".join(lines) + "\n", child_environment()
    subprocess.run(pager, input=text, encoding="utf-8", check=False, env=env)


def _lines(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Format a table that fits the terminal, or each row as a list if it cannot. No cell is truncated."""
    shown = [tuple(columns), *(tuple(map(printable, row)) for row in rows)]
    widths = _fit(shown, shutil.get_terminal_size().columns - 1)
    lines = _table(shown, widths) if widths else _lists(shown)
    return [f" {line}".rstrip() for line in lines]


def _fit(rows: Sequence[tuple[str, ...]], width: int) -> list[int] | None:
    """Return column widths for a line of `width`; None if the longest words do not fit.

    The widest columns shrink first, down to their longest word: cells are wrapped between words only.
    """
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
    """Format a header, a rule and the rows, each as high as its tallest cell.

    rich's own table takes 0.1 s for all voices.
    """
    lines = []
    for number, row in enumerate(rows):
        if number == 1:
            lines.append("─" * (sum(widths) + len(GAP) * (len(widths) - 1)))
        cells = [_fold(cell, width) for cell, width in zip(row, widths, strict=True)]
        for line in zip_longest(*cells, fillvalue=""):
            parts = zip(line, widths, strict=True)
            lines.append(GAP.join(part + " " * (width - display_width(part)) for part, width in parts))
    return lines


def _fold(cell: str, width: int) -> list[str]:
    """Wrap a cell to lines of at most `width`, which must fit its longest word."""
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
    """Format each row as `column  value` lines, with an empty line between rows."""
    columns, *rest = rows
    width = max(map(len, columns))
    lines = []
    for row in rest:
        lines += [f"{name:{width}}{GAP}{cell}" for name, cell in zip(columns, row, strict=True) if cell]
        lines.append("")
    return lines[:-1]
