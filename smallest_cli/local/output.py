"""From the engine's samples to frames on a socket: resampled, cut in blocks, coded as asked."""

from __future__ import annotations

import io
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

FRAME = struct.Struct(">cI")
"""The head of each frame that the voice process sends: its kind, and the bytes that follow."""
AUDIO, WORD, END, FAILED = b"a", b"w", b"e", b"x"
MP3_BIT_RATE = 128


class Output:
    """Samples in, frames out."""

    def __init__(self, peer: socket.socket, request: dict[str, Any], native_rate: int) -> None:
        import soxr

        self._peer = peer
        self._rate = int(request["sample_rate"])
        self._block = int(request["block_bytes"])
        self._pad = bool(request["pad"])
        self._resampler = soxr.ResampleStream(native_rate, self._rate, 1, dtype="float32", quality="HQ")
        self._pcm = bytearray()
        self._sent_bytes = 0
        self._words: list[dict[str, Any]] = []
        self._encoder = None if request["encoding"] == "pcm" else Encoder(request["encoding"], self._rate)

    def words(self, words: Iterator[dict[str, Any]]) -> None:
        """Words to send once the audio has come to where they begin."""
        self._words += words

    def samples(self, native: Any, *, last: bool = False) -> None:
        """Take in samples as float32 on the scale of s16."""
        import numpy

        # In float and rounded here: soxr's own integer output is dithered, and differs from run to run.
        resampled = self._resampler.resample_chunk(native, last=last)
        self._pcm += numpy.clip(numpy.rint(resampled), -32768, 32767).astype("<i2").tobytes()
        if last and self._pad:
            self._pcm += bytes(-len(self._pcm) % self._block)
        while len(self._pcm) >= self._block:
            self._send_block(self._block)
        if last:
            if self._pcm:
                self._send_block(len(self._pcm))
            if self._encoder:
                self._send(AUDIO, self._encoder.finish())
            self._send_words(float("inf"))
            self._send(END)

    def _send_block(self, size: int) -> None:
        block = bytes(self._pcm[:size])
        del self._pcm[:size]
        self._sent_bytes += size
        if self._encoder:
            self._encoder.feed(block)
        else:
            self._send(AUDIO, block)
        self._send_words(self._sent_bytes / 2 / self._rate)

    def _send_words(self, until: float) -> None:
        while self._words and self._words[0]["start"] < until:
            self._send(WORD, json.dumps(self._words.pop(0)).encode())

    def _send(self, kind: bytes, payload: bytes = b"") -> None:
        self._peer.sendall(FRAME.pack(kind, len(payload)) + payload)


class Encoder:
    """MP3 at a constant 128 kbit/s, or raw G.711 (waves/api.md, 3a), by libsndfile."""

    def __init__(self, encoding: str, sample_rate: int) -> None:
        import soundfile

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
        self._file.buffer_write(pcm, "int16")

    def finish(self) -> bytes:
        self._file.close()
        return self._out.getvalue()
