"""Random runs against a random service: a seed decides the command and every byte that it is answered.

A `Plan` is one run: its options, and the answers to its requests in order. An `Answer` is a complete reply in
one of its many legal forms, and at most one fault in it. What the service sends is built here, by none of the
code under test, so a plan knows which answers prove to be complete.
"""

from __future__ import annotations

import base64
import json
import socket
import struct
import textwrap
from contextlib import suppress
from dataclasses import dataclass, replace
from random import Random
from typing import Any, NamedTuple

from tests.support import frames
from tests.support.fault_server import SEGMENT, Connection, ConnectionEnded, Step, counter
from tests.support.fault_server.steps import RATE, Close, Fin, Message, Raw, Rst, Stall, Status, Text
from tests.support.invariants import KEY

SENTENCES = ("The first sentence.", "A second one is here.", "And a third.", "This is the fourth.")
ALL, WS, STREAMS, POST, HTTP = ("ws", "sse", "http"), ("ws",), ("ws", "sse"), ("sse", "http"), ("http",)
LATE_S = 0.1
"""The longest delay within an answer."""
ENDLESS_S, ENDLESS_STEP_S = 8.0, 0.02
EXTRA = (
    "Date: Sun, 29 Nov 2026 10:00:00 GMT",
    "Server: uvicorn",
    "Vary: Accept",
    "Set-Cookie: a=b",
    "X-Empty: ",
)
INTERIM = (*[b""] * 8, b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\n")
"""What may come before a response."""
LENGTHS = ("", "abc", "-1", "0x25ac", "1e4", "9644, 9645", "9644;", "+9644", "9644\r\nContent-Length: 9645")
CODINGS = ("gzip, chunked", "xchunked", "identity", "chunked, gzip", "")
BAD_FRAMING = [f"Content-Length: {each}" for each in LENGTHS] + [
    f"Transfer-Encoding: {each}" for each in CODINGS
]
GARBAGE = (
    b"{not json", b"[1,2]", b'{"status":"chunk"}', b'{"audio":"AAA=AAA="}', b'{"audio":7}', b'{"a":"\xff"}',
    b'{"status":"chunk","data":{"audio":NaN}}', b"[" * 100_000,
)  # fmt: skip
BAD_FRAMES = (
    frames.frame(b"\0\1", 2), b"\x81\x81\0\0\0\0x", b"\xc1\x01x", frames.frame(b"x", 3), b"\x8a\x7e\x00\xff",
    frames.frame(b"p" * 200, 9), frames.frame(b"p", 9, fin=False), b"\x81\x7f" + b"\x7f" * 8,
)  # fmt: skip
BUSY = ("Oh", "Concurrency limit", "Connection timed out after 60 seconds of inactivity", f"for {KEY}")
EMPTY: dict[str, Any] = {"status": "chunk", "data": {"audio": ""}}
TIMING: dict[str, Any] = {"status": "word_timestamp", "data": {"id": 0, "word": KEY, "start": 0, "end": 0.5}}
UNKNOWN_SIZES = (0, 0x7FFF_F000, 0xFFFF_FFFF, 2_000_000_000)
PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")


class Draw(Random):
    """A source of choices."""

    def maybe(self, share: float) -> bool:
        return self.random() < share

    def cut(self, data: bytes, most: int) -> list[bytes]:
        """Cut data at up to `most` places. Pieces may be empty."""
        places = sorted(self.randint(0, len(data)) for _ in range(self.randint(0, most)))
        return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]

    def head(self, status: str, headers: list[str]) -> bytes:
        """Write a head: its headers and others, in any order, case and spacing."""
        lines = [*headers, *self.sample(EXTRA, self.randint(0, 3))]
        self.shuffle(lines)
        blanks, end = self.choice(("", " ", "  ", "\t")), self.choice(("", " "))
        spell = self.choice((str, str.lower, str.upper, str.swapcase))
        cut = [each.partition(": ") for each in lines]
        spelled = [f"{spell(name)}:{blanks}{value}{end}" for name, _, value in cut]
        return "\r\n".join([status, *spelled, "\r\n"]).encode()

    def base64(self, pcm: bytes) -> str:
        """Encode audio in one of the forms of base64: as usual, for URLs, not padded, in lines."""
        audio = base64.b64encode(pcm).decode()
        forms = (*[audio] * 12, audio.translate({43: "-", 47: "_"}), audio.rstrip("="))
        return self.choice((*forms, "\n".join(textwrap.wrap(audio, 76))))

    def json(self, fields: dict[str, Any]) -> str:
        """Write an object: its members in any order, any blanks between them."""
        members = dict(self.sample(list(fields.items()), len(fields)))
        return json.dumps(members, separators=self.choice(((",", ":"), (", ", ": "), (" ,\t", " : "))))


