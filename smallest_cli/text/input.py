"""Text from the command line, files or stdin, read completely and with a limit."""

from __future__ import annotations

import codecs
import math
import sys
from collections.abc import Sequence
from typing import BinaryIO

from smallest_cli.errors import UsageError
from smallest_cli.files import read_some
from smallest_cli.security import printable, translate_os_errors

MAX_CHARACTER_BYTES = 4
READ_SIZE = 256 * 1024


def read_texts(words: Sequence[str], files: Sequence[str], max_chars: int) -> list[str]:
    """Return the texts in order: the words, or the files (`-` is stdin), or stdin if neither is given.

    `max_chars` limits their total length; 0 is no limit. Raises UsageError.
    """
    if words and files:
        raise UsageError("text was given twice: as words and as --file")
    texts = [" ".join(words)] if words else [_read_file(path, max_chars) for path in files or ["-"]]
    if max_chars and sum(map(len, texts)) > max_chars:
        raise _too_long(max_chars)
    return texts


def _too_long(max_chars: int) -> UsageError:
    return UsageError(
        f"the text is longer than {max_chars} characters",
        hint="every character is billed; allow more with --max-chars",
    )


def _read_file(path: str, max_chars: int) -> str:
    if not path:
        raise UsageError("--file is empty", hint="unset shell variable?")
    with translate_os_errors(UsageError, "read", "stdin" if path == "-" else path):
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
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        hint = "convert it first: iconv -f ENCODING -t UTF-8"
        raise UsageError(f"{printable(name)} is not UTF-8 text: byte {error.start + 1}", hint=hint) from None
