"""The published messages, and helpers to decode them.

The tests state the expected results from the documentation, not from the codec: an error shared by both
sides would pass every round trip.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

from hypothesis import settings

from smallest_cli.errors import (
    SmallestError,
)
from smallest_cli.models import Event
from smallest_cli.protocol.messages import decode_events
from smallest_cli.protocol.sse import EventStream
from tests.support import GOLDEN


def golden(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


WS, SSE, SYNC = golden("ws"), golden("sse"), golden("sync")
REFUSALS, VOICES, OLDER = golden("errors"), golden("voices"), golden("older")
SSE_RAW = (GOLDEN / "sse_raw.txt").read_bytes()

# Written as numbers, so that sign and byte order are checked too.
PCM = struct.pack("<8h", 0, 1200, 2400, 1200, 0, -1200, -2400, -1200)
TASK = "task_6ba7b810-9dad"
OLD_TASK = "047c9091-b770-41d8-b96b-907d1c8406c0"
HOSTILE = "a\x1b[31mb\rc\nd\x07e\x9bf\u202eg\u2066h\u200bi\u2028j\x00k\ud800l"

fuzz = settings(deadline=None, max_examples=150)


def decode(message: dict[str, Any], **options: Any) -> list[Event]:
    return decode_events(json.dumps(message), **options)


def stream(*pieces: bytes) -> list[Event]:
    events = EventStream()
    return [event for piece in pieces for event in events.feed(piece)]


def outcome(read: Callable[..., list[Event]], *given_: Any, **options: Any) -> list[Event] | SmallestError:
    """Return the events or the SmallestError; any other exception fails the test."""
    try:
        return read(*given_, **options)
    except SmallestError as error:
        return error


def shown(error: SmallestError) -> str:
    """All parts of an error that reach a terminal."""
    return str(error) + error.hint + (error.request_id or "")
