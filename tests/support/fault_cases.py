"""The fault matrix as data: what the service does, and the exit code and files that must follow.

`rows` are rows of the matrix in docs/reliability.md.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import Literal

from smallest_cli.audio import wav
from smallest_cli.models import AudioFormat
from tests.support import frames
from tests.support.fault_server import SEGMENT, Script, Step
from tests.support.fault_server.steps import (
    CHUNK,
    GOOD,
    RATE,
    Audio,
    Close,
    Drip,
    EmptyAudio,
    End,
    Fin,
    HalfMessage,
    KeepAlive,
    Message,
    Raw,
    Reply,
    Rst,
    Stall,
    Status,
    Text,
)

Left = Literal["old", "part", "complete"]
ALL, STREAMS = ("ws", "sse", "http"), ("ws", "sse")
WS, SSE, HTTP, POST = ("ws",), ("sse",), ("http",), ("sse", "http")


@dataclass(frozen=True)
class Case:
    """One fault. `requests` is the maximum that is sent, `samples` the minimum in a `.part`."""

    name: str
    rows: str
    vias: tuple[str, ...]
    scripts: tuple[Script, ...]
    exit: int
    left: Left
    says: str = ""
    requests: int = 1
    samples: int = CHUNK
    arguments: tuple[str, ...] = ()

    @property
    def timeout(self) -> str:
        """Value of --timeout: short where the service stalls, else long enough for a slow machine."""
        waits = any(
            isinstance(step, Stall | Drip | KeepAlive | EmptyAudio)
            for script in self.scripts
            for step in script
        )
        return "0.5" if waits else "5"


def case(
    name: str, rows: str, vias: tuple[str, ...], exit: int, left: Left, *steps: Step, **more: object
) -> Case:
    """A case with one script."""
    return Case(name, rows, vias, (steps,), exit, left, **more)  # type: ignore[arg-type]


def status(code: int, exit: int, says: str, rows: str, **more: object) -> Case:
    """An error status on every transport."""
    return case(f"status {code}", rows, ALL, exit, "old", Status(code), says=says, **more)


ESC = b"\x1b]0;owned\x07\x1b[2J\r::error::\xe2\x80\xae\xc2\x9b31m"
BAD_WAV = wav.header(AudioFormat(44_100), 2 * SEGMENT)
LIST_WAV = (wav.header(AudioFormat(RATE), 2 * SEGMENT)[:36] + b"LIST\x06\0\0\0abcdef"
            + wav.header(AudioFormat(RATE), 2 * SEGMENT)[36:])  # fmt: skip
FEW = Audio(2 * CHUNK)
DATED = b"Date: Fri, 20 Nov 2026 10:00:00 GMT\r\nRetry-After: Fri, 20 Nov 2026 10:00:00 GMT\r\n"
AGAIN = ("--retries", "2")
SHORT = ("--completion-wait", "0")

REFUSED = (
    *(
        case(f"redirect {code}", "14", ALL, 12, "old",
             Status(code, headers=b"Location: http://127.0.0.1:9/x\r\n"), says="refused to follow")
        for code in (301, 302, 303, 307, 308)
    ),
    case("captive portal", "15 67", ALL, 8, "old", Status(200, b"<html>log in</html>")),
    status(400, 5, "400", "16"),
    status(401, 4, "SMALLEST_API_KEY", "17"),
    status(402, 4, "credit", "18"),
    status(403, 4, "403", "19"),
    status(404, 5, "404", "20"),
    status(408, 7, "408", "21"),
    status(409, 6, "409", "22"),
    status(413, 5, "413", "23"),
    status(414, 5, "414", "23"),
    status(422, 5, "422", "24"),
    status(429, 6, "429", "25"),
    status(500, 8, "500", "29"),
    status(502, 8, "502", "30"),
    status(503, 8, "503", "30"),
    status(504, 8, "504", "30"),
    status(299, 8, "299", "31"),
    status(499, 5, "499", "31"),
    status(599, 8, "599", "31"),
    case("429 chunked", "28", ALL, 6, "old", Status(429, framing="chunked"), says="as the script says"),
    case("429 cut", "28", ALL, 6, "old", Status(429, framing="cut")),
    case("429 too long a wait", "27", ALL, 6, "old", Status(429, headers=b"Retry-After: 99999\r\n"),
         arguments=AGAIN),
    case("429 garbage wait", "27", ALL, 6, "old", Status(429, headers=b"Retry-After: -7, soon\r\n")),
    case("escapes in the body", "118", ALL, 5, "old", Status(400,
         json.dumps({"error": ESC.decode()}).encode())),
    case("escapes in a header", "118", ALL, 8, "old", Status(503, ESC, b"X-Request-Id: " + ESC.replace(b"\r",
         b"") + b"\r\n")),
    case("escapes in a redirect", "14 118", ALL, 12, "old", Status(302,
         headers=b"Location: http://x/\x1b[2J\r\n")),
    case("cookie and challenge", "119", ALL, 4, "old",
         Status(401, headers=b"Set-Cookie: a=b\r\nWWW-Authenticate: Basic realm=x\r\nAlt-Svc: h3\r\n")),
    case("error body without end", "33", ALL, 8, "old",
         Raw(b"HTTP/1.1 500 Oh\r\nContent-Length: 1000000000\r\n\r\n"), Raw(b"x" * 65536, 64), Fin()),
    case("headers without end", "33", ALL, 8, "old",
         Raw(b"HTTP/1.1 200 OK\r\n"), Raw(b"X-Fill: " + b"y" * 8000 + b"\r\n", 600), Fin()),
    case("dripped headers", "32", ALL, 7, "old", Drip(), says="within 0.5 s"),
    case("no answer", "34", ALL, 7, "old", Stall(), says="within 0.5 s"),
    case("closed before the response", "38", ALL, 7, "old", Fin()),
    case("reset before the response", "38", ALL, 7, "old", Rst()),
    case("not HTTP", "59", ALL, 8, "old", Raw(b"SSH-2.0-OpenSSH\r\n\r\n"), Fin()),
    case("bad accept key", "59", WS, 8, "old", Raw(
        b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: bm8=\r\n\r\n"),
        Stall()),
    case("compression", "60", WS, 8, "old", Reply(extra=b"Sec-WebSocket-Extensions: permessage-deflate\r\n"),
         Stall()),
    case("gzip", "64", POST, 8, "old", Reply(extra=b"Content-Encoding: gzip\r\n",
         wav=gzip.compress(bytes(2**20))), Fin()),
    case("brotli", "64", POST, 8, "old", Reply(extra=b"Content-Encoding: br\r\n"), Fin()),
    case("wrong type", "67 75", POST, 8, "old", Reply(kind="audio/mpeg", wav=b"ID3\4" + bytes(200)), Fin()),
    case("JSON for audio", "67", POST, 8, "old", Reply(kind="application/json", wav=b'{"status":"ok"}'),
         Fin()),
    case("another rate", "66", HTTP, 8, "old", Reply(wav=BAD_WAV), Audio(), says="44100"),
)  # fmt: skip

SILENT = (
    case("stall before audio", "34", ALL, 7, "old", Reply(), Stall(), says="within 0.5 s"),
    case("signs of life, no audio", "35", STREAMS, 7, "old", Reply(), KeepAlive(), says="within 0.5 s"),
    case("closed before audio", "40", ALL, 7, "old", Reply(), Fin()),
    case("reset before audio", "38", ALL, 7, "old", Reply(), Rst()),
    case("nothing, and complete", "68", STREAMS, 8, "old", Reply(), End(), says="no audio"),
    case("an empty WAV", "68", HTTP, 8, "old", Reply(length=44, samples=0), says="no audio"),
    case("an empty body", "68", HTTP, 8, "old", Reply(length=0, wav=b"")),
    case("error, flat", "48", STREAMS, 5, "old", Reply(), Message({"status": "error",
         "message": "Invalid voice"}),
         Stall(), says="Invalid voice"),
    case("error, nested", "48", STREAMS, 8, "old", Reply(),
         Message({"status": "error", "error": {"message": "Oh", "code": 1}}), Stall(), says="Oh"),
    case("error, busy", "48", STREAMS, 6, "old", Reply(), Message({"error": "Concurrency limit reached"}),
         Stall()),
    case("error, with escapes", "48 118", STREAMS, 8, "old", Reply(),
         Message({"status": "error", "message": ESC.decode()}), Stall()),
)  # fmt: skip


def broken(
    name: str, rows: str, vias: tuple[str, ...], *steps: Step, before: int = 8, **more: object
) -> tuple[Case, Case]:
    """The same fault before any audio and during audio."""
    return (
        case(f"{name}, before audio", rows, vias, before, "old", Reply(), *steps, **more),
        case(f"{name}, mid audio", rows, vias, 9, "part", Reply(), FEW, *steps,
             **({"samples": 2 * CHUNK, "says": "after 0.1 s"} | more)),
    )  # fmt: skip


PROTOCOL = (
    *broken("no JSON", "51", STREAMS, Text(b"{not json"), Fin()),
    *broken("no object", "51", STREAMS, Text(b"[1,2]"), Fin()),
    *broken("NaN", "51", STREAMS, Text(b'{"status":"chunk","data":{"audio":NaN}}'), Fin()),
    *broken("very deep", "51", STREAMS, Text(b"[" * 100_000), Fin()),
    *broken("huge number", "51", STREAMS, Text(b'{"data":{"audio":' + b"9" * 5000 + b"}}"), Fin()),
    *broken("bad UTF-8", "51", STREAMS, Text(b'{"a":"\xff\xfe"}'), Fin()),
    *broken("bad base64", "52", STREAMS, Message({"status": "chunk", "data": {"audio": "AAA=AAA="}}), Fin()),
    *broken("no audio field", "52", STREAMS, Message({"status": "chunk", "data": {}}), Fin()),
    *broken("audio of a number", "52", STREAMS, Message({"status": "chunk", "data": {"audio": 7}}), Fin()),
    *broken("binary", "57", WS, Raw(frames.frame(b"\0\1", 2)), Stall()),
    *broken("masked", "59", WS, Raw(b"\x81\x81\0\0\0\0x"), Stall()),
    *broken("reserved bit", "59", WS, Raw(b"\xc1\x01x"), Stall()),
    *broken("opcode 3", "59", WS, Raw(frames.frame(b"x", 3)), Stall()),
    *broken("stray continuation", "59", WS, Raw(frames.frame(b"x", 0)), Stall()),
    *broken("long ping", "59", WS, Raw(frames.frame(b"p" * 200, 9)), Stall()),
    *broken("ping in parts", "59", WS, Raw(frames.frame(b"p", 9, fin=False)), Stall()),
    *broken("2^62 bytes", "56", WS, Raw(b"\x81\x7f" + (2**62).to_bytes(8, "big")), Raw(b"x" * 65536, 400)),
    *broken("endless fragments", "56", WS, Raw(frames.frame(b"x" * 65536, 1, fin=False)),
            Raw(frames.frame(b"x" * 65536, 0, fin=False), 400), arguments=("--timeout", "5")),
    *broken("endless line", "75", SSE, Raw(b"10000\r\n" + b"x" * 65536 + b"\r\n", 400)),
    *broken("bad chunk size", "61", SSE, Raw(b"zz\r\n"), Stall(), before=7),
    *broken("endless empty audio", "35", STREAMS, EmptyAudio(), before=7, says="no (more )?audio",
            arguments=SHORT),
    *broken("many small values", "56", STREAMS, Text(b'{"a":[' + b"0," * 200_000 + b"0]}"), Stall(),
            says="100,000 values"),
)  # fmt: skip

CUT = (
    case("stall mid audio", "36", WS, 9, "part", Reply(), FEW, Stall(), says="no more audio",
         arguments=SHORT),
    case("stall mid audio", "36", POST, 9, "part", Reply(), FEW, Stall(), says="no more audio"),
    case("stall before the end marker", "37", WS, 9, "part", Reply(), Audio(), Stall(), samples=SEGMENT,
         arguments=SHORT),
    case("stall before the end marker", "37", SSE, 9, "part", Reply(), Audio(), Stall(), samples=SEGMENT),
    case("reset mid audio", "39", ALL, 9, "part", Reply(), FEW, Rst(), samples=2 * CHUNK),
    case("reset inside a message", "39", STREAMS, 9, "part", Reply(), FEW, HalfMessage(), Rst(),
         samples=2 * CHUNK),
    case("closed inside a message", "40", ALL, 9, "part", Reply(), FEW, HalfMessage(), Fin(),
         samples=2 * CHUNK),
    case("closed after all the audio", "70", STREAMS, 9, "part", Reply(), Audio(), Fin(), samples=SEGMENT),
    case("chunked, cut", "61", HTTP, 9, "part", Reply("chunked", 2 * SEGMENT), Audio(), Fin(),
         samples=SEGMENT),
    case("chunked, cut at the WAV's end", "61", HTTP, 9, "part", Reply("chunked"), Audio(), Fin(),
         samples=SEGMENT),
    case("short of its length", "62", HTTP, 9, "part", Reply(length=10**6, samples=10**5), Audio(), Fin(),
         samples=SEGMENT, says="cut off"),
    case("length too small for the WAV", "62", HTTP, 9, "part", Reply(samples=2 * SEGMENT), Audio(), Stall(),
         samples=SEGMENT),
    case("until close, cut", "63", HTTP, 9, "part", Reply("close", 2 * SEGMENT), Audio(), Fin(),
         samples=SEGMENT),
    case("until close, cut stream", "63", SSE, 9, "part", Reply("close"), FEW, Fin(), samples=2 * CHUNK),
    case("last event without its blank line", "74", SSE, 9, "part", Reply("close"), Audio(),
         Raw(b'data: {"done": true}\n'), Fin(), samples=SEGMENT),
    case("bad chunk size, late", "61", SSE, 9, "part", Reply(), Audio(), Raw(b"-1\r\n"), Stall(),
         samples=SEGMENT),
    case("half a sample", "53", STREAMS, 9, "part", Reply(), Audio(2 * CHUNK, short=1), End(),
         samples=2 * CHUNK - 1, says="half a sample"),
    case("error mid audio", "49", STREAMS, 9, "part", Reply(), FEW, Message({"status": "error",
         "message": "Oh"}),
         Stall(), says="Oh"),
    case("busy mid audio", "49", STREAMS, 9, "part", Reply(), FEW, Message({"error": "Rate limit"}), Stall()),
)  # fmt: skip

CLOSES = (
    *(
        each
        for code, exit in (
            (1000, 8),
            (1001, 7),
            (1008, 4),
            (1009, 5),
            (1011, 8),
            (1012, 7),
            (1013, 6),
            (4000, 8),
        )
        for each in broken(f"close {code}", "41-47", WS, Close(code, b"bye"), before=exit)
    ),
    *broken("close of one byte", "47", WS, Close(payload=b"\3")),
    *broken("close without code", "47", WS, Close(payload=b"")),
    *broken("close 999", "47", WS, Close(999)),
    *broken("close with bad UTF-8", "47", WS, Close(1011, b"\xff\xfe\x1b[2J")),
    *broken("close with the key's word", "43", WS, Close(1008, ESC), before=4),
)

GOOD_ENDS = (
    case("nothing wrong", "-", ALL, 0, "complete", *GOOD),
    case("odd messages", "53", ALL, 0, "complete", Reply(), Audio(skew=1), End()),
    case("one byte at a time", "73", ALL, 0, "complete", Reply(), Audio(cut=1), End()),
    case("unknown status", "54", STREAMS, 0, "complete", Reply(), Message({"status": "queued"}), Audio(),
         Message({"status": "COMPLETE"}), Message({"status": True}), End()),
    case("another request's audio", "55", WS, 0, "complete", Reply(),
         Message({"status": "chunk", "external_request_id": "stale", "data": {"audio": "AAAA"}}), Audio(),
              End()),
    case("complete twice", "71", STREAMS, 0, "complete", Reply(), Audio(), End(), End()),
    case("audio after complete", "71", WS, 0, "complete", Reply(), Audio(), End(), Audio(CHUNK)),
    case("ping flood", "58", WS, 0, "complete", Reply(), FEW, Raw(frames.frame(b"", 9), 3000), FEW, End()),
    case("word timings unasked", "54", STREAMS, 0, "complete", Reply(),
         Message({"status": "word_timestamp", "data": {"word": "\x1b[2J", "start": 0, "end": 1}}), Audio(),
              End()),
    case("WAV of unknown length, chunked", "65", HTTP, 0, "complete",
         Reply("chunked", wav=wav.header(AudioFormat(RATE))), Audio(), End()),
    case("WAV of size 0xFFFFFFFF", "65", HTTP, 0, "complete",
         Reply("chunked", wav=wav.header(AudioFormat(RATE))[:40] + b"\xff" * 4), Audio(), End()),
    case("WAV with a LIST chunk", "65", HTTP, 0, "complete", Reply(wav=LIST_WAV), Audio(), End()),
    case("WAV until close", "63", HTTP, 0, "complete", Reply("close"), Audio(), End()),
    case("SSE until close", "63", SSE, 0, "complete", Reply("close"), Audio(), End()),
    case("SSE with everything", "72", SSE, 0, "complete", Reply("close"),
         Raw(b"\xef\xbb\xbf: hello\r\nretry: 1\rid: 7\n\n"), Audio(),
              Raw(b"event:end\rdata:{\r\ndata:\"done\":true}\n\r\n")),
)  # fmt: skip

RETRIED = (
    *(
        Case(f"{first} once, then well", rows, ALL, (script, GOOD), 0, "complete", says="trying again",
             requests=2,
             arguments=AGAIN)
        for first, rows, script in (
            ("429", "25", (Status(429, headers=b"Retry-After: 0\r\n"),)),
            ("429 with a date", "26", (Status(429, headers=DATED),)),
            ("503", "30", (Status(503),)),
            ("500", "29", (Status(500),)),
            ("408", "21", (Status(408),)),
            ("a reset", "38", (Reply(), Rst())),
            ("a close", "40", (Reply(), Fin())),
            ("no answer", "34", (Stall(),)),
        )
    ),
    Case("500 on every attempt", "29", ALL, ((Status(500),),), 8, "old", requests=2, arguments=AGAIN),
    Case("503 on every attempt", "30", ALL, ((Status(503),),), 8, "old", requests=3, arguments=AGAIN),
    Case("400, never again", "16", ALL, ((Status(400),),), 5, "old", requests=1, arguments=AGAIN),
    Case("401, never again", "17", ALL, ((Status(401),),), 4, "old", requests=1, arguments=AGAIN),
    Case("closed idle", "50", WS, ((*GOOD,),), 0, "complete"),
)  # fmt: skip

CASES = (*REFUSED, *SILENT, *PROTOCOL, *CUT, *CLOSES, *GOOD_ENDS, *RETRIED)
