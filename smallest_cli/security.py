"""Keys that are not printed, and untrusted text made safe for a terminal."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from smallest_cli.errors import SettingsError, SmallestError

SHOWN_LENGTH = 300
KEY_LENGTH = 512
FRAGMENT_LENGTH = 8
"""Shorter parts of a key are not redacted."""
LONG_KEY = 20
"""A shorter key is redacted only as a unit, not in parts."""
REDACTED = "[key]"

_keys: set[str] = set()
_fragments: set[str] = set()


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
        if len(value) >= LONG_KEY:
            _fragments.update(
                value[at : at + FRAGMENT_LENGTH] for at in range(len(value) - FRAGMENT_LENGTH + 1)
            )
        elif len(value) >= FRAGMENT_LENGTH:
            _keys.add(value)

    def reveal(self) -> str:
        """Return the key, for the Authorization header only."""
        return self.__value

    def __repr__(self) -> str:
        return f"…{self.__value[-4:]}" if len(self.__value) >= 16 else "…"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a secret is not written anywhere")


def child_environment() -> dict[str, str]:
    """Return the environment for a program to start: this one's without the key and the name of its file."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SMALLEST_API_KEY")}


def redact(text: str) -> str:
    """Redact this run's keys, and parts of them, in untrusted text: a service may echo them."""
    for key in _keys:
        text = text.replace(key, REDACTED)
    if not _fragments or len(text) < FRAGMENT_LENGTH:
        return text
    kept: list[str] = []
    end = 0
    for at in range(len(text) - FRAGMENT_LENGTH + 1):
        if text[at : at + FRAGMENT_LENGTH] in _fragments:
            if at > end or not kept:
                kept += [text[end:at], REDACTED]
            end = at + FRAGMENT_LENGTH
    return "".join([*kept, text[end:]])


def printable(text: object, limit: int = SHOWN_LENGTH) -> str:
    """Return `text` as one line without control characters, bidirectional overrides or keys.

    Text of more than `limit` characters is truncated with an ellipsis.
    """
    line = escape(redact(str(text)[: limit + KEY_LENGTH])[: limit + 1])
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
