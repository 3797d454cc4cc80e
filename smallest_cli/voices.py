"""The voices that are known without asking: what the service last listed, else the bundled snapshot.

The snapshot (waves/api.md, section 7) holds about half of the standard pool, so an id that is missing
here may still be valid on the service.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from smallest_cli.errors import UsageError
from smallest_cli.models import Api, Voice
from smallest_cli.security import printable

SNAPSHOT = Path(__file__).parent / "data" / "catalogue.json"
MODELS = ("lightning_v3.1", "lightning_v3.1_pro")
FRESH_FOR_S = 24 * 3600
WORD_TIMING_VOICES = frozenset({"meher", "devansh", "kartik", "maithili", "liam", "avery"})
"""The voices that support word timestamps, in these languages only (waves/api.md, 3c)."""
WORD_TIMING_LANGUAGES = ("en", "hi")


@cache
def bundled_voices() -> tuple[Voice, ...]:
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


def cached_voices(base_url: str, *, fresh: bool = False) -> tuple[Voice, ...] | None:
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


def cache_voices(base_url: str, voices: Iterable[Voice]) -> None:
    """Keep what a service lists, whole or not at all; not being able to is no reason to fail."""
    path = cache_path()
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"base_url": base_url, "voices": [voice._asdict() for voice in voices]}))
        os.replace(part, path)
    except OSError:
        return


def known_voices(base_url: str) -> tuple[Voice, ...]:
    """The voices of a service, as far as they are known without asking it."""
    return cached_voices(base_url) or bundled_voices()


def canonical_model(model: str) -> str:
    """A model as requests spell it: paths write hyphens (section 1). An unknown one is left as it is."""
    plain = model.replace("-", "_")
    return plain if plain in MODELS else model


def find_voice(name: str, voices: Iterable[Voice] | None = None) -> Voice | None:
    """The voice of that id or else of that display name, in any case; None where there is none."""
    wanted = name.strip().casefold()
    among = bundled_voices() if voices is None else tuple(voices)
    by_id = (voice for voice in among if voice.id.casefold() == wanted)
    by_name = (voice for voice in among if voice.name.casefold() == wanted)
    return next(by_id, None) or next(by_name, None)


def nearest_ids(name: str, n: int = 3, voices: Iterable[Voice] | None = None) -> list[str]:
    """Up to `n` ids that look like `name`, the likeliest first."""
    from difflib import get_close_matches  # most runs spell the voice right

    among = bundled_voices() if voices is None else voices
    return get_close_matches(name.strip().casefold(), [voice.id for voice in among], n, 0.6)


DEFAULT_VOICE, DEFAULT_MODEL = "meher", "lightning_v3.1_pro"
OLDER_VOICE = "magnus"


class ResolvedVoice(NamedTuple):
    """A voice's id, its model (None where the API has none), and what a person should know of it."""

    voice: str
    model: str | None
    warnings: tuple[str, ...] = ()


def resolve_voice(
    voice: str | None, model: str | None, api: Api = "unified", *, base_url: str = "", force: bool = False
) -> ResolvedVoice:
    """Settle who speaks, by what the service at `base_url` last listed.

    Raises UsageError where voice and model are of different pools: the service answers such a pair with
    wrong audio and no error (waves/api.md, 2a), so it is refused here, unless `force` asks for it.
    """
    if api != "unified":
        return ResolvedVoice(voice or OLDER_VOICE, model if api == "v3.1" else None)
    if model is not None:
        model = canonical_model(model)
    if voice is None:
        return _default(model)
    voices = known_voices(base_url)
    known = find_voice(voice, voices)
    if known is None:
        return _unknown(voice, model, voices)
    if model is None or model == known.model:
        return ResolvedVoice(known.id, known.model)
    if force:
        return ResolvedVoice(known.id, model)
    if model in MODELS:
        raise UsageError(
            f"{known.id} is a voice of {known.model}, not of {model}",
            hint=f"use --model {known.model} or another voice, or send it anyway with --force",
        )
    return ResolvedVoice(known.id, model, (f"the model {printable(model, 60)} is not known here",))


def _default(model: str | None) -> ResolvedVoice:
    if model == "lightning_v3.1":
        return ResolvedVoice(OLDER_VOICE, model)
    if model in (None, DEFAULT_MODEL):
        return ResolvedVoice(DEFAULT_VOICE, DEFAULT_MODEL)
    return ResolvedVoice(DEFAULT_VOICE, model, (f"the model {printable(model, 60)} is not known here",))


