"""The program that speaks: eSpeak NG, one fork for each utterance.

Started by `voice.py` with one end of a socket pair. Each byte that arrives there brings a socket,
each such socket one order, and a fork of this process answers it and ends. The library is not
thread-safe and carries state from one call to the next; a fork from the same untouched parent gives
the same samples for the same order, whatever came before, and a crash costs one utterance.

It ends when the server does, which closes its end of the pair, and a fork when nobody reads it.
The library is GPL-3.0-or-later: it is loaded in this process and in no other, and no web server is.
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
    OnChunk,
    Unavailable,
    Words,
    load_library,
)
from smallest_cli.server.voice.ipc import FAILED, FRAME, SIZE, Order
from smallest_cli.server.voice.writer import Output

RATE_AT_NORMAL_SPEED = 175


class CannotSpeak(Exception):
    """The engine refuses the order; the text says why."""


class Utterance:
    """One order, from the socket it came with to the last frame."""

    def __init__(self, library: ctypes.CDLL, native_rate: int, peer: socket.socket) -> None:
        self._library = library
        self._native_rate = native_rate
        self._order = order = Order.decode(_receive(peer))
        # Characters that C would take for the end, or UTF-8 cannot hold, one for one: positions stay.
        self._text = "".join(
            " " if c < " " else "\ufffd" if "\ud800" <= c <= "\udfff" else c for c in order.text
        )
        self._words = Words(self._text) if order.timed else None
        self._output = Output(peer, order, native_rate)
        self._seconds = 0.0
        self._failure: BaseException | None = None

    def speak(self) -> None:
        """Carry it out. Raises OSError when nobody listens any more, CannotSpeak."""
        library, order, encoded = self._library, self._order, self._text.encode()
        if library.espeak_SetVoiceByName(order.espeak_voice.encode()) != 0:
            raise CannotSpeak(f"eSpeak NG has no voice {order.espeak_voice}")
        library.espeak_SetParameter(RATE, round(RATE_AT_NORMAL_SPEED * order.speed), 0)
        library.espeak_SetParameter(PITCH, order.pitch, 0)
        on_chunk = OnChunk(self._on_chunk)
        library.espeak_SetSynthCallback(on_chunk)
        code = library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, CHARS_UTF8, None, None)
        if self._failure is not None:
            raise self._failure
        if code != 0:
            raise CannotSpeak(f"eSpeak NG answered {code}")
        if self._words:
            self._output.words(self._words.finish(self._seconds))
        self._output.finish()

    def _on_chunk(self, wave: Any, count: int, events: Any) -> int:
        """Called by the library every 60 ms of audio; 1 stops it."""
        try:
            self._take(wave, count, events)
        except BaseException as error:  # none can pass through C: it is raised on the other side
            self._failure = error
            return 1
        return 0

    def _take(self, wave: Any, count: int, events: Any) -> None:
        position = 0
        while self._words and events[position].type != EVENT_NONE:
            event = events[position]
            self._output.words(self._words.heard(event, event.sample / self._native_rate))
            position += 1
        if wave and count > 0:
            self._seconds += count / self._native_rate
            self._output.samples(numpy.ctypeslib.as_array(wave, (count,)).astype("float32"))


def _receive(peer: socket.socket) -> bytes:
    head = peer.recv(SIZE.size, socket.MSG_WAITALL)
    if len(head) < SIZE.size:
        raise ConnectionError("the server left")
    return peer.recv(SIZE.unpack(head)[0], socket.MSG_WAITALL)


def utter(library: ctypes.CDLL, native_rate: int, peer: socket.socket) -> None:
    """Answer one order in this fork, then end it without running the parent's clean-up."""
    try:
        Utterance(library, native_rate, peer).speak()
    except CannotSpeak as error:
        text = str(error).encode(errors="replace")
        peer.sendall(FRAME.pack(FAILED, len(text)) + text)
    finally:
        os._exit(0)  # with any other failure too, an OSError being a listener who left


def main(control_fd: int) -> int:
    """Serve utterances until the other end of `control_fd` is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to act on
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system then reaps the forks
    with socket.socket(fileno=control_fd) as control:
        try:
            library, native_rate = load_library()
        except Unavailable as error:
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
        return  # too many processes: the peer is closed, and this utterance is lost
    if child == 0:
        control.close()
        utter(library, native_rate, peer)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
