"""What a person sees while it runs and when it is over: rich on a terminal, plain text elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Protocol

from smallest_cli.bench.report.format import figure
from smallest_cli.security import safe

PLAIN_WIDTH = 80
LONGEST = 10_000
DRAW_SECONDS = 0.5
STYLES = {
    "title": "bold", "head": "bold cyan", "good": "green", "warn": "yellow", "bad": "red", "dim": "dim",
    "": "",
}  # fmt: skip


class Course(Protocol):
    """How a run comes on."""

    total: int | None
    in_flight: int
    trials: list[Any]
    errors: Any

    def ttfb_ms(self, p: float, last: int = 200) -> float | None:
        """A quantile of the last trials' time to first audio."""
        ...


def print_lines(lines: Iterable[tuple[str, str]]) -> None:
    """Styled lines on stdout: with their styles on a terminal, without them elsewhere and under NO_COLOR.

    Here they are made safe for a terminal, all of them: parts come from servers and from files.
    """
    lines = [(style, safe(line, LONGEST)) for style, line in lines]
    if not sys.stdout.isatty():
        for _, line in lines:
            print(line)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, no_color=bool(os.environ.get("NO_COLOR")), highlight=False)
    for style, line in lines:
        console.print(Text(line, style=STYLES[style]))


def width() -> int:
    """Columns of stdout; 80 where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PLAIN_WIDTH


class LiveView:
    """A few lines on stderr that are drawn anew while it runs, and taken away; nothing where nobody
    watches."""

    def __init__(self, *, quiet: bool) -> None:
        self._watched = sys.stderr is not None and sys.stderr.isatty() and not quiet
        self._live: Any = None
        self._drawn = 0.0

    def __enter__(self) -> LiveView:
        if self._watched:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def watch(self, course: Course) -> None:
        """Show how it comes on, twice a second at most: drawing takes the interpreter from what is
        measured."""
        now = time.monotonic()
        if self._live is None or now - self._drawn < DRAW_SECONDS:
            return
        self._drawn = now
        from rich.text import Text

        self._live.update(Text("\n".join(progress_lines(course))), refresh=True)


def progress_lines(course: Course, columns: int = 28) -> list[str]:
    """The view as text: progress, in flight, rolling median and p95, errors."""
    done = sum(trial.phase == "measure" for trial in course.trials)
    warm = len(course.trials) - done
    bar = ""
    if course.total:
        filled = columns * done // course.total
        bar = f"{'█' * filled}{'░' * (columns - filled)}  "
    counted = f"{done} of {course.total}" if course.total else str(done)
    errors = ", ".join(f"{count} {name}" for name, count in sorted(course.errors.items())) or "none"
    return [
        f"{bar}{counted} trials  {warm} warm-ups  {course.in_flight} in flight",
        f"ttfb of the last 200: p50 {figure(course.ttfb_ms(0.5))} ms  p95 {figure(course.ttfb_ms(0.95))} ms",
        f"errors: {errors}",
    ]
