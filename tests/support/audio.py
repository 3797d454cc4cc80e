"""Test audio, and helpers to write it to sinks and to decode it with soundfile."""

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
    """Noise that only a lossless format preserves. No sample is 0, unlike silence."""
    rng = random.Random(7)
    return b"".join(
        (rng.choice((-1, 1)) * rng.randrange(1, 12_000)).to_bytes(2, "little", signed=True)
        for _ in range(frames)
    )


def tone(frames: int, rate: int = FORMAT.sample_rate) -> bytes:
    """A tone of 220 Hz, which lossy formats preserve."""
    return b"".join(
        round(9000 * math.sin(2 * math.pi * 220 * at / rate)).to_bytes(2, "little", signed=True)
        for at in range(frames)
    )


def pieces(pcm: bytes) -> Iterator[bytes]:
    """Yield the audio in pieces, as it arrives from the service."""
    return (pcm[at : at + PIECE] for at in range(0, len(pcm), PIECE))


def write_audio(destination: Destination, pcm: bytes, format: AudioFormat = FORMAT) -> None:
    """Write audio to a destination and close it."""
    with open_sinks([destination], format) as sink:
        for piece in pieces(pcm):
            sink.write(piece)


@contextmanager
def in_background(work: Callable[[], None]) -> Iterator[None]:
    """Run `work` on another thread until the context ends. Its exception is raised at the end."""
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
    """Create a named pipe."""
    path = folder / name
    os.mkfifo(path)
    return path


def decoded(data: bytes, coding: str, format: AudioFormat = FORMAT) -> bytes:
    """Decode audio to s16le samples."""
    options = {}
    if coding == "pcm":
        return data
    if coding in ("ulaw", "alaw"):
        options = {"samplerate": format.sample_rate, "channels": 1, "format": "RAW"}
        options["subtype"] = coding.upper()
    with soundfile.SoundFile(io.BytesIO(data), **options) as file:
        assert file.samplerate == format.sample_rate
        samples: bytes = file.read(dtype="int16").tobytes()
        return samples


def correlation(one: bytes, other: bytes, max_delay: int = 0) -> float:
    """The highest correlation of two signals, where the first may be up to `max_delay` frames late."""
    import numpy

    long, short = (numpy.frombuffer(each, "<i2").astype(float) for each in (one, other))
    short = short[: len(long) - max_delay]
    windows = numpy.lib.stride_tricks.sliding_window_view(long, len(short))[: max_delay + 1]
    return max(float(numpy.corrcoef(window, short)[0, 1]) for window in windows)
