"""Clients that send slowly, send nothing or read nothing are disconnected; others are served meanwhile."""

from __future__ import annotations

import base64
import json
import os
import resource
import selectors
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from smallest_cli.server.connections import MAX_DESCRIPTORS, connection_limit
from tests.support.offline import (
    HTTP,
    KEY,
    SMALLEST,
    SSE,
    WS,
    Offline,
    eventually,
    hello,
    next_message,
    pcm_of,
    receive,
    send,
    start_offline,
)

pytestmark = pytest.mark.long

LONG = hello(text="Far too long. " * 300, sample_rate=44_100)
SHORT_S = 0.3
LONG_S = 60.0
DESCRIPTORS = 128
SILENT = 300


def post_head(server: Offline, length: int, path: str = HTTP["unified"], more: str = "") -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{server.address[1]}",
        f"Authorization: Bearer {server.key}",
        f"Content-Type: application/json{more}",
        f"Content-Length: {length}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def upgrade_head(server: Offline, path: str = WS["unified"]) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{server.address[1]}",
        f"Authorization: Bearer {server.key}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@pytest.fixture(scope="module")
def impatient() -> Iterator[Offline]:
    """A server whose deadlines are short."""
    with start_offline(request_timeout_s=SHORT_S, keep_alive_s=LONG_S, concurrency=8) as found:
        yield found


def drip(sock: socket.socket, data: bytes) -> bytes:
    """Send a byte at a time, over and over, until the server closes. Return what it sent."""
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        while True:
            for byte in data:
                try:
                    sock.send(bytes([byte]))
                    if selector.select(SHORT_S / 10):
                        chunk = sock.recv(65_536)
                        if not chunk:
                            return received
                        received += chunk
                except ConnectionError:
                    return received


@pytest.mark.parametrize("start", ["GET /", "\r\nGET /", "GET /waves/v1/health HTTP/1.1\r\nX: ", "upgrade"])
def test_dripped_head_is_cut_off(impatient: Offline, start: str) -> None:
    first = upgrade_head(impatient)[:-2] + b"X: " if start == "upgrade" else start.encode()
    with socket.create_connection(impatient.address, timeout=20) as sock:
        sock.sendall(first)
        assert drip(sock, b"x") == b""


@pytest.mark.parametrize("path", [HTTP["unified"], SSE["unified"], "/waves/v1/pronunciation-dicts"])
def test_dripped_body_is_cut_off(impatient: Offline, path: str) -> None:
    with socket.create_connection(impatient.address, timeout=20) as sock:
        sock.sendall(post_head(impatient, 1_000_000, path))
        assert drip(sock, b"{ ") == b""


def test_dripped_chunks_and_form_are_cut_off(impatient: Offline) -> None:
    chunked = post_head(impatient, 1).replace(b"Content-Length: 1", b"Transfer-Encoding: chunked")
    form = post_head(impatient, 10**6, "/waves/v1/voice-cloning")
    form = form.replace(b"application/json", b"multipart/form-data; boundary=x")
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    for data, dripped in ((chunked, b"1\r\nx\r\n"), (form + part, b"x")):
        with socket.create_connection(impatient.address, timeout=20) as sock:
            sock.sendall(data)
            assert drip(sock, dripped) == b""


def test_refused_request_is_not_read_for_long(impatient: Offline) -> None:
    with socket.create_connection(impatient.address, timeout=20) as sock:
        sock.sendall(post_head(impatient, 10**9, "/nothing"))
        assert drip(sock, b"x").startswith(b"HTTP/1.1 404")


def test_reply_longer_than_the_deadline_of_its_request(impatient: Offline) -> None:
    with start_offline(request_timeout_s=SHORT_S, keep_alive_s=SHORT_S, first_byte_ms=900) as server:
        assert server.post(HTTP["unified"], hello()).content
        with server.open() as ws:
            send(ws, hello())
            assert pcm_of(receive(ws))


def test_silent_and_kept_connections_are_closed() -> None:
    body = json.dumps(hello()).encode()
    with start_offline(keep_alive_s=SHORT_S) as server:
        assert server.raw(b"") == b""
        reply = server.raw(post_head(server, len(body)) + body)
        assert reply.startswith(b"HTTP/1.1 200")
        assert b"Connection: close" not in reply


