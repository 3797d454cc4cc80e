"""Remove what is not text: escape sequences, overstrikes, redrawn lines, control characters.

Sequences are those of ECMA-48 and xterm's OSC. A line that a progress display erases and draws again is
read once, and as it was left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_SEQUENCE = 2000
"""Characters in which an OSC or DCS sequence must end (as in `_STRING`), or only its ESC is removed."""
MAX_REDRAWN = 1000
"""Characters of a redrawn line that are held back until it is certain that it stays."""

_CSI = "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
_STRING = "(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]{0,2000}"
_SEQUENCE = re.compile(f"{_CSI}|{_STRING}(?:\x07|\x1b\\\\|\x9c)|\x1b(?:[()*+./-][0-9A-Z]|[78=>])")
_PARTIAL = f"\x1b(?:\\[[0-?]*[ -/]*|[()*+./-])?|\x9b[0-?]*[ -/]*|{_STRING}\x1b?"
_LINE_ERASURE = "\x1b\\[[12]K"
_UNDECIDED = re.compile(f"(?:(?<!\x1b\\[[12]K)\r(?:{_CSI})*(?:{_PARTIAL})?|{_PARTIAL}|{_LINE_ERASURE})\\Z")
_ERASED = "\ufdd0"
"""Stands for an erased line while text is cleaned: a noncharacter, which is removed from the input."""
_ERASE = re.compile(
    # A carriage return before an erase sequence or a spinner of Braille dots, or the erasure of a line.
    f"\r(?:(?!\x1b\\[0?K){_CSI})*(?:\x1b\\[0?K|(?=[\u2801-\u28ff]))|\r?{_LINE_ERASURE}\r?"
)
_REDRAWN = re.compile(f"{_ERASED}[^{_ERASED}\n]{{0,{MAX_REDRAWN}}}(?={_ERASED})")
_LINE_END = re.compile("\r\n?|[\x0b\x85\u2028]")
_SOFT_HYPHEN = re.compile("\u00ad(?:[ \t]*\n[ \t]*)?")
_HYPHEN_END = re.compile("\u00ad[ \t]*\n?[ \t]*\\Z")
_CONTROL = re.compile("[\x00-\x07\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NOT_TEXT = re.compile(
    f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufb00-\ufb06{_ERASED}\ufeff]"
)
_REPLACED = str.maketrans(
    {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl"}
    | {"\ufb05": "st", "\ufb06": "st", "\ufeff": None}
)
"""Ligatures become letters; a byte order mark goes."""


class Cleaner:
    """Cleans text that is arriving; the result does not depend on where the text was cut.

    The result has "\\n" as its only line end. A form feed stays, as a blank: a sentence may continue on the
    next page. `removed` counts sequences and control characters.
    """

    def __init__(self) -> None:
        self.removed = 0
        self._held = ""
        self._last = ""
        self._underscore = ""
        """An underscore at the end, which the next character may strike over."""
        self._backspaced = False

    def feed(self, fragment: str) -> str:
        """Add text; return what is certain of it now."""
        undecided = self._held or self._underscore or self._backspaced or fragment.endswith("_")
        if not undecided and not _NOT_TEXT.search(fragment):
            self._last = fragment[-1:] or self._last
            return fragment
        text = self._held + fragment.replace(_ERASED, "")
        partial = _UNDECIDED.search(text, max(0, len(text) - MAX_SEQUENCE - MAX_REDRAWN))
        at = partial.start() if partial else len(text)
        text, tail = _REDRAWN.sub("", self._resolve(text[:at])), text[at:]
        held = text.rfind(_ERASED)
        if held < 0 or "\n" in text[held:] or len(text) - held > MAX_REDRAWN:
            hyphen = _HYPHEN_END.search(text)
            held = hyphen.start() if hyphen else len(text)
        self._held = text[held:] + tail
        return self._clean(text[:held])

    def flush(self) -> str:
        """Return what is left; the text ends here."""
        text, self._held = _REDRAWN.sub("", self._resolve(self._held)), ""
        text = self._clean(text) + self._underscore
        self._underscore, self._backspaced = "", False
        return text

    def _resolve(self, text: str) -> str:
        """Replace sequences and line ends. Its own result stays as it is."""
        text, erased = _ERASE.subn(_ERASED, text)
        text, sequences = _SEQUENCE.subn("", text)
        self.removed += erased + sequences
        return _LINE_END.sub("\n", text).replace("\u2029", "\n\n")

    def _clean(self, text: str) -> str:
        text = _SOFT_HYPHEN.sub("", text).replace(_ERASED, "\n")
        text, controls = _CONTROL.subn("", text.translate(_REPLACED))
        self.removed += controls
        if "\x08" in text or self._backspaced or self._underscore or text.endswith("_"):
            return "".join(self._strike_over(text))
        self._last = text[-1:] or self._last
        return text

    def _strike_over(self, text: str) -> Iterator[str]:
        """Resolve overstrikes, as `man` prints them: `_\\bx` is an underlined x, `x\\bx` a bold one."""
        for character in text:
            if character == "\x08":
                self.removed += 1
                self._backspaced = True
                continue
            struck, self._backspaced = self._backspaced, False
            if struck and character in (self._last, "_"):
                continue
            if not struck:
                yield self._underscore
            self._last, self._underscore = character, "_" if character == "_" else ""
            if not self._underscore:
                yield character


def clean(text: str) -> tuple[str, int]:
    """Clean a complete text; return it and the number of sequences and control characters removed."""
    cleaner = Cleaner()
    return cleaner.feed(text) + cleaner.flush(), cleaner.removed
