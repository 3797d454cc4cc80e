"""Complete text as segments: what `speak` sends, one request each, and the silences between paragraphs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from smallest_cli.errors import UsageError
from smallest_cli.models import MAX_REQUEST_CHARS, Silence, SpeechRequest
from smallest_cli.text.normalize import normalize


class Script(NamedTuple):
    """Segments and silences in order; `removed` counts the control characters taken out of the text."""

    items: tuple[SpeechRequest | Silence, ...]
    removed: int

    @property
    def segments(self) -> int:
        """Number of requests."""
        return sum(isinstance(item, SpeechRequest) for item in self.items)

    @property
    def characters(self) -> int:
        """Number of billed characters."""
        return sum(len(item.text) for item in self.items if isinstance(item, SpeechRequest))


def write_script(
    texts: Sequence[str], template: SpeechRequest, *, split: int, pause_s: float, by_sentence: bool = False
) -> Script:
    """Split texts into segments of at most `split` characters (0: one for each paragraph).

    Each segment is `template` with its text. `by_sentence` puts every sentence into its own segment.
    Paragraphs, and the texts, are separated by `pause_s` seconds of silence. Raises UsageError for texts
    without any words, and for a segment that is longer than the service takes.
    """
    text = normalize("\n\n".join(texts))
    items: list[SpeechRequest | Silence] = []
    for paragraph in text.paragraphs:
        if items and pause_s:
            items.append(Silence(pause_s))
        items += (template._replace(text=piece) for piece in _split(paragraph, split, by_sentence))
    if not items:
        raise UsageError("nothing to speak: the text is empty")
    longest = max(len(item.text.strip()) for item in items if isinstance(item, SpeechRequest))
    if longest > MAX_REQUEST_CHARS:
        problem = f"a request of {longest} characters is too long; the service takes {MAX_REQUEST_CHARS}"
        raise UsageError(problem, hint=f"split the text: --split N, at most {MAX_REQUEST_CHARS}")
    return Script(tuple(items), text.removed)


def _split(paragraph: str, limit: int, by_sentence: bool) -> Iterator[str]:
    if not by_sentence and (not limit or len(paragraph) <= limit):
        yield paragraph
        return
    # The sentence rules take time to compile, so only a text that needs splitting imports them.
    from smallest_cli.text.sentences import split_segments, split_sentences

    pieces = (split_sentences if by_sentence else split_segments)(paragraph, limit)
    yield from (piece for piece in pieces if piece.strip())


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
