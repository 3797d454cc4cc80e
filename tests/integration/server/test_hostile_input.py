"""Arbitrary and malformed input never stops the offline server from serving the next client."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from tests.support.offline import HTTP, SSE, WS, Offline, hello, start_offline

fuzz = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))
CONNECTIONS = 200


@pytest.fixture(scope="module")
def server() -> Iterator[Offline]:
    """On exit asserts that stderr is empty: no traceback for any input."""
    with start_offline(request_timeout_s=3) as found:
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


JSON = st.one_of(
    (FIELDS | st.just(hello())).map(json.dumps),
    ANY.map(json.dumps),
    st.sampled_from(["[", '{"a":', '{"text":[', '{"items":[{"word":']).map(lambda start: start * 100_000),
    st.sampled_from(["1" * 5_000, "-", "1e999", '"\\ud800"', "\ufeff{}", "{}x", '{"text":1e999}']),
).map(lambda text: text.encode("utf-8", "surrogatepass"))
FORM_LINES = st.sampled_from(
    [
        b'Content-Disposition: form-data; name="file"; filename="a.wav"',
        b'Content-Disposition: form-data; name="displayName"',
        b'Content-Disposition: form-data; name="tags"',
        b"Content-Disposition: form-data; name=",
        b"Content-Disposition: form-data; name=\"language\"; filename*=utf-8''%ff",
        b"Content-Disposition: x",
        b"Content-Type: text/plain; charset=nope",
        b"Content-Type: text/plain; charset=utf-16",
        b"Content-Type: multipart/mixed",
        b"Content-Type: multipart/mixed; boundary=x",
        b"Content-Type: \xff",
        b"Content-Transfer-Encoding: base64",
        b"Content-Transfer-Encoding: unknown",
        b"Content-Encoding: gzip",
        b"Content-Encoding: unknown",
        b"Content-Length: x",
        b"\xff\xfe: x",
        b"",
        b"--x",
        b"--x--",
        b"--y--",
        b"text",
        b"\xff\x00",
    ]
)
FORM = st.lists(FORM_LINES, max_size=12).map(b"\r\n".join).map(lambda rest: b"--x\r\n" + rest)
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "get", "X"])
ROUTES = st.sampled_from(
    [
        *HTTP.values(),
        *SSE.values(),
        "/waves/v1/pronunciation-dicts",
        "/waves/v1/voice-cloning",
        "/waves/v1/health",
        "/waves/v1/lightning-v3.1/get_voices",
        "/waves/v1/%ff/get_voices",
        "/waves/v1/lightning-large/%00",
        "//x",
        "*",
        "http://[",
        "http://x:99999/",
        "/\xff",
    ]
)
QUERIES = st.sampled_from(
    ["", "?timeout=0", "?timeout=" + "9" * 400, "?%ff=%00", "?timeout=\xb2", "?" + "a=&" * 99]
)
HEADER_NAMES = [
    *("Accept", "Authorization", "Connection", "Content-Disposition", "Content-Encoding", "Content-Type"),
    *("Cookie", "Expect", "Host", "If-Modified-Since", "Origin", "Range", "Transfer-Encoding", "Upgrade"),
    *("Sec-WebSocket-Extensions", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol", "Sec-WebSocket-Version"),
]
HEADER_VALUES = [
    *(
        "",
        "0",
        "\xe9",
        "\x7f",
        "a" * 3_000,
        "gzip",
        "br",
        "chunked",
        "websocket",
        "13",
        "100-continue",
        "null",
    ),
    *("Bearer \xff", "Basic x", "http://[", "[::1", "127.0.0.1:99999", 'a="\\"', "multipart/form-data"),
    *(
        "multipart/form-data; boundary=" + "x" * 99,
        'multipart/form-data; boundary="x',
        "multipart/; boundary=x",
    ),
    *("application/json; charset=nope", "application/json;;;=", "text/plain"),
]
HEADERS = st.tuples(st.sampled_from(HEADER_NAMES), st.sampled_from(HEADER_VALUES))


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


@settings(fuzz, max_examples=400)
@seed(20261129)
@example("POST", "/waves/v1/voice-cloning", "", [("Content-Type", "multipart/form-data")], b"")
@example("POST", "/waves/v1/pronunciation-dicts", "", [], b"[" * 100_000)
@example("POST", HTTP["unified"], "", [("Expect", "\xe9")], b"{}")
@given(METHODS, ROUTES, QUERIES, st.lists(HEADERS, max_size=2), JSON)
def test_arbitrary_requests_are_no_bugs(
    server: Offline, method: str, path: str, query: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    assert 100 <= exchange(server, method, path + query, headers, body) < 500


@fuzz
@seed(20261129)
@example(b"", "form-data")
@given(FORM, st.sampled_from(["form-data; boundary=x", "mixed; boundary=x", "form-data", "; boundary=x"]))
def test_arbitrary_forms_are_no_bugs(server: Offline, form: bytes, kind: str) -> None:
    headers = [("Content-Type", f"multipart/{kind}")]
    assert exchange(server, "POST", "/waves/v1/voice-cloning", headers, form) < 500


def exchange(server: Offline, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> int:
    """Send a request as it is, and return the status. Other headers than those given are valid."""
    fields = {"Host": f"127.0.0.1:{server.address[1]}", "Authorization": f"Bearer {server.key}"}
    fields |= {"Content-Type": "application/json", "Connection": "close", "Content-Length": str(len(body))}
    fields |= dict(headers)
    if fields.get("Transfer-Encoding") == "chunked":
        del fields["Content-Length"]
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    data = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
    with socket.create_connection(server.address, timeout=20) as sock, suppress(ConnectionError):
        sock.sendall(data)
        with sock.makefile("rb") as reply:
            if line := reply.readline():
                return int(line.split()[1])
    return 400  # closed without a reply, e.g. because the body is not complete


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
