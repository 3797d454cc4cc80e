"""When text that waits on the server is spoken (waves/api.md, 4c). Text in, segments out; no clock."""

from __future__ import annotations

import re

LONGEST = 250
SHORTEST_SENTENCE = 20
"""How long "long enough" is, nobody states; the vendor's example releases one of 26 characters."""

_SENTENCE_END = re.compile(r"[.?!…。！？؟।][\"'”’)\]»]*\s*$")
_NO_END = re.compile(
    r"(\d[.,]$)|(\b([A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|No|Inc|Ltd|Jr|Sr|Mt|approx)\.\s*$)"
)
_INNER_END = re.compile(r"[.?!…][\"'”’)\]»]*\s|[。！？؟।]")


def release(held: str) -> tuple[list[str], str]:
    """The segments that `held` gives now, and what goes on waiting. Joined they are `held`."""
    segments = []
    while len(held) > LONGEST:
        cut = _cut(held)
        segments.append(held[:cut])
        held = held[cut:]
    if len(held.strip()) >= SHORTEST_SENTENCE and ends_sentence(held):
        segments.append(held)
        held = ""
    return segments, held


def ends_sentence(text: str) -> bool:
    """Whether `text` stops at the end of a sentence, and not at an abbreviation or inside a number."""
    return bool(_SENTENCE_END.search(text)) and not _NO_END.search(text)


def _cut(text: str) -> int:
    """Where text that is too long is cut: after a sentence, else after a blank, else anywhere."""
    ends = [
        match.end()
        for match in _INNER_END.finditer(text, 0, LONGEST)
        if not _NO_END.search(text[: match.end()])
    ]
    if ends:
        return ends[-1]
    return text.rfind(" ", 0, LONGEST) + 1 or LONGEST
