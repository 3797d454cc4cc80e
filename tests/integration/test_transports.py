"""The three transports against a server that sends exactly the bytes of each test."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from smallest_cli.audio import wav
from smallest_cli.errors import (
    AuthError,
    NetworkError,
    ProtocolError,
    RateLimited,
    RemoteError,
    RequestError,
    SecurityError,
    ServerError,
)
from smallest_cli.models import (
    AudioChunk,
    AudioFormat,
    Completed,
    Event,
    Opened,
    Phases,
    Refused,
    Sent,
    Service,
    SpeechRequest,
    Transport,
    Via,
)
from smallest_cli.network.dialer import Dialer
from smallest_cli.protocol.endpoints import MESSAGE_LIMIT
from smallest_cli.security import Secret
from smallest_cli.transports import open_transport
from tests.support import frames
from tests.support.fault_server import FaultServer, Handler, answer, fault_server, wait_for_close
from tests.support.frames import COMPLETE, chunk, read_request, upgrade

KEY = "sk_canary_0123456789abcdef"
PCM = bytes(range(200)) * 10
REQUEST = SpeechRequest("Hello.", "meher", format=AudioFormat(24_000), completion_wait_ms=0)
WAV = wav.header(AudioFormat(24_000), len(PCM)) + PCM

VIAS: tuple[Via, ...] = ("ws", "sse", "http")


def speak_ws(*out: bytes, extra: bytes = b"") -> Handler:
    def script(sock: socket.socket) -> None:
        upgrade(sock, extra)
        frames.read_message(sock)
        for data in out:
            sock.sendall(data)

    return script


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> list[bytes]:
    return [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces] + [end]


def event(pcm: bytes) -> bytes:
    data = json.dumps({"audio": base64.b64encode(pcm).decode(), "done": False, "status": "206"})
    return f"event: audio\ndata: {data}\n\n".encode()


END = b'data: {"status": "200", "done": true}\n\n'
SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SSE_UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
WAV_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nX-Request-Id: r1\r\nContent-Length: %d\r\n\r\n"
WAV_UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nConnection: close\r\n\r\n"

COMPLETE_SEGMENT: dict[Via, Handler] = {
    "ws": speak_ws(chunk(PCM[:1000]), chunk(PCM[1000:]), COMPLETE),
    "sse": answer(SSE_HEAD, *chunked(event(PCM[:1000]), event(PCM[1000:]) + END)),
    "http": answer(WAV_HEAD % len(WAV), WAV[:500], WAV[500:]),
}


@pytest.fixture
def opened() -> Iterator[Callable[..., Transport]]:
    with ExitStack() as stack:

        def open_one(via: Via, server: FaultServer, timeout: float = 5.0, base_url: str = "") -> Transport:
            service = Service(base_url or server.base_url, Secret(KEY, "the test"))
            return stack.enter_context(open_transport(via, service, Dialer(timeout=timeout, environ={})))

        yield open_one


Open = Callable[..., Transport]


def pcm_of(events: list[Event]) -> bytes:
    return b"".join(each.pcm for each in events if isinstance(each, AudioChunk))


def failure(transport: Transport, request: SpeechRequest = REQUEST) -> tuple[RemoteError, bytes]:
    """Return the error of a request and the audio before it, and check that no text shows the key."""
    received: list[Event] = []
    with pytest.raises(RemoteError) as caught:
        received.extend(transport.synthesize(request))
        pytest.fail("the segment was taken for complete")
    for text in (str(caught.value), caught.value.hint, repr(caught.value)):
        assert KEY not in text
    return caught.value, pcm_of(received)


# Complete segments


@pytest.mark.parametrize("via", VIAS)
def test_segment_events_are_in_order_with_timestamps(via: Via, opened: Open) -> None:
    with fault_server(COMPLETE_SEGMENT[via]) as server:
        events = list(opened(via, server).synthesize(REQUEST))
    assert isinstance(events[0], Opened)
    assert isinstance(events[1], Sent)
    assert all(isinstance(each, AudioChunk) for each in events[2:-1])
    assert isinstance(events[-1], Completed)
    assert pcm_of(events) == PCM
    stamps = [each.at_ns for each in events]
    assert all(stamps)
    assert stamps == sorted(stamps)


def test_websocket_request_matches_published_message(opened: Open) -> None:
    seen = []

    def script(sock: socket.socket) -> None:
        seen.append(upgrade(sock))
        seen.append(frames.read_message(sock))
        sock.sendall(chunk(PCM) + COMPLETE)

    with fault_server(script) as server:
        list(opened("ws", server, base_url=server.base_url + "/prefix").synthesize(REQUEST))
    head, message = seen
    assert head.startswith(b"GET /prefix/waves/v1/tts/live HTTP/1.1\r\n")
    assert b"Authorization: Bearer " + KEY.encode() + b"\r\n" in head
    assert message.pop("request_id")
    assert message == {"text": "Hello.", "voice_id": "meher", "sample_rate": 24_000, "complete_backoff_ms": 0}


@pytest.mark.parametrize(
    ("via", "path", "accept", "extra"),
    [
        ("sse", b"/waves/v1/tts/live", b"text/event-stream", {}),
        ("http", b"/waves/v1/tts", b"audio/wav", {"output_format": "wav"}),
    ],
)
def test_post_matches_published_request(
    via: Via, path: bytes, accept: bytes, extra: dict[str, str], opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # loopback has no proxy
    seen = []

    def script(sock: socket.socket) -> None:
        seen.append(read_request(sock))
        if via == "http":
            sock.sendall(WAV_HEAD % len(WAV) + WAV)
        else:
            sock.sendall(SSE_HEAD + b"".join(chunked(event(PCM) + END)))

    with fault_server(script) as server:
        list(opened(via, server).synthesize(REQUEST))
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST " + path + b" HTTP/1.1\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"accept: " + accept in lines
    assert b"accept-encoding: identity" in lines
    assert b"content-type: application/json" in lines
    assert json.loads(body) == {"text": "Hello.", "voice_id": "meher", "sample_rate": 24_000, **extra}


def test_websocket_is_reused_for_second_segment(opened: Open) -> None:
    def script(sock: socket.socket) -> None:
        upgrade(sock)
        for _ in range(2):
            echo = {"external_request_id": frames.read_message(sock)["request_id"]}
            complete = frames.message(status="complete", request_id="task_1", **echo)
            sock.sendall(chunk(PCM, **echo) + complete + frames.frame(b"still there?", 9))

    with fault_server(script) as server:
        transport = opened("ws", server)
        first, second = list(transport.synthesize(REQUEST)), list(transport.synthesize(REQUEST))
    assert [each.reused for each in (*first, *second) if isinstance(each, Opened)] == [False, True]
    assert pcm_of(second) == PCM


@pytest.mark.parametrize("via", ["sse", "http"])
def test_reply_that_came_before_the_request_is_not_its_answer(via: Via, opened: Open) -> None:
    foreign = bytes(len(PCM))
    replies: dict[Via, list[bytes]] = {
        "sse": [SSE_HEAD + b"".join(chunked(event(pcm) + END)) for pcm in (PCM, foreign)],
        "http": [WAV_HEAD % len(WAV) + WAV[: -len(PCM)] + pcm for pcm in (PCM, foreign)],
    }

    def script(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(b"".join(replies[via]))
        wait_for_close(sock)

    with fault_server(script, COMPLETE_SEGMENT[via]) as server:
        transport = opened(via, server)
        for _ in range(2):
            assert pcm_of(list(transport.synthesize(REQUEST))) == PCM


@pytest.mark.parametrize("via", VIAS)
def test_connection_closed_between_segments_is_reopened(via: Via, opened: Open) -> None:
    closed = threading.Semaphore(0)
    with fault_server(then_closed(COMPLETE_SEGMENT[via], closed)) as server:
        transport = opened(via, server)
        for _ in range(3):
            assert pcm_of(list(transport.synthesize(REQUEST))) == PCM
            assert closed.acquire(timeout=10)


def then_closed(handler: Handler, closed: threading.Semaphore) -> Handler:
    """Handle a connection, close it, and signal that: a request sent before would be lost."""

    def handle(sock: socket.socket) -> None:
        handler(sock)
        sock.shutdown(socket.SHUT_RDWR)
        closed.release()

    return handle


@pytest.mark.timeout(30)
def test_endless_messages_between_segments_cause_reconnect(opened: Open) -> None:
    buffers_full = threading.Event()

    def send_endlessly(sock: socket.socket) -> None:
        speak_ws(chunk(PCM), COMPLETE)(sock)
        pings = frames.frame(b"", 10) * 2_000_000
        sent = 0
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += sock.send(pings[sent % len(pings) :])
        buffers_full.set()  # from here on the kernel alone can send for longer than the timeout
        sock.setblocking(True)
        sock.sendall(pings[sent % len(pings) :])
        while True:
            sock.sendall(pings)

    with fault_server(send_endlessly, COMPLETE_SEGMENT["ws"]) as server:
        transport = opened("ws", server, timeout=1)
        list(transport.synthesize(REQUEST))
        assert buffers_full.wait(20)
        second = list(transport.synthesize(REQUEST))
    assert [each.reused for each in second if isinstance(each, Opened)] == [False]
    assert pcm_of(second) == PCM


@pytest.mark.parametrize("via", ["sse", "http"])
def test_http_connection_is_reused(via: Via, opened: Open) -> None:
    def script(sock: socket.socket) -> None:
        for _ in range(2):
            COMPLETE_SEGMENT[via](sock)

    with fault_server(script) as server:
        transport = opened(via, server)
        events = [*transport.synthesize(REQUEST), *transport.synthesize(REQUEST)]
    assert [each.reused for each in events if isinstance(each, Opened)] == [False, True]
    assert pcm_of(events) == 2 * PCM


@pytest.mark.parametrize("via", VIAS)
def test_only_first_request_reports_connection_phases(via: Via, opened: Open) -> None:
    """Holds for a preconnected connection and for one that the request opens."""

    def script(sock: socket.socket) -> None:
        if via == "ws":
            upgrade(sock)
        for _ in range(2):
            if via == "ws":
                echo = {"external_request_id": frames.read_message(sock)["request_id"]}
                sock.sendall(chunk(PCM, **echo) + frames.message(status="complete", **echo))
            else:
                COMPLETE_SEGMENT[via](sock)

    for ahead in (False, True):
        with fault_server(script) as server:
            transport = opened(via, server)
            if ahead:
                transport.connect()
            events = [*transport.synthesize(REQUEST), *transport.synthesize(REQUEST)]
        first, second = (each for each in events if isinstance(each, Opened))
        assert first.phases.tcp > 0
        assert (first.reused, second.reused, second.phases) == (False, True, Phases())


def test_phases_of_lost_preconnection_are_not_reported(opened: Open) -> None:
    closed = threading.Event()

    def close_after_upgrade(sock: socket.socket) -> None:
        upgrade(sock)
        sock.shutdown(socket.SHUT_RDWR)
        closed.set()

    def speak_twice(sock: socket.socket) -> None:
        upgrade(sock)
        for _ in range(2):
            echo = {"external_request_id": frames.read_message(sock)["request_id"]}
            sock.sendall(chunk(PCM, **echo) + frames.message(status="complete", **echo))

    with fault_server(close_after_upgrade, speak_twice) as server:
        transport = opened("ws", server)
        transport.connect()
        assert closed.wait(10)
        events = [*transport.synthesize(REQUEST), *transport.synthesize(REQUEST)]
    assert [each.reused for each in events if isinstance(each, Opened)][-2:] == [False, True]


def test_messages_of_another_request_are_dropped(opened: Open) -> None:
    stale = chunk(b"xx", "task_0", external_request_id="another request")
    with fault_server(speak_ws(stale, chunk(PCM), COMPLETE)) as server:
        assert pcm_of(list(opened("ws", server).synthesize(REQUEST))) == PCM


@pytest.mark.parametrize("late", ["audio", "audio and complete"])
def test_late_messages_of_a_finished_request_are_dropped_without_our_id(late: str, opened: Open) -> None:
    """The service's own id tells them apart; until two are known, no connection is used twice."""
    old = chunk(bytes(len(PCM)), "task_2") + (
        frames.message(status="complete", request_id="task_2") if late == "audio and complete" else b""
    )

    def answer(number: int) -> bytes:
        id = f"task_{number}"
        return chunk(PCM, id) + frames.message(status="complete", request_id=id)

    def speak_once(sock: socket.socket) -> None:
        upgrade(sock)
        frames.read_message(sock)
        sock.sendall(answer(1))
        wait_for_close(sock)

    def speak_late(sock: socket.socket) -> None:
        upgrade(sock)
        frames.read_message(sock)
        sock.sendall(answer(2))
        frames.read_message(sock)
        sock.sendall(old + answer(3))

    with fault_server(speak_once, speak_late) as server:
        transport = opened("ws", server)
        events = [list(transport.synthesize(REQUEST)) for _ in range(3)]
    assert [pcm_of(each) for each in events] == [PCM] * 3
    reused = [each.reused for each in itertools.chain(*events) if isinstance(each, Opened)]
    assert reused == [False, False, True]


