"""Lists of values that completion scripts read without starting Python: `value TAB description` lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

from smallest_cli.errors import OutputError
from smallest_cli.files import atomic_write
from smallest_cli.models import Voice
from smallest_cli.voices import LANGUAGE_CODES, cache_folder

Row = tuple[str, str]
"""A value and its description."""

_WORD = re.compile(r"\w[\w.-]*", re.ASCII)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def voice_rows(voices: Iterable[Voice]) -> list[Row]:
    """Return unique voice ids, described by gender, accent, languages and model."""
    rows: dict[str, str] = {}
    for voice in voices:
        traits = (voice.gender, voice.accent, *voice.languages[:2], voice.model)
        rows.setdefault(voice.id, ", ".join(filter(None, traits)))
    return list(rows.items())


def model_rows(voices: Iterable[Voice]) -> list[Row]:
    """Return the models of the voices."""
    return [(model, "") for model in sorted({voice.model for voice in voices})]


def language_rows(voices: Iterable[Voice]) -> list[Row]:
    """Return the codes of the voices' languages, or the name of a language without a code."""
    names = {language.casefold() for voice in voices for language in voice.languages}
    return sorted((LANGUAGE_CODES.get(name, name), name) for name in names)


def save_voices(voices: Sequence[Voice]) -> None:
    """Save the voices, models and languages that the service lists."""
    lists = {"voices": voice_rows(voices), "models": model_rows(voices), "languages": language_rows(voices)}
    for name, rows in lists.items():
        # Values come from the service: drop any that a shell would not read as one word.
        _save(name, [row for row in rows if _WORD.fullmatch(row[0])])


def save_devices(names: Iterable[str]) -> None:
    """Save the names of the output devices."""
    _save("devices", [(name, "") for name in names])


def _save(name: str, rows: Iterable[Row]) -> None:
    path = cache_folder() / f"{name}.tsv"
    lines = (f"{_CONTROLS.sub(' ', value)}\t{_CONTROLS.sub(' ', text)}".rstrip() for value, text in rows)
    # Only completion needs the file: a read-only cache folder must not fail a command.
    with suppress(OutputError):
        atomic_write(path, "".join(f"{line}\n" for line in lines).encode())
