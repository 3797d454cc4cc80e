"""The request log: one JSON line per request, for server-side measurements."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from time import perf_counter_ns

from smallest_cli.errors import OutputError
from smallest_cli.models import Via
from smallest_cli.security import translate_os_errors


@dataclass(slots=True)
class LogEntry:
    """One request. Times are nanoseconds of the monotonic clock, comparable between processes."""

    via: Via
    text: str
    key: str
    voice: str
    received_ns: int = field(default_factory=perf_counter_ns)
    first_audio_ns: int | None = None
    last_audio_ns: int | None = None
    completed_ns: int | None = None
    request_id: str | None = None
    status: str = "unfinished"

    def mark_audio(self) -> None:
        """Record the time just before a block is sent, the earliest a client can receive it."""
        self.last_audio_ns = perf_counter_ns()
        self.first_audio_ns = self.first_audio_ns or self.last_audio_ns

    def mark_completed(self) -> None:
        """Record that the end marker has been sent."""
        self.completed_ns = perf_counter_ns()
        self.status = "complete"


class RequestLog:
    """Append entries to a file with mode 0600; do nothing when `path` is None. Raises OutputError."""

    def __init__(self, path: str | None) -> None:
        self._file = None
        if path is None:
            return
        with translate_os_errors(OutputError, "write the log", path):
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        # Line buffered: each entry can be read as soon as its request has ended.
        self._file = os.fdopen(descriptor, "a", buffering=1, encoding="utf-8", errors="backslashreplace")

    def write(self, entry: LogEntry) -> None:
        """Append one line. Only the last four characters of the key are written."""
        if self._file is not None:
            values = asdict(entry) | {"characters": len(entry.text), "key": entry.key[-4:]}
            self._file.write(json.dumps(values, ensure_ascii=False) + "\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