@pytest.mark.parametrize("via", ["http", "sse", "ws"])
def test_reader_of_nothing_is_disconnected(via: str) -> None:
    """The only synthesis slot becomes free."""
    body = json.dumps(LONG).encode()
    with start_offline(keep_alive_s=SHORT_S) as server:
        if via == "ws":
            with server.open(max_queue=1, close_timeout=0) as ws:
                send(ws, LONG)
                next_message(ws)
                eventually(lambda: server.post(HTTP["unified"], hello()).ok)
        else:
            path = (HTTP if via == "http" else SSE)["unified"]
            with socket.create_connection(server.address, timeout=20) as sock:
                sock.sendall(post_head(server, len(body), path) + body)
                assert sock.recv(1)
                eventually(lambda: server.post(HTTP["unified"], hello()).ok)
        assert "unfinished" in [each["status"] for each in server.log()]


def test_unread_rest_of_a_closed_connection_is_dropped() -> None:
    """The server has closed, but cannot send what is left."""
    body = json.dumps(hello(text="Yes. " * 60, sample_rate=44_100)).encode()
    with start_offline(keep_alive_s=SHORT_S, concurrency=99) as server:
        before = len(os.listdir(f"/proc/{server.process.pid}/fd"))
        with ExitStack() as stack:
            for _ in range(9):
                sock = stack.enter_context(socket.socket())
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                sock.connect(server.address)
                head = post_head(server, len(body), SSE["unified"])
                sock.sendall(head.replace(b"Host:", b"Connection: close\r\nHost:") + body)
            eventually(lambda: len(server.log()) == 9)
            eventually(lambda: len(os.listdir(f"/proc/{server.process.pid}/fd")) == before)


def test_unfinished_messages_do_not_keep_a_websocket() -> None:
    fragment = bytes([0x00, 0x81, 0, 0, 0, 0]) + b"x"
    with start_offline(idle_timeout_s=SHORT_S) as server:
        for start in (bytes([0x01, 0x81, 0, 0, 0, 0]) + b"x", b"", bytes([0x81, 0xFE, 0x80, 0x00])):
            with socket.create_connection(server.address, timeout=20) as sock:
                sock.sendall(upgrade_head(server) + start)
                received = drip(sock, fragment if start[:1] == b"\x01" else b"\x89\x80\x00\x00\x00\x00")
                assert b"of inactivity" in received


def test_websocket_memory_is_limited() -> None:
    """Fragments of a message, queued requests and buffered text have limits of their own."""
    with start_offline(first_byte_ms=10_000) as server:
        with server.open() as ws:
            text = "word " * 19_000
            for _ in range(4):
                send(ws, hello(text=text))
            assert next_message(ws)["status"] == "error"
        with server.open() as ws:
            for context in ("a", "b"):
                send(ws, hello(text="x" * 90_000, context_id=context, **{"continue": True}))
            assert next_message(ws)["status"] == "error"


@contextmanager
def start_limited() -> Iterator[Offline]:
    """Run `smallest serve` with few descriptors."""
    command = ["sh", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "sh", *SMALLEST, "serve"]
    command += ["--profile", "instant"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        try:
            yield Offline(process.stdout.readline().decode().rstrip("\n"), KEY, process, Path())
            process.terminate()
            assert b"Traceback" not in process.stderr.read()
        finally:
            process.kill()


@pytest.mark.parametrize("data", [b"", b"POST /waves/v1/tts HTTP/1.1\r\nX: "])
def test_silent_connections_make_room_for_others(data: bytes) -> None:
    """More connections than the server has descriptors."""
    with start_limited() as server, ExitStack() as stack:
        ws = stack.enter_context(server.open())
        for _ in range(SILENT):
            sock = stack.enter_context(socket.create_connection(server.address, timeout=20))
            with suppress(ConnectionError):
                sock.sendall(data)
        assert server.post(HTTP["unified"], hello()).ok
        send(ws, hello())  # an idle WebSocket is not the first to go
        assert pcm_of(receive(ws))


def test_idle_websockets_make_room_for_others() -> None:
    with start_limited() as server, ExitStack() as stack:
        for number in range(SILENT):
            stack.enter_context(server.open(key=f"key {number}", close_timeout=0))
        assert server.post(HTTP["unified"], hello()).ok


def test_unfinished_tls_handshakes_are_cut_off(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    tls = {"tls_cert": str(tmp_path / "cert"), "tls_key": str(tmp_path / "key")}
    with start_offline(request_timeout_s=SHORT_S, **tls) as server:
        assert server.raw(b"") == b""
        assert server.raw(b"\x16\x03\x01") == b""


def test_soft_limit_of_descriptors_is_raised_to_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = min(64, soft)
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, hard))
    try:
        limit = connection_limit()
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert raised == (hard if 0 <= hard <= MAX_DESCRIPTORS else MAX_DESCRIPTORS)
    assert limit > 100
