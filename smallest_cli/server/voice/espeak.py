"""eSpeak NG by ctypes: as much of speak_lib.h as is used, and words out of its events.

The library is GPL-3.0-or-later and is loaded in the voice process only.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

AUDIO_OUTPUT_SYNCHRONOUS, CHUNK_MS, DONT_EXIT = 2, 60, 0x8000
CHARS_UTF8 = 1
RATE, PITCH = 1, 3
EVENT_NONE, EVENT_WORD, EVENT_END = 0, 1, 5


class EspeakEvent(ctypes.Structure):
    """espeak_EVENT of speak_lib.h; `sample` is exact, `text_position` counts characters from 1."""

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


class Unavailable(Exception):
    """There is no usable eSpeak NG; the text says why."""


def find_library() -> tuple[str, str | None]:
    """The library's path, and the folder of its data where that is not built in."""
    try:
        import espeakng_loader
    except ImportError:
        found = ctypes.util.find_library("espeak-ng")
        if found is None:
            raise Unavailable("eSpeak NG is not installed") from None
        return found, None
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


def load_library() -> tuple[ctypes.CDLL, int]:
    """eSpeak NG, ready to speak, and its sample rate. Raises Unavailable."""
    path, data = find_library()
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise Unavailable(f"eSpeak NG cannot be loaded: {error}") from None
    name = None
    if data is not None:
        # The library gives up on a path longer than about 160 bytes; a relative one is always short.
        os.chdir(Path(data).parent)
        name = Path(data).name.encode()
    rate = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, CHUNK_MS, name, DONT_EXIT)
    if rate <= 0:
        raise Unavailable("eSpeak NG does not find its data")
    _seed(library)
    return library, rate


def _seed(library: ctypes.CDLL) -> None:
    """It breathes by chance, from the time of its start on; the same text is to be the same samples."""
    if hasattr(library, "espeak_ng_SetRandSeed"):
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    else:
        ctypes.CDLL(None).srand(1)


_SILENT = frozenset("-‐‑‒–—―'\"‘’“”«».,:;!?…()[]{}|·।")


class Words:
    """Which word of the text is heard when (waves/api.md, 3c). A word is a verbatim slice between blanks.

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
            if not set(word) <= _SILENT:  # what is not spoken, and blanks, belong to the word that follows
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