# Two requests under way on one socket


class Early:
    """What a service says about two requests, the second of which was sent early."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.own_ids: list[object] = []

    def read(self) -> None:
        self.own_ids.append(frames.read_message(self.sock)["request_id"])

    def say(self, number: int, **fields: object) -> bytes:
        ids = {"request_id": f"task_{number}", "external_request_id": self.own_ids[number - 1]}
        return frames.message(**ids, **fields)

    def audio(self, number: int, pcm: bytes = PCM[:1000]) -> bytes:
        return self.say(number, status="chunk", data={"audio": base64.b64encode(pcm).decode()})

    def complete(self, number: int) -> bytes:
        return self.say(number, status="complete")


def early(*messages: Callable[[Early], bytes]) -> Handler:
    """Send half of the first request's audio, read the second request, then send `messages`."""

    def script(sock: socket.socket) -> None:
        upgrade(sock)
        service = Early(sock)
        service.read()
        sock.sendall(service.audio(1))
        service.read()
        sock.sendall(b"".join(message(service) for message in messages))
        wait_for_close(sock)

    return script


def events_of_two(transport: Transport) -> Iterator[Event]:
    """Send the second request once audio of the first came; the events of both, numbered from 1."""
    transport.send(REQUEST)
    completed = sent = 0
    while completed < 2:
        event = transport.receive()
        assert event is not None
        completed += isinstance(event, Completed)
        yield event
        if isinstance(event, AudioChunk) and not sent:
            assert transport.capacity == 2
            sent = transport.send(REQUEST)


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(
            [lambda it: frames.message(request_id="task_1", status="complete", done=True)], id="older form"
        ),
        pytest.param([lambda it: frames.message(status="complete")], id="without an id"),
        pytest.param([lambda it: it.complete(1), lambda it: it.complete(1)], id="twice"),
    ],
)
def test_late_complete_of_the_first_does_not_end_the_second(
    messages: list[Callable[[Early], bytes]], opened: Open
) -> None:
    script = early(
        lambda it: it.audio(1),
        lambda it: it.audio(2),
        *messages,
        lambda it: it.audio(2),
        lambda it: it.complete(2),
    )
    with fault_server(script) as server:
        events = list(events_of_two(opened("ws", server)))
    for number in (1, 2):
        assert pcm_of([each for each in events if each.segment == number]) == PCM[:1000] * 2


