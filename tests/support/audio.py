"""Sounds for tests, and their ways into sinks and out of formats. Beside soundfile, nothing decodes here."""

from __future__ import annotations

import io
import math
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile

from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.models import AudioFormat

FORMAT = AudioFormat(24_000)
PIECE = 7680


def noise(frames: int) -> bytes:
    """What only an exact format keeps; no sample is 0, so that silence around it is told from it."""
    luck = random.Random(7)
    return b"".join(
        (luck.choice((-1, 1)) * luck.randrange(1, 12_000)).to_bytes(2, "little", signed=True)
        for _ in range(frames)
    )


def tone(frames: int, rate: int = FORMAT.sample_rate) -> bytes:
    """What lossy formats keep: 220 Hz, in whole numbers."""
    return b"".join(
        round(9000 * math.sin(2 * math.pi * 220 * at / rate)).to_bytes(2, "little", signed=True)
        for at in range(frames)
    )


def pieces(pcm: bytes) -> Iterator[bytes]:
    """As it arrives."""
    return (pcm[at : at + PIECE] for at in range(0, len(pcm), PIECE))


def pour(destination: Destination, pcm: bytes, format: AudioFormat = FORMAT) -> None:
    """Into one sink, to its end."""
    with open_sinks([destination], format) as sink:
        for piece in pieces(pcm):
            sink.write(piece)


@contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """`work` on another thread while the context lasts; what it raises comes out at the end."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if raised:
        raise raised[0]


def make_fifo(folder: Path, name: str = "fifo") -> Path:
    """A pipe with a name."""
    path = folder / name
    os.mkfifo(path)
    return path


def decoded(data: bytes, coding: str, format: AudioFormat = FORMAT) -> bytes:
    """The samples as s16le."""
    options = {}
    if coding == "pcm":
        return data
    if coding in ("ulaw", "alaw"):
        options = {"samplerate": format.sample_rate, "channels": 1, "format": "RAW"}
        options["subtype"] = coding.upper()
    with soundfile.SoundFile(io.BytesIO(data), **options) as sound:
        assert sound.samplerate == format.sample_rate
        samples: bytes = sound.read(dtype="int16").tobytes()
        return samples


def likeness(one: bytes, other: bytes, most_late: int = 0) -> float:
    """Correlation of two sounds, at its best where the first may come up to `most_late` frames late."""
    import numpy

    long, short = (numpy.frombuffer(each, "<i2").astype(float) for each in (one, other))
    short = short[: len(long) - most_late]
    windows = numpy.lib.stride_tricks.sliding_window_view(long, len(short))[: most_late + 1]
    return max(float(numpy.corrcoef(window, short)[0, 1]) for window in windows)
