"""Keys that are not printed, and untrusted text made safe for a terminal."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from smallest_cli.errors import SettingsError, SmallestError

SHOWN_LENGTH = 300
KEY_LENGTH = 512
FRAGMENT_LENGTH = 8
"""Shorter parts of a key are not redacted."""
LONG_KEY = 20
"""A shorter key is redacted only as a unit, not in parts."""
REDACTED = "[key]"
SHORT = 100
_CODED = r"%[0-9a-f]{2}|\\u[0-9a-f]{4}|\\x[0-9a-f]{2}|&#x[0-9a-f]{1,6};|&#[0-9]{1,7};"
"""A character as it is in a URL, in JSON, in a quoted byte string and in HTML."""
_LIKE_A_KEY = "(?:^-[a-z]|(?<![A-Za-z0-9]))(sk_[A-Za-z0-9_-]{12,})(?![A-Za-z0-9_.-])"

_fragments: set[str] = set()
"""What is redacted, in lower case."""


class Secret:
    """An API key. Its repr has at most the last four characters; only `reveal` returns the key."""

    __slots__ = ("__value", "source")

    def __init__(self, value: str, source: str) -> None:
        """Check a key; `source` names its origin in messages, e.g. "SMALLEST_API_KEY".

        A trailing line end is removed. Characters that are invalid in a header are rejected here, since
        a library would quote them in its own message. Raises SettingsError.
        """
        value = value.rstrip("\r\n")
        if not value:
            raise SettingsError(f"the key from {source} is empty")
        if len(value) > KEY_LENGTH:
            raise SettingsError(f"the key from {source} is longer than {KEY_LENGTH} characters")
        for position, character in enumerate(value, start=1):
            if not "!" <= character <= "~" or character in "\"'":
                raise SettingsError(
                    f"the key from {source} has a character at position {position} that is not valid",
                    hint="set the bare key: no quotes, spaces or line breaks",
                )
        self.__value = value
        self.source = source
        hide_key(value)

    def reveal(self) -> str:
        """Return the key, for the Authorization header only."""
        return self.__value

    def __repr__(self) -> str:
        return f"…{self.__value[-4:]}" if len(self.__value) >= 16 else "…"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a secret is not written anywhere")


def hide_key(key: str) -> None:
    """Redact a key from now on, in base64 and hex too; one shorter than LONG_KEY only as a unit."""
    from base64 import b64encode

    if FRAGMENT_LENGTH <= len(key) < LONG_KEY:
        _fragments.add(key.lower())
    elif len(key) >= LONG_KEY:
        # The number of bytes before it decides which of three forms it has in base64.
        data = key.encode("utf-8", "replace")
        coded = [b64encode(b" " * at + data)[4:-4].decode() for at in range(3)]
        for form in map(str.lower, [key, data.hex(), *coded]):
            ends = range(FRAGMENT_LENGTH, len(form) + 1)
            _fragments.update(form[end - FRAGMENT_LENGTH : end] for end in ends)


def hide_typed_keys(words: Iterable[str]) -> None:
    """Redact from now on what looks like a key of the service, typed where none belongs."""
    for word in words:
        for typed in re.findall(_LIKE_A_KEY, word) if "sk_" in word else ():
            hide_key(typed)


def redact(text: str) -> str:
    """Redact keys, and parts of them, in untrusted text: a service may echo them.

    They are found in upper case, escaped, and between characters that do not show.
    """
    if len(text) < FRAGMENT_LENGTH or not _fragments:
        return text
    return _redact_short(text, len(_fragments)) if len(text) <= SHORT else _redact(text)


@lru_cache(1024)
def _redact_short(text: str, _: int) -> str:
    """Redact a text that may come with each message, as names and ids do; the number of keys may grow."""
    return _redact(text)


def _redact(text: str) -> str:
    pieces: Sequence[str] = text
    shown = text.lower()
    places: Sequence[int] = range(len(text))
    if not (text.isascii() and text.isprintable()) or any(mark in text for mark in ("%", "\\", "&#")):
        pieces = re.findall(f"{_CODED}|.", text, re.I | re.S)
        characters = [*map(_shown, pieces)]
        places = [at for at, character in enumerate(characters) if character]
        shown = "".join(characters)
    found: list[tuple[int, int]] = []
    for size in {len(fragment) for fragment in _fragments}:
        ends = range(size, len(shown) + 1)
        found += [(end - size, end) for end in ends if shown[end - size : end] in _fragments]
    kept: list[str] = []
    end = 0
    for first, after in sorted(found):
        if places[first] > end or not kept:
            kept += [*pieces[end : places[first]], REDACTED]
        end = max(end, places[after - 1] + 1)
    return "".join([*kept, *pieces[end:]]) if kept else text


def _shown(piece: str) -> str:
    """Return the lower-case character that is meant by one that may be escaped, "" if it does not show."""
    if len(piece) > 1:
        base = 10 if piece[:2] == "&#" and piece[2].isdigit() else 16
        piece = chr(min(int(piece.strip("%\\uUxX&#;"), base), sys.maxunicode))
    piece = unicodedata.normalize("NFKC", piece)[0].lower()[0]
    return " " if piece.isspace() else "" if unicodedata.category(piece)[0] in "CM" else piece


def redact_all(value: Any) -> Any:
    """Redact keys in all texts of a JSON value, but for those named "audio"."""
    match value:
        case str():
            return redact(value)
        case list() | tuple():
            return [redact_all(each) for each in value]
        case dict():
            return {
                redact(name): each if name == "audio" else redact_all(each) for name, each in value.items()
            }
    return value


def printable(text: object, limit: int = SHOWN_LENGTH) -> str:
    """Return `text` as one line without control characters, bidirectional overrides or keys.

    Text of more than `limit` characters is truncated with an ellipsis.
    """
    whole, most = str(text), limit + 8 * KEY_LENGTH
    line = redact(whole[:most])
    if len(whole) > most:
        line = line[:-KEY_LENGTH]  # a key may be cut off there, and what was redacted before it was longer
    line = escape(line[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def escape(text: str) -> str:
    """Return `text` as one line, with characters that are not printable escaped, e.g. \\x1b or \\u202e."""
    shown = []
    for character in text:
        if character in "\t\r\n":
            shown.append(" ")
        elif character == " " or unicodedata.category(character)[0] not in "CZ":
            shown.append(character)
        else:
            shown.append(character.encode("unicode_escape").decode("ascii"))
    return "".join(shown)


def os_error_text(error: OSError) -> str:
    """Return the message of an OS error, without its number or file name."""
    return printable(error.strerror or str(error) or type(error).__name__)


@contextmanager
def translate_os_errors(error: type[SmallestError], action: str, subject: object) -> Iterator[None]:
    """Raise an OSError as `error`, with the message "cannot ACTION SUBJECT: reason"."""
    try:
        yield
    except OSError as cause:
        raise error(f"cannot {action} {printable(subject)}: {os_error_text(cause)}") from None
