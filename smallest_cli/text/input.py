"""Text from the command line, files or stdin, read completely and with a limit."""

from __future__ import annotations

import codecs
import math
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import BinaryIO

from smallest_cli.errors import UsageError, plural
from smallest_cli.files import read_some
from smallest_cli.security import printable, translate_os_errors

MAX_CHARACTER_BYTES = 4
READ_SIZE = 256 * 1024
FIRST_BLOCK = 1024
"""Bytes, or characters, that show what a file is."""
SUBTITLES_NOTICE = "{} has subtitles: their text is spoken, not their numbers and times"
_SIGNATURES = {
    # The byte order mark of UTF-32LE begins with that of UTF-16LE.
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
    b"\x1f\x8b": "gzip data",
    b"PK\x03\x04": "a zip archive or an office document",
    b"%PDF-": "a PDF file",
    b"\x89PNG": "a PNG image",
    b"RIFF": "a WAV file",
}
_NUL_PLACES = {"UTF-32LE": (1, 2, 3), "UTF-32BE": (0, 1, 2), "UTF-16LE": (1, 3), "UTF-16BE": (0, 2)}
"""Which of every four bytes are NUL in Latin text without a byte order mark."""
_CONTROLS = bytes(set(range(32)) - set(b"\a\b\t\n\f\r\x1b"))
"""Control characters of which text has a few at most."""


def read_texts(
    words: Sequence[str],
    files: Sequence[str],
    max_chars: int,
    on_subtitles: Callable[[str], None] | None = None,
) -> list[str]:
    """Return the texts in order: the words, or the files (`-` is stdin), or stdin if neither is given.

    `max_chars` limits their total length; 0 is no limit. With `on_subtitles` only the spoken text of a
    subtitle file is returned, and the function is called with a notice. Raises UsageError.
    """
    if words and files:
        raise UsageError("text was given twice: as words and as --file")
    _check_distinct(files)
    texts = [join_words(words)] if words else [_read_file(path, max_chars) for path in files or ["-"]]
    if on_subtitles and not words:
        texts = [_spoken(*pair, on_subtitles) for pair in zip(texts, files or ["-"], strict=True)]
    if max_chars and sum(map(len, texts)) > max_chars:
        raise _too_long(max_chars)
    return texts


def join_words(words: Sequence[str]) -> str:
    """Return the words of a command line as a text. Raises UsageError if one is not valid UTF-8."""
    for word in words:
        if not is_unicode(word):
            hint = "the shell or script that runs smallest uses another encoding"
            raise UsageError(f"the text is not valid UTF-8: {printable(word, 60)}", hint=hint)
    return " ".join(words)


def is_unicode(text: str) -> bool:
    """Whether it has no lone surrogates, which come from invalid bytes in argv or escapes in JSON."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def describe_binary(block: bytes | bytearray) -> str | None:
    """Return what the first bytes of a file or stream are if they are plainly not UTF-8 text, else None.

    For example "UTF-16", "gzip data", "binary data", or "text in another encoding" for bytes that are not
    valid UTF-8. A character that is cut off at the end of the block is valid.
    """
    for signature, name in _SIGNATURES.items():
        if block.startswith(signature) and (signature != b"RIFF" or block[8:12] == b"WAVE"):
            return name
    shares = [block[place::4].count(0) * 4 / max(len(block), 4) for place in range(4)]
    for name, places in _NUL_PLACES.items():
        if all(share > 0.6 if place in places else not share for place, share in enumerate(shares)):
            return name
    if len(block.translate(None, _CONTROLS)) < 0.9 * len(block):
        return "binary data"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(block)
    except UnicodeDecodeError:
        return "text in another encoding"
    return None


def not_text_error(name: str, data: bytes | bytearray) -> UsageError:
    """Return the error for data that is not UTF-8 text; `name` is its file, or "stdin"."""
    kind = describe_binary(data[:FIRST_BLOCK]) or "text in another encoding"
    byte = 1
    try:
        data.decode()
    except UnicodeDecodeError as error:
        byte = error.start + 1
    if kind.startswith("UTF"):
        hint = f"it looks like {kind}; convert it first: iconv -f {kind} -t UTF-8"
    elif kind.startswith("text"):
        hint = "convert it first: iconv -f ENCODING -t UTF-8"
    else:
        hint = f"it looks like {kind}; extract its text first, and convert that: iconv -f ENCODING -t UTF-8"
    return UsageError(f"{printable(name)} is not UTF-8 text: byte {byte}", hint=hint)


def _check_distinct(files: Sequence[str]) -> None:
    """Raise UsageError if two paths are the same file, pipe or device; `-` is stdin."""
    seen: dict[tuple[int, int], str] = {}
    for path in files:
        try:
            status = os.fstat(0) if path == "-" else os.stat(path)
        except (OSError, ValueError):
            continue  # reading it reports why
        place = (status.st_dev, status.st_ino)
        if place in seen:
            first, second = _name(seen[place]), _name(path)
            twice = f"{first} is given twice"
            problem = twice if first == second else f"{first} and {second} are the same source"
            raise UsageError(f"--file: {problem}", hint="give each source once")
        seen[place] = path


def _name(path: str) -> str:
    return "stdin" if path == "-" else printable(path)


def _spoken(text: str, path: str, on_subtitles: Callable[[str], None]) -> str:
    """Return a text; of subtitles only what is spoken, with a notice."""
    if may_be_subtitles(text):
        from smallest_cli.text.cues import subtitle_text  # few texts need it

        if (spoken := subtitle_text(text)) is not None:
            on_subtitles(SUBTITLES_NOTICE.format(_name(path)))
            return spoken
    return text


def may_be_subtitles(text: str) -> bool:
    """Whether the start of a text has what every subtitle file has."""
    return "-->" in text[:FIRST_BLOCK] or text.startswith("WEBVTT")


def _too_long(max_chars: int) -> UsageError:
    return UsageError(
        f"the text is longer than {plural(max_chars, 'character')}",
        hint="every character is billed; allow more with --max-chars",
    )


def _read_file(path: str, max_chars: int) -> str:
    if not path:
        raise UsageError("--file is empty", hint="unset shell variable?")
    with translate_os_errors(UsageError, "read", _name(path)):
        if path != "-":
            with open(path, "rb") as file:
                return _decode(file, path, max_chars)
        if sys.stdin is None or sys.stdin.isatty():
            hint = 'give it as words, with -f FILE, or on stdin: smallest speak "Hello"'
            raise UsageError("no text", hint=hint)
        return _decode(sys.stdin.buffer, "stdin", max_chars)


def _decode(file: BinaryIO, name: str, max_chars: int) -> str:
    limit = MAX_CHARACTER_BYTES * max_chars + len(codecs.BOM_UTF8) if max_chars else math.inf
    data = bytearray()
    # In blocks, since `read(limit)` would allocate the memory for all of it first.
    while block := read_some(file.fileno(), READ_SIZE):
        data += block
        if len(data) > limit:
            raise _too_long(max_chars)
    with suppress(UnicodeDecodeError):
        if not describe_binary(data[:FIRST_BLOCK]):
            return data.decode().removeprefix("\ufeff")
    raise not_text_error(name, data)
