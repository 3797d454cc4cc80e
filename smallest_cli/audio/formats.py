"""Which format goes where: names, extensions, and the rates that each can hold."""

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
"""The formats that do not hold every rate that there is (RFC 7845: Opus is 48 kHz inside): those they do."""


def choose_coding(output: str, format: str | None = None) -> str:
    """The format for a path, or for `-`, which is stdout: what was asked for, else what the extension names.

    G.711 in a WAV is wav-ulaw and wav-alaw. Raises UsageError where the two do not agree.
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
        raise UsageError(
            _formless(output, extension), hint=f"name one with --format, or by {' '.join(EXTENSIONS)}"
        )
    if format in (None, named):
        return named
    if named == "wav" and format in ("ulaw", "alaw"):
        return f"wav-{format}"
    raise UsageError(f"{printable(output)} is {named} by its name, and --format says {format}")


def _formless(output: str, extension: str) -> str:
    """Why a name tells no format."""
    if output.endswith(os.sep) or os.path.isdir(output):
        return f"{printable(output)} is a folder, not a file to write"
    if not extension:
        return f"{printable(output)} names no format: it has no extension"
    return f"no format is known for the extension {printable(extension)} of {printable(output)}"


def check_rate(coding: str, sample_rate: int) -> None:
    """Raise UsageError where a format cannot hold a sample rate."""
    rates = RATES.get(coding)
    if rates and sample_rate not in rates:
        raise UsageError(
            f"{coding} cannot hold {sample_rate} Hz", hint=f"use -r {' or '.join(map(str, rates))}"
        )
