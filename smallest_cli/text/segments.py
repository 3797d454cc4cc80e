"""Complete text as segments: what `speak` sends, one request each, and the silences between them.

Texts -> clean -> layout -> sentences -> SegmentWriter -> requests. Arriving text takes the same steps in
`stream`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from smallest_cli.errors import UsageError
from smallest_cli.models import MAX_REQUEST_CHARS, SEGMENT_CHARS, Silence, SpeechRequest
from smallest_cli.text.breaks import Break, Item, Mark, Pause, Speaker

Speakers = Mapping[str, SpeechRequest]
"""The request template of each speaker, by the name that begins a line."""


class Script(NamedTuple):
    """Segments and silences in order.

    `removed` counts the control characters taken out of the text, `dropped` the characters that cannot be
    spoken and had no neighbour to join. `warnings` names what looks like a mistake in the text.
    """

    items: tuple[SpeechRequest | Silence, ...]
    removed: int = 0
    dropped: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def requests(self) -> list[SpeechRequest]:
        """The segments without the silences."""
        return [item for item in self.items if isinstance(item, SpeechRequest)]

    @property
    def segments(self) -> int:
        """Number of requests."""
        return len(self.requests)

    @property
    def characters(self) -> int:
        """Number of billed characters."""
        return sum(len(item.text) for item in self.requests)


def is_speakable(text: str) -> bool:
    """Whether a text has a letter or digit: a service may refuse any other, or answer without audio."""
    return any(map(str.isalnum, text))


class SegmentWriter:
    """Makes requests and silences of pieces of text and the marks between them.

    A piece that cannot be spoken joins the next one on its line. If there is none it is dropped, and its
    characters are counted in `dropped`.
    """

    def __init__(self, template: SpeechRequest, speakers: Speakers, pause_s: float) -> None:
        """`pause_s`: seconds of silence between paragraphs."""
        self.dropped = 0
        self._default = self._template = template
        self._speakers = speakers
        self._pause_s = pause_s
        self._has_spoken = self._ends_paragraph = False
        self._leading_s = 0.0
        self._unspoken = ""

    def mark(self, mark: Mark) -> list[SpeechRequest | Silence]:
        """Apply a mark; return the silence that it asks for."""
        self.dropped += len(self._unspoken.strip())
        self._unspoken = ""
        match mark:
            case Pause(seconds) if self._has_spoken:
                return [Silence(seconds)] if seconds else []
            case Pause(seconds):
                self._leading_s += seconds  # a text of silence alone is not spoken
            case Speaker(name):
                self._template = self._speakers[name]._replace(speaker=name)
            case Break(paragraph=True):
                self._template = self._default
                self._ends_paragraph = self._has_spoken
        return []

    def segment(self, text: str) -> list[SpeechRequest | Silence]:
        """Return the request for a piece of text, after the silence that ends a paragraph before it."""
        text = (self._unspoken + text).lstrip()
        if not is_speakable(text):
            self._unspoken = text[-SEGMENT_CHARS:]
            self.dropped += len(text) - len(self._unspoken)
            return []
        if len(text) > MAX_REQUEST_CHARS and self._unspoken:
            self.dropped += len(self._unspoken)
            text = text[len(self._unspoken) :]
        pause_s = self._leading_s + (self._pause_s if self._ends_paragraph else 0.0)
        self._ends_paragraph, self._has_spoken, self._leading_s, self._unspoken = False, True, 0.0, ""
        request = self._template._replace(text=text)
        return [Silence(pause_s), request] if pause_s else [request]


def write_script(
    texts: Sequence[str],
    template: SpeechRequest,
    *,
    split: int,
    pause_s: float,
    by_sentence: bool = False,
    speakers: Speakers | None = None,
) -> Script:
    """Split texts into segments of at most `split` characters (0: one for each paragraph).

    Each segment is `template`, or that of its speaker, with its text. `by_sentence` puts every sentence into
    its own segment. Paragraphs, and the texts, are separated by `pause_s` seconds of silence. Raises
    UsageError for texts without any words, for a pause that is too long, and for a segment that is longer
    than the service takes.
    """
    text = "\n\n".join(texts)
    plain = not speakers and _is_plain(text)
    parts, removed, warnings = ([text], 0, ()) if plain else _lay_out(text, speakers or {})
    writer = SegmentWriter(template, speakers or {}, pause_s)
    items: list[SpeechRequest | Silence] = []
    line: list[str] = []
    for part in chain(parts, [Break()]):
        if isinstance(part, str):
            line.append(part)
            continue
        for piece in _split("".join(line).strip(), split, by_sentence, template.language):
            items += writer.segment(piece)
        line.clear()
        items += writer.mark(part)
    script = Script(tuple(items), removed, writer.dropped, warnings)
    if not script.requests:
        reason = "has no letter or digit" if script.dropped else "is empty"
        raise UsageError(f"nothing to speak: the text {reason}")
    longest = max(len(item.text.strip()) for item in script.requests)
    if longest > MAX_REQUEST_CHARS:
        problem = f"a request of {longest} characters is too long; the service takes {MAX_REQUEST_CHARS}"
        raise UsageError(problem, hint=f"split the text: --split N, at most {MAX_REQUEST_CHARS}")
    return script


def _is_plain(text: str) -> bool:
    """Whether a text is a paragraph that needs no cleaning: most are, and start faster."""
    if not text.isprintable() or text != text.strip() or any(mark in text for mark in ("  ", "[pause", "<")):
        return False
    return text.isascii() or not any("\ufb00" <= character <= "\ufb06" for character in text)


def _lay_out(text: str, speakers: Speakers) -> tuple[Sequence[Item], int, tuple[str, ...]]:
    """Return the words and marks of a text, the number of control characters removed, and warnings."""
    from smallest_cli.text.clean import clean
    from smallest_cli.text.layout import Layout

    text, removed = clean(text)
    layout = Layout(speakers)
    return [*layout.feed(text), *layout.flush()], removed, tuple(layout.warnings)


def _split(line: str, limit: int, by_sentence: bool, language: str | None) -> Iterator[str]:
    if not by_sentence and (not limit or len(line) <= limit):
        yield line
        return
    # The sentence rules take time to compile, so only a text that needs splitting imports them.
    from smallest_cli.text.sentences import split_segments, split_sentences

    yield from (split_sentences if by_sentence else split_segments)(line, limit, language=language)


class FinishedSegments:
    """The items of a complete text, each created when it is taken."""

    def __init__(self, items: Iterable[SpeechRequest | Silence]) -> None:
        self._items = iter(items)
        self.ended = False

    def next(self) -> SpeechRequest | Silence | None:
        """Return the next item, None at the end."""
        item = next(self._items, None)
        self.ended = item is None
        return item

    def due_s(self) -> float | None:
        """Return 0: an item, or the end, is always ready."""
        return 0.0

    def wait(self, timeout_s: float) -> bool:
        """Return True at once."""
        return True

    def fileno(self) -> int:
        """Return -1: there is nothing to wait for."""
        return -1
