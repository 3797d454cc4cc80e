"""What is said to a person, on stderr, and the one JSON object on stdout."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from smallest_cli.errors import Interrupted, SmallestError
from smallest_cli.models import AudioChunk, AudioFormat, Completed, Event, Opened, Phases, Sent, WordTiming
from smallest_cli.security import escaped, safe

LINE_LIMIT = 1000


_line_is_open = False


def say(line: str) -> None:
    """One line on stderr; a stderr that is closed or full is no reason to fail."""
    end_text()
    _write(f"{safe(line, LINE_LIMIT)}\n")


def say_text(text: str) -> None:
    """Text that goes on where the last ended, on stderr."""
    global _line_is_open
    _line_is_open = True
    _write(escaped(text))


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


class Progress:
    """Looks at events as they pass: a line that is drawn anew, or a line for each where --debug asks."""

    def __init__(self, format: AudioFormat, *, watched: bool, tell: Callable[[str], None]) -> None:
        self._format = format
        self._watched = watched
        self._tell = tell
        self._status: Any = None
        self._byte_count = 0
        self._began_ns: int | None = None

    def follow(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events, each passed on before it is looked at."""
        for event in events:
            yield event
            self._tell(self._line(event))
            if self._watched and isinstance(event, AudioChunk):
                self._show(event)

    def _line(self, event: Event) -> str:
        if self._began_ns is None:
            self._began_ns = event.at_ns
        return f"{(event.at_ns - self._began_ns) / 1e6:10.3f} ms  {_told(event)}"

    def _show(self, chunk: AudioChunk) -> None:
        self._byte_count += len(chunk.pcm)
        if self._status is None:
            # Only now, while the service is at work: rich takes its time to import.
            from rich.console import Console as RichConsole

            self._status = RichConsole(stderr=True).status("")
            self._status.start()
        self._status.update(f"{self._format.duration(self._byte_count):.1f} s of audio")

    def stop(self) -> None:
        """Take the line away."""
        if self._status is not None:
            self._status.stop()


def _told(event: Event) -> str:
    match event:
        case Opened(reused=True):
            return "the connection is still open"
        case Opened(phases=phases):
            return f"connected  {steps_of(phases)}"
        case Sent():
            return "request sent"
        case AudioChunk(pcm=pcm, cached=cached):
            return f"{len(pcm)} bytes of audio{', cached' if cached else ''}"
        case WordTiming(word=word, start=start, end=end):
            return f'word "{word}"  {start * 1000:.0f} to {end * 1000:.0f} ms'
        case Completed(request_id=request_id):
            return f"complete  request id {request_id}" if request_id else "complete"


def steps_of(phases: Phases) -> str:
    """How long each step of connecting took."""
    steps = {"dns": phases.dns, "tcp": phases.tcp, "tls": phases.tls, "upgrade": phases.upgrade}
    return "  ".join(f"{name} {ns / 1e6:.1f} ms" for name, ns in steps.items())


@contextmanager
def progress_of(data: bytes, what: str) -> Iterator[BinaryIO]:
    """`data` as a file; somebody at a terminal sees how far it has been read."""
    file = io.BytesIO(data)
    if sys.stderr is None or not sys.stderr.isatty():
        yield file
        return
    from rich.console import Console as RichConsole
    from rich.progress import wrap_file

    with wrap_file(
        file, len(data), description=what, console=RichConsole(stderr=True), transient=True
    ) as watched:
        yield watched


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
