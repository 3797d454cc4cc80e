"""Server-sent events, encoded and parsed (WHATWG HTML, 9.2; waves/api.md, 3b)."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from smallest_cli.errors import ProtocolError
from smallest_cli.models import AudioChunk, Completed, Event
from smallest_cli.protocol.endpoints import KEEP_ALIVE_TYPES, MESSAGE_LIMIT, SSEShape
from smallest_cli.protocol.errors import decode_error_event
from smallest_cli.protocol.messages import OLD_END, decode_events


def encode_sse(event: AudioChunk | Completed, shape: SSEShape = "live") -> bytes:
    """Encode a server-sent event (waves/api.md, 3b).

    `live` is today's envelope, `older` that before August 2026, `seed` that of the v3.1 page (2c).
    """
    if isinstance(event, Completed):
        ends = {"live": {"status": "200", "done": True}, "older": {"done": True}, "seed": OLD_END}
        return b"data: " + json.dumps(ends[shape]).encode() + b"\n\n"
    audio = b64encode(event.pcm).decode("ascii")
    shapes: dict[SSEShape, dict[str, Any]] = {
        "live": {"audio": audio, "done": False, "status": "206"},
        "older": {"audio": audio},
        "seed": {"status": "chunk", "data": {"audio": audio}},
    }
    name = b"" if shape == "seed" else b"event: audio\n"
    return name + b"data: " + json.dumps(shapes[shape]).encode() + b"\n\n"


AUDIO_NAMES = (b"", b"message", b"audio")
"""Names of events that carry audio; message is the default (WHATWG HTML, 9.2.6)."""
HEARTBEATS = (b"", *(each.encode() for each in KEEP_ALIVE_TYPES))
END_NAMES = (b"complete", b"completed", b"done", b"end")
"""Names of events that may carry the end marker: the service sends it without a name."""


class EventStream:
    """Incremental parser of a server-sent event body (WHATWG HTML, 9.2; waves/api.md, 3b).

    An event without its final blank line is not dispatched, so a stream cut inside its end marker
    is never taken as complete.
    """

    def __init__(self) -> None:
        self._partial: list[bytes] = []
        self._data: list[bytes] = []
        self._name = b""
        self._buffered = 0
        self._after_cr = False
        self._first_line = True

    def feed(self, data: bytes, at_ns: int = 0) -> Iterator[Event]:
        """Yield the events that `data` completes, stamped `at_ns`. The iterator must be exhausted."""
        for line in self._lines(data):
            if not line:
                lines, name = self._data, self._name
                self._data, self._name, self._buffered = [], b"", 0
                if lines:
                    yield from _decode_event(name, b"\n".join(lines), at_ns)
                continue
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
                self._count(len(line))
            elif field == b"event":
                self._name = value.removeprefix(b" ")

    def _count(self, byte_count: int) -> None:
        self._buffered += byte_count
        if self._buffered > MESSAGE_LIMIT:
            raise ProtocolError(f"a server-sent event longer than {MESSAGE_LIMIT >> 20} MiB")

    def _lines(self, data: bytes) -> list[bytes]:
        if not data:
            return []
        # A CRLF may be cut between two reads: its LF is not another line end.
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
            if not data:
                return []
        self._after_cr = data.endswith(b"\r")
        lines = data.splitlines()  # bytes are split at CR, LF and CRLF only
        partial = b"" if data.endswith((b"\n", b"\r")) else lines.pop()
        if lines:
            lines[0] = b"".join(self._partial) + lines[0]
            self._partial = []
            if self._first_line:
                lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
                self._first_line = False
        if partial:
            self._partial.append(partial)
            self._count(len(partial))
        return lines


def _decode_event(name: bytes, data: bytes, at_ns: int) -> list[Event]:
    """Decode a server-sent event; a heartbeat is blank, or has another name. Raises RemoteError."""
    if name == b"error":
        raise decode_error_event(data)
    if name not in AUDIO_NAMES + END_NAMES or data.strip() in HEARTBEATS:
        return []
    try:
        return decode_events(data, at_ns)
    except ProtocolError:
        if name in AUDIO_NAMES:
            raise
        return []  # the name of an end alone does not prove that the audio is complete