class Fault(NamedTuple):
    """What may go wrong. `again`: a retry is expected to help; `waits`: only a timeout ends it.

    `at` is the place: instead of a reply (head), after any byte or any message of it, or in its head (lie).
    """

    at: str
    vias: tuple[str, ...] = ALL
    again: bool = True
    waits: bool = False


FAULTS = {
    "fin": Fault("byte"), "rst": Fault("byte"), "stall": Fault("byte", waits=True),
    "ping, rst": Fault("message", WS), "close": Fault("message", WS), "garbage": Fault("message", STREAMS),
    "error": Fault("message", STREAMS), "refusal": Fault("message", STREAMS, again=False),
    "endless": Fault("message", STREAMS, waits=True), "no reply": Fault("head"), "type": Fault("head", POST),
    "status": Fault("head"), "refused": Fault("head", again=False), "framing": Fault("lie", HTTP),
    "length": Fault("lie", HTTP), "wav, short": Fault("lie", HTTP), "wav, joined": Fault("lie", HTTP),
    "wav, long": Fault("lie", HTTP), "wav, unframed": Fault("lie", HTTP),
}  # fmt: skip
AUDIBLE = ("wav, short", "wav, joined")
"""Faults that lose nothing: exit code 0 is right with all of the audio."""


@dataclass(frozen=True)
class Answer:
    """A step that answers one request.

    `ids` is which ids the service sends: none, its own (service), or also the client's (both). Without
    `marked` no end marker follows. `ends` is how the connection ends after it: not at all, unannounced (fin),
    or as announced (stated). `part` is its number in a conversation, where the server splits the text.
    """

    seed: int
    fault: str = ""
    ids: str = "both"
    marked: bool = True
    ends: str = ""
    part: int | None = None

    def run(self, conn: Connection) -> None:
        rng = Draw(self.seed)
        at = FAULTS[self.fault].at if self.fault else ""
        if at == "head":
            fail_head(conn, rng, self.fault)
            return
        if conn.via == "ws" and not conn.upgraded:
            lines = frames.upgrade_reply(conn.head).decode().split("\r\n")[1:-2]
            conn.open(reply=rng.choice(INTERIM) + rng.head("HTTP/1.1 101 Switching Protocols", lines))
        assert conn.request
        conn.request.proven = not self.fault or self.fault in AUDIBLE
        parts, needed = ENCODERS[conn.via](self, conn, rng)
        conn.sent += SEGMENT
        starts = [sum(map(len, parts[:number])) for number in range(len(parts) + 1)]
        # After a complete part of a conversation, quiet is an end like any other.
        quiet = bool(self.part) and FAULTS[self.fault or "fin"].waits
        if at == "byte":
            places = [start for start in starts if quiet <= start < needed]
            end = rng.choice(rng.choice((places, places[:1], places[-3:], range(int(quiet), needed))))
            dribble(conn, rng, b"".join(parts)[:end])
            {"fin": Fin(), "rst": Rst(), "stall": Stall()}[self.fault].run(conn)
        if at == "message":
            least = int(quiet or conn.via != "ws")
            sent = max(number for number in range(len(parts)) if starts[number] < needed)
            dribble(conn, rng, b"".join(parts[: rng.choice((least, rng.randint(least, sent)))]))
            fail_message(conn, rng, self.fault, normal=not self.part)
        dribble(conn, rng, b"".join(parts))
        if self.ends or conn.framing == "close" or at == "lie":
            with suppress(OSError):
                if conn.via == "ws" and self.ends == "stated":
                    conn.send(frames.close(1000))
                conn.sock.shutdown(socket.SHUT_WR)
            Stall().run(conn)


