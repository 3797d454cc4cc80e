"""Voices known without a request (the service's last list, else the bundled one), and voice resolution.

The bundled list (waves/api.md, section 7) holds about half of the standard pool, so an id that is missing
here may still be valid.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from smallest_cli.errors import OutputError, UsageError
from smallest_cli.models import MODELS, PRO_MODEL, STANDARD_MODEL, Api, Voice
from smallest_cli.security import printable
from smallest_cli.settings import package_data, read_regular, user_folder

MAX_AGE_S = 24 * 3600
LIST_LIMIT = 50_000_000
"""Bytes of a stored list that are read at most; a longer one is cut and so not valid."""
DEFAULT_VOICE, DEFAULT_MODEL = "meher", PRO_MODEL
STANDARD_VOICE = "magnus"
"""The default of the standard model and of the older APIs."""
CLONE_PREFIX = "voice_"
"""How ids of cloned voices begin, which no list has (waves/api.md, 8)."""
WORD_TIMING_VOICES = frozenset({"meher", "devansh", "kartik", "maithili", "liam", "avery"})
WORD_TIMING_LANGUAGES = ("en", "hi")
"""The voices and languages for which the service sends word times (waves/api.md, 3c)."""
LANGUAGES = {
    "en": "english", "hi": "hindi", "mr": "marathi", "kn": "kannada", "ta": "tamil", "bn": "bengali",
    "gu": "gujarati", "te": "telugu", "ml": "malayalam", "pa": "punjabi", "or": "odia", "es": "spanish",
    "de": "german", "fr": "french", "it": "italian", "nl": "dutch", "sv": "swedish", "pt": "portuguese",
    "ru": "russian", "el": "greek", "fi": "finnish", "no": "norwegian", "pl": "polish", "ar": "arabic",
    "zh": "chinese", "id": "indonesian", "ja": "japanese", "ko": "korean", "ms": "malay", "tr": "turkish",
    "vi": "vietnamese",
}  # fmt: skip
"""Language code in requests (waves/api.md, 2a) -> name in the tags of voices."""
PRO_ONLY_LANGUAGES = frozenset({"el", "fi", "no", "ar", "zh", "id", "ja", "ko", "ms", "tr", "vi"})
"""Codes that only lightning_v3.1_pro accepts; both models take all others (waves/api.md, 2a)."""
LANGUAGE_CODES = {name: code for code, name in LANGUAGES.items()}
_TAGS = {"language": "languages", "use_case": "use_cases"}
"""Filter criterion -> field of a voice that holds several values."""


@cache
def bundled_voices() -> tuple[Voice, ...]:
    """Return the bundled voices; the file is read once."""
    return tuple(
        Voice(
            id=row["voiceId"],
            name=row["displayName"],
            model=row["pool"],
            gender=row["gender"],
            accent=row["accent"],
            languages=tuple(row["language"] or ()),
        )
        for row in json.loads(package_data("data/catalogue.json"))
    )


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder for data that can be fetched again."""
    return user_folder("cache", environ.get("SMALLEST_CACHE_DIR"))


def cache_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the service's cached voice list."""
    return cache_folder(environ) / "voices.json"


