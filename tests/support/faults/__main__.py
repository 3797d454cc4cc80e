"""The process: `python -m tests.support.faults LOG`, steps on stdin, its port on stdout, until stdin ends."""

from __future__ import annotations

import json
import math
import random
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from smallest_cli.audio import wav
from smallest_cli.models import AudioFormat
from tests.support import frames
from tests.support.faults.talk import Talk, open_talk

RATE = 24_000
TONE_HZ, LOUDNESS = 440, 12_000


def sound(ms: float, loudness: int) -> bytes:
    """A tone that is loud from its first sample on."""
    step = 2 * math.pi * TONE_HZ / RATE
    values = (round(loudness * math.cos(step * n)) for n in range(round(ms * RATE / 1000)))
    return b"".join(struct.pack("<h", value) for value in values)


class Performer:
    """Carries the steps out, once for each request."""

    def __init__(self, steps: Sequence[Sequence[Any]], log: str) -> None:
        self._steps = [self._prepare(step) for step in steps]
        self._log = Path(log)
        self._lock = threading.Lock()
        self._numbers = count(1)
        self._luck = random.Random(7)

    @staticmethod
    def _prepare(step: Sequence[Any]) -> tuple[str, Any]:
        kind, argument = step[0], step[1] if len(step) > 1 else None
        if kind in ("sound", "silence"):
            return "pcm", sound(argument, LOUDNESS if kind == "sound" else 0)
        return ("pcm", b"\x01") if kind == "half" else (kind, argument)

    def serve(self, sock: socket.socket) -> None:
        """Every request on a connection, until either side ends it."""
        with sock, suppress(OSError, AssertionError):
            talk = open_talk(sock)
            while talk.next_request(f"r{next(self._numbers)}"):
                received = perf_counter_ns()
                if not self._perform(talk, received):
                    return

    def _perform(self, talk: Talk, received: int) -> bool:
        first = None
        alive = True
        for kind, argument in self._steps:
            lognormal = isinstance(argument, list)
            if kind == "wait":
                due_ms = (
                    self._luck.lognormvariate(math.log(argument[0]), argument[1]) if lognormal else argument
                )
                left = (received - perf_counter_ns()) / 1e9 + due_ms / 1000
                threading.Event().wait(max(0.0, left))
            elif kind == "pcm":
                first = first or perf_counter_ns()
                talk.audio(argument)
            elif kind == "hang":
                frames._exactly(talk.sock, 1 << 30)
            else:
                alive = self._say(talk, kind, argument) and alive
        with self._lock:
            entry = {"request_id": talk.request_id, "received_ns": received, "first_audio_ns": first}
            with self._log.open("a") as file:
                file.write(json.dumps(entry) + "\n")
        return alive

    @staticmethod
    def _say(talk: Talk, kind: str, argument: Any) -> bool:
        match kind:
            case "head":
                talk.head()
            case "wav":
                talk.raw_audio(wav.header(AudioFormat(RATE)))
            case "garbage":
                talk.garbage()
            case "error":
                talk.error(argument)
            case "end":
                talk.end()
            case "status":
                talk.status(argument)
            case "close":
                talk.close(argument)
                return False
            case "cut":
                return False
            case _:
                raise ValueError(kind)
        return True


def main(log: str) -> None:
    performer = Performer(json.loads(sys.stdin.readline()), log)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def accept() -> None:
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=performer.serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