@dataclass(frozen=True)
class Talk:
    """Answer a conversation: read all of its text, then send the parts."""

    parts: tuple[Answer, ...]

    def run(self, conn: Connection) -> None:
        conn.open()
        fields = conn.fields
        while not (fields.get("context_close") or fields.get("flush")):
            fields = frames.read_message(conn.sock)
        for answer in self.parts:
            conn.request, _ = conn.server.add_request("ws", f"part {answer.part}", b"")
            answer.run(conn)


def dribble(conn: Connection, rng: Draw, data: bytes) -> None:
    """Send data in one or more writes, with delays."""
    for piece in rng.cut(data, rng.choice((0, 0, 3, 12))):
        conn.send(piece)
        if rng.maybe(0.05):
            delay_s = rng.uniform(0, rng.choice((0.01, 0.01, LATE_S)))
            conn.server.delayed_s += delay_s
            conn.server.release.wait(delay_s)


def fail_head(conn: Connection, rng: Draw, fault: str) -> None:
    """Answer without audio."""
    body = json.dumps({"error": rng.choice(("Oh", f"bad key {KEY}"))}).encode()
    framing = rng.choice(("length", "chunked", "cut"))
    match fault:
        case "status":
            more = rng.choice(
                (b"", b"retry-after: 0\r\n", b"Retry-After: soon\r\n", b"X-Request-Id: \xff\x1b[\r\n")
            )
            Status(rng.choice((408, 429, 500, 502, 503, 504)), body, more, framing).run(conn)
        case "refused":
            code = rng.choice((301, 307, 400, 401, 402, 403, 404, 410, 413, 422))
            Status(code, body, b"Location: http://127.0.0.1:9/x\r\n", framing).run(conn)
        case "type":
            kind = rng.choice(("Content-Type: text/html", "Content-Encoding: gzip", "X-No-Type: 1"))
            conn.send(rng.head("HTTP/1.1 200 OK", [kind, "Content-Length: 13"]) + b"<html></html>")
        case _:
            if rng.maybe(0.3):
                start = rng.choice((b"HTTP/1.1 ", b"HTTP/1.1 200", b""))
                conn.send(start + rng.randbytes(rng.randint(1, 99)) + b"\r\n\r\n")
            rng.choice((Fin(), Rst())).run(conn)


def fail_message(conn: Connection, rng: Draw, fault: str, *, normal: bool) -> None:
    """Send what must not follow the messages before it; a close as after a complete one only if `normal`."""
    ws = conn.via == "ws"
    step: Step
    match fault:
        case "ping, rst":
            conn.send(frames.frame(b"ping", 9))
            while (answer := conn.sock.recv(65_536)) and b"\x8a" not in answer:  # the head of a pong
                pass
            step = Rst()
        case "close":
            code = rng.choice((1001, 1011, 1012, 1013, 4000, *((1000, None) if normal else ())))
            step = Close(code, b"bye") if code else Close(payload=b"")
        case "refusal" if ws and rng.maybe(0.4):
            step = Close(rng.choice((1008, 1009)), KEY.encode())
        case "refusal" | "error":
            text = rng.choice(BUSY if fault == "error" else ("Invalid voice", "Unauthorized"))
            nested = {"status": "error", "error": {"message": text}}
            step = Message(rng.choice(({"status": "error", "message": text}, {"error": text}, nested)))
        case "garbage":
            steps = [
                Text(rng.choice(GARBAGE)),
                Raw(rng.randbytes(rng.randint(1, 200))),
                Raw(rng.choice(BAD_FRAMES)),
            ]
            step = rng.choice(steps if ws else steps[:2])
        case _:
            fields = rng.choice((EMPTY, TIMING, {"status": "queued"}, None))
            comment = Raw(frames.frame(b"", 9) if ws else conn.chunk(b": still here\n\n"))
            step = comment if fields is None else Message(fields)
            for _ in range(round(ENDLESS_S / ENDLESS_STEP_S)):
                step.run(conn)
                conn.server.release.wait(ENDLESS_STEP_S)
    step.run(conn)
    raise ConnectionEnded


