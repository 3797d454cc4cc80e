"""Subtitles: spoken segments -> cues -> SRT, WebVTT or JSON. No I/O.

Times are counted in samples, so the last cue ends where the audio ends. A cue has at most two lines of 42
columns, as in broadcasting; a longer sentence becomes several cues, which share its time by length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import PurePath

from smallest_cli.errors import UsageError
from smallest_cli.models import AudioChunk, Completed, Event, Value, WordTiming
from smallest_cli.security import printable, redact
from smallest_cli.text.clean import clean
from smallest_cli.text.graphemes import clusters, display_width

COLUMNS = 42
LINES = 2
MILLISECONDS = 1000
KINDS = ("srt", "vtt", "json")
NOT_FIRST = frozenset(
    "、。，．！？：；・…‥ー々〜～）］｝〕〉》」』】〙〗｠｡､･｣ｰ,.!?:;)]}»”"
    "ぁぃぅぇぉっゃゅょゎゕゖゝゞァィゥェォッャュョヮヵヶヽヾㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿｧｨｩｪｫｬｭｮｯ"
)
"""Characters that do not begin a line (kinsoku shori, JIS X 4051)."""
NOT_LAST = frozenset("（［｛〔〈《「『【〘〖｟｢([{«“")
"""Characters that do not end a line."""
_Clusters = list[tuple[str, int]]
"""Grapheme clusters, each with its width in columns."""


@dataclass(slots=True)
class SpokenSegment:
    """The text of one request, the frame at which its audio starts, and the audio and words so far."""

    text: str
    start: int
    frames: int = 0
    words: list[WordTiming] = field(default_factory=list)
    complete: bool = False
    frame_size: int = 2
    """Bytes of a frame."""
    speaker: str | None = None
    _byte_count: int = 0

    @property
    def end(self) -> int:
        """The frame after the last."""
        return self.start + self.frames

    def on_event(self, event: Event) -> None:
        """Record audio, words and the end."""
        match event:
            case AudioChunk(pcm=pcm):
                self._byte_count += len(pcm)
                self.frames = self._byte_count // self.frame_size
            case WordTiming():
                self.words.append(event)
            case Completed():
                self.complete = True

    def restart(self, frame: int) -> None:
        """Discard the audio and words of a failed attempt."""
        self.start = frame
        self.words.clear()
        self.frames = self._byte_count = 0


class Cue(Value):
    """A text and when it is spoken, in seconds from the start of the audio; its words if they are timed."""

    start: float
    end: float
    text: str
    words: tuple[Cue, ...] = ()
    speaker: str | None = None


def subtitle_format(path: str) -> str:
    """The format of a subtitle file, by its extension. Raises UsageError."""
    kind = PurePath(path).suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise UsageError(f"--subtitles: {printable(path)} is not a .srt, .vtt or .json file")
    return kind


def cues_of(segments: Iterable[SpokenSegment], rate: int) -> list[Cue]:
    """One cue for each complete segment, at `rate` frames per second."""
    return [
        Cue(each.start / rate, each.end / rate, each.text.strip(), tuple(_words(each, rate)), each.speaker)
        for each in segments
        if each.complete
    ]


def _words(segment: SpokenSegment, rate: int) -> Iterator[Cue]:
    """Words with rising times within the segment, without control characters, whatever the service sent."""
    if not segment.words:
        return
    segment_start, segment_end = segment.start / rate, segment.end / rate
    starts = [min(max(segment_start + word.start, segment_start), segment_end) for word in segment.words]
    starts = list(accumulate(starts, max))
    for word, start, following in zip(segment.words, starts, [*starts[1:], segment_end], strict=True):
        end = segment_start + word.end if word.end > word.start else following
        if text := " ".join(redact(clean(word.word)[0]).split()):
            yield Cue(start, max(start, min(end, following)), text)


def is_timed(segment: SpokenSegment) -> bool:
    """Whether the service sent word times; if all are 0 it did not."""
    return any(word.end > 0 for word in segment.words)


def render(cues: Sequence[Cue], kind: str, *, by_word: bool = False) -> str:
    """The content of a file. `by_word` makes every word a cue; in JSON words are part of their sentence."""
    if kind == "json":
        return json.dumps([_as_fields(cue) for cue in cues], ensure_ascii=False, indent=1) + "\n"
    parts = [word for cue in cues for word in cue.words] if by_word else list(map(_with_speaker, cues))
    timed = [(start, end, "\n".join(lines(text))) for start, end, text in _merge(_split(parts))]
    if kind == "vtt":
        return "WEBVTT\n" + "".join(
            f"\n{_timestamp(start, '.')} --> {_timestamp(end, '.')}\n{_for_vtt(text)}\n"
            for start, end, text in timed
        )
    return "\n".join(
        f"{number}\n{_timestamp(start, ',')} --> {_timestamp(end, ',')}\n{_for_srt(text)}\n"
        for number, (start, end, text) in enumerate(timed, 1)
    )


def _with_speaker(cue: Cue) -> Cue:
    return cue.but(text=f"{cue.speaker}: {cue.text}") if cue.speaker else cue


def _as_fields(cue: Cue) -> dict[str, object]:
    fields: dict[str, object] = {"start": round(cue.start, 6), "end": round(cue.end, 6), "text": cue.text}
    if cue.speaker:
        fields["speaker"] = cue.speaker
    if cue.words:
        fields["words"] = [_as_fields(word) for word in cue.words]
    return fields


def _split(cues: Iterable[Cue]) -> Iterator[Cue]:
    """Cues of at most two lines. Each text keeps the space after it; a word that was cut has none."""
    for cue in cues:
        text = " ".join(cue.text.split())
        rows = list(spaced(f"{text} ", lines(text)))
        texts = ["".join(rows[at : at + LINES]) for at in range(0, len(rows), LINES)]
        if len(texts) == 1:
            yield cue.but(text=texts[0])
            continue
        done = list(accumulate((display_width(text.rstrip()) for text in texts), initial=0))
        times = [cue.start + (cue.end - cue.start) * part / done[-1] for part in done[:-1]]
        for text, start, end in zip(texts, times, [*times[1:], cue.end], strict=True):
            yield cue.but(start=start, end=end, text=text, words=())


def _merge(cues: Iterable[Cue]) -> Iterator[tuple[int, int, str]]:
    """Rising times in milliseconds that never overlap; a text of no duration joins the next one."""
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
    """Text as lines of at most `columns`, about equally long; an even number of lines if two are too few."""
    words = [_measured(word, columns) for word in _unbroken(text)]
    rows = _fill(words, columns)
    if len(rows) == 1:
        return rows
    most = -(-len(rows) // LINES) * LINES
    low, high = 1, columns
    while low < high:
        middle = (low + high) // 2
        if len(_fill(words, middle)) <= most:
            high = middle
        else:
            low = middle + 1
    return _fill(words, low)


def spaced(text: str, rows: Iterable[str]) -> Iterator[str]:
    """Rows of a text with single spaces between words, each with the space after it if there is one."""
    at = 0
    for row in rows:
        end = at + len(row)
        end += text[end : end + 1] == " "
        yield text[at:end]
        at = end


def _fill(words: Iterable[_Clusters], columns: int) -> list[str]:
    rows, width = [""], columns
    for word in words:
        *full, (last, last_width) = _split_word(word, columns)
        if not full and width + 1 + last_width <= columns:
            rows[-1] += f" {last}"
            width += 1 + last_width
        else:
            rows += [*(row for row, _ in full), last]
            width = last_width
    return rows[1:] or rows


def _unbroken(text: str) -> list[str]:
    """Words, each with those that must be on its line: in French `« oui ! »` is one."""
    words: list[list[str]] = []
    for word in text.split():
        if words and (word[0] in NOT_FIRST or words[-1][-1][-1] in NOT_LAST):
            words[-1].append(word)
        else:
            words.append([word])
    return [" ".join(joined) for joined in words]


def _measured(word: str, columns: int) -> _Clusters:
    """The grapheme clusters of a word; one that is wider than a line is cut into its characters."""
    found: _Clusters = []
    for cluster, width in clusters(word):
        found += [(cluster, width)] if width <= columns else [(each, display_width(each)) for each in cluster]
    return found


def _split_word(word: _Clusters, columns: int) -> Iterator[tuple[str, int]]:
    """The lines of a word, and their widths: cut between clusters, where a line may end if possible."""
    ends = list(accumulate((width for _, width in word), initial=0))
    start = last = 0
    for at in range(1, len(word)):
        if word[at][0] == " ":
            continue  # a line ends after it
        before = word[at - 2 if word[at - 1][0] == " " else at - 1][0]
        if before[-1] not in NOT_LAST and word[at][0][0] not in NOT_FIRST:
            last = at
        while start < at and ends[at + 1] - ends[start] > columns:
            cut = last if last > start else at
            yield "".join(cluster for cluster, _ in word[start:cut]).rstrip(), ends[cut] - ends[start]
            start = cut
    yield "".join(cluster for cluster, _ in word[start:]), ends[-1] - ends[start]


def _timestamp(milliseconds: int, point: str) -> str:
    seconds, milliseconds = divmod(milliseconds, MILLISECONDS)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"


def _for_vtt(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _for_srt(text: str) -> str:
    """SRT has no escapes: a zero-width space keeps text from being read as a tag or an arrow."""
    return re.sub(r"<(?=[/a-zA-Z])|\{(?=[\\a-zA-Z])|-(?=->)", "\\g<0>\u200b", text)
