"""Which voices a person means: by part of a name, language, gender, accent, age, use, model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from smallest_cli.models import Voice
from smallest_cli.security import safe
from smallest_cli.voices import nearest

# Codes of waves/api.md, section 2a, and the names that voices are tagged with.
LANGUAGES = {
    "en": "english", "hi": "hindi", "mr": "marathi", "kn": "kannada", "ta": "tamil", "bn": "bengali",
    "gu": "gujarati", "te": "telugu", "ml": "malayalam", "pa": "punjabi", "or": "odia", "es": "spanish",
    "de": "german", "fr": "french", "it": "italian", "nl": "dutch", "sv": "swedish", "pt": "portuguese",
    "ru": "russian", "el": "greek", "fi": "finnish", "no": "norwegian", "pl": "polish", "ar": "arabic",
    "zh": "chinese", "id": "indonesian", "ja": "japanese", "ko": "korean", "ms": "malay", "tr": "turkish",
    "vi": "vietnamese",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Wish:
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
        return " ".join(f"--{name.replace('_', '-')} {safe(value, 60)}" for name, value in given if value)


_TAGS = {"language": "languages", "use_case": "use_cases"}


def choose(voices: Iterable[Voice], wish: Wish) -> list[Voice]:
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


def what_there_is(voices: Iterable[Voice], wish: Wish) -> str:
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
        near = nearest(wish.search, voices=among)
        told.append(
            f"near {safe(wish.search, 60)}: {' '.join(near)}" if near else "smallest voices lists them all"
        )
    return "; ".join(told)