def audio_pieces(conn: Connection, rng: Draw) -> list[bytes]:
    """The samples of an answer in pieces, which may be empty or end in half a sample."""
    return rng.cut(counter(conn.first + conn.sent, SEGMENT), 6)


def noise(rng: Draw) -> dict[str, Any]:
    """A message without audio."""
    return rng.choice((EMPTY, TIMING, {"status": "queued"}, {"type": "pong"}, {"done": False}, {}))


def encode_ws(answer: Answer, conn: Connection, rng: Draw) -> tuple[list[bytes], int]:
    """Return the messages of an answer, and the number of bytes without which it is not complete."""
    ids: dict[str, Any] = {} if answer.ids == "none" else {"session_id": "s", "request_id": conn.request_id}
    if answer.ids == "both" and (own := conn.fields.get("request_id")):
        ids["external_request_id"] = own

    def message(fields: dict[str, Any]) -> bytes:
        data = rng.json(ids | fields).encode()
        pieces = rng.cut(data, 3) if rng.maybe(0.2) else [data]
        wire = b""
        for number, piece in enumerate(pieces):
            if rng.maybe(0.1) and (number or not answer.part):
                wire += frames.frame(rng.randbytes(rng.randint(0, 125)), rng.choice((9, 10)))
            wire += frames.frame(piece, 0 if number else 1, fin=number == len(pieces) - 1)
        return wire

    parts = []
    for pcm in audio_pieces(conn, rng):
        if rng.maybe(0.2) and not answer.part:
            parts.append(message(noise(rng)))
        if pcm or not answer.part:
            parts.append(message({"status": "chunk", "data": {"audio": rng.base64(pcm)}}))
    if answer.marked:
        parts.append(message(rng.choice(({"status": "complete"}, {"status": "complete", "done": True}))))
    return parts, sum(map(len, parts))


def encode_sse(answer: Answer, conn: Connection, rng: Draw) -> tuple[list[bytes], int]:
    """As `encode_ws`; all but the blank line after the end marker is not complete."""
    eol = rng.choice(("\n", "\r\n", "\r"))

    def event(fields: dict[str, Any], name: str = "") -> bytes:
        text = json.dumps(fields, indent=1) if rng.maybe(0.2) else rng.json(fields)
        lines = [f"event: {name}"] if name and rng.maybe(0.7) else []
        lines += ["data:" + rng.choice(("", " ")) + line for line in text.split("\n")]
        lines += rng.sample((": a comment", "id: 7", "retry: 100", ":"), rng.choice((0, 0, 1)))
        return (eol.join(lines) + 2 * eol).encode()

    events = [b"\xef\xbb\xbf: hello" + 2 * eol.encode()] if rng.maybe(0.2) else []
    for pcm in audio_pieces(conn, rng):
        if rng.maybe(0.2):
            beat = rng.choice(
                (": still here", "data:", f"event: ping{eol}data: ping", f"event: ping{eol}data:")
            )
            events.append(event(noise(rng)) if rng.maybe(0.6) else (beat + 2 * eol).encode())
        plain: dict[str, Any] = {"audio": rng.base64(pcm)}
        forms = (plain, {**plain, "done": False, "status": "206"}, {"status": "chunk", "data": plain})
        events.append(event(rng.choice(forms), "audio"))
    old_end = {"status": "complete", "message": "All chunks sent", "done": True}
    events.append(event(rng.choice((old_end, {"status": "200", "done": True}, {"done": True}))))
    kind = "text/event-stream" + rng.choice(("", "; charset=utf-8", ";charset=UTF-8"))
    parts = frame_body(answer, conn, rng, f"Content-Type: {kind}", events, True)
    before = sum(map(len, parts[: len(events)]))
    return parts, before + parts[len(events)].index(events[-1]) + len(events[-1]) - len(eol)


