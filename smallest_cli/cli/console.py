"""Print warnings, details, progress and errors on stderr, and the JSON object on stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from smallest_cli import models
from smallest_cli.errors import Interrupted, SmallestError, plural
from smallest_cli.security import printable, redact_all

if TYPE_CHECKING:
    from smallest_cli.audio.sink import Sink

LINE_LIMIT = 1000
RED, DIM = "31", "2"
"""Styles of a terminal, as the numbers of its escape sequence."""
MINUTE_S = 60.0


def print_line(line: str, style: str = "") -> None:
    """Print a line on stderr, on a terminal in a style. Write errors, e.g. a closed stderr, are ignored."""
    with suppress(OSError, ValueError, AttributeError):
        text = printable(line, LINE_LIMIT)
        sys.stderr.write(f"\x1b[{style}m{text}\x1b[0m\n" if style and _shows_styles() else f"{text}\n")
        sys.stderr.flush()


def _shows_styles() -> bool:
    wanted = not os.environ.get("NO_COLOR") and (os.environ.get("TERM") or "dumb") != "dumb"
    return wanted and sys.stderr.isatty() and "--json" not in sys.argv


def rich_console() -> Any:
    """Return a rich console on stderr that never hides the cursor.

    It would stay hidden where the process is stopped or killed while something is drawn.
    """
    from rich.console import Console

    console = Console(stderr=True)
    console.show_cursor = lambda show=True: False  # type: ignore[method-assign]
    return console


def duration(seconds: float) -> str:
    """Return a duration for people: `4.2 s`, `12:04`, `1:02:03`."""
    if seconds < MINUTE_S:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def describe_progress(audio_s: float, done: int, total: int, elapsed_s: float) -> str:
    """Return the progress line: of `total` segments (0: not known), `done` are complete."""
    if total < 2:
        return f"{duration(audio_s)} of audio"
    left = f"  {duration(elapsed_s / done * (total - done))} left" if done else ""
    return f"{done}/{total} segments  {100 * done // total} %{left}"


class Progress:
    """Show the events of a run: a progress line on a terminal, or one line per event."""

    def __init__(
        self, format: models.AudioFormat, total: int, *, drawn: bool, debug: Callable[[str], None] | None
    ) -> None:
        """`total`: number of segments, 0 if it is not known. `drawn`: whether to draw a progress line.

        `debug` is called with a line for each event.
        """
        self._format = format
        self._total = total
        self._drawn = drawn
        self._debug = debug
        self._status: Any = None
        self._byte_count = self._done = self._now_ns = 0
        self._start_ns: int | None = None
        self._player: Sink | None = None

    def watch(self, sink: Sink) -> None:
        """Show the position of a sink that plays."""
        self._player = sink

    def on_event(self, event: models.Event) -> None:
        """Show one event."""
        if self._start_ns is None:
            self._start_ns = event.at_ns
        self._now_ns = event.at_ns
        self._done += isinstance(event, models.Completed)
        if self._debug:
            self._debug(f"{(event.at_ns - self._start_ns) / 1e6:10.3f} ms  {_describe(event)}")
        elif self._drawn and isinstance(event, models.AudioChunk):
            if self._status is None:
                # After the request is sent: importing rich takes 40 ms.
                self._status = rich_console().status(self)
                self._status.start()
            self._byte_count += len(event.pcm)

    def __rich__(self) -> str:
        """Return the line, each time that it is drawn."""
        elapsed_s = (self._now_ns - (self._start_ns or 0)) / 1e9
        line = describe_progress(self._format.duration(self._byte_count), self._done, self._total, elapsed_s)
        if self._player:
            with suppress(SmallestError):  # the next write reports it
                line += f"  {duration(self._player.frames_played() / self._format.sample_rate)} played"
        return line

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

    def confirms(self, question: str) -> bool:
        """Ask at a terminal; False elsewhere, and by default."""
        if not self._terminal or sys.stdin is None or not sys.stdin.isatty():
            return False
        from typer import Abort, confirm

        try:
            return confirm(printable(question, LINE_LIMIT), err=True)
        except Abort:  # the end of input
            return False

    @property
    def shows_info(self) -> bool:
        """Whether summary lines are printed: on a terminal, or with --verbose."""
        return self._terminal or self._verbose

    def info(self, line: str) -> None:
        """Print a summary line, if they are shown."""
        if self.shows_info:
            print_line(line)

    def detail(self, line: str) -> None:
        """Print a line with --verbose."""
        if self._verbose:
            print_line(line)

    def debug(self, line: str) -> None:
        """Print a line with --debug."""
        if self._debug:
            print_line(line)

    def progress(self, format: models.AudioFormat, total: int, *, drawn: bool) -> Progress:
        """Return an observer of events; `drawn`: whether the terminal is free for a progress line."""
        drawn = drawn and self._terminal and not self._debug
        return Progress(format, total, drawn=drawn, debug=self.debug if self._debug else None)

    @contextmanager
    def progress_bar(self, total: int, *, upload: str = "") -> Iterator[Callable[[int], None]]:
        """Show a progress bar on a terminal: of `total` steps, or bytes if `upload` names an upload.

        Yields a function to call with the number of steps done.
        """
        if not self._terminal or self._debug:
            yield lambda _: None
            return
        from rich import progress

        bar, time_left = progress.BarColumn(), progress.TimeRemainingColumn()
        columns: tuple[progress.ProgressColumn, ...] = (bar, progress.MofNCompleteColumn(), time_left)
        if upload:
            columns = (progress.TextColumn(upload, markup=False), bar, progress.DownloadColumn(), time_left)
        with progress.Progress(*columns, console=rich_console(), transient=True) as bars:
            task = bars.add_task("", total=total)
            yield lambda steps: bars.advance(task, steps)


def print_error(error: SmallestError | Interrupted) -> None:
    """Print the error in one line, then the hint, the partial file and the request id."""
    print_line(f"smallest: {error}", RED)
    for line in filter(None, error.hint.split("\n")):
        print_line(f"  {line}", DIM)
    if error.partial:
        print_line(f"  partial audio saved to {error.partial}")
    if error.request_id:
        print_line(f"  request id {error.request_id}", DIM)


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
