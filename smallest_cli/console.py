"""What is said to a person, on stderr, and the one JSON object on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from smallest_cli.errors import Interrupted, SmallestError
from smallest_cli.safety import safe
from smallest_cli.speech import AudioChunk, AudioFormat, Event

LINE_LIMIT = 1000


def say(line: str) -> None:
    """One line on stderr; a stderr that is closed or full is no reason to fail."""
    try:
        print(safe(line, LINE_LIMIT), file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        return


class Console:
    """How much of a run a person wants to hear of."""

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self._quiet = quiet
        self._verbose = verbose
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

    def follow(self, events: Iterable[Event], format: AudioFormat) -> Iterator[Event]:
        """The same events; somebody who watches sees how much audio has come."""
        if not self._watched:
            yield from events
            return
        status, byte_count = None, 0
        try:
            for event in events:
                yield event
                if isinstance(event, AudioChunk):
                    byte_count += len(event.pcm)
                    if status is None:
                        # Only now, while the service is at work: rich takes its time to import.
                        from rich.console import Console as RichConsole

                        status = RichConsole(stderr=True).status("")
                        status.start()
                    status.update(f"{format.duration(byte_count):.1f} s")
        finally:
            if status is not None:
                status.stop()


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


def failure_as_json(error: SmallestError) -> dict[str, Any]:
    """A failure as the object that --json prints."""
    return {
        "error": str(error),
        "exit": error.exit_code,
        "hint": error.hint,
        "request_id": error.request_id,
        "audio_seconds": getattr(error, "audio_seconds", 0.0),
        "partial": str(error.partial) if error.partial else None,
    }
