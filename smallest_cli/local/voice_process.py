"""The program that speaks: eSpeak NG, one fork for each utterance.

Started by `voice.py` with one end of a socket pair. Each byte that arrives there brings a socket,
each such socket one request, and a fork of this process answers it and ends. The library is not
thread-safe and carries state from one call to the next; a fork from the same untouched parent gives
the same samples for the same request, whatever came before, and a crash costs one utterance.

The library is GPL-3.0-or-later: it is loaded in this process and in no other, and no web server is.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
from types import TracebackType
from typing import Any

from smallest_cli.local.espeak import (
    CHARS_UTF8,
    EVENT_NONE,
    PITCH,
    RATE,
    OnChunk,
    Unavailable,
    load_library,
)
from smallest_cli.local.output import FAILED, FRAME, Output
from smallest_cli.local.words import Words

RATE_AT_NORMAL_SPEED = 175


class Utterance:
    """One request, from the socket it came with to the last frame."""

    def __init__(self, library: ctypes.CDLL, native_rate: int, peer: socket.socket) -> None:
        self._library = library
        self._native_rate = native_rate
        self._peer = peer
        self._failure: BaseException | None = None

    def speak(self) -> None:
        """Answer the request. Raises OSError when nobody listens any more."""
        import numpy

        request = json.loads(self._receive())
        # Characters that C would take for the end, or UTF-8 cannot hold, one for one: positions stay.
        text = "".join(
            " " if c < " " else "\ufffd" if "\ud800" <= c <= "\udfff" else c for c in request["text"]
        )
        self._output = Output(self._peer, request, self._native_rate)
        self._words = Words(text) if request["words"] else None
        self._seconds = 0.0
        self._choose(request)
        encoded = text.encode()
        on_chunk = OnChunk(self._on_chunk)
        self._library.espeak_SetSynthCallback(on_chunk)
        code = self._library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, CHARS_UTF8, None, None)
        if self._failure is not None:
            raise self._failure
        if code != 0:
            raise RuntimeError(f"eSpeak NG answered {code}")
        if self._words:
            self._output.words(self._words.finish(self._seconds))
        self._output.samples(numpy.zeros(0, "float32"), last=True)

    def _receive(self) -> bytes:
        size = int.from_bytes(self._peer.recv(4, socket.MSG_WAITALL), "big")
        return self._peer.recv(size, socket.MSG_WAITALL)

    def _choose(self, request: dict[str, Any]) -> None:
        if self._library.espeak_SetVoiceByName(request["espeak_voice"].encode()) != 0:
            raise RuntimeError(f"eSpeak NG has no voice {request['espeak_voice']}")
        self._library.espeak_SetParameter(RATE, round(RATE_AT_NORMAL_SPEED * request["speed"]), 0)
        self._library.espeak_SetParameter(PITCH, request["pitch"], 0)

    def _on_chunk(self, wave: Any, count: int, events: Any) -> int:
        """Called by the library every 60 ms of audio; 1 stops it. An exception must not go through C."""
        try:
            self._take(wave, count, events)
        except BaseException as error:
            self._failure = error
            return 1
        return 0

    def _take(self, wave: Any, count: int, events: Any) -> None:
        import numpy

        position = 0
        while self._words and events[position].type != EVENT_NONE:
            event = events[position]
            self._output.words(self._words.heard(event, event.sample / self._native_rate))
            position += 1
        if wave and count > 0:
            self._seconds += count / self._native_rate
            native = numpy.ctypeslib.as_array(wave, (count,)).astype("float32")
            self._output.samples(native)


def utter(library: ctypes.CDLL, native_rate: int, peer: socket.socket) -> None:
    """Answer one request in this fork, then end it without running the parent's clean-up."""
    try:
        Utterance(library, native_rate, peer).speak()
    except OSError:
        pass  # the listener left: that is how an utterance is cancelled
    except BaseException as error:
        text = f"{type(error).__name__}: {error}".encode(errors="replace")
        peer.sendall(FRAME.pack(FAILED, len(text)) + text)
    finally:
        os._exit(0)


def main(control_fd: int) -> int:
    """Serve utterances until the other end of `control_fd` is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to act on
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system then reaps the forks
    control = socket.socket(fileno=control_fd)
    try:
        library, native_rate = load_library()
    except Unavailable as error:
        control.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
        return 1
    control.sendall(json.dumps({"sample_rate": native_rate}).encode() + b"\n")
    import numpy  # noqa: F401  so that the forks need not
    import soxr  # noqa: F401

    while True:
        with Received(control) as peer:
            if peer is None:
                return 0
            if os.fork() == 0:
                utter(library, native_rate, peer)


class Received:
    """The socket that came with the next byte, closed afterwards; None at end of file."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._peer: socket.socket | None = None

    def __enter__(self) -> socket.socket | None:
        data, fds, _, _ = socket.recv_fds(self._control, 1, 1)
        if data and fds:
            self._peer = socket.socket(fileno=fds[0])
        return self._peer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._peer is not None:
            self._peer.close()
