"""A text -> what is asked for, in order: segments, and the silences between paragraphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from smallest_cli.errors import UsageError
from smallest_cli.models import Silence, SpeechRequest
from smallest_cli.text.normalize import normalise

SPLIT = 250


@dataclass(frozen=True, slots=True)
class Script:
    """Segments and silences. `removed` counts the control characters that were left out of the text."""

    items: tuple[SpeechRequest | Silence, ...]
    removed: int

    @property
    def segments(self) -> int:
        """How many requests it takes."""
        return sum(isinstance(item, SpeechRequest) for item in self.items)

    @property
    def characters(self) -> int:
        """What is paid for."""
        return sum(len(item.text) for item in self.items if isinstance(item, SpeechRequest))


def write_script(
    texts: Sequence[str], template: SpeechRequest, *, split: int, pause_s: float, by_sentence: bool = False
) -> Script:
    """Cut texts into segments of at most `split` characters (0 for no cut), spoken as `template` says.

    `by_sentence` keeps sentences apart that would share a segment.
    Between paragraphs, and each text begins one, are `pause_s` seconds of silence. Raises UsageError
    where there is nothing to say.
    """
    text = normalise("\n\n".join(texts))
    items = tuple(_items(text.paragraphs, template, split, pause_s, by_sentence))
    if not items:
        raise UsageError("nothing to speak: the text is empty")
    return Script(items, text.removed)


def _items(
    paragraphs: Sequence[str], template: SpeechRequest, split: int, pause_s: float, by_sentence: bool
) -> Iterator[SpeechRequest | Silence]:
    for number, paragraph in enumerate(paragraphs):
        if number and pause_s:
            yield Silence(pause_s)
        for piece in _sentences(paragraph, split) if by_sentence else _pieces(paragraph, split):
            yield replace(template, text=piece)


def _pieces(paragraph: str, split: int) -> list[str]:
    if not split or len(paragraph) <= split:
        return [paragraph]
    from smallest_cli.text.segments import (
        segments,  # the rules of sentences, which a short text starts without
    )

    return _spoken(segments(paragraph, split))


def _sentences(paragraph: str, split: int) -> list[str]:
    from smallest_cli.text.segments import sentences

    return _spoken(sentences(paragraph, split))


def _spoken(pieces: list[str]) -> list[str]:
    """Without a blank that had room in no piece: a service has nothing to say to it."""
    return [piece for piece in pieces if piece.strip()]
