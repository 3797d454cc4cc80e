"""Terminal screenshots of README as SVG, from real runs with the offline server.

Commands run in a tmux session of 100 columns, and rich renders its screen. Needs no API key and no network.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS, LINES = 100, 60
PROMPT = "\x1b[1;32m$ \x1b[0m"
REMOTE_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
PICTURES = {
    "speak": (
        'smallest speak --local "Text to speech, in a terminal." -o hello.wav',
        'echo "Text from a pipe, with timings." | smallest speak --local --verbose -o piped.mp3',
        'smallest speak --local "With JSON output." --json -o json.wav',
        "smallest voices --language spanish --limit 4",
    ),
    "voices": ("smallest voices -l hindi --gender female --limit 8",),
    "bench": ("smallest bench --local -n 60 --seed 1 | tail -n 13",),
}


def screen(commands: tuple[str, ...], folder: Path) -> str:
    """Run commands in an empty folder. Returns the terminal screen with ANSI styles."""
    shell = "; ".join(f"printf '%s%s\\n' '{PROMPT}' {_quoted(each)}; {each}" for each in commands)
    script = folder / "run.sh"
    script.write_text(f"{shell}; tmux wait-for -S done; sleep 60\n")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {"HOME": str(folder), "PATH": path, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    env["TMUX_TMPDIR"] = str(folder)
    tmux = ["tmux", "-f", "/dev/null"]
    size = ["-x", str(COLUMNS), "-y", str(LINES)]
    subprocess.run(
        [*tmux, "new-session", "-d", *size, "-s", "p", "-c", str(folder), f"sh {script}"], env=env, check=True
    )
    try:
        subprocess.run([*tmux, "wait-for", "done"], env=env, check=True, timeout=120)
        shown = subprocess.run(
            [*tmux, "capture-pane", "-t", "p", "-p", "-e"], env=env, check=True, stdout=subprocess.PIPE
        )
    finally:
        subprocess.run([*tmux, "kill-server"], env=env, check=False)
    return shown.stdout.decode().rstrip() + "\n"


def _quoted(command: str) -> str:
    return "'" + command.replace("'", "'\\''") + "'"


def draw_pictures() -> dict[str, str]:
    """Return the screenshots as SVG, by file name."""
    return {f"{name}.svg": _draw(name, commands) for name, commands in PICTURES.items()}


def _draw(name: str, commands: tuple[str, ...]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        text = Text.from_ansi(screen(commands, Path(folder)))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(text)
    svg = console.export_svg(title="smallest", unique_id=f"smallest-{name}")
    return REMOTE_FONTS.sub("", svg)