def test_complete_of_a_request_without_audio_does_not_end_the_one_before(opened: Open) -> None:
    script = early(lambda it: it.complete(2), lambda it: it.audio(1), lambda it: it.complete(1))
    received: list[Event] = []
    with fault_server(script) as server, pytest.raises(ServerError, match="no audio"):
        received.extend(events_of_two(opened("ws", server)))
    assert pcm_of(received) == PCM[:1000] * 2
    assert isinstance(received[-1], Completed)


def test_error_of_the_second_waits_for_the_end_of_the_first(opened: Open) -> None:
    script = early(
        lambda it: it.say(2, status="error", message="broken"),
        lambda it: it.audio(1),
        lambda it: it.complete(1),
    )
    received: list[Event] = []
    with fault_server(script) as server, pytest.raises(ServerError, match="broken"):
        received.extend(events_of_two(opened("ws", server)))
    assert pcm_of(received) == PCM[:1000] * 2
    assert isinstance(received[-1], Completed)


def test_complete_does_not_hide_an_error_within_the_second(opened: Open) -> None:
    script = early(
        lambda it: it.audio(2),
        lambda it: it.say(2, status="error", message="broken"),
        lambda it: it.complete(2),
    )
    with fault_server(script) as server, pytest.raises(ServerError, match="broken"):
        list(events_of_two(opened("ws", server)))


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(lambda it: it.audio(1), id="audio"),
        pytest.param(lambda it: it.say(1, status="error", message="broken"), id="error"),
    ],
)
def test_audio_or_error_after_the_request_was_passed_on_is_not_retryable(
    message: Callable[[Early], bytes], opened: Open
) -> None:
    script = early(lambda it: it.audio(2), message)
    with fault_server(script) as server, pytest.raises(ServerError) as caught:
        list(events_of_two(opened("ws", server)))
    assert not caught.value.retryable


