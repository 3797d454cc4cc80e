"""What a shell completes without starting us: plain lists beside the cache, a value, a tab and what it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

from smallest_cli.files import atomic_write
from smallest_cli.models import Voice
from smallest_cli.voices import LANGUAGE_CODES, cache_folder

Row = tuple[str, str]
"""A value, and a few words on it."""

_WORD = re.compile(r"\w[\w.-]*", re.ASCII)
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def voice_rows(voices: Iterable[Voice]) -> list[Row]:
    """Ids, each once, with what is known of the voice."""
    rows: dict[str, str] = {}
    for voice in voices:
        told = (voice.gender, voice.accent, *voice.languages[:2], voice.model)
        rows.setdefault(voice.id, ", ".join(each for each in told if each))
    return list(rows.items())


def model_rows(voices: Iterable[Voice]) -> list[Row]:
    """The models that voices belong to."""
    return [(model, "") for model in sorted({voice.model for voice in voices})]


def language_rows(voices: Iterable[Voice]) -> list[Row]:
    """The codes of the languages that voices speak; a language without a code by its name."""
    names = {language.casefold() for voice in voices for language in voice.languages}
    return sorted((LANGUAGE_CODES.get(name, name), name) for name in names)


def keep_voices(voices: Sequence[Voice]) -> None:
    """Keep what a service lists, for the next TAB."""
    for name, rows in (
        ("voices", voice_rows(voices)),
        ("models", model_rows(voices)),
        ("languages", language_rows(voices)),
    ):
        # Nothing that a shell reads as anything but a word: the service wrote it.
        _keep(name, [row for row in rows if _WORD.fullmatch(row[0])])


def keep_devices(names: Iterable[str]) -> None:
    """Keep the names of the loudspeakers, for the next TAB."""
    _keep("devices", [(name, "") for name in names])


def _keep(name: str, rows: Iterable[Row]) -> None:
    """Write one list. Not being able to write is ignored: completion then has fewer words."""
    lines = (f"{_UNSEEN.sub(' ', value)}\t{_UNSEEN.sub(' ', told)}".rstrip() for value, told in rows)
    with suppress(OSError):
        atomic_write(cache_folder() / f"{name}.tsv", "".join(f"{line}\n" for line in lines).encode())
