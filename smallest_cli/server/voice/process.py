"""The voice process: eSpeak NG, one fork for each utterance.

Started by `engine.py` with one end of a socket pair, over which each utterance's socket is passed. A
fork reads one request from it, answers, and exits. The library is not thread-safe and keeps state
between calls; a fork of the same untouched parent gives the same samples for the same request, and a
crash costs one utterance.

The process ends when the server closes its end of the pair, a fork when its reader has gone.
The library is GPL-3.0-or-later: it is loaded in this process only, which contains no web server.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
from typing import Any

import numpy

from smallest_cli.server.voice.espeak import (
    CHARS_UTF8,
    EVENT_NONE,
    PITCH,
    RATE,
    EspeakUnavailable,
    OnChunk,
    WordTracker,
    load_library,
)
from smallest_cli.server.voice.ipc import FAILED, FRAME, SIZE, VoiceRequest
from smallest_cli.server.voice.writer import FrameWriter

NORMAL_WORDS_PER_MINUTE = 175


class SynthesisFailed(Exception):
    """The engine cannot speak the request; the message says why."""


class Utterance:
    """One request, from its socket to the last frame."""

    def __init__(self, library: ctypes.CDLL, native_rate: int, peer: socket.socket) -> None:
        self._library = library
        self._native_rate = native_rate
        self._request = request = VoiceRequest.decode(_receive(peer))
        # NUL would end the C string and surrogates have no UTF-8: replaced one for one, so positions stay.
        self._text = "".join(
            " " if c < " " else "\ufffd" if "\ud800" <= c <= "\udfff" else c for c in request.text
        )
        self._words = WordTracker(self._text) if request.word_timings else None
        self._writer = FrameWriter(peer, request, native_rate)
        self._seconds = 0.0
        self._failure: BaseException | None = None

    def speak(self) -> None:
        """Synthesize and send it. Raises SynthesisFailed, or OSError when the reader has gone."""
        library, request, encoded = self._library, self._request, self._text.encode()
        if library.espeak_SetVoiceByName(request.espeak_voice.encode()) != 0:
            raise SynthesisFailed(f"eSpeak NG has no voice {request.espeak_voice}")
        library.espeak_SetParameter(RATE, round(NORMAL_WORDS_PER_MINUTE * request.speed), 0)
        library.espeak_SetParameter(PITCH, request.pitch, 0)
        on_chunk = OnChunk(self._on_chunk)
        library.espeak_SetSynthCallback(on_chunk)
        code = library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, CHARS_UTF8, None, None)
        if self._failure is not None:
            raise self._failure
        if code != 0:
            raise SynthesisFailed(f"eSpeak NG failed with code {code}")
        if self._words:
            self._writer.add_words(self._words.finish(self._seconds))
        self._writer.finish()

    def _on_chunk(self, wave: Any, count: int, events: Any) -> int:
        """Callback of the library after each 60 ms of audio; returning 1 stops it."""
        try:
            self._process_chunk(wave, count, events)
        except BaseException as error:  # cannot propagate through C: raised again in `speak`
            self._failure = error
            return 1
        return 0

    def _process_chunk(self, wave: Any, count: int, events: Any) -> None:
        position = 0
        while self._words and events[position].type != EVENT_NONE:
            event = events[position]
            self._writer.add_words(self._words.on_event(event, event.sample / self._native_rate))
            position += 1
        if wave and count > 0:
            self._seconds += count / self._native_rate
            self._writer.add_samples(numpy.ctypeslib.as_array(wave, (count,)).astype("float32"))


def _receive(peer: socket.socket) -> bytes:
    head = peer.recv(SIZE.size, socket.MSG_WAITALL)
    if len(head) < SIZE.size:
        raise ConnectionError("the server closed the socket")
    return peer.recv(SIZE.unpack(head)[0], socket.MSG_WAITALL)


def run_utterance(library: ctypes.CDLL, native_rate: int, peer: socket.socket) -> None:
    """Serve one request in this fork, then exit without running the parent's clean-up."""
    try:
        Utterance(library, native_rate, peer).speak()
    except SynthesisFailed as error:
        text = str(error).encode(errors="replace")
        peer.sendall(FRAME.pack(FAILED, len(text)) + text)
    finally:
        os._exit(0)  # on any error: an OSError means that the reader has gone


def main(control_fd: int) -> int:
    """Serve utterances until the other end of `control_fd` is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server handles Ctrl-C
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the forks
    with socket.socket(fileno=control_fd) as control:
        try:
            library, native_rate = load_library()
        except EspeakUnavailable as error:
            control.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
            return 1
        control.sendall(json.dumps({"sample_rate": native_rate}).encode() + b"\n")
        while True:
            data, fds, _, _ = socket.recv_fds(control, 1, 1)
            if not data:
                return 0
            for fd in fds:
                with socket.socket(fileno=fd) as peer:
                    _fork(library, native_rate, peer, control)


def _fork(library: ctypes.CDLL, native_rate: int, peer: socket.socket, control: socket.socket) -> None:
    try:
        child = os.fork()
    except OSError:
        return  # out of processes: the peer is closed, and this utterance fails
    if child == 0:
        control.close()
        run_utterance(library, native_rate, peer)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
