"""From the engine's samples to frames on a socket: resampled, cut in blocks, coded as asked."""

from __future__ import annotations

import io
import json
import math
import socket
from collections.abc import Iterator
from typing import Any

import numpy
import soxr

from smallest_cli.server.voice.ipc import AUDIO, END, FRAME, WORD, Order

MP3_BIT_RATE = 128


class Output:
    """Samples in, frames out. Whatever sends raises OSError when nobody listens any more."""

    def __init__(self, peer: socket.socket, order: Order, native_rate: int) -> None:
        self._peer = peer
        self._order = order
        self._resampler = soxr.ResampleStream(
            native_rate, order.sample_rate, 1, dtype="float32", quality="HQ"
        )
        self._pcm = bytearray()
        self._sent_bytes = 0
        self._words: list[dict[str, Any]] = []
        self._encoder = None if order.encoding == "pcm" else Encoder(order.encoding, order.sample_rate)

    def words(self, words: Iterator[dict[str, Any]]) -> None:
        """Words to send once the audio has come to where they begin."""
        self._words += words

    def samples(self, native: Any, *, last: bool = False) -> None:
        """Take in samples as float32 on the scale of s16."""
        # In float and rounded here: soxr's own integer output is dithered, and differs from run to run.
        resampled = self._resampler.resample_chunk(native, last=last)
        self._pcm += numpy.clip(numpy.rint(resampled), -32768, 32767).astype("<i2").tobytes()
        while len(self._pcm) >= self._order.block_bytes:
            self._send_block(self._order.block_bytes)

    def finish(self) -> None:
        """Send all that is left, and the end."""
        self.samples(numpy.zeros(0, "float32"), last=True)
        if self._order.fill:
            self._pcm += bytes(-len(self._pcm) % self._order.block_bytes)
        if self._pcm:
            self._send_block(len(self._pcm))
        if self._encoder:
            self._send(AUDIO, self._encoder.finish())
        self._send_words(math.inf)
        self._send(END)

    def _send_block(self, size: int) -> None:
        block = bytes(self._pcm[:size])
        del self._pcm[:size]
        self._sent_bytes += size
        if self._encoder:
            self._encoder.feed(block)
            self._send(AUDIO)  # empty: does anybody listen still?
        else:
            self._send(AUDIO, block)
        self._send_words(self._sent_bytes / 2 / self._order.sample_rate)

    def _send_words(self, until: float) -> None:
        while self._words and self._words[0]["start"] < until:
            self._send(WORD, json.dumps(self._words.pop(0)).encode())

    def _send(self, kind: bytes, payload: bytes = b"") -> None:
        self._peer.sendall(FRAME.pack(kind, len(payload)) + payload)


class Encoder:
    """MP3 at a constant 128 kbit/s, or raw G.711 (waves/api.md, 3a), by libsndfile."""

    def __init__(self, encoding: str, sample_rate: int) -> None:
        import soundfile  # a fork that needs none is ready sooner

        self._out = io.BytesIO()
        options: dict[str, Any] = {"format": "RAW", "subtype": encoding.upper()}
        if encoding == "mp3":
            options = {
                "format": "MP3",
                "subtype": "MPEG_LAYER_III",
                "bitrate_mode": "CONSTANT",
                "compression_level": self._compression(sample_rate),
            }
        self._file = soundfile.SoundFile(self._out, "w", sample_rate, 1, **options)

    @staticmethod
    def _compression(sample_rate: int) -> float:
        """libsndfile takes a bit rate only as a place between the least and the most of the layer."""
        least, most = (32, 320) if sample_rate >= 32_000 else (8, 160) if sample_rate >= 16_000 else (8, 64)
        return (most - min(MP3_BIT_RATE, most)) / (most - least)

    def feed(self, pcm: bytes) -> None:
        """More s16le."""
        self._file.buffer_write(pcm, "int16")

    def finish(self) -> bytes:
        """The whole of it, encoded."""
        self._file.close()
        return self._out.getvalue()