def test_early_request_may_be_refused_after_the_first_is_complete(opened: Open) -> None:
    script = early(
        lambda it: it.complete(1), lambda it: it.say(2, status="error", message="Concurrency limit reached")
    )
    with fault_server(script) as server:
        assert any(
            isinstance(each, Refused) for each in itertools.islice(events_of_two(opened("ws", server)), 7)
        )


def test_empty_audio_of_the_second_does_not_end_the_first(opened: Open) -> None:
    script = early(
        lambda it: it.audio(2, b""),
        lambda it: it.audio(1),
        lambda it: it.audio(2),
        lambda it: it.complete(2),
    )
    with fault_server(script) as server:
        events = list(events_of_two(opened("ws", server)))
    assert pcm_of([each for each in events if each.segment == 1]) == PCM[:1000] * 2


@pytest.mark.parametrize("ids", [("", ""), ("same", "same"), ("task_1", "task_2")])
def test_requests_are_sent_early_only_to_a_service_that_names_them(
    ids: tuple[str, str], opened: Open
) -> None:
    def script(sock: socket.socket) -> None:
        upgrade(sock)
        for id in ids:
            frames.read_message(sock)
            sock.sendall(chunk(PCM, id) + frames.message(request_id=id, status="complete"))

    with fault_server(script) as server:
        transport = opened("ws", server)
        for _ in ids:
            assert pcm_of(list(transport.synthesize(REQUEST))) == PCM
            assert transport.capacity == (2 if ids[0] else 1)


