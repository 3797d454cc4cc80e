"""Text in: from words, files or stdin, whole, and never more than was asked for."""

from __future__ import annotations

import codecs
import math
import sys
from collections.abc import Sequence
from typing import BinaryIO

from smallest_cli.errors import UsageError
from smallest_cli.security import os_error_text, printable

LARGEST_CHARACTER = 4
BLOCK = 256 * 1024


def read_texts(words: Sequence[str], files: Sequence[str], max_chars: int) -> list[str]:
    """The texts in order: the words, or the files (`-` is stdin), or stdin where neither is given.

    `max_chars` bounds them together; 0 is no bound. Raises UsageError.
    """
    if words and files:
        raise UsageError("text was given twice: as words and as --file")
    if words:
        texts = [" ".join(words)]
    elif files:
        texts = [_read_file(path, max_chars) for path in files]
    else:
        texts = [_read_stdin(max_chars)]
    total = sum(map(len, texts))
    if max_chars and total > max_chars:
        raise _too_long(max_chars)
    return texts


def _too_long(max_chars: int) -> UsageError:
    return UsageError(
        f"the text is longer than {max_chars} characters",
        hint="every character is paid for; allow more with --max-chars",
    )


def _read_file(path: str, max_chars: int) -> str:
    if path == "-":
        return _read_stdin(max_chars)
    if not path:
        raise UsageError("--file is empty", hint="unset shell variable?")
    try:
        with open(path, "rb") as file:
            return _decode(file, path, max_chars)
    except OSError as error:
        raise UsageError(f"cannot read {printable(path)}: {os_error_text(error)}") from None


def _read_stdin(max_chars: int) -> str:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            "no text", hint='give it as words, with -f FILE, or on stdin: smallest speak "Hello"'
        )
    try:
        return _decode(sys.stdin.buffer, "stdin", max_chars)
    except OSError as error:
        raise UsageError(f"cannot read stdin: {os_error_text(error)}") from None


def _decode(file: BinaryIO, name: str, max_chars: int) -> str:
    most = LARGEST_CHARACTER * max_chars + len(codecs.BOM_UTF8) if max_chars else math.inf
    data = bytearray()
    while block := file.read(BLOCK):  # a read of the whole bound would have the room for it made first
        data += block
        if len(data) > most:
            raise _too_long(max_chars)
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{printable(name)} is not UTF-8 text: byte {error.start + 1}",
            hint="convert it first: iconv -f ENCODING -t UTF-8",
        ) from None
