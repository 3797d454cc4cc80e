"""Subtitles: what was spoken when, as cues, and cues as SRT, WebVTT or JSON. No I/O.

Times come from samples, so the last cue ends where the sound does. A cue is at most two lines of
42 columns, as broadcasters have it; a longer sentence becomes several cues, sharing its time by length.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import PurePath

from smallest_cli.errors import UsageError
from smallest_cli.models import WordTiming
from smallest_cli.security import printable
from smallest_cli.text.sentences import whole_characters

COLUMNS = 42
LINES = 2
MILLISECONDS = 1000
KINDS = ("srt", "vtt", "json")
MARKS = ("Mn", "Me", "Cf")
"""Categories that take no column of their own; Thai and Hindi have vowels among them."""


@dataclass(slots=True)
class SpokenSegment:
    """One request's text, the frame at which it begins, its frames, and the words that were timed in it."""

    text: str
    start: int
    frames: int = 0
    words: list[WordTiming] = field(default_factory=list)
    whole: bool = False

    @property
    def end(self) -> int:
        """The frame behind its last."""
        return self.start + self.frames


@dataclass(frozen=True, slots=True)
class Cue:
    """A text and when it is heard, in seconds from the start of the sound; its words where they are timed."""

    start: float
    end: float
    text: str
    words: tuple[Cue, ...] = ()


def kind_of(path: str) -> str:
    """The form of a subtitle file, by its extension. Raises UsageError."""
    kind = PurePath(path).suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise UsageError(f"--subtitles: {printable(path)} is not named .srt, .vtt or .json")
    return kind


def cues_of(passages: Iterable[SpokenSegment], rate: int) -> list[Cue]:
    """One cue for each passage that was spoken to its end, at `rate` frames a second."""
    return [
        Cue(each.start / rate, each.end / rate, each.text.strip(), tuple(_words(each, rate)))
        for each in passages
        if each.whole
    ]


def _words(passage: SpokenSegment, rate: int) -> Iterator[Cue]:
    """Words whose times rise and stay within the passage, whatever the service says."""
    if not passage.words:
        return
    began, end = passage.start / rate, passage.end / rate
    starts = [min(max(began + word.start, began), end) for word in passage.words]
    starts = list(accumulate(starts, max))
    for word, start, following in zip(passage.words, starts, [*starts[1:], end], strict=True):
        until = began + word.end if word.end > word.start else following
        yield Cue(start, max(start, min(until, following)), word.word)


def is_timed(passage: SpokenSegment) -> bool:
    """Whether the service has told when its words are heard; a time for all of them is none."""
    return any(word.end > 0 for word in passage.words)


def render(cues: Sequence[Cue], kind: str, *, by_word: bool = False) -> str:
    """A whole file. `by_word` makes every word a cue; JSON has words beside their sentence instead."""
    if kind == "json":
        return json.dumps([_as_fields(cue) for cue in cues], ensure_ascii=False, indent=1) + "\n"
    parts = [word for cue in cues for word in cue.words] if by_word else cues
    timed = [(start, end, "\n".join(lines(text))) for start, end, text in _merge(_split(parts))]
    if kind == "vtt":
        return "WEBVTT\n" + "".join(
            f"\n{_clock(start, '.')} --> {_clock(end, '.')}\n{_for_vtt(text)}\n" for start, end, text in timed
        )
    return "\n".join(
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{_for_srt(text)}\n"
        for number, (start, end, text) in enumerate(timed, 1)
    )


def _as_fields(cue: Cue) -> dict[str, object]:
    fields: dict[str, object] = {"start": round(cue.start, 6), "end": round(cue.end, 6), "text": cue.text}
    if cue.words:
        fields["words"] = [_as_fields(word) for word in cue.words]
    return fields


def _split(cues: Iterable[Cue]) -> Iterator[Cue]:
    """Cues of two lines at most. Each text keeps the blank behind it, and a word that is cut gets none."""
    for cue in cues:
        text = " ".join(cue.text.split())
        rows = list(spaced(f"{text} ", lines(text)))
        texts = ["".join(rows[at : at + LINES]) for at in range(0, len(rows), LINES)]
        if len(texts) == 1:
            yield replace(cue, text=texts[0])
            continue
        done = list(accumulate((width(text.rstrip()) for text in texts), initial=0))
        times = [cue.start + (cue.end - cue.start) * part / done[-1] for part in done[:-1]]
        for text, start, end in zip(texts, times, [*times[1:], cue.end], strict=True):
            yield replace(cue, start=start, end=end, text=text, words=())


def _merge(cues: Iterable[Cue]) -> Iterator[tuple[int, int, str]]:
    """Milliseconds that rise and never overlap; a text that is heard for none of them joins the next one."""
    held = ""
    last: tuple[int, int, str] | None = None
    for cue in cues:
        start, end = round(cue.start * MILLISECONDS), round(cue.end * MILLISECONDS)
        if end <= start:
            held += cue.text
            continue
        if last:
            yield last
        last, held = (start, end, held + cue.text), ""
    if last:
        yield (*last[:2], last[2] + held)


def lines(text: str, columns: int = COLUMNS) -> list[str]:
    """Text as lines of at most `columns`, about equally long; an even number where two are too few."""
    rows = _fill(text, columns)
    if len(rows) == 1:
        return rows
    most = -(-len(rows) // LINES) * LINES
    low, high = 1, columns
    while low < high:
        middle = (low + high) // 2
        if len(_fill(text, middle)) <= most:
            high = middle
        else:
            low = middle + 1
    return _fill(text, low)


def spaced(text: str, rows: Iterable[str]) -> Iterator[str]:
    """Rows of a text whose words are one blank apart, each with the blank behind it, where there is one."""
    at = 0
    for row in rows:
        end = at + len(row)
        end += text[end : end + 1] == " "
        yield text[at:end]
        at = end


def _fill(text: str, columns: int) -> list[str]:
    rows = [""]
    for word in text.split():
        if width(f"{rows[-1]} {word}".strip()) <= columns:
            rows[-1] = f"{rows[-1]} {word}".strip()
            continue
        *full, rest = _chop(word, columns)
        rows += [*full, rest]
    return rows if rows[0] or len(rows) == 1 else rows[1:]


def _chop(word: str, columns: int) -> list[str]:
    """A word that is longer than a line, cut between characters as a person sees them."""
    pieces = []
    while width(word) > columns:
        fits = next(at for at in range(len(word), 0, -1) if at == 1 or width(word[:at]) <= columns)
        cut = whole_characters(word, fits)
        pieces.append(word[:cut])
        word = word[cut:]
    return [*pieces, word] if word else pieces


def width(text: str) -> int:
    """Columns that a text takes: two for a wide character, none for a mark on the one before."""
    return sum(
        0 if unicodedata.category(each) in MARKS else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


def _clock(milliseconds: int, point: str) -> str:
    seconds, milliseconds = divmod(milliseconds, MILLISECONDS)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"


def _for_vtt(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _no_markup(match: re.Match[str]) -> str:
    return f"{match[0][0]}\u200b{match[0][1:]}"


def _for_srt(text: str) -> str:
    """SRT has no escapes: a character of no width keeps text from being read as a tag or as an arrow."""
    return re.sub(r"<(?=[/a-zA-Z])|\{(?=[\\a-zA-Z])|-(?=->)", _no_markup, text)
