"""Read subtitles that are given as text: what is spoken in an SRT or WebVTT file."""

from __future__ import annotations

import html
import re
from itertools import pairwise, takewhile

_TIME = r"(?:\d+:)?\d{1,2}:\d{2}(?:[.,] ?\d{1,3})?"
_TIMES = re.compile(rf"[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}(?:[ \t].*)?")
_FIRST_CUE = re.compile(rf"\s*(?:\d+[ \t]*(?:\r\n?|\n)\s*)?{_TIMES.pattern}[\r\n]|WEBVTT(?=[ \t\r\n])")
_TAG = re.compile(
    r"</?(?:[bcisu]|ruby|rt)(?:\.[^\s>]*)?>|</?(?:font|lang|v)\b[^>]*>|<[\d:.]+>|\{\\[^}]*\}", re.IGNORECASE
)
_TIMED_WORD = re.compile(r"<\d\d:[\d:.]+>")
_SENTENCE_END = re.compile(r"[.!?…。！？।][\"'”’»」』)]*$")


def begins_subtitles(text: str) -> bool:
    """Whether the start of a text is that of an SRT or WebVTT file."""
    return _FIRST_CUE.match(text) is not None


def subtitle_text(text: str) -> str | None:
    """Return the spoken lines of an SRT or WebVTT file, None for any other text.

    A cue that ends a sentence ends a paragraph, so that it is followed by a pause.
    """
    if not begins_subtitles(text):
        return None
    is_vtt = text.startswith("WEBVTT")
    scrolls = is_vtt and _TIMED_WORD.search(text)  # as captions made by a machine: each line is there twice
    lines = text.splitlines()
    spoken: list[str] = []
    starts = [number for number, line in enumerate(lines) if _TIMES.fullmatch(line)]
    for start, end in pairwise([*starts, len(lines)]):
        cue = lines[start + 1 : end]
        if is_vtt:
            cue = list(takewhile(bool, cue))  # a note or the name of the next cue may follow
        elif end < len(lines) and cue and cue[-1].strip().isdecimal():
            cue.pop()  # the number of the next cue
        for line in cue:
            words = _TAG.sub("", line).strip()
            if words and not (scrolls and words in spoken[-1:]):
                spoken.append(words)
        if spoken and _SENTENCE_END.search(spoken[-1]):
            spoken.append("")
    if is_vtt:
        spoken = [html.unescape(line) for line in spoken]
    return "\n".join(spoken) if starts else None