def test_audio_under_an_unknown_id_is_an_error(opened: Open) -> None:
    with fault_server(speak_ws(chunk(PCM, "task_1"), chunk(PCM, "task_2"), COMPLETE)) as server:
        error, _ = failure(opened("ws", server))
    assert "id" in str(error)


def test_message_without_audio_does_not_set_the_id_of_a_request(opened: Open) -> None:
    hello = frames.message(request_id="connection", status="hello")
    with fault_server(speak_ws(hello, chunk(PCM), COMPLETE)) as server:
        assert pcm_of(list(opened("ws", server).synthesize(REQUEST))) == PCM


def test_fragments_are_joined_and_pings_answered(opened: Open) -> None:
    message = json.dumps({"status": "chunk", "data": {"audio": base64.b64encode(PCM).decode()}}).encode()
    pieces = (
        frames.frame(message[:100], 1, fin=False),
        frames.frame(b"ping", 9),
        frames.frame(message[100:200], 0, fin=False),
        frames.frame(message[200:], 0),
    )
    with fault_server(speak_ws(*pieces, COMPLETE)) as server:
        assert pcm_of(list(opened("ws", server).synthesize(REQUEST))) == PCM


def test_wav_of_unknown_length_is_complete_at_last_chunk(opened: Open) -> None:
    open_ended = wav.header(AudioFormat(24_000)) + PCM
    head = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nTransfer-Encoding: chunked\r\n\r\n"
    with fault_server(answer(head, *chunked(open_ended[:30], open_ended[30:]))) as server:
        assert pcm_of(list(opened("http", server).synthesize(REQUEST))) == PCM