def encode_http(answer: Answer, conn: Connection, rng: Draw) -> tuple[list[bytes], int]:
    """As `encode_ws`: a WAV is complete at its stated length, or with its body, and its body must be, too."""
    pcm = counter(conn.first + conn.sent, SEGMENT)
    stated = len(pcm)
    if answer.fault == "wav, unframed" or rng.maybe(0.8 if answer.fault == "framing" else 0.3):
        stated = rng.choice(UNKNOWN_SIZES)
    if answer.fault.startswith("wav, ") and answer.fault != "wav, unframed":
        stated = 2 * rng.randrange(1, SEGMENT) + (2 * SEGMENT if answer.fault == "wav, long" else 0)
    behind = b"LIST\x04\0\0\0abcd" if rng.maybe(0.2) and stated == len(pcm) else b""
    units = [wav_head(rng, stated, len(behind)), *rng.cut(pcm, 4), behind]
    if answer.fault == "wav, joined":
        units = [wav_head(rng, len(part)) + part for part in (pcm[:stated], pcm[stated:]) if part]
    units = [each for each in units if each]
    parts = frame_body(answer, conn, rng, "Content-Type: audio/wav", units, stated == len(pcm))
    needed = sum(map(len, parts)) - (len(behind) if conn.framing == "close" else 0)
    return parts, needed


def wav_head(rng: Draw, size: int, behind: int = 0) -> bytes:
    """Write the header of a WAV with that many bytes of samples, and `behind` bytes after them."""
    form = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    if rng.maybe(0.2):
        form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, 2 * RATE, 2, 16, 22, 16, 4) + PCM_GUID
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    if rng.maybe(0.2):
        chunks += b"LIST" + struct.pack("<I", 3) + b"abc\0"
    riff_size = min(0xFFFF_FFFF, size + len(chunks) + 8 + behind)
    return struct.pack("<4sI", b"RIFF", riff_size) + chunks + struct.pack("<4sI", b"data", size)


def frame_body(
    answer: Answer, conn: Connection, rng: Draw, kind: str, units: list[bytes], by_close: bool
) -> list[bytes]:
    """Return a reply: its head, its units, and what follows them. `by_close`: a close may end it."""
    body = b"".join(units)
    conn.framing = rng.choice(("length", "chunked", "close")[: 3 if by_close else 2])
    framing, tail = {"length": f"Content-Length: {len(body)}", "chunked": "Transfer-Encoding: chunked"}, []
    headers = [kind] + [f"X-Request-Id: {conn.request_id}"] * (answer.ids != "none")
    match answer.fault:
        case "framing":
            conn.framing = rng.choice(BAD_FRAMING)
            framing[conn.framing] = conn.framing
            units = [body[: rng.randrange(len(body))]]
            if "chunked" in conn.framing:
                units = [b"%x\r\n%s\r\n" % (len(units[0]), units[0])]
        case "wav, unframed":
            conn.framing = "close"
        case "length":
            conn.framing, framing["length"] = "length", f"Content-Length: {len(body) + rng.randint(1, 5000)}"
    if conn.framing == "chunked":
        size = rng.choice((b"%x", b"%X", b"0000%x", b"%x;a=b")) + b"\r\n%s\r\n"
        cut = [*(rng.cut(unit, 2) for unit in units[:-1]), units[-1:]]
        units = [b"".join(size % (len(piece), piece) for piece in pieces if piece) for pieces in cut]
        trailer = rng.choice((b"", b"", b"X-Trailer: 1\r\n"))
        tail = [rng.choice((b"0", b"000", b"0;a=b")), b"\r\n", trailer, b"\r\n"]
    if conn.framing in framing:
        headers.append(framing[conn.framing])
    if answer.ends == "stated" or (conn.framing == "close" and rng.maybe(0.5)):
        headers.append("Connection: close")
    old = conn.framing in ("length", "close") and rng.maybe(0.1)
    head = rng.head(f"HTTP/1.{0 if old else 1} 200 {rng.choice(('OK', '', 'Fine'))}", headers)
    return [head if old else rng.choice(INTERIM) + head, *units, *tail]


ENCODERS = {"ws": encode_ws, "sse": encode_sse, "http": encode_http}


