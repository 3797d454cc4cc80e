"""What the server saw, a line of JSON for each request, for whoever measures from the other side."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from time import perf_counter_ns

from smallest_cli.errors import OutputError
from smallest_cli.models import Via


@dataclass(slots=True)
class Entry:
    """One request. Times are of the machine's monotonic clock, so another process can compare."""

    via: Via
    text: str
    key: str
    received_ns: int = field(default_factory=perf_counter_ns)
    first_audio_ns: int | None = None
    last_audio_ns: int | None = None
    completed_ns: int | None = None
    request_id: str | None = None
    status: str = "unfinished"

    def audio(self) -> None:
        """A block is about to be sent: no client can have it earlier than this."""
        self.last_audio_ns = perf_counter_ns()
        self.first_audio_ns = self.first_audio_ns or self.last_audio_ns

    def completed(self) -> None:
        """The end has been sent."""
        self.completed_ns = perf_counter_ns()
        self.status = "complete"


class Journal:
    """Appends entries to a file that only its owner can read; without a path it does nothing."""

    def __init__(self, path: str | None) -> None:
        self._file = None
        if path is None:
            return
        try:
            number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise OutputError(f"cannot write the log {path}: {error.strerror}") from None
        self._file = os.fdopen(number, "a", buffering=1, encoding="utf-8", errors="backslashreplace")

    def write(self, entry: Entry) -> None:
        """One line, in the file when this returns. Of the key it holds the last four characters."""
        if self._file is not None:
            values = asdict(entry) | {"characters": len(entry.text), "key": entry.key[-4:]}
            self._file.write(json.dumps(values, ensure_ascii=False) + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