def _unknown(voice: str, model: str | None, voices: Iterable[Voice]) -> ResolvedVoice:
    """A clone, a new voice or a slip of the pen: sent as it is, for only the service knows."""
    if model is not None:
        return ResolvedVoice(voice, model)
    near = ", ".join(nearest_ids(voice, voices=voices))
    names = f"; near it are {near}" if near else ""
    warning = f"the catalogue has no voice {printable(voice, 60)}{names}; it is tried on {DEFAULT_MODEL}"
    return ResolvedVoice(voice, DEFAULT_MODEL, (warning,))


# Codes of waves/api.md, section 2a, and the names that voices are tagged with.
LANGUAGES = {
    "en": "english", "hi": "hindi", "mr": "marathi", "kn": "kannada", "ta": "tamil", "bn": "bengali",
    "gu": "gujarati", "te": "telugu", "ml": "malayalam", "pa": "punjabi", "or": "odia", "es": "spanish",
    "de": "german", "fr": "french", "it": "italian", "nl": "dutch", "sv": "swedish", "pt": "portuguese",
    "ru": "russian", "el": "greek", "fi": "finnish", "no": "norwegian", "pl": "polish", "ar": "arabic",
    "zh": "chinese", "id": "indonesian", "ja": "japanese", "ko": "korean", "ms": "malay", "tr": "turkish",
    "vi": "vietnamese",
}  # fmt: skip
PRO_ONLY_LANGUAGES = frozenset({"el", "fi", "no", "ar", "zh", "id", "ja", "ko", "ms", "tr", "vi"})
"""Codes that only lightning_v3.1_pro accepts; both models take all others (waves/api.md, 2a)."""


@dataclass(frozen=True, kw_only=True)
class VoiceFilter:
    """What a voice must be, all of it; None asks for nothing."""

    search: str | None = None
    language: str | None = None
    gender: str | None = None
    accent: str | None = None
    age: str | None = None
    use_case: str | None = None
    model: str | None = None

    def words(self) -> str:
        """The wish as the options that say it."""
        given = ((each.name, getattr(self, each.name)) for each in fields(self))
        return " ".join(
            f"--{name.replace('_', '-')} {printable(value, 60)}" for name, value in given if value
        )


_TAGS = {"language": "languages", "use_case": "use_cases"}


def filter_voices(voices: Iterable[Voice], wish: VoiceFilter) -> list[Voice]:
    """The voices that meet every part of a wish, in their order."""
    return [
        voice
        for voice in voices
        if all(_meets(voice, each.name, getattr(wish, each.name)) for each in fields(wish))
    ]


def _meets(voice: Voice, name: str, wanted: str | None) -> bool:
    if wanted is None:
        return True
    wanted = wanted.strip().casefold()
    match name:
        case "search":
            return wanted in voice.id.casefold() or wanted in voice.name.casefold()
        case "language":
            return LANGUAGES.get(wanted, wanted) in (each.casefold() for each in voice.languages)
        case "use_case":
            return any(wanted in each.casefold() for each in voice.use_cases)
        case "model":
            return voice.model == wanted.replace("-", "_")
    tag = str(getattr(voice, name) or "").casefold().replace("-", " ")
    return tag.startswith(wanted.replace("-", " "))


def describe_alternatives(voices: Iterable[Voice], wish: VoiceFilter) -> str:
    """The values of the parts that were wished for, for somebody whose wish nothing met."""
    told = []
    among = list(voices)
    for each in fields(wish):
        if getattr(wish, each.name) is None or each.name == "search":
            continue
        values: set[str] = set()
        for voice in among:
            value = getattr(voice, _TAGS.get(each.name, each.name))
            values |= set(value) if isinstance(value, tuple) else {value} if value else set()
        told.append(f"{each.name.replace('_', ' ')}: {' '.join(sorted(values)) or 'not told of any voice'}")
    if wish.search is not None:
        near = nearest_ids(wish.search, voices=among)
        told.append(
            f"near {printable(wish.search, 60)}: {' '.join(near)}"
            if near
            else "smallest voices lists them all"
        )
    return "; ".join(told)
