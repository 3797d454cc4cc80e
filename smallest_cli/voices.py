"""The voices that are known without asking: what the service last listed, else the bundled snapshot.

The snapshot (waves/api.md, section 7) holds about half of the standard pool, so an id that is missing
here may still be valid on the service.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from smallest_cli.models import Voice

SNAPSHOT = Path(__file__).parent / "data" / "catalogue.json"
MODELS = ("lightning_v3.1", "lightning_v3.1_pro")
FRESH_FOR_S = 24 * 3600
WORD_TIMING_VOICES = frozenset({"meher", "devansh", "kartik", "maithili", "liam", "avery"})
"""The voices that time their words, in English and Hindi only (section 3c)."""


@cache
def bundled() -> tuple[Voice, ...]:
    """Every voice of the snapshot, read on first use."""
    rows = json.loads(SNAPSHOT.read_text("utf-8"))
    return tuple(
        Voice(
            id=row["voiceId"],
            name=row["displayName"],
            model=row["pool"],
            gender=row["gender"],
            accent=row["accent"],
            languages=tuple(row["language"] or ()),
        )
        for row in rows
    )


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where lists are kept that can be asked for again."""
    if named := environ.get("SMALLEST_CACHE_DIR"):
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("smallest")


def cache_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the service's own list is kept."""
    return cache_folder(environ) / "voices.json"


def cached(base_url: str, *, fresh: bool = False) -> tuple[Voice, ...] | None:
    """What the service at a base URL last listed, None where nothing readable is kept.

    With `fresh`, None too where that is older than a day.
    """
    path = cache_path()
    try:
        if fresh and not 0 <= time.time() - path.stat().st_mtime < FRESH_FOR_S:
            return None
        kept = json.loads(path.read_text("utf-8"))
        if kept["base_url"] != base_url:
            return None
        return tuple(_voice(row) for row in kept["voices"])
    except (OSError, ValueError, TypeError, KeyError):
        return None  # a cache is no reason to fail


def _voice(row: dict[str, Any]) -> Voice:
    return Voice(**row | {"languages": tuple(row["languages"]), "use_cases": tuple(row["use_cases"])})


def keep(base_url: str, voices: Iterable[Voice]) -> None:
    """Keep what a service lists, whole or not at all; not being able to is no reason to fail."""
    path = cache_path()
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"base_url": base_url, "voices": [voice._asdict() for voice in voices]}))
        os.replace(part, path)
    except OSError:
        return


def known(base_url: str) -> tuple[Voice, ...]:
    """The voices of a service, as far as they are known without asking it."""
    return cached(base_url) or bundled()


def spelled(model: str) -> str:
    """A model as requests spell it: paths write hyphens (section 1). An unknown one is left as it is."""
    plain = model.replace("-", "_")
    return plain if plain in MODELS else model


def find(name: str, voices: Iterable[Voice] | None = None) -> Voice | None:
    """The voice of that id or else of that display name, in any case; None where there is none."""
    wanted = name.strip().casefold()
    among = bundled() if voices is None else tuple(voices)
    by_id = (voice for voice in among if voice.id.casefold() == wanted)
    by_name = (voice for voice in among if voice.name.casefold() == wanted)
    return next(by_id, None) or next(by_name, None)


def nearest(name: str, n: int = 3, voices: Iterable[Voice] | None = None) -> list[str]:
    """Up to `n` ids that look like `name`, the likeliest first."""
    from difflib import get_close_matches  # most runs spell the voice right

    among = bundled() if voices is None else voices
    return get_close_matches(name.strip().casefold(), [voice.id for voice in among], n, 0.6)
