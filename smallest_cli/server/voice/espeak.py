"""ctypes bindings of eSpeak NG (the used part of speak_lib.h), and word timings from its events.

The library is GPL-3.0-or-later and is loaded in the voice process only.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Iterator
from typing import Any

AUDIO_OUTPUT_SYNCHRONOUS, CHUNK_MS, DONT_EXIT = 2, 60, 0x8000
CHARS_UTF8 = 1
RATE, PITCH = 1, 3
EVENT_NONE, EVENT_WORD, EVENT_END = 0, 1, 5


class EspeakEvent(ctypes.Structure):
    """espeak_EVENT of speak_lib.h; `text_position` counts characters from 1."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


OnChunk = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(EspeakEvent)
)


class EspeakError(Exception):
    """eSpeak NG is unusable, or failed for this request."""


def load_library() -> tuple[ctypes.CDLL, int]:
    """Load and initialize eSpeak NG; return it and its sample rate. Raises EspeakError."""
    data = None  # built in, unless the library is from a wheel
    try:
        import espeakng_loader
    except ImportError:
        path = ctypes.util.find_library("espeak-ng")
        if path is None:
            raise EspeakError("eSpeak NG is not installed") from None
    else:
        path = espeakng_loader.get_library_path()
        # The library rejects paths longer than about 160 bytes; a relative one is always short.
        folder, name = os.path.split(espeakng_loader.get_data_path())
        os.chdir(folder)
        data = name.encode()
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise EspeakError(f"eSpeak NG cannot be loaded: {error}") from None
    rate = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, CHUNK_MS, data, DONT_EXIT)
    if rate <= 0:
        raise EspeakError("eSpeak NG cannot find its data")
    # Fix the noise seed: the same text always gives the same samples.
    if hasattr(library, "espeak_ng_SetRandSeed"):
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    else:
        ctypes.CDLL(None).srand(1)
    return library, rate


_PUNCTUATION = frozenset("-‐‑‒–—―'\"‘’“”«».,:;!?…()[]{}|·।")


class WordTracker:
    """Turn eSpeak NG events into word timings (waves/api.md, 3c). A word is a verbatim slice between spaces.

    eSpeak NG splits more finely ("$100" is three words), reports some words without length and
    repeats positions, so its events are only used for the start of each word.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._word_at: dict[int, tuple[int, int]] = {}
        start = first = 0
        for word in text.split():
            start = text.index(word, start)
            end = start + len(word)
            if not set(word) <= _PUNCTUATION:  # unspoken characters belong to the next word
                self._word_at.update(dict.fromkeys(range(first, end), (start, end)))
                first = end
            start = end
        self._current: tuple[int, int] | None = None
        self._started = self._ended = 0.0
        self._number = 0

    def on_event(self, event: EspeakEvent, seconds: float) -> Iterator[dict[str, Any]]:
        """Process an event at `seconds`; yield the word that it ends, if any."""
        if event.type == EVENT_END and self._current:
            self._ended = self._ended or seconds
        if event.type != EVENT_WORD:
            return
        word = self._word_at.get(event.text_position - 1)
        if word is None or word == self._current or (self._current and word < self._current):
            self._ended = 0.0
            return
        yield from self.finish(seconds)
        self._current, self._started = word, seconds

    def finish(self, seconds: float) -> Iterator[dict[str, Any]]:
        """Yield the current word, ended at `seconds` at the latest."""
        if self._current is None:
            return
        end = min(self._ended or seconds, seconds)
        yield {
            "word": self._text[slice(*self._current)],
            "start": round(self._started, 3),
            "end": round(max(end, self._started), 3),
            "number": self._number,
        }
        self._number += 1
        self._current, self._ended = None, 0.0
