"""The request log: one JSON line per request, for server-side measurements."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass, field
from time import perf_counter_ns

from smallest_cli.errors import OutputError
from smallest_cli.models import Via
from smallest_cli.security import printable, translate_os_errors

logger = logging.getLogger(__name__)


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
    ended_ns: int | None = None  # completed, failed, or the client closed the connection
    audio_bytes: int = 0  # written to the socket
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
    """Append entries to a file with mode 0600; do nothing when `path` is None. Raises OutputError.

    Nothing waits: a FIFO without a reader is an error. An entry that cannot be written fails no request:
    it ends the log, with a warning.
    """

    def __init__(self, path: str | None) -> None:
        self._descriptor, self._path = -1, path
        if path is not None:
            with translate_os_errors(OutputError, "write the log", path):
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
                self._descriptor = os.open(path, flags, 0o600)

    def write(self, entry: LogEntry) -> None:
        """Append one line. Only the last four characters of the key are written."""
        entry.ended_ns = perf_counter_ns()
        if self._descriptor < 0:
            return
        values = asdict(entry) | {"characters": len(entry.text), "key": entry.key[-4:]}
        line = json.dumps(values, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"
        try:
            # Unbuffered: each entry can be read as soon as its request has ended.
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError as error:
            logger.warning("smallest: warning: the log %s ends: %s", printable(self._path), error.strerror)
            self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
