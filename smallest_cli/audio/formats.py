"""Audio file formats: names, extensions, and the sample rates that each supports."""

from __future__ import annotations

import os

from smallest_cli.errors import UsageError
from smallest_cli.security import printable

CODINGS = ("wav", "pcm", "flac", "ogg", "opus", "mp3", "ulaw", "alaw")
ALIASES = {"mulaw": "ulaw"}
EXTENSIONS = {
    ".wav": "wav", ".pcm": "pcm", ".raw": "pcm", ".flac": "flac", ".ogg": "ogg", ".opus": "opus",
    ".mp3": "mp3", ".ulaw": "ulaw", ".ul": "ulaw", ".alaw": "alaw", ".al": "alaw",
}  # fmt: skip
RATES = {"opus": (8_000, 16_000, 24_000)}
"""Formats that do not support every rate (Opus is 48 kHz inside, RFC 7845), with those they support."""
HEADERLESS_G711, TELEPHONE_RATE = ("ulaw", "alaw"), 8000
"""G.711 without a header, which readers take for telephone audio, and its rate in Hz."""


def choose_coding(output: str, format: str | None = None) -> str:
    """Return the format for a path, or for `-` (stdout): `format`, else by extension.

    G.711 in a WAV is wav-ulaw or wav-alaw. Raises UsageError if format and extension disagree.
    """
    if format is not None:
        format = ALIASES.get(format, format)
        if format not in CODINGS:
            raise UsageError(f"--format: {printable(format, 40)} is not one of {', '.join(CODINGS)}")
    if output == "-":
        return format or "pcm"
    extension = os.path.splitext(output)[1].lower()
    named = EXTENSIONS.get(extension)
    if named is None:
        if format is not None:
            return format
        hint = f"use --format, or an extension: {' '.join(EXTENSIONS)}"
        if _is_directory(output):
            hint = f"name a file: {printable(os.path.join(output, 'speech.wav'))}"
        raise UsageError(_format_error(output, extension), hint=hint)
    if format in (None, named):
        return named
    if named == "wav" and format in ("ulaw", "alaw"):
        return f"wav-{format}"
    raise UsageError(f"{printable(output)} has the extension of {named}, but --format is {format}")


def _is_directory(output: str) -> bool:
    return output.endswith(os.sep) or os.path.isdir(output)


def _format_error(output: str, extension: str) -> str:
    if _is_directory(output):
        return f"{printable(output)} is a directory, not a file to write"
    if not extension:
        return f"{printable(output)} has no extension that names a format"
    return f"{printable(output)}: unknown extension {printable(extension)}"


def check_rate(coding: str, sample_rate: int) -> None:
    """Raise UsageError for a sample rate that a format does not support."""
    rates = RATES.get(coding)
    if rates and sample_rate not in rates:
        hint = f"use -r {' or '.join(map(str, rates))}"
        raise UsageError(f"{coding.capitalize()} does not support {sample_rate} Hz", hint=hint)
