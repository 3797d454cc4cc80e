"""The voices that are known without asking: the bundled catalogue (waves/api.md, section 7).

It is a snapshot and holds about half of the standard pool, so an id that is missing here may still
be valid on the service.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from smallest_cli.speech import Voice

SNAPSHOT = Path(__file__).with_name("catalogue.json")
WORD_TIMING_VOICES = frozenset({"meher", "devansh", "kartik", "maithili", "liam", "avery"})
"""The voices that time their words, in English and Hindi only (section 3c)."""


@cache
def bundled() -> tuple[Voice, ...]:
    """Every voice of the snapshot, read on first use."""
    rows = json.loads(SNAPSHOT.read_text("utf-8"))
    return tuple(_voice(row) for row in rows)


def _voice(row: dict[str, Any]) -> Voice:
    return Voice(
        id=row["voiceId"],
        name=row["displayName"],
        model=row["pool"],
        gender=row["gender"],
        accent=row["accent"],
        languages=tuple(row["language"] or ()),
    )


def find(name: str, voices: Iterable[Voice] | None = None) -> Voice | None:
    """The voice of that id or else of that display name, in any case; None where there is none."""
    wanted = name.strip().casefold()
    known = bundled() if voices is None else tuple(voices)
    by_id = (voice for voice in known if voice.id.casefold() == wanted)
    by_name = (voice for voice in known if voice.name.casefold() == wanted)
    return next(by_id, None) or next(by_name, None)


def nearest(name: str, n: int = 3) -> list[str]:
    """Up to `n` bundled ids that look like `name`, the likeliest first."""
    from difflib import get_close_matches  # most runs spell the voice right

    return get_close_matches(name.strip().casefold(), [voice.id for voice in bundled()], n, 0.6)
