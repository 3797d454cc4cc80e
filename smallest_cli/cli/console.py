"""What is said to a person, on stderr, and the one JSON object on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from smallest_cli.cli.progress import Progress
from smallest_cli.errors import Interrupted, SmallestError
from smallest_cli.models import AudioFormat
from smallest_cli.security import escape, printable

LINE_LIMIT = 1000


_line_is_open = False


def say(line: str) -> None:
    """One line on stderr; a stderr that is closed or full is no reason to fail."""
    end_text()
    _write(f"{printable(line, LINE_LIMIT)}\n")


def say_text(text: str) -> None:
    """Text that goes on where the last ended, on stderr."""
    global _line_is_open
    _line_is_open = True
    _write(escape(text))


def end_text() -> None:
    """End the line of what `say_text` said last."""
    global _line_is_open
    if _line_is_open:
        _line_is_open = False
        _write("\n")


def _write(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)
        sys.stderr.flush()


class Console:
    """How much of a run a person wants to hear of."""

    def __init__(self, *, quiet: bool, verbose: bool, debug: bool = False) -> None:
        self._quiet = quiet
        self._verbose = verbose or debug
        self._debug = debug
        self._watched = sys.stderr is not None and sys.stderr.isatty() and not quiet

    def warn(self, line: str) -> None:
        """Something that may not be as meant."""
        if not self._quiet:
            say(f"smallest: warning: {line}")

    def tell(self, line: str) -> None:
        """How it went, to somebody who watches."""
        if self._watched or self._verbose:
            say(line)

    def detail(self, line: str) -> None:
        """What only --verbose asks for."""
        if self._verbose:
            say(line)

    def debug(self, line: str) -> None:
        """What only --debug asks for."""
        if self._debug:
            say(line)

    @contextmanager
    def progress(self, format: AudioFormat, *, shown: bool = True) -> Iterator[Progress]:
        """A line that shows how much audio has come, for as long as the context lasts and if `shown`."""
        progress = Progress(format, watched=shown and self._watched and not self._debug, tell=self.debug)
        try:
            yield progress
        finally:
            progress.stop()

    @contextmanager
    def counting(self, total: int) -> Iterator[Callable[[], None]]:
        """A bar of `total` steps for somebody who watches; what it gives is called after each."""
        if not self._watched or self._debug:
            yield lambda: None
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, console=RichConsole(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=total)
            yield lambda: bar.advance(task)


def tell_failure(error: SmallestError) -> None:
    """What happened in one line, then what to try, what was kept, and the service's name for it."""
    say(f"smallest: {error}")
    if error.hint:
        say(f"  {error.hint}")
    if error.partial:
        say(f"  what had come is kept in {error.partial}")
    if error.request_id:
        say(f"  request id {error.request_id}")


def tell_interruption(interruption: Interrupted) -> None:
    """That a signal ended the run, and what it left."""
    say("smallest: interrupted")
    if interruption.partial:
        say(f"  what had come is kept in {interruption.partial}")


def print_json(result: Mapping[str, Any]) -> None:
    """One object on stdout, in ASCII, so that no byte of it acts on a terminal."""
    print(json.dumps(result), flush=True)


def failure_as_json(error: SmallestError | Interrupted) -> dict[str, Any]:
    """A failure, or a signal, as the object that --json prints."""
    return {
        **error.summary,
        "error": str(error),
        "exit": error.exit_code,
        "hint": error.hint,
        "request_id": error.request_id,
        "audio_seconds": error.audio_seconds,
        "partial": str(error.partial) if error.partial else None,
    }