def test_wav_header_completes_body_without_length(opened: Open) -> None:
    with fault_server(answer(WAV_UNTIL_CLOSE, WAV)) as server:
        assert pcm_of(list(opened("http", server).synthesize(REQUEST))) == PCM


def test_events_are_yielded_before_connection_closes(opened: Open) -> None:
    def script(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(SSE_UNTIL_CLOSE + event(PCM))
        wait_for_close(sock)

    with fault_server(script) as server, closing(opened("sse", server).synthesize(REQUEST)) as events:
        assert pcm_of([next(events), next(events), next(events)]) == PCM


# Truncated streams and timeouts


TRUNCATED: list[tuple[str, Via, Handler]] = [
    ("closed before complete", "ws", speak_ws(chunk(PCM))),
    ("close 1000 before complete", "ws", speak_ws(chunk(PCM), frames.close(1000))),
    ("close 1011", "ws", speak_ws(chunk(PCM), frames.close(1011, b"internal"))),
    ("cut inside a frame", "ws", speak_ws(chunk(PCM), chunk(PCM)[:500])),
    ("no end marker", "sse", answer(SSE_HEAD, *chunked(event(PCM)))),
    ("end marker without its blank line", "sse", answer(SSE_HEAD, *chunked(event(PCM), END[:-1]))),
    ("chunks cut", "sse", answer(SSE_HEAD, *chunked(event(PCM), end=b""))),
    ("closed without length", "sse", answer(SSE_UNTIL_CLOSE, event(PCM))),
    ("shorter than its length", "http", answer(WAV_HEAD % len(WAV), WAV[:1044])),
    ("shorter than its header", "http", answer(WAV_UNTIL_CLOSE, WAV[:1044])),
    ("neither length nor header", "http", answer(WAV_UNTIL_CLOSE, wav.header(AudioFormat(24_000)), PCM)),
]


@pytest.mark.parametrize(("name", "via", "script"), TRUNCATED, ids=[case[0] for case in TRUNCATED])
def test_truncated_stream_is_never_complete(name: str, via: Via, script: Handler, opened: Open) -> None:
    with fault_server(script) as server:
        error, received = failure(opened(via, server))
    assert isinstance(error, NetworkError | ServerError)
    assert PCM.startswith(received[:1000])
    assert len(received) >= 1000, "the audio before the cut must be kept"


@pytest.mark.parametrize("via", VIAS)
def test_no_first_audio_ends_at_deadline(via: Via, opened: Open) -> None:
    def silent(sock: socket.socket) -> None:
        if via == "ws":
            upgrade(sock)
        wait_for_close(sock)

    with fault_server(silent) as server:
        error, _ = failure(opened(via, server, timeout=0.3))
    assert isinstance(error, NetworkError)
    assert "within 0.3 s" in str(error)


@pytest.mark.parametrize("via", VIAS)
def test_stall_after_audio_ends_at_deadline(via: Via, opened: Open) -> None:
    def stall(sock: socket.socket) -> None:
        if via == "ws":
            speak_ws(chunk(PCM))(sock)
        elif via == "sse":
            answer(SSE_HEAD, *chunked(event(PCM), end=b""))(sock)
        else:
            answer(WAV_HEAD % len(WAV), WAV[:1044])(sock)
        wait_for_close(sock)

    with fault_server(stall) as server:
        error, received = failure(opened(via, server, timeout=0.3))
    assert isinstance(error, NetworkError)
    assert "no more audio within 0.3 s" in str(error)
    assert received


@pytest.mark.parametrize(
    ("timeout", "wait_ms", "message"),
    [
        (1.1, 100, "no more audio within 1.1 s"),
        (0.3, 100, "no more audio nor `complete` (due after 0.1 s of silence) within 0.4 s"),
        (0.1, None, "no more audio nor `complete` (due after 4 s of silence) within 4.1 s"),
    ],
)
def test_silence_during_completion_wait_is_not_a_stall(
    timeout: float, wait_ms: int | None, message: str, opened: Open
) -> None:
    def stall(sock: socket.socket) -> None:
        speak_ws(chunk(PCM))(sock)
        wait_for_close(sock)

    request = REQUEST._replace(completion_wait_ms=wait_ms)
    with fault_server(stall) as server, pytest.raises(NetworkError) as raised:
        list(opened("ws", server, timeout=timeout).synthesize(request))
    assert str(raised.value) == message


@pytest.mark.parametrize("via", VIAS)
def test_time_spent_in_a_slow_sink_does_not_count_as_a_stall(via: Via, opened: Open) -> None:
    pieces: dict[Via, list[bytes]] = {
        "ws": [chunk(PCM[:1000]), chunk(PCM[1000:]), COMPLETE],
        "sse": [SSE_HEAD + chunked(event(PCM[:1000]))[0], *chunked(event(PCM[1000:]), END)],
        "http": [WAV_HEAD % len(WAV) + WAV[:1044], WAV[1044:]],
    }
    reading = threading.Semaphore(0)

    def script(sock: socket.socket) -> None:
        if via == "ws":
            upgrade(sock)
            frames.read_message(sock)
        else:
            read_request(sock)
        for piece in pieces[via]:
            sock.sendall(piece)
            assert reading.acquire(timeout=10)
        wait_for_close(sock)

    received: list[Event] = []
    with fault_server(script) as server:
        transport = opened(via, server, timeout=0.2)
        transport.send(REQUEST)
        while not received or not isinstance(received[-1], Completed):
            each = transport.receive()
            assert each is not None
            received.append(each)
            if isinstance(each, AudioChunk):
                reading.release()
                threading.Event().wait(0.5)  # a sink that is not ready for the audio
                reading.release()
    assert pcm_of(received) == PCM


def test_pings_do_not_extend_deadline(opened: Open) -> None:
    def pings(sock: socket.socket) -> None:
        upgrade(sock)
        frames.read_message(sock)
        while True:
            sock.sendall(frames.frame(b"", 9))
            sock.settimeout(0.02)
            try:
                if not sock.recv(4096):
                    return
            except TimeoutError:
                continue

    with fault_server(pings) as server:
        error, _ = failure(opened("ws", server, timeout=0.3))
    assert "no audio within 0.3 s" in str(error)


# Errors


ERRORS: list[tuple[int, bytes, type[RemoteError]]] = [
    (400, b'{"error":[{"code":"custom","path":["voice_id"],"message":"Invalid Voice ID"}]}', RequestError),
    (401, b'{"error":"Unauthorized","message":"Bearer token is missing or invalid."}', AuthError),
    (402, b"{}", AuthError),
    (403, b"{}", AuthError),
    (404, b"", RequestError),
    (410, b'{"status":"error","error_code":"MODEL_DEPRECATED","message":"Retired."}', RequestError),
    (429, b'{"error":"Concurrency limit reached"}', RateLimited),
    (500, b"<html>", ServerError),
    (503, b"", ServerError),
    (299, b"", ProtocolError),
]


@pytest.mark.parametrize("via", VIAS)
@pytest.mark.parametrize(("status", "body", "error"), ERRORS, ids=[str(case[0]) for case in ERRORS])
def test_error_class_follows_http_status(
    via: Via, status: int, body: bytes, error: type[RemoteError], opened: Open
) -> None:
    head = b"HTTP/1.1 %d No\r\nContent-Length: %d\r\nRetry-After: 3\r\nX-Request-Id: r9\r\n\r\n"
    with fault_server(answer(head % (status, len(body)), body)) as server:
        caught, received = failure(opened(via, server))
    assert type(caught) is error
    assert received == b""
    if status == 401:
        assert "the test" in caught.hint
        assert KEY[-4:] in caught.hint
    if isinstance(caught, RateLimited):
        assert caught.retry_after == 3.0
        assert caught.request_id == "r9"


@pytest.mark.parametrize("via", VIAS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(via: Via, status: int, opened: Open) -> None:
    with fault_server(wait_for_close) as other:
        head = b"HTTP/1.1 %d Go\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
        with fault_server(answer(head % (status, other.port))) as server:
            caught, _ = failure(opened(via, server))
    assert isinstance(caught, SecurityError)


@pytest.mark.parametrize("via", VIAS)
@pytest.mark.parametrize("framing", ["chunked", "cut"])
def test_unreadable_error_body_keeps_status(via: Via, framing: str, opened: Open) -> None:
    script = (
        answer(b"HTTP/1.1 429 No\r\nTransfer-Encoding: chunked\r\n\r\n", *chunked(b'{"error":"Busy"}'))
        if framing == "chunked"
        else answer(b"HTTP/1.1 429 No\r\nContent-Length: 1000\r\n\r\n", b"half")
    )
    with fault_server(script) as server:
        caught, _ = failure(opened(via, server))
    assert isinstance(caught, RateLimited)
    assert framing == "cut" or "Busy" in str(caught)


@pytest.mark.parametrize("via", VIAS)
def test_non_http_reply_is_protocol_or_network_error(via: Via, opened: Open) -> None:
    with fault_server(answer(b"SSH-2.0-OpenSSH\r\n\r\n")) as server:
        caught, _ = failure(opened(via, server))
    assert isinstance(caught, ProtocolError | NetworkError)


@pytest.mark.parametrize("via", VIAS)
def test_html_page_is_protocol_error(via: Via, opened: Open) -> None:
    page = b"<html>log in here</html>"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page)
    with fault_server(answer(head, page)) as server:
        caught, _ = failure(opened(via, server))
    assert isinstance(caught, ProtocolError)


@pytest.mark.parametrize(
    "out",
    [
        frames.frame(b"\x00\x01", 2),
        frames.frame(b"not json"),
        frames.frame(b"x", 0),
        frames.frame(b"x", 3),
        b"\xc1\x01x",
        b"\x81\x81\0\0\0\0x",
    ],
    ids=["binary", "no JSON", "stray continuation", "opcode 3", "RSV bit", "masked"],
)
def test_websocket_protocol_violation_is_protocol_error(out: bytes, opened: Open) -> None:
    with fault_server(speak_ws(out)) as server:
        caught, _ = failure(opened("ws", server))
    assert isinstance(caught, ProtocolError)


def test_oversized_frame_is_refused_before_buffering(opened: Open) -> None:
    def script(sock: socket.socket) -> None:
        upgrade(sock)
        frames.read_message(sock)
        sock.sendall(b"\x81\x7f" + (2**62).to_bytes(8, "big"))
        piece = b"x" * 65536
        for _ in range(2 * MESSAGE_LIMIT // len(piece)):
            sock.sendall(piece)

    with fault_server(script) as server:
        caught, _ = failure(opened("ws", server))
    assert "too large" in str(caught)


def test_cookies_are_not_stored(opened: Open) -> None:
    heads = []

    def script(sock: socket.socket) -> None:
        heads.append(upgrade(sock, b"Set-Cookie: track=1; Path=/\r\n"))
        frames.read_message(sock)
        sock.sendall(chunk(PCM) + COMPLETE)

    closed = threading.Semaphore(0)
    with fault_server(then_closed(script, closed)) as server:
        transport = opened("ws", server)
        list(transport.synthesize(REQUEST))
        assert closed.acquire(timeout=10)
        list(transport.synthesize(REQUEST))
    assert len(heads) == 2
    assert all(b"cookie" not in head.lower() for head in heads)


def test_unoffered_compression_is_refused(opened: Open) -> None:
    script = speak_ws(chunk(PCM), COMPLETE, extra=b"Sec-WebSocket-Extensions: permessage-deflate\r\n")
    with fault_server(script) as server:
        caught, _ = failure(opened("ws", server))
    assert isinstance(caught, ProtocolError)


def test_netrc_does_not_replace_key(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    heads = []

    def script(sock: socket.socket) -> None:
        heads.append(read_request(sock))
        sock.sendall(WAV_HEAD % len(WAV) + WAV)

    with fault_server(script) as server:
        list(opened("http", server).synthesize(REQUEST))
    assert b"Authorization: Bearer " + KEY.encode() in heads[0]
