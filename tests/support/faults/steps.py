"""What the fault server can do, as values: a script of them is one request's fate.

The same step says the same thing on each transport, in that transport's own words.
"""

from __future__ import annotations

import base64
import json
import socket
from contextlib import suppress
from dataclasses import dataclass, field

from smallest_cli.audio import wav
from smallest_cli.models import AudioFormat
from tests.support import frames
from tests.support.faults.server import SEGMENT, Gone, Talk, counter, reset

RATE = 24_000
CHUNK = SEGMENT // 4


@dataclass(frozen=True)
class Reply:
    """The head of a good answer. `framing` is length, chunked or close; the WAV states `samples`."""

    framing: str = "length"
    samples: int = SEGMENT
    kind: str | None = None
    extra: bytes = b""
    wav: bytes | None = None
    length: int | None = None

    def play(self, talk: Talk) -> None:
        talk.open(self.extra)
        if talk.via == "ws":
            return
        talk.framing = "chunked" if talk.via == "sse" and self.framing == "length" else self.framing
        kind = self.kind or ("text/event-stream" if talk.via == "sse" else "audio/wav")
        lines = [b"HTTP/1.1 200 OK", b"Content-Type: " + kind.encode(), b"X-Request-Id: req_1"]
        head = b"" if talk.via == "sse" else self._wav_head()
        if talk.framing == "chunked":
            lines.append(b"Transfer-Encoding: chunked")
        elif talk.framing == "length":
            length = len(head) + 2 * SEGMENT if self.length is None else self.length
            lines.append(b"Content-Length: %d" % length)
        else:
            lines.append(b"Connection: close")
        talk.send(b"\r\n".join(lines) + b"\r\n" + self.extra + b"\r\n" + (talk.chunk(head) if head else b""))

    def _wav_head(self) -> bytes:
        return wav.header(AudioFormat(RATE), 2 * self.samples) if self.wav is None else self.wav


@dataclass(frozen=True)
class Audio:
    """The next samples of the counter, in messages of `chunk`, each longer by `skew` bytes, the last
    shorter by `short`; `cut` is how many bytes are written at a time."""

    samples: int = SEGMENT
    chunk: int = CHUNK
    cut: int = 0
    skew: int = 0
    short: int = 0

    def play(self, talk: Talk) -> None:
        pcm = counter(talk.first + talk.sent, self.samples)[: 2 * self.samples - self.short]
        talk.sent += self.samples
        size = 2 * self.chunk + self.skew
        for at in range(0, len(pcm), size):
            data = speech(talk, pcm[at : at + size])
            step = self.cut or len(data)
            for begin in range(0, len(data), step):
                talk.send(data[begin : begin + step])


def speech(talk: Talk, pcm: bytes, **fields: object) -> bytes:
    """PCM in the words of a transport."""
    if talk.via == "ws":
        return frames.chunk(pcm, **fields)  # type: ignore[arg-type]
    if talk.via == "http":
        return talk.chunk(pcm)
    return event(talk, {"audio": base64.b64encode(pcm).decode(), "done": False, "status": "206"} | fields)


def event(talk: Talk, fields: object) -> bytes:
    """One server-sent event."""
    return talk.chunk(f"event: audio\ndata: {json.dumps(fields)}\n\n".encode())


@dataclass(frozen=True)
class Whole:
    """The end of a good answer, the marker where the transport has one."""

    fields: dict[str, object] = field(default_factory=dict)

    def play(self, talk: Talk) -> None:
        if talk.via == "ws":
            talk.send(frames.message(**({"status": "complete", "request_id": "req_1"} | self.fields)))
        if talk.via == "sse":
            talk.send(event(talk, {"status": "200", "done": True} | self.fields))
        if talk.framing == "chunked":
            talk.send(b"0\r\n\r\n")
        if talk.framing == "close":
            raise Gone


@dataclass(frozen=True)
class Status:
    """An answer other than 200, its body framed as `framing` says."""

    code: int
    body: bytes = b'{"error":"as the script says"}'
    headers: bytes = b""
    framing: str = "length"

    def play(self, talk: Talk) -> None:
        frame = b"Content-Length: %d" % len(self.body)
        body = self.body
        if self.framing == "chunked":
            frame, body = b"Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        if self.framing == "cut":
            frame = b"Content-Length: %d" % (len(body) + 1000)
        talk.send(b"HTTP/1.1 %d Reason\r\n%s\r\n%s\r\n%s" % (self.code, frame, self.headers, body))
        if talk.via == "ws" or self.framing == "cut":
            raise Gone


@dataclass(frozen=True)
class Raw:
    """Bytes as they are, `times` over."""

    data: bytes
    times: int = 1

    def play(self, talk: Talk) -> None:
        for _ in range(self.times):
            talk.send(self.data)


@dataclass(frozen=True)
class Message:
    """One message of a stream with these fields."""

    fields: dict[str, object]

    def play(self, talk: Talk) -> None:
        talk.send(frames.message(**self.fields) if talk.via == "ws" else event(talk, self.fields))


@dataclass(frozen=True)
class Text:
    """One message of a stream, in bytes that need not be JSON."""

    data: bytes

    def play(self, talk: Talk) -> None:
        talk.send(
            frames.frame(self.data) if talk.via == "ws" else talk.chunk(b"data: " + self.data + b"\n\n")
        )


@dataclass(frozen=True)
class Drip:
    """One byte every 50 ms, for ever: what only a deadline by the clock ends."""

    data: bytes = b"X"

    def play(self, talk: Talk) -> None:
        while not talk.server.release.wait(0.05):
            talk.send(self.data)


@dataclass(frozen=True)
class Keep:
    """Messages that bring no audio, for ever: pings, comments, word timings."""

    def play(self, talk: Talk) -> None:
        ping = frames.frame(b"", 9) + frames.message(status="word_timestamp", data={"word": "a"})
        while not talk.server.release.wait(0.02):
            talk.send(ping if talk.via == "ws" else talk.chunk(b": still here\n\n"))


@dataclass(frozen=True)
class Stall:
    """Say nothing more until the client leaves."""

    def play(self, talk: Talk) -> None:
        with suppress(OSError):
            while talk.sock.recv(65536):
                pass
        raise Gone


@dataclass(frozen=True)
class Fin:
    """Close without a word."""

    def play(self, talk: Talk) -> None:
        raise Gone


@dataclass(frozen=True)
class Rst:
    """Reset the connection, once the client has been given what was sent."""

    def play(self, talk: Talk) -> None:
        reset(talk.sock)
        raise Gone


@dataclass(frozen=True)
class Close:
    """A WebSocket close; `payload` instead of `code` where it is not to be a good one."""

    code: int = 1000
    reason: bytes = b""
    payload: bytes | None = None

    def play(self, talk: Talk) -> None:
        data = self.payload
        talk.send(frames.close(self.code, self.reason) if data is None else frames.frame(data, 8))
        talk.sock.shutdown(socket.SHUT_WR)
        raise Gone


@dataclass(frozen=True)
class Stage:
    """Tell the test that this stage is reached, and go on when it says so."""

    name: str = ""

    def play(self, talk: Talk) -> None:
        talk.server.stage.set()
        talk.server.release.wait()


@dataclass(frozen=True)
class Half:
    """Half a message with audio in it; the rest never comes."""

    def play(self, talk: Talk) -> None:
        data = speech(talk, counter(talk.first + talk.sent, CHUNK))
        talk.send(data[: len(data) // 2])


GOOD = (Reply(), Audio(), Whole())
"""A request that nothing happens to."""
