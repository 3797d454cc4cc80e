"""Heads and bodies of HTTP replies as gateways send them, on every transport."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path

import pytest

from smallest_cli.audio import wav
from smallest_cli.errors import AuthError, NetworkError, ProtocolError, RateLimited, RemoteError, RequestError
from smallest_cli.models import (
    VIAS,
    AudioChunk,
    AudioFormat,
    Completed,
    Service,
    SpeechRequest,
    Transport,
    Via,
)
from smallest_cli.network.dialer import Dialer
from smallest_cli.security import Secret
from smallest_cli.transports import open_transport
from tests.support import frames
from tests.support.command import speak
from tests.support.fault_server import FaultServer, Handler, answer, fault_server, wait_for_close

PCM = bytes(range(200)) * 10
REQUEST = SpeechRequest("Hello.", "meher", format=AudioFormat(24_000), completion_wait_ms=0)
WAV = wav.header(AudioFormat(24_000), len(PCM)) + PCM
AUDIO = base64.b64encode(PCM).decode()
EVENTS = f'data: {{"audio": "{AUDIO}"}}\n\ndata: {{"done": true}}\n\n'.encode()
BODIES: dict[Via, bytes] = {"sse": EVENTS, "http": WAV}
KINDS: dict[Via, bytes] = {"sse": b"text/event-stream", "http": b"audio/wav"}
POSTS: tuple[Via, ...] = ("sse", "http")

Open = Callable[[Via, FaultServer], Transport]


@pytest.fixture
def opened() -> Iterator[Open]:
    with ExitStack() as stack:

        def open_one(via: Via, server: FaultServer) -> Transport:
            service = Service(server.base_url, Secret("sk_test_0123456789abcdef", "the test"))
            return stack.enter_context(open_transport(via, service, Dialer(timeout=10, environ={})))

        yield open_one


def speech(via: Via, *, before: bytes = b"", headers: bytes = b"", body: bytes = b"") -> Handler:
    """A complete reply, with `before` its head and `headers` in it; `body` includes the end of the head."""

    def script(sock: socket.socket) -> None:
        if via == "ws":
            reply = frames.upgrade_reply(frames.read_request(sock), headers)
            sock.sendall(before + reply)
            frames.read_message(sock)
            sock.sendall(frames.chunk(PCM) + frames.COMPLETE)
            return
        frames.read_request(sock)
        head = before + b"HTTP/1.1 200 OK\r\ncontent-type: " + KINDS[via] + b"\r\n" + headers
        sock.sendall(head + (body or b"Content-Length: %d\r\n\r\n" % len(BODIES[via]) + BODIES[via]))

    return script


def pcm_of(transport: Transport) -> bytes:
    """Return the audio of a request that is complete."""
    events = list(transport.synthesize(REQUEST))
    assert isinstance(events[-1], Completed)
    return b"".join(each.pcm for each in events if isinstance(each, AudioChunk))


def failure(transport: Transport) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        pytest.fail(f"taken for complete: {len(pcm_of(transport))} bytes")
    return caught.value


# Heads


@pytest.mark.parametrize(
    "interim",
    [
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="100"),
        pytest.param(b"HTTP/1.1 102 Processing\r\n\r\n" * 3, id="102"),
        pytest.param(
            b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nSet-Cookie: a=b\r\n\r\n", id="103"
        ),
        pytest.param(b"HTTP/1.1 199\r\n\r\nHTTP/1.1 100 C\r\n\r\n", id="199, 100"),
    ],
)
@pytest.mark.parametrize("via", VIAS)
def test_interim_responses_are_skipped(via: Via, interim: bytes, opened: Open) -> None:
    with fault_server(speech(via, before=interim)) as server:
        assert pcm_of(opened(via, server)) == PCM
    refusal = b'HTTP/1.1 401 No\r\nContent-Length: 20\r\n\r\n{"message":"no key"}'
    with fault_server(answer(interim, refusal)) as server:
        error = failure(opened(via, server))
    assert (type(error), "no key" in str(error)) == (AuthError, True)


@pytest.mark.parametrize("via", VIAS)
def test_interim_responses_without_an_answer_are_a_closed_connection(via: Via, opened: Open) -> None:
    with fault_server(answer(b"HTTP/1.1 103 Early Hints\r\n\r\n")) as server:
        error = failure(opened(via, server))
    assert isinstance(error, NetworkError)
    assert "closed before an answer came" in str(error)


@pytest.mark.parametrize("via", POSTS)
def test_switch_that_was_not_requested_is_a_protocol_error(via: Via, opened: Open) -> None:
    with fault_server(answer(b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")) as server:
        assert type(failure(opened(via, server))) is ProtocolError


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(b"".join(b"x-trace-%d: %d\r\n" % (at, at) for at in range(300)), id="300 headers"),
        pytest.param(b"server: Caf\xe9\r\nx-empty:\r\n", id="not UTF-8"),
        pytest.param(b"SET-COOKIE: a=b\r\nset-cookie: c=d\r\n", id="cookies"),
        pytest.param(b"sec-websocket-extensions:\r\n", id="no extension"),
    ],
)
@pytest.mark.parametrize("via", VIAS)
def test_other_headers_do_not_matter(via: Via, headers: bytes, opened: Open) -> None:
    with fault_server(speech(via, headers=headers)) as server:
        assert pcm_of(opened(via, server)) == PCM
    body = b"content-length: 20\r\n\r\n" + b'{"message":"no key"}'
    with fault_server(answer(b"HTTP/1.1 401 No\r\n" + headers + body)) as server:
        assert "no key" in str(failure(opened(via, server)))


@pytest.mark.parametrize("via", VIAS)
def test_head_with_bare_line_feeds_is_read(via: Via, opened: Open) -> None:
    refusal = b'HTTP/1.1 403 No\ncontent-length: 17\n\n{"message":"off"}'
    with fault_server(answer(refusal)) as server:
        assert type(failure(opened(via, server))) is AuthError

    def script(sock: socket.socket) -> None:
        sock.sendall(frames.upgrade_reply(frames.read_request(sock)).replace(b"\r\n", b"\n"))
        frames.read_message(sock)
        sock.sendall(frames.chunk(PCM) + frames.COMPLETE)

    if via == "ws":
        with fault_server(script) as server:
            assert pcm_of(opened(via, server)) == PCM


@pytest.mark.parametrize("encoding", [b"", b" ", b"identity", b"Identity", b"none", b"identity, identity"])
@pytest.mark.parametrize("via", POSTS)
def test_content_encoding_that_encodes_nothing_is_accepted(via: Via, encoding: bytes, opened: Open) -> None:
    with fault_server(speech(via, headers=b"content-encoding: " + encoding + b"\r\n")) as server:
        assert pcm_of(opened(via, server)) == PCM


@pytest.mark.parametrize("headers", [b"gzip", b"identity, gzip", b"identity\r\ncontent-encoding: br"])
@pytest.mark.parametrize("via", POSTS)
def test_encoded_audio_is_refused(via: Via, headers: bytes, opened: Open) -> None:
    with fault_server(speech(via, headers=b"content-encoding: " + headers + b"\r\n")) as server:
        error = failure(opened(via, server))
    assert (type(error), "unexpected Content-Encoding" in str(error)) == (ProtocolError, True)


# Bodies of errors

BODY = b'{"detail":"Not authenticated"}'


def deflate(data: bytes) -> bytes:
    return zlib.compress(data)


@pytest.mark.parametrize(
    ("encoding", "body", "text"),
    [
        ("gzip", gzip.compress(BODY), "Not authenticated"),
        ("X-Gzip", gzip.compress(BODY), "Not authenticated"),
        ("deflate", deflate(BODY), "Not authenticated"),
        ("gzip", gzip.compress(BODY)[:-4], "Not authenticated"),  # cut off in the checksum
        ("gzip", gzip.compress(b'{"detail":"' + b"x" * 5_000_000 + b'"}'), "application/json"),
        ("gzip", b"no gzip at all", "application/json"),
        ("br", b"\x0b\x02\x80", "application/json"),
    ],
    ids=["gzip", "x-gzip", "deflate", "cut", "bomb", "false", "br"],
)
@pytest.mark.parametrize("via", VIAS)
def test_compressed_error_body_is_read(via: Via, encoding: str, body: bytes, text: str, opened: Open) -> None:
    head = "HTTP/1.1 401 No\r\ncontent-type: application/json\r\n"
    head += f"content-encoding: {encoding}\r\ncontent-length: {len(body)}\r\n\r\n"
    with fault_server(answer(head.encode(), body)) as server:
        error = failure(opened(via, server))
    assert (type(error), str(error)) == (AuthError, f"the service answered 401: {text}")


@pytest.mark.parametrize("via", VIAS)
@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        (
            b"application/json",
            b'{"detail":[{"loc":["body","text"],"msg":"required"}]}',
            "body.text: required",
        ),
        (b"application/problem+json", b'{"title":"Bad","detail":"no text"}', "Bad; no text"),
        (b"text/plain", b"upstream connect error", "upstream connect error"),
        (b"text/html", b"<html>", "text/html"),
    ],
)
def test_error_body_keeps_its_words(via: Via, kind: bytes, body: bytes, text: str, opened: Open) -> None:
    head = b"HTTP/1.1 422 No\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n" % (kind, len(body))
    with fault_server(answer(head, body)) as server:
        error = failure(opened(via, server))
    assert (type(error), str(error)) == (RequestError, f"the service answered 422: {text}")


# Retry-After


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        pytest.param("retry-after: 30\r\nRetry-After: 7", 30, 30, id="twice"),
        pytest.param("Retry-After: 7, 30", 30, 30, id="list"),
        pytest.param("Retry-After: 9999999999", 9999999999, 9999999999, id="10 digits"),
        pytest.param("Retry-After: {hour}", 3000, 3700, id="a date, no Date"),
        pytest.param("Retry-After: {hour}\r\nRetry-After: 7", 3000, 3700, id="a date and seconds"),
        pytest.param("Retry-After: {old}\r\nDate: {older}", 10, 10, id="a date and Date"),
        pytest.param("Retry-After: {old}", 0, 0, id="a past date, no Date"),
    ],
)
@pytest.mark.parametrize("via", VIAS)
def test_retry_after_in_any_form(via: Via, headers: str, least: float, most: float, opened: Open) -> None:
    lines = headers.format(
        hour=formatdate(time.time() + 3600, usegmt=True),
        old="Sun, 06 Nov 1994 08:49:47 GMT",
        older="Sun, 06 Nov 1994 08:49:37 GMT",
    )
    head = f"HTTP/1.1 429 No\r\n{lines}\r\ncontent-length: 0\r\n\r\n"
    with fault_server(answer(head.encode())) as server:
        error = failure(opened(via, server))
    assert isinstance(error, RateLimited)
    assert error.retry_after is not None
    assert least <= error.retry_after <= most


@pytest.mark.parametrize("via", VIAS)
def test_wait_over_the_limit_is_named_and_not_waited_for(via: Via, home: Path) -> None:
    seen = []

    def refuse(sock: socket.socket) -> None:
        seen.append(frames.read_request(sock))
        sock.sendall(b"HTTP/1.1 429 No\r\nRetry-After: 9999999999\r\nContent-Length: 0\r\n\r\n")

    with fault_server(refuse) as server:
        ran = speak(home, server, "Hi.", "-o", "x.wav", "--via", via, "--retries", "3", "--json")
    assert ran.code == 6
    assert "retry after 9,999,999,999 s" in ran.err
    assert json.loads(ran.out)["retry_after"] == 9999999999
    assert len(seen) == 1


# Framing of bodies


def chunked(body: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body) + end


def test_body_is_complete_by_chunks_even_with_a_length(opened: Open) -> None:
    for via in POSTS:
        for length in (1, 10**6):
            body = b"content-length: %d\r\ntransfer-encoding: chunked\r\n\r\n" % length + chunked(BODIES[via])
            with fault_server(speech(via, body=body)) as server:
                assert pcm_of(opened(via, server)) == PCM


NO_LENGTH = wav.header(AudioFormat(24_000)) + PCM
FRAMINGS: dict[str, bytes] = {
    "empty": b"content-length:\r\n\r\n",
    "abc": b"content-length: abc\r\n\r\n",
    "negative": b"content-length: -1\r\n\r\n",
    "plus": b"content-length: +2044\r\n\r\n",
    "hexadecimal": b"content-length: 0x7fc\r\n\r\n",
    "two": b"content-length: 2044\r\ncontent-length: 2045\r\n\r\n",
    "list of two": b"content-length: 2044, 2045\r\n\r\n",
    "underscore": b"content-length: 2_044\r\n\r\n",
    "gzip, chunked": b"transfer-encoding: gzip, chunked\r\n\r\n",
    "chunked, gzip": b"transfer-encoding: chunked, gzip\r\n\r\n",
    "xchunked": b"transfer-encoding: xchunked\r\n\r\n",
    "identity": b"transfer-encoding: identity\r\n\r\n",
    "chunked twice": b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
    "empty encoding": b"transfer-encoding:\r\n\r\n",
}


@pytest.mark.parametrize("name", FRAMINGS)
def test_body_of_an_unclear_length_is_never_complete(name: str, opened: Open) -> None:
    for audio in (NO_LENGTH, NO_LENGTH[:1044], chunked(NO_LENGTH)):
        with fault_server(speech("http", body=FRAMINGS[name] + audio)) as server:
            assert failure(opened("http", server)).exit_code in (7, 8)


CUT_CHUNKS: dict[str, bytes] = {
    "no last chunk": chunked(NO_LENGTH, b""),
    "last chunk's line cut": chunked(NO_LENGTH, b"0"),
    "last chunk's line end cut": chunked(NO_LENGTH, b"0\r"),
    "padded last chunk, line cut": chunked(NO_LENGTH, b"0000"),
    "padded last chunk, end cut": chunked(NO_LENGTH, b"0000\r\n"),
    "padded last chunk, half an end": chunked(NO_LENGTH, b"0000\r\n\r"),
    "padded chunk cut": chunked(NO_LENGTH, b"0" * 15 + b"8"),
    "trailer cut": chunked(NO_LENGTH, b"0\r\nX-Sum: 1\r\n"),
    "chunk without its line end": b"%x\r\n%s0\r\n\r\n" % (len(NO_LENGTH), NO_LENGTH),
    "chunk with another end": b"%x\r\n%sXX0\r\n\r\n" % (len(NO_LENGTH), NO_LENGTH),
    "chunk shorter than stated": b"%x\r\n%s\r\n0\r\n\r\n" % (len(NO_LENGTH) + 100, NO_LENGTH),
    "negative chunk": chunked(NO_LENGTH, b"-1\r\n\r\n"),
}


@pytest.mark.parametrize("name", CUT_CHUNKS)
def test_chunked_body_that_is_cut_is_never_complete(name: str, opened: Open) -> None:
    body = b"transfer-encoding: chunked\r\n\r\n" + CUT_CHUNKS[name]
    with fault_server(speech("http", body=body)) as server:
        assert failure(opened("http", server)).exit_code == 7


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"0000\r\n\r\n", b"0;x=y\r\nX-Sum: 1\r\n\r\n"])
def test_last_chunk_in_any_form_completes_a_body(end: bytes, opened: Open) -> None:
    body = b"transfer-encoding: Chunked\r\n\r\n" + chunked(NO_LENGTH, end)
    with fault_server(speech("http", body=body)) as server:
        assert pcm_of(opened("http", server)) == PCM


@pytest.mark.parametrize("size", [0, 1_000_000_000, 2_000_000_000, 0x7FFF_F000, 0xFFFF_FFFF])
def test_placeholder_is_complete_where_the_length_is_met(size: int, opened: Open) -> None:
    body = NO_LENGTH[:40] + struct.pack("<I", size) + PCM
    head = b"content-length: %d\r\n\r\n" % len(body)
    with fault_server(speech("http", body=head + body)) as server:
        assert pcm_of(opened("http", server)) == PCM
    for cut in (head + body[:-2], b"connection: close\r\n\r\n" + body):
        with fault_server(speech("http", body=cut)) as server:
            assert failure(opened("http", server)).exit_code == 7


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(WAV * 4, id="four files"),
        pytest.param(NO_LENGTH * 4, id="four files of unknown length"),
        pytest.param(b"RIFF" + struct.pack("<I", 24_036) + WAV[8:40] + struct.pack("<I", 6_000)
                     + b"\x21\x43" * 12_000, id="a header of 6,000 of 24,000 bytes"),
        pytest.param(WAV[:34] + b"\x14" + WAV[35:], id="20 bits"),
        pytest.param(WAV[:32] + b"\x03" + WAV[33:], id="frames of 3 bytes"),
    ],
)  # fmt: skip
def test_wav_that_is_not_as_its_header_says_is_never_complete(body: bytes, opened: Open) -> None:
    head = b"content-length: %d\r\n\r\n" % len(body)
    with fault_server(speech("http", body=head + body)) as server:
        assert type(failure(opened("http", server))) is ProtocolError


# WebSocket


def fragments(*sizes: int) -> list[bytes]:
    """The frames of one audio message, cut at `sizes`."""
    message = json.dumps({"status": "chunk", "data": {"audio": AUDIO}}).encode()
    bounds = [0, *sizes, len(message)]
    pieces = [message[start:stop] for start, stop in pairwise(bounds)]
    last = len(pieces) - 1
    return [frames.frame(piece, 1 if not at else 0, fin=at == last) for at, piece in enumerate(pieces)]


@pytest.mark.parametrize("sizes", [(0,), (0, 0), (0, 9), (9, 9), (9, 9999), (0, 0, 5, 5, 9999, 9999)])
def test_empty_fragments_are_legal(sizes: tuple[int, ...], opened: Open) -> None:
    ping = frames.frame(b"", 9)

    def script(sock: socket.socket) -> None:
        frames.upgrade(sock)
        for request_id in ("task_1", "task_2"):
            frames.read_message(sock)
            complete = frames.message(status="complete", request_id=request_id)
            sock.sendall(ping.join(fragments(*sizes)) + complete)
        wait_for_close(sock)

    with fault_server(script) as server:
        transport = opened("ws", server)
        assert pcm_of(transport) == pcm_of(transport) == PCM


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(frames.frame(b"", 0), id="continuation of nothing"),
        pytest.param(frames.frame(b"", 1, fin=False) + fragments()[0], id="message within an empty fragment"),
        pytest.param(frames.frame(b"", 1, fin=False) * 2, id="two beginnings"),
        pytest.param(b"".join(fragments(9)) + frames.frame(b"", 0), id="continuation after the end"),
    ],
)
def test_fragments_out_of_order_are_a_protocol_error(frame: bytes, opened: Open) -> None:
    def script(sock: socket.socket) -> None:
        frames.upgrade(sock)
        frames.read_message(sock)
        sock.sendall(frame + frames.COMPLETE)

    with fault_server(script) as server:
        assert "fragments out of order" in str(failure(opened("ws", server)))


@pytest.mark.parametrize("reason", [b"", b"invalid token"])
def test_websocket_close_4001_is_exit_4(reason: bytes, opened: Open) -> None:
    def script(sock: socket.socket) -> None:
        frames.upgrade(sock)
        frames.read_message(sock)
        sock.sendall(frames.close(4001, reason))

    with fault_server(script) as server:
        error = failure(opened("ws", server))
    assert (error.exit_code, error.close_code, error.retryable) == (4, 4001, False)
