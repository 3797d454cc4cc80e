"""The voice process: eSpeak NG, one fork for each utterance.

Started by `engine.py` with one end of a socket pair, over which each utterance's socket is passed. A
fork reads one request from it, answers, and exits. The library is not thread-safe and keeps state
between calls; forks of an unchanged parent give the same samples for the same request, and a
crash affects one utterance only.

The process exits when the server closes its end of the pair, a fork when the reader closes its socket.
The library is GPL-3.0-or-later: it is loaded in this process only, which contains no web server.
"""

from __future__ import annotations

import ctypes
import io
import json
import math
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy
import soxr

from smallest_cli.server.voice import espeak
from smallest_cli.server.voice.ipc import AUDIO, END, FAILED, FRAME, WORD, VoiceRequest

NORMAL_WORDS_PER_MINUTE = 175
MP3_KBITS = 128


class FrameWriter:
    """Resample the engine's samples, cut them into blocks, encode them, and write frames to a socket.

    Writing raises OSError when the reader has closed the socket.
    """

    def __init__(self, peer: socket.socket, request: VoiceRequest, native_rate: int) -> None:
        self._peer = peer
        self._request = request
        rate = request.sample_rate
        self._resampler = soxr.ResampleStream(native_rate, rate, 1, dtype="float32", quality="HQ")
        self._pcm = bytearray()
        self._sent_bytes = 0
        self._words: list[dict[str, Any]] = []
        self._encoded = io.BytesIO()
        self._encoder = None if request.encoding == "pcm" else _encoder(self._encoded, request)

    def add_words(self, words: Iterator[dict[str, Any]]) -> None:
        """Queue words, to be sent once the audio reaches their start."""
        self._words += words

    def add_samples(self, native: Any, *, last: bool = False) -> None:
        """Process samples: float32 in the range of s16."""
        # Round here: soxr dithers integer output, which would differ between runs.
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
            self._encoder.close()
            self._send(AUDIO, self._encoded.getvalue())
        self._send_words(math.inf)
        self._send(END)

    def fail(self, message: str) -> None:
        """Send an error frame instead of an end frame."""
        self._send(FAILED, message.encode(errors="replace"))

    def _send_block(self, size: int) -> None:
        block = bytes(self._pcm[:size])
        del self._pcm[:size]
        self._sent_bytes += size
        if self._encoder:
            self._encoder.buffer_write(block, "int16")
            block = b""  # even an empty frame fails if the reader is gone
        self._send(AUDIO, block)
        self._send_words(self._sent_bytes / 2 / self._request.sample_rate)

    def _send_words(self, until: float) -> None:
        while self._words and self._words[0]["start"] < until:
            self._send(WORD, json.dumps(self._words.pop(0)).encode())

    def _send(self, kind: bytes, payload: bytes = b"") -> None:
        self._peer.sendall(FRAME.pack(kind, len(payload)) + payload)


def _encoder(out: io.BytesIO, request: VoiceRequest) -> Any:
    """Open a libsndfile writer: MP3 at a constant 128 kbit/s, or raw G.711 (waves/api.md, 3a)."""
    from soundfile import SoundFile  # here, because a fork for PCM starts faster without it

    rate = request.sample_rate
    if request.encoding != "mp3":
        return SoundFile(out, "w", rate, 1, format="RAW", subtype=request.encoding.upper())
    # libsndfile takes the bit rate as a position (0 to 1) within the range of the MPEG version.
    low, high = (32, 320) if rate >= 32_000 else (8, 160) if rate >= 16_000 else (8, 64)
    level = (high - min(MP3_KBITS, high)) / (high - low)
    kind = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"}
    return SoundFile(out, "w", rate, 1, compression_level=level, **kind)


def speak(library: ctypes.CDLL, native_rate: int, request: VoiceRequest, writer: FrameWriter) -> None:
    """Synthesize an utterance and write it. Raises EspeakError, or OSError if the socket is closed."""
    # NUL ends a C string and surrogates have no UTF-8: replace one for one to keep positions.
    text = "".join(" " if c < " " else "\ufffd" if "\ud800" <= c <= "\udfff" else c for c in request.text)
    words = espeak.WordTracker(text) if request.word_timings else None
    seconds = 0.0
    failures: list[BaseException] = []

    def on_chunk(wave: Any, count: int, events: Any) -> int:
        """Callback of the library after each 60 ms of audio; returning 1 stops it."""
        nonlocal seconds
        try:
            position = 0
            while words and events[position].type != espeak.EVENT_NONE:
                event = events[position]
                writer.add_words(words.on_event(event, event.sample / native_rate))
                position += 1
            if wave and count > 0:
                seconds += count / native_rate
                writer.add_samples(numpy.ctypeslib.as_array(wave, (count,)).astype("float32"))
        except BaseException as error:  # cannot propagate through C: raised again below
            failures.append(error)
            return 1
        return 0

    if library.espeak_SetVoiceByName(request.espeak_voice.encode()) != 0:
        raise espeak.EspeakError(f"eSpeak NG has no voice {request.espeak_voice}")
    library.espeak_SetParameter(espeak.RATE, round(NORMAL_WORDS_PER_MINUTE * request.speed), 0)
    library.espeak_SetParameter(espeak.PITCH, request.pitch, 0)
    callback = espeak.OnChunk(on_chunk)  # keep a reference while the library may call it
    library.espeak_SetSynthCallback(callback)
    encoded = text.encode()
    code = library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, espeak.CHARS_UTF8, None, None)
    if failures:
        raise failures[0]
    if code != 0:
        raise espeak.EspeakError(f"eSpeak NG failed with code {code}")
    if words:
        writer.add_words(words.finish(seconds))
    writer.finish()


def run_utterance(library: ctypes.CDLL, native_rate: int, peer: socket.socket) -> None:
    """Serve one request in this fork, then exit without the cleanup of the parent."""
    try:
        with peer.makefile("rb") as lines:
            request = VoiceRequest.decode(lines.readline())
        writer = FrameWriter(peer, request, native_rate)
        try:
            speak(library, native_rate, request, writer)
        except espeak.EspeakError as error:
            writer.fail(str(error))
    finally:
        os._exit(0)  # on any error; OSError: the reader has closed the socket


def main(control_fd: int) -> int:
    """Serve utterances until the other end of `control_fd` is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server handles Ctrl-C
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the forks
    with socket.socket(fileno=control_fd) as control:
        try:
            library, native_rate = espeak.load_library()
        except espeak.EspeakError as error:
            control.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
            return 1
        control.sendall(json.dumps({"sample_rate": native_rate}).encode() + b"\n")
        while True:
            data, fds, _, _ = socket.recv_fds(control, 1, 1)
            if not data:
                return 0
            for fd in fds:
                # Process limit reached: the socket is closed, and this utterance fails.
                with socket.socket(fileno=fd) as peer, suppress(OSError):
                    if os.fork() == 0:
                        control.close()
                        run_utterance(library, native_rate, peer)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