@dataclass(frozen=True)
class Plan:
    """One run of the command: speak, stream, or converse (`stream --buffering server`).

    A `cached` one is run again, with its cache.
    """

    seed: int
    command: str
    via: str
    api: str
    piped: bool
    retries: int
    cached: bool
    sentences: int
    answers: tuple[Answer, ...]

    @classmethod
    def draw(cls, seed: int) -> Plan:
        """Draw a plan. Half of all plans have no fault."""
        rng = Draw(seed)
        command = rng.choice(("speak", "speak", "stream", "converse"))
        talk = command == "converse"
        via = "ws" if talk else rng.choice(ALL)
        api = rng.choice(("unified", "unified", "unified", "v3.1", "v2"))
        count = rng.randint(1, 1 if talk and api != "unified" else 4)
        ids = rng.choice(("none", "service", "both", "both"))
        parts = range(count) if talk else [None] * count
        answers = [Answer(rng.getrandbits(32), ids=ids, part=part) for part in parts]
        if rng.maybe(0.5):
            names = [name for name, fault in FAULTS.items() if via in fault.vias]
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                at, name = rng.randrange(len(answers)), rng.choice(names)
                if talk:
                    answers[at] = replace(answers[at], fault="fin" if FAULTS[name].at == "head" else name)
                else:
                    for _ in range(rng.choice((1, 1, 1, 4))):
                        answers.insert(at, Answer(rng.getrandbits(32), name, ids))
        elif rng.maybe(0.3):
            end, at = ("stated", count - 1) if talk else ("fin", rng.randrange(count))
            answers[at] = replace(answers[at], ends=end)
            if end == "fin" and rng.maybe(0.5):
                answers = [replace(each, ends="stated") for each in answers]
        elif via == "ws" and ids != "none" and rng.maybe(0.2) and not talk:
            answers = [replace(each, marked=each is answers[-1]) for each in answers]
        cached = not talk and rng.maybe(0.15)
        piped = rng.maybe(0.3) and not cached
        return cls(seed, command, via, api, piped, rng.randint(0, 2), cached, count, tuple(answers))

    @property
    def scripts(self) -> list[list[Step]]:
        """What the server does; after the answers it answers well."""
        if self.command == "converse":
            return [[Talk(self.answers)]]
        return [*([each] for each in self.answers), [Answer(self.seed)]]

    @property
    def faults(self) -> list[str]:
        return [each.fault for each in self.answers if each.fault]

    @property
    def must_succeed(self) -> bool:
        """Whether the run must end well: without a fault, or if one retry suffices and is allowed."""
        if not self.faults:  # a request that an unannounced close of HTTP meets is lost
            unannounced = self.via != "ws" and any(each.ends == "fin" for each in self.answers)
            return not unannounced or (self.retries > 0 and not self.piped)
        if self.command == "converse" or self.retries == 0 or len(self.faults) > 1:
            return False
        early = bool(self.answers[0].fault) and FAULTS[self.faults[0]].at == "head"
        return FAULTS[self.faults[0]].again and (early or not self.piped)

    @property
    def may_resend(self) -> int:
        """Requests that may be sent again: by retries, and over ws once as a kept connection was closed."""
        closes = any(each.ends for each in self.answers) or any(each.fault for each in self.answers[1:])
        return 2 * (self.retries + closes) if self.via == "ws" else self.retries

    @property
    def timeout_s(self) -> float:
        return 0.5 if any(FAULTS[name].waits for name in self.faults) else 5.0

    @property
    def arguments(self) -> list[str]:
        """The command line, except where the service and the output are."""
        words = SENTENCES if self.command == "converse" else SENTENCES[: self.sentences]
        options = ["--via", self.via, "--api", self.api, "--timeout", f"{self.timeout_s:g}"]
        options += ["--retries", str(self.retries)] + ["--completion-wait", "0"] * (self.via == "ws")
        options += ["--cache"] * self.cached + ["--json"] * (not self.piped)
        if self.command == "converse":
            return ["stream", *words, *options, "--buffering", "server", "--drain", "0.3"]
        return [self.command, " ".join(words), *options, "--split", "25"]
