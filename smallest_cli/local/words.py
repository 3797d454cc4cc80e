"""Word timings out of the engine's events (waves/api.md, 3c)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from smallest_cli.local.espeak import EVENT_END, EVENT_WORD, EspeakEvent

SILENT = frozenset("-‐‑‒–—―'\"‘’“”«».,:;!?…()[]{}|·।")


class Words:
    """Which word of the text is heard when. A word is a verbatim slice between blanks.

    eSpeak NG cuts finer than that ("$100" is three of its words), gives some no length and
    repeats positions, so its events only tell when a word of ours begins.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._word_at: dict[int, tuple[int, int]] = {}
        start = first = 0
        for word in text.split():
            start = text.index(word, start)
            end = start + len(word)
            if not set(word) <= SILENT:  # what is not spoken, and blanks, belong to the word that follows
                self._word_at.update(dict.fromkeys(range(first, end), (start, end)))
                first = end
            start = end
        self._current: tuple[int, int] | None = None
        self._began = self._ended = 0.0
        self._index = 0

    def heard(self, event: EspeakEvent, seconds: float) -> Iterator[dict[str, Any]]:
        """Take in an event at `seconds`; gives the word that it brings to its end, if any."""
        if event.type == EVENT_END and self._current:
            self._ended = self._ended or seconds
        if event.type != EVENT_WORD:
            return
        word = self._word_at.get(event.text_position - 1)
        if word is None or word == self._current or (self._current and word < self._current):
            self._ended = 0.0
            return
        yield from self.finish(seconds)
        self._current, self._began = word, seconds

    def finish(self, seconds: float) -> Iterator[dict[str, Any]]:
        """The word that is being heard, ended at the latest at `seconds`."""
        if self._current is None:
            return
        end = min(self._ended or seconds, seconds)
        yield {
            "word": self._text[slice(*self._current)],
            "start": round(self._began, 3),
            "end": round(max(end, self._began), 3),
            "index": self._index,
        }
        self._index += 1
        self._current, self._ended = None, 0.0
