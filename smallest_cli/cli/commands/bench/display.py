"""Draw the results of `smallest bench` on a terminal: styled lines, and a live view during the run."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from smallest_cli.bench.report.format import figure
from smallest_cli.bench.workers import Progress, ignore
from smallest_cli.cli.console import rich_console
from smallest_cli.errors import plural
from smallest_cli.security import printable

PLAIN_WIDTH = 80
MAX_LINE = 10_000
REDRAW_SECONDS = 0.5
STYLES = {"title": "bold", "head": "bold cyan", "good": "green", "warn": "yellow", "bad": "red"}


def print_lines(lines: Iterable[tuple[str, str]]) -> None:
    """Print (style, line) pairs on stdout, styled on a terminal unless NO_COLOR is set.

    Control characters are escaped: parts of the lines come from servers and files.
    """
    lines = [(style, printable(line, MAX_LINE)) for style, line in lines]
    if not sys.stdout.isatty():
        for _, line in lines:
            print(line)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, no_color=bool(os.environ.get("NO_COLOR")), highlight=False)
    for style, line in lines:
        console.print(Text(line, style=STYLES.get(style, style)))


def stdout_width() -> int:
    """Width of stdout in columns; 80 if it is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PLAIN_WIDTH


@contextmanager
def live_view(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that draws the progress of a run on stderr, if that is a terminal."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield ignore
        return
    from rich.live import Live
    from rich.text import Text

    drawn = 0.0

    def update(progress: Progress) -> None:
        # At most twice a second: drawing holds the GIL and would delay timestamps.
        nonlocal drawn
        if (now := time.monotonic()) - drawn >= REDRAW_SECONDS:
            drawn = now
            live.update(Text("\n".join(progress_lines(progress))), refresh=True)

    with Live(console=rich_console(), auto_refresh=False, transient=True) as live:
        yield update


def progress_lines(progress: Progress, columns: int = 28) -> list[str]:
    """Return the live view: progress, trials in flight, rolling p50 and p95, errors."""
    done = sum(trial.phase == "measure" for trial in progress.trials)
    warm = len(progress.trials) - done
    bar = ""
    if progress.total:
        filled = columns * done // progress.total
        bar = f"{'█' * filled}{'░' * (columns - filled)}  "
    counted = f"{done} of {plural(progress.total, 'trial')}" if progress.total else plural(done, "trial")
    errors = ", ".join(f"{count} {name}" for name, count in sorted(progress.errors.items())) or "none"
    p50, p95 = (figure(progress.ttfb_ms(p)) for p in (0.5, 0.95))
    return [
        f"{bar}{counted}  {plural(warm, 'warm-up')}  {progress.in_flight} in flight",
        f"ttfb of the last 200: p50 {p50} ms  p95 {p95} ms",
        f"errors: {errors}",
    ]
