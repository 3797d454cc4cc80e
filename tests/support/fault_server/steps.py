"""Steps of the fault server. A step means the same on every transport, in the encoding of that transport."""

from __future__ import annotations

import base64
import json
import math
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from random import Random
from time import perf_counter_ns

from smallest_cli.audio import wav
from smallest_cli.models import AudioFormat
from tests.support import frames
from tests.support.fault_server import SEGMENT, Connection, ConnectionEnded, counter, reset

RATE = 24_000
CHUNK = SEGMENT // 4
RANDOM = Random(7)


@dataclass(frozen=True)
class Reply:
    """The head of a good reply.

    `framing` is length, chunked or close. Over plain HTTP a WAV header follows: `wav`, or one for `samples`.
    """

    framing: str = "length"
    samples: int = SEGMENT
    kind: str | None = None
    extra: bytes = b""
    wav: bytes | None = None
    length: int | None = None

    def run(self, conn: Connection) -> None:
        conn.open(self.extra)
        if conn.via == "ws":
            return
        conn.framing = "chunked" if conn.via == "sse" and self.framing == "length" else self.framing
        kind = self.kind or ("text/event-stream" if conn.via == "sse" else "audio/wav")
        lines = [
            b"HTTP/1.1 200 OK",
            b"Content-Type: " + kind.encode(),
            b"X-Request-Id: " + conn.request_id.encode(),
        ]
        head = b"" if conn.via == "sse" else self._wav_head()
        if conn.framing == "chunked":
            lines.append(b"Transfer-Encoding: chunked")
        elif conn.framing == "length":
            length = len(head) + 2 * SEGMENT if self.length is None else self.length
            lines.append(b"Content-Length: %d" % length)
        else:
            lines.append(b"Connection: close")
        conn.send(b"\r\n".join(lines) + b"\r\n" + self.extra + b"\r\n" + (conn.chunk(head) if head else b""))

    def _wav_head(self) -> bytes:
        return wav.header(AudioFormat(RATE), 2 * self.samples) if self.wav is None else self.wav


@dataclass(frozen=True)
class Audio:
    """The next samples of the counter.

    `chunk` is the samples in a message, `skew` the bytes by which each message is longer, `short` the bytes
    that are missing at the end, `cut` the bytes that are written at a time (0: a message).
    """

    samples: int = SEGMENT
    chunk: int = CHUNK
    cut: int = 0
    skew: int = 0
    short: int = 0

    def run(self, conn: Connection) -> None:
        pcm = counter(conn.first + conn.sent, self.samples)[: 2 * self.samples - self.short]
        conn.sent += self.samples
        size = 2 * self.chunk + self.skew
        for at in range(0, len(pcm), size):
            data = speech(conn, pcm[at : at + size])
            step = self.cut or len(data)
            for begin in range(0, len(data), step):
                conn.send_audio(data[begin : begin + step])


def speech(conn: Connection, pcm: bytes, **fields: object) -> bytes:
    """Encode PCM for the transport of a connection."""
    if conn.via == "ws":
        return frames.chunk(pcm, conn.request_id, **fields)
    if conn.via == "http":
        return conn.chunk(pcm)
    return event(conn, {"audio": base64.b64encode(pcm).decode(), "done": False, "status": "206"} | fields)


def event(conn: Connection, fields: object) -> bytes:
    """Encode one server-sent event."""
    return conn.chunk(f"event: audio\ndata: {json.dumps(fields)}\n\n".encode())


@dataclass(frozen=True)
class End:
    """The end of a good reply: the end marker, where the transport has one."""

    fields: dict[str, object] = field(default_factory=dict)

    def run(self, conn: Connection) -> None:
        if conn.via == "ws":
            conn.send(frames.message(**({"status": "complete", "request_id": conn.request_id} | self.fields)))
        if conn.via == "sse":
            conn.send(event(conn, {"status": "200", "done": True} | self.fields))
        if conn.framing == "chunked":
            conn.send(b"0\r\n\r\n")
        if conn.framing == "close":
            raise ConnectionEnded


@dataclass(frozen=True)
class Status:
    """A complete HTTP response. `framing` of its body is length, chunked or cut (shorter than its length)."""

    code: int
    body: bytes = b'{"error":"as the script says"}'
    headers: bytes = b""
    framing: str = "length"

    def run(self, conn: Connection) -> None:
        frame = b"Content-Length: %d" % len(self.body)
        body = self.body
        if self.framing == "chunked":
            frame, body = b"Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        if self.framing == "cut":
            frame = b"Content-Length: %d" % (len(body) + 1000)
        conn.send(b"HTTP/1.1 %d Reason\r\n%s\r\n%s\r\n%s" % (self.code, frame, self.headers, body))
        if conn.via == "ws" or self.framing == "cut":
            raise ConnectionEnded


