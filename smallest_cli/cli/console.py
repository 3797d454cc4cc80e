"""Print warnings, details, progress and errors on stderr, and the JSON object on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from smallest_cli import models
from smallest_cli.errors import Interrupted, SmallestError, plural
from smallest_cli.security import printable, redact_all

LINE_LIMIT = 1000


def print_line(line: str) -> None:
    """Print a line on stderr. Write errors, e.g. a closed stderr, are ignored."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{printable(line, LINE_LIMIT)}\n")
        sys.stderr.flush()


class Progress:
    """Show the events of a run: a progress line on a terminal, or one line per event."""

    def __init__(
        self, format: models.AudioFormat, *, drawn: bool, debug: Callable[[str], None] | None
    ) -> None:
        """`drawn`: whether to draw a progress line; `debug` is called with a line for each event."""
        self._format = format
        self._drawn = drawn
        self._debug = debug
        self._status: Any = None
        self._byte_count = 0
        self._start_ns: int | None = None

    def on_event(self, event: models.Event) -> None:
        """Show one event."""
        if self._debug:
            if self._start_ns is None:
                self._start_ns = event.at_ns
            self._debug(f"{(event.at_ns - self._start_ns) / 1e6:10.3f} ms  {_describe(event)}")
        elif self._drawn and isinstance(event, models.AudioChunk):
            if self._status is None:
                # Import after the request is sent: rich takes 40 ms.
                from rich.console import Console as RichConsole

                self._status = RichConsole(stderr=True).status("")
                self._status.start()
            self._byte_count += len(event.pcm)
            self._status.update(f"{self._format.duration(self._byte_count):.1f} s of audio")

    def stop(self) -> None:
        """Erase the progress line."""
        if self._status is not None:
            self._status.stop()


def _describe(event: models.Event) -> str:
    match event:
        case models.Opened(reused=True):
            return "the connection is still open"
        case models.Opened(phases=phases):
            return f"connected  {describe_phases(phases)}"
        case models.Sent():
            return "request sent"
        case models.AudioChunk(pcm=pcm, cached=cached):
            return f"{plural(len(pcm), 'byte')} of audio{', cached' if cached else ''}"
        case models.WordTiming(word=word, start=start, end=end):
            return f'word "{word}"  {start * 1000:.0f} to {end * 1000:.0f} ms'
        case models.AudioEnded():
            return "audio of the next request follows"
        case models.Refused(error=error):
            return f"refused  {error}"
        case models.Completed(request_id=request_id):
            return f"complete  request id {request_id}" if request_id else "complete"


def describe_phases(phases: models.Phases) -> str:
    """Format the time of each connection phase."""
    steps = {"dns": phases.dns, "tcp": phases.tcp, "tls": phases.tls, "upgrade": phases.upgrade}
    return "  ".join(f"{name} {ns / 1e6:.1f} ms" for name, ns in steps.items())


class Console:
    """stderr at a level of detail: quiet, normal, verbose or debug."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False, debug: bool = False) -> None:
        self._quiet = quiet
        self._verbose = verbose or debug
        self._debug = debug
        self._terminal = sys.stderr is not None and sys.stderr.isatty() and not quiet

    def warn(self, line: str) -> None:
        """Print a warning."""
        if not self._quiet:
            print_line(f"smallest: warning: {line}")

    def info(self, line: str) -> None:
        """Print a summary line, on a terminal or with --verbose."""
        if self._terminal or self._verbose:
            print_line(line)

    def detail(self, line: str) -> None:
        """Print a line with --verbose."""
        if self._verbose:
            print_line(line)

    def debug(self, line: str) -> None:
        """Print a line with --debug."""
        if self._debug:
            print_line(line)

    def progress(self, format: models.AudioFormat, *, drawn: bool) -> Progress:
        """Return an observer of events; `drawn`: whether the terminal is free for a progress line."""
        drawn = drawn and self._terminal and not self._debug
        return Progress(format, drawn=drawn, debug=self.debug if self._debug else None)

    @contextmanager
    def progress_bar(self, total: int, *, upload: str = "") -> Iterator[Callable[[int], None]]:
        """Show a progress bar on a terminal: of `total` steps, or bytes if `upload` names an upload.

        Yields a function to call with the number of steps done.
        """
        if not self._terminal or self._debug:
            yield lambda _: None
            return
        from rich import progress
        from rich.console import Console as RichConsole

        bar, time_left = progress.BarColumn(), progress.TimeRemainingColumn()
        columns: tuple[progress.ProgressColumn, ...] = (bar, progress.MofNCompleteColumn(), time_left)
        if upload:
            columns = (progress.TextColumn(upload, markup=False), bar, progress.DownloadColumn(), time_left)
        with progress.Progress(*columns, console=RichConsole(stderr=True), transient=True) as bars:
            task = bars.add_task("", total=total)
            yield lambda steps: bars.advance(task, steps)


def print_error(error: SmallestError | Interrupted) -> None:
    """Print the error in one line, then the hint, the partial file and the request id."""
    print_line(f"smallest: {error}")
    if error.hint:
        print_line(f"  {error.hint}")
    if error.partial:
        print_line(f"  partial audio saved to {error.partial}")
    if error.request_id:
        print_line(f"  request id {error.request_id}")


def print_json(result: Mapping[str, Any]) -> None:
    """Print one object on stdout, without keys, and in ASCII, so that it cannot control a terminal."""
    print(json.dumps(redact_all(result)), flush=True)


def error_as_json(error: SmallestError | Interrupted) -> dict[str, Any]:
    """Return a failure or signal as the object that --json prints."""
    return {
        **error.summary,
        "error": str(error),
        "exit": error.exit_code,
        "hint": error.hint,
        "request_id": error.request_id,
        "retry_after": getattr(error, "retry_after", None),
        "audio_seconds": error.audio_seconds,
        "partial": str(error.partial) if error.partial else None,
    }