def cached_voices(base_url: str, *, fresh: bool = False) -> tuple[Voice, ...] | None:
    """Return the last list of the service at `base_url`; None if there is none that is readable.

    With `fresh`, also None if it is older than a day.
    """
    path = cache_path()
    try:
        if fresh and not 0 <= time.time() - path.stat().st_mtime < MAX_AGE_S:
            return None
        stored = json.loads(read_regular(path, LIST_LIMIT)[0])
        if stored["base_url"] != base_url:
            return None
        voices = tuple(
            Voice(**row | {name: tuple(row[name]) for name in _TAGS.values()}) for row in stored["voices"]
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None  # a damaged cache counts as missing
    texts = (text for each in voices for text in (each.id, each.name, each.model, *each.languages))
    return voices if all(isinstance(text, str) for text in texts) else None


def cache_voices(base_url: str, voices: Iterable[Voice]) -> None:
    """Store a service's list; errors are ignored, as the list can be fetched again."""
    from smallest_cli.files import atomic_write  # most runs write no list

    stored = {"base_url": base_url, "voices": [voice._asdict() for voice in voices]}
    with suppress(OutputError):
        atomic_write(cache_path(), json.dumps(stored).encode())


def describe_list(base_url: str) -> str:
    """Return where the known voices of a service are from, and how old the list is."""
    if cached_voices(base_url) is None:
        return "bundled with this version"
    age_s = max(0.0, time.time() - cache_path().stat().st_mtime)
    age = f"{age_s / 3600:.0f} h" if age_s < MAX_AGE_S else f"{age_s / MAX_AGE_S:.0f} days"
    return f"from {base_url}, {age} old"


def known_voices(base_url: str) -> tuple[Voice, ...]:
    """Return a service's voices as far as they are known without a request."""
    return cached_voices(base_url) or bundled_voices()


def canonical_model(model: str) -> str:
    """Return a model as requests spell it (waves/api.md, 1); an unknown one is unchanged."""
    name = model.replace("-", "_")
    return name if name in MODELS else model


def find_voice(name: str, voices: Iterable[Voice] | None = None) -> Voice | None:
    """Return the voice with that id, else with that display name, ignoring case; None for no match."""
    wanted = name.strip().casefold()
    among = bundled_voices() if voices is None else tuple(voices)
    by_id = (voice for voice in among if voice.id.casefold() == wanted)
    by_name = (voice for voice in among if voice.name.casefold() == wanted)
    return next(by_id, None) or next(by_name, None)


def check_language(language: str | None) -> None:
    """Raise UsageError for a language's name or a variant of a known code; the service judges others."""
    if language is None or language in LANGUAGES or language == "auto":
        return
    from difflib import get_close_matches  # only needed for such a mistake

    codes = LANGUAGE_CODES | {code: code for code in LANGUAGES}
    wanted = language.strip().casefold().replace("_", "-").partition("-")[0]
    for name in [wanted] if wanted in codes else get_close_matches(wanted, LANGUAGE_CODES, 1, 0.75):
        problem = f"unknown language '{printable(language, 40)}' (did you mean {codes[name]}?)"
        raise UsageError(problem, hint="send it anyway: --force")


def nearest_ids(name: str, n: int = 3, voices: Iterable[Voice] | None = None) -> list[str]:
    """Return up to `n` ids that resemble `name`, best match first."""
    from difflib import get_close_matches  # only needed for a misspelt voice

    among = bundled_voices() if voices is None else voices
    return get_close_matches(name.strip().casefold(), [voice.id for voice in among], n, 0.6)


class UnknownVoice(UsageError):
    """A voice that the list of the service does not have."""


class VoiceMismatch(UsageError):
    """A voice and a model that do not belong together."""


class ResolvedVoice(NamedTuple):
    """A voice's id, its model (None if the API has none) and warnings for the user."""

    voice: str
    model: str | None
    warnings: tuple[str, ...] = ()


def resolve_voice(
    voice: str | None, model: str | None, api: Api = "unified", *, base_url: str = "", force: bool = False
) -> ResolvedVoice:
    """Resolve a voice and its model by the list of the service at `base_url`.

    Raises UsageError unless `force` if they belong to different pools: the service refuses such a pair, and
    once answered it with wrong audio (waves/api.md, 0.5). Raises UnknownVoice for a voice that is not listed
    and no clone, unless a model or `force` says that it is meant.
    """
    if api != "unified":
        return ResolvedVoice(voice or STANDARD_VOICE, model if api == "v3.1" else None)
    if model is not None:
        model = canonical_model(model)
    unknown_model = f"unknown model '{printable(model, 60)}'; sending it anyway"
    if voice is None:
        if model == STANDARD_MODEL:
            return ResolvedVoice(STANDARD_VOICE, model)
        if model in (None, DEFAULT_MODEL):
            return ResolvedVoice(DEFAULT_VOICE, DEFAULT_MODEL)
        return ResolvedVoice(DEFAULT_VOICE, model, (unknown_model,))
    voices = known_voices(base_url)
    known = find_voice(voice, voices)
    if known is None:
        # A clone, a new voice or a typo: only the service knows.
        if model in MODELS:
            return ResolvedVoice(voice, model)
        nearest = ", ".join(nearest_ids(voice, voices=voices))
        hint = f" (did you mean {nearest}?)" if nearest else ""
        unknown_voice = f"unknown voice '{printable(voice, 60)}'{hint}"
        if model is not None:
            return ResolvedVoice(voice, model, (unknown_model, unknown_voice))
        if not (force or voice.startswith(CLONE_PREFIX)):
            raise UnknownVoice(unknown_voice, hint="list them: smallest voices; send it anyway: --force")
        return ResolvedVoice(voice, DEFAULT_MODEL, (f"{unknown_voice}; trying it on {DEFAULT_MODEL}",))
    if model is None or model == known.model:
        return ResolvedVoice(known.id, known.model)
    if force:
        return ResolvedVoice(known.id, model)
    if model in MODELS:
        hint = f"use --model {known.model} or another voice, or send it anyway with --force"
        raise VoiceMismatch(f"{known.id} is a voice of {known.model}, not of {model}", hint=hint)
    return ResolvedVoice(known.id, model, (unknown_model,))


class VoiceFilter(NamedTuple):
    """Criteria that a voice must all meet; None is no criterion."""

    search: str | None = None
    language: str | None = None
    gender: str | None = None
    accent: str | None = None
    age: str | None = None
    use_case: str | None = None
    model: str | None = None

    def as_options(self) -> str:
        """Return the criteria as command line options."""
        given = ((name, value) for name, value in self._asdict().items() if value)
        return " ".join(f"--{name.replace('_', '-')} {printable(value, 60)}" for name, value in given)


def filter_voices(voices: Iterable[Voice], criteria: VoiceFilter) -> list[Voice]:
    """Return the voices that meet all criteria, in the given order."""
    return [
        voice
        for voice in voices
        if all(_matches(voice, name, wanted) for name, wanted in criteria._asdict().items())
    ]


def _matches(voice: Voice, name: str, wanted: str | None) -> bool:
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


def describe_alternatives(voices: Iterable[Voice], criteria: VoiceFilter) -> str:
    """Return the values that the given criteria could have, for a filter that matched no voice."""
    parts = []
    among = list(voices)
    for name, wanted in criteria._asdict().items():
        if wanted is None or name == "search":
            continue
        values: set[str] = set()
        for voice in among:
            value = getattr(voice, _TAGS.get(name, name))
            values |= set(value) if isinstance(value, tuple) else {value} if value else set()
        parts.append(f"{name.replace('_', ' ')}: {' '.join(sorted(values)) or 'not stated by any voice'}")
    if criteria.search is not None:
        nearest = " ".join(nearest_ids(criteria.search, voices=among))
        parts.append(f"did you mean: {nearest}" if nearest else "list all with: smallest voices")
    return "; ".join(parts)
