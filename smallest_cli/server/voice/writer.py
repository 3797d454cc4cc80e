"""Resample the engine's samples, cut them into blocks, encode them, and write frames to a socket."""

from __future__ import annotations

import io
import json
import math
import socket
from collections.abc import Iterator
from typing import Any

import numpy
import soxr

from smallest_cli.server.voice.ipc import AUDIO, END, FRAME, WORD, VoiceRequest

MP3_KBITS = 128


class FrameWriter:
    """Samples in, frames out. Writing raises OSError when the reader has closed the socket."""

    def __init__(self, peer: socket.socket, request: VoiceRequest, native_rate: int) -> None:
        self._peer = peer
        self._request = request
        self._resampler = soxr.ResampleStream(
            native_rate, request.sample_rate, 1, dtype="float32", quality="HQ"
        )
        self._pcm = bytearray()
        self._sent_bytes = 0
        self._words: list[dict[str, Any]] = []
        self._encoder = None if request.encoding == "pcm" else Encoder(request.encoding, request.sample_rate)

    def add_words(self, words: Iterator[dict[str, Any]]) -> None:
        """Queue words, to be sent once the audio reaches their start."""
        self._words += words

    def add_samples(self, native: Any, *, last: bool = False) -> None:
        """Process samples: float32 on the scale of s16."""
        # Rounded here because soxr dithers its integer output, which then differs from run to run.
        resampled = self._resampler.resample_chunk(native, last=last)
        self._pcm += numpy.clip(numpy.rint(resampled), -32768, 32767).astype("<i2").tobytes()
        while len(self._pcm) >= self._request.block_bytes:
            self._send_block(self._request.block_bytes)

    def finish(self) -> None:
        """Send the remaining audio and words, and the end frame."""
        self.add_samples(numpy.zeros(0, "float32"), last=True)
        if self._request.pad:
            self._pcm += bytes(-len(self._pcm) % self._request.block_bytes)
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
            self._send(AUDIO)  # empty: fails when the reader has gone
        else:
            self._send(AUDIO, block)
        self._send_words(self._sent_bytes / 2 / self._request.sample_rate)

    def _send_words(self, until: float) -> None:
        while self._words and self._words[0]["start"] < until:
            self._send(WORD, json.dumps(self._words.pop(0)).encode())

    def _send(self, kind: bytes, payload: bytes = b"") -> None:
        self._peer.sendall(FRAME.pack(kind, len(payload)) + payload)


class Encoder:
    """Encode with libsndfile: MP3 at a constant 128 kbit/s, or raw G.711 (waves/api.md, 3a)."""

    def __init__(self, encoding: str, sample_rate: int) -> None:
        import soundfile  # here, because a fork for PCM starts faster without it

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
        """The bit rate as libsndfile takes it: its position between the limits of the MPEG version."""
        low, high = (32, 320) if sample_rate >= 32_000 else (8, 160) if sample_rate >= 16_000 else (8, 64)
        return (high - min(MP3_KBITS, high)) / (high - low)

    def feed(self, pcm: bytes) -> None:
        """Encode more s16le PCM."""
        self._file.buffer_write(pcm, "int16")

    def finish(self) -> bytes:
        """Return the complete encoded audio."""
        self._file.close()
        return self._out.getvalue()
