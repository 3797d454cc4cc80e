"""Terminal pictures of README and docs as SVG, from real runs with the offline server.

Commands run in a tmux session. A picture shows the last screen. A moving one shows every screen at its time,
by CSS alone, and the last one where nothing moves (print, reduced motion). Needs no API key and no network.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.style import Style
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

COLUMNS, LINES = 100, 60
PROMPT = "\x1b[1;32m$ \x1b[0m"
POLL_S = 0.03
HOLD_S = 5.0
"""How long a moving picture shows its last screen."""
CELL, ROW = 9.6, 20
"""Width and height of a character in px, for a font of 16 px."""
LEFT, TOP = 14, 44
NO_BREAK = "\u00a0"
"""Browsers join several blanks."""
BACKGROUND = "#1e2126"
FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"
ATTEMPTS = 10

MODEL = """#!/bin/sh
for word in Tides, **briefly**: the moon pulls at the sea. It rises, turns, and falls again. \
Then all of it starts over.; do
    printf '%s ' "$word"; sleep 0.12
done
"""
"""`llm` of a picture: a stand-in that writes a word at a time, as a language model does."""
TABLE = "id,text,voice\nbusy,All lines are busy.,\nbye,Thank you for calling.,magnus\n"


class Picture(NamedTuple):
    """Commands whose screen is drawn. `columns` and `lines` are those of the terminal."""

    commands: tuple[str, ...]
    moves: bool = False
    columns: int = COLUMNS
    refused: str = ""
    """A run whose screen shows this is repeated, e.g. one that a busy machine made invalid."""


PICTURES = {
    "speak": Picture(
        (
            'smallest speak "Hello from a terminal." -o hello.wav',
            'llm "What are tides?" | smallest stream --follow -o tides.mp3',
            "smallest batch prompts.csv --dir prompts",
            "smallest voices --language spanish --limit 3",
        ),
        moves=True,
        columns=80,
    ),
    "voices": Picture(("smallest voices -l hindi --gender female --limit 8",)),
    "bench": Picture(("smallest bench -n 60 --seed 1 --yes",), refused="suspect|invalid"),
}

Screens = list[tuple[float, str]]
"""Seconds since the start, and the screen with ANSI styles from then on."""
Row = tuple[tuple[int, int, str, str], ...]
"""The pieces of a line: first column, columns, text, and style as SVG attributes."""


def record(picture: Picture, folder: Path) -> Screens:
    """Run the commands in an empty folder, typed word by word. Returns the screens, each when it changed."""
    typed = """typed() {
    printf "$PROMPT"
    for word in $1; do printf '\\033[97m%s ' "$word"; sleep 0.07; done
    echo '\\033[0m'
}"""
    shell = "; sleep 0.7; ".join(f"typed {shlex.quote(each)}; {each}" for each in picture.commands)
    script = folder / "run.sh"
    script.write_text(f"set -f\n{typed}\n{shell}\ntmux wait-for -S done; sleep 60\n")
    for name, text in (("llm", MODEL), ("prompts.csv", TABLE)):
        (folder / name).write_text(text)
    (folder / "llm").chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {
        "HOME": str(folder), "PATH": path, "TERM": "xterm-256color", "LANG": "C.UTF-8", "PROMPT": PROMPT,
        "TMUX_TMPDIR": str(folder), "SMALLEST_LOCAL": "1",
    }  # fmt: skip
    tmux = ["tmux", "-f", "/dev/null"]
    size = ["-x", str(picture.columns), "-y", str(LINES)]
    start = [*tmux, "new-session", "-d", *size, "-s", "p", "-c", str(folder), f"sh {script}"]
    subprocess.run(start, env=env, check=True)
    screens: Screens = []
    try:
        began = time.monotonic()
        with subprocess.Popen([*tmux, "wait-for", "done"], env=env) as done:
            while (ended := done.poll()) is None or not ended:
                shot = [*tmux, "capture-pane", "-t", "p", "-p", "-e"]
                shown = subprocess.run(shot, env=env, check=True, stdout=subprocess.PIPE).stdout.decode()
                if not screens or screens[-1][1] != shown:
                    screens.append((time.monotonic() - began, shown))
                if ended == 0:
                    return screens
                time.sleep(POLL_S)
    finally:
        subprocess.run([*tmux, "kill-server"], env=env, check=False)
    raise RuntimeError("tmux ended early")


def read_rows(screen: str) -> list[Row]:
    """Return the lines of a screen."""
    rows = []
    for line in Text.from_ansi(screen.rstrip()).split(allow_blank=True):
        pieces, column = [], 0
        for piece in line.render(Console()):
            if piece.text.strip():
                pieces.append((column, piece.cell_length, piece.text, _style(piece.style or Style())))
            column += piece.cell_length
        rows.append(tuple(pieces))
    return rows


def _style(style: Style) -> str:
    theme = SVG_EXPORT_THEME
    red, green, blue = style.color.get_truecolor(theme) if style.color else theme.foreground_color
    weight = ' font-weight="bold"' if style.bold else ""
    opacity = ' opacity=".65"' if style.dim else ""
    return f'fill="#{red:02x}{green:02x}{blue:02x}"{weight}{opacity}'


def draw(screens: Screens) -> str:
    """Draw screens as one SVG, which moves if there are several."""
    shown = [(at, read_rows(screen)) for at, screen in screens]
    last_s = shown[-1][0]
    total_s = last_s + HOLD_S
    height = max(len(rows) for _, rows in shown)
    lines: list[str] = []
    rules: dict[tuple[float, float], str] = {}
    for number in range(height):
        at_each = [(at, rows[number] if number < len(rows) else ()) for at, rows in shown]
        changes = [each for at, each in enumerate(at_each) if not at or each[1] != at_each[at - 1][1]]
        for (start, row), (end, _) in zip(changes, [*changes[1:], (total_s, ())], strict=True):
            if row:
                name = rules.setdefault((start, end), f"t{len(rules)}") if len(shown) > 1 else ""
                lines.append(_draw_row(row, TOP + number * ROW, name))
    columns = max((c + n for _, rows in shown for row in rows for c, n, _, _ in row), default=0)
    width, height_px = round(columns * CELL) + 2 * LEFT, TOP + (height - 1) * ROW + 18
    circles = "".join(
        f'<circle cx="{LEFT + 6 + 18 * at}" cy="15" r="5.5" fill="{colour}"/>'
        for at, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height_px}" width="{width}" '
        f'font-family="{FONTS}" font-size="16">\n{_animate(rules, total_s)}'
        f'<rect width="{width}" height="{height_px}" rx="8" fill="{BACKGROUND}"/>{circles}\n'
        + "\n".join(lines)
        + "\n</svg>\n"
    )


def _draw_row(row: Row, y: int, name: str) -> str:
    pieces = (
        f'<text x="{LEFT + column * CELL:.1f}" y="{y}" textLength="{columns * CELL:.1f}" {style}>'
        f"{escape(text, quote=False).replace(' ', NO_BREAK)}</text>"
        for column, columns, text, style in row
    )
    mark = f' class="{name}"' if name else ""
    return f"<g{mark}>{''.join(pieces)}</g>"


def _animate(rules: dict[tuple[float, float], str], total_s: float) -> str:
    """Return the style sheet that shows each class from its start to its end, in a loop."""
    if not rules:
        return ""
    past = "".join(f".{name}{{visibility:hidden}}" for (_, end), name in rules.items() if end < total_s)
    moving = []
    for (start, end), name in rules.items():
        steps = [(0.0, "hidden")] if start else []
        steps += [(start, "visible"), *([(end, "hidden")] if end < total_s else [])]
        frames = "".join(f"{100 * at / total_s:.3f}%{{visibility:{how}}}" for at, how in steps)
        last = "hidden" if end < total_s else "visible"
        moving.append(
            f".{name}{{animation:{name} {total_s:.2f}s step-end infinite}}"
            f"@keyframes {name}{{{frames}100%{{visibility:{last}}}}}"
        )
    return (
        f"<style>{past}@media (prefers-reduced-motion:no-preference){{\n" + "\n".join(moving) + "}</style>\n"
    )


def draw_pictures() -> dict[str, str]:
    """Return the pictures as SVG, by file name. Raises RuntimeError if no run of a picture can be shown."""
    return {f"{name}.svg": draw(_record_fit(picture)) for name, picture in PICTURES.items()}


def _record_fit(picture: Picture) -> Screens:
    for _ in range(ATTEMPTS):
        with tempfile.TemporaryDirectory() as folder:
            screens = record(picture, Path(folder))
        if not (picture.refused and re.search(picture.refused, screens[-1][1])):
            return screens if picture.moves else screens[-1:]
    raise RuntimeError(f"{ATTEMPTS} runs show {picture.refused}: {picture.commands}")