@dataclass(frozen=True)
class Raw:
    """Raw bytes, repeated `times`."""

    data: bytes
    times: int = 1

    def run(self, conn: Connection) -> None:
        for _ in range(self.times):
            conn.send(self.data)


@dataclass(frozen=True)
class Message:
    """One message of a stream."""

    fields: dict[str, object]

    def run(self, conn: Connection) -> None:
        conn.send(frames.message(**self.fields) if conn.via == "ws" else event(conn, self.fields))


@dataclass(frozen=True)
class Text:
    """One message of a stream, which need not be JSON."""

    data: bytes

    def run(self, conn: Connection) -> None:
        conn.send(
            frames.frame(self.data) if conn.via == "ws" else conn.chunk(b"data: " + self.data + b"\n\n")
        )


@dataclass(frozen=True)
class Drip:
    """Bytes every 50 ms without end, so that only a deadline by the clock helps."""

    data: bytes = b"X"

    def run(self, conn: Connection) -> None:
        while not conn.server.release.wait(0.05):
            conn.send(self.data)


@dataclass(frozen=True)
class KeepAlive:
    """Messages without audio every 20 ms without end: pings, comments, word timings."""

    def run(self, conn: Connection) -> None:
        ping = frames.frame(b"", 9) + frames.message(status="word_timestamp", data={"word": "a"})
        while not conn.server.release.wait(0.02):
            conn.send(ping if conn.via == "ws" else conn.chunk(b": still here\n\n"))


@dataclass(frozen=True)
class EmptyAudio:
    """Audio messages without audio every 20 ms without end."""

    def run(self, conn: Connection) -> None:
        while not conn.server.release.wait(0.02):
            conn.send(speech(conn, b""))


@dataclass(frozen=True)
class Stall:
    """Send nothing more until the client leaves."""

    def run(self, conn: Connection) -> None:
        with suppress(OSError):
            while conn.sock.recv(65536):
                pass
        raise ConnectionEnded


@dataclass(frozen=True)
class Fin:
    """Close the connection."""

    def run(self, conn: Connection) -> None:
        raise ConnectionEnded


@dataclass(frozen=True)
class Rst:
    """Reset the connection."""

    def run(self, conn: Connection) -> None:
        reset(conn.sock)
        raise ConnectionEnded


@dataclass(frozen=True)
class Close:
    """A WebSocket close frame, with `payload` instead of `code` where it must be malformed."""

    code: int = 1000
    reason: bytes = b""
    payload: bytes | None = None

    def run(self, conn: Connection) -> None:
        data = self.payload
        conn.send(frames.close(self.code, self.reason) if data is None else frames.frame(data, 8))
        conn.sock.shutdown(socket.SHUT_WR)
        raise ConnectionEnded


@dataclass(frozen=True)
class Checkpoint:
    """Set `server.reached` and wait for `server.release`."""

    def run(self, conn: Connection) -> None:
        conn.server.reached.set()
        conn.server.release.wait()


@dataclass(frozen=True)
class HalfMessage:
    """The first half of an audio message."""

    def run(self, conn: Connection) -> None:
        data = speech(conn, counter(conn.first + conn.sent, CHUNK))
        conn.send(data[: len(data) // 2])


TONE_HZ, TONE_PEAK = 440, 12_000


@dataclass(frozen=True)
class Tone:
    """`ms` of a tone that is loud from its first sample on, in one message.

    `peak` 0 is silence; above 32,767 it clips.
    """

    ms: float
    peak: int = TONE_PEAK

    def run(self, conn: Connection) -> None:
        conn.send_audio(speech(conn, self.pcm()))

    @cache  # noqa: B019
    def pcm(self) -> bytes:
        radians = 2 * math.pi * TONE_HZ / RATE
        values = (round(self.peak * math.cos(radians * n)) for n in range(round(self.ms * RATE / 1000)))
        return b"".join(struct.pack("<h", max(-32_768, min(32_767, value))) for value in values)


@dataclass(frozen=True)
class Wait:
    """Wait until `ms` after the request was received. With `sigma` that is the median of a lognormal time."""

    ms: float
    sigma: float = 0.0

    def run(self, conn: Connection) -> None:
        conn.open()
        assert conn.request
        due_ms = RANDOM.lognormvariate(math.log(self.ms), self.sigma) if self.sigma else self.ms
        left_s = (conn.request.received_ns - perf_counter_ns()) / 1e9 + due_ms / 1000
        threading.Event().wait(max(0.0, left_s))


GOOD = (Reply(), Audio(), End())
"""A request without any fault."""
