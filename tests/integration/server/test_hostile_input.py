"""Arbitrary and malformed input never stops the offline server from serving the next client."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from tests.support.offline import HTTP, SSE, WS, Offline, hello, start_offline

fuzz = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))
CONNECTIONS = 200


@pytest.fixture(scope="module")
def server() -> Iterator[Offline]:
    """On exit asserts that stderr is empty: no traceback for any input."""
    with start_offline() as found:
        yield found


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        [
            "text",
            "voice_id",
            "model",
            "language",
            "speed",
            "sample_rate",
            "output_format",
            "pronunciation_dicts",
            "continue",
            "flush",
            "max_buffer_flush_ms",
            "context_id",
            "request_id",
            "external_request_id",
            "type",
            "word_timestamps",
            "complete_backoff_ms",
            "math_notation",
        ]
    ),
    ANY,
    max_size=5,
)


def post(server: Offline, path: str, fields: dict[str, Any]) -> int:
    """Post fields, NaN and lone surrogates included, and return the status."""
    headers = server.auth | {"Content-Type": "application/json"}
    return server.ask("POST", path, data=json.dumps(fields).encode("ascii"), headers=headers).status_code


def is_healthy(server: Offline) -> bool:
    return server.ask("GET", "/waves/v1/health", headers={}).status_code == 200


@fuzz
@given(FIELDS, st.sampled_from([HTTP["unified"], SSE["unified"], HTTP["v2"]]))
def test_arbitrary_fields_get_a_reply(server: Offline, fields: dict[str, Any], path: str) -> None:
    assert post(server, path, fields) < 500


@fuzz
@example({}, {"pronunciation_dicts": [[]]})
@given(FIELDS | st.just(hello()), FIELDS)
def test_arbitrary_fields_beside_valid_ones_get_a_reply(
    server: Offline, fields: dict[str, Any], more: dict[str, Any]
) -> None:
    assert post(server, HTTP["unified"], hello() | fields | more) < 500


@fuzz
@given(
    st.binary(max_size=300), st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"POST /waves/v1/tts HTTP/1.1\r\n"])
)
def test_server_survives_arbitrary_bytes(server: Offline, data: bytes, start: bytes) -> None:
    with socket.create_connection(server.address, timeout=10) as sock:
        sock.sendall(start + data)
    assert is_healthy(server)


@fuzz
@given(st.lists(st.binary(max_size=60) | st.text(max_size=60) | FIELDS.map(json.dumps), max_size=4))
def test_server_survives_arbitrary_messages(server: Offline, messages: list[bytes | str]) -> None:
    try:
        with server.open(WS["unified"], close_timeout=0) as ws:
            for message in messages:
                ws.send(message)
    except ConnectionClosed:
        pass
    assert is_healthy(server)


@pytest.mark.parametrize(
    "partial_request",
    [
        b"",
        b"GET /waves/v1/health HTT",
        b"GET /waves/v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
        b"POST /waves/v1/tts HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n{",
    ],
)
def test_two_hundred_unfinished_requests_do_not_block_others(server: Offline, partial_request: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            sock = stack.enter_context(socket.create_connection(server.address, timeout=10))
            sock.sendall(partial_request)
        assert is_healthy(server)
        assert server.post(HTTP["unified"], hello()).content


def test_unbounded_headers_are_rejected(server: Offline) -> None:
    for line in (b"X-Fill: " + b"y" * 100_000, b"X-Fill: y\r\n" * 20_000):
        with socket.create_connection(server.address, timeout=10) as sock:
            try:
                sock.sendall(b"GET /waves/v1/health HTTP/1.1\r\n" + line + b"\r\n\r\n")
                answer = sock.recv(65_536)
            except ConnectionError:
                answer = b""
        assert not answer or answer.split(b" ")[1] in (b"400", b"431")
    assert is_healthy(server)
