"""eSpeak NG by ctypes: as much of speak_lib.h as is used. GPL-3.0-or-later, in the voice process only."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from pathlib import Path

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
    return library, rate
