"""Host, origin and key checks of the offline server, and its limits per key (waves/api.md, 4f)."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

import pytest
from websockets.exceptions import InvalidStatus

from tests.support.offline import (
    Offline,
    eventually,
    hello,
    next_message,
    refusal,
    send,
    start_offline,
    start_serve,
)

BUSY = "Concurrency limit reached"


# Host and origin


def get_health(server: Offline, *lines: str) -> int:
    head = "\r\n".join(["GET /waves/v1/health HTTP/1.1", *lines, "Connection: close", "", ""])
    return int(server.raw(head.encode("latin-1")).split(b" ")[1])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("LOCALHOST:{port}", 200),
        ("[::1]:{port}", 200),
        ("127.0.0.1", 421),
        ("127.0.0.1:1", 421),
        ("evil.example:{port}", 421),
        ("localhost.evil.example:{port}", 421),
        ("127.0.0.1:{port}@evil.example", 421),
        ("evil.example@127.0.0.1:{port}", 421),
        ("127.0.0.1:{port}/", 421),
        ("10.0.0.1:{port}", 421),
        ("", 421),
        ("[::1", 421),
    ],
)
def test_host_header_must_name_this_server(server: Offline, host: str, status: int) -> None:
    assert get_health(server, f"Host: {host.format(port=server.address[1])}") == status


def test_duplicate_or_missing_host_header_is_421(server: Offline) -> None:
    host = f"Host: 127.0.0.1:{server.address[1]}"
    assert server.raw(b"GET /waves/v1/health HTTP/1.0\r\n\r\n").split(b" ")[1] == b"421"
    assert get_health(server, host, host) in (400, 421)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:{port}", 200),
        ("http://localhost:{port}", 200),
        ("http://127.0.0.1:1", 403),
        ("https://evil.example", 403),
        ("http://evil.example:{port}", 403),
        ("ftp://127.0.0.1:{port}", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_origin_header_must_name_this_server(server: Offline, origin: str, status: int) -> None:
    port = server.address[1]
    lines = (f"Host: 127.0.0.1:{port}", f"Origin: {origin.format(port=port)}")
    assert get_health(server, *lines) == status


def test_malformed_http_is_400_without_traceback(server: Offline) -> None:
    """The fixture asserts that stderr is empty."""
    for data in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET\r\n\r\n", b"G\x00T / HTTP/1.1\r\n\r\n"):
        assert b" 400 " in server.raw(data).split(b"\r\n")[0]
    assert server.ask("GET", "/waves/v1/health").status_code == 200


@pytest.mark.parametrize(
    ("origin", "opens"),
    [
        ("http://127.0.0.1:{port}", True),
        ("http://localhost:{port}", True),
        ("http://evil.example", False),
        ("null", False),
    ],
)
def test_websocket_upgrade_from_another_origin_is_403(server: Offline, origin: str, opens: bool) -> None:
    headers = {"Origin": origin.format(port=server.address[1])}
    if opens:
        with server.open(additional_headers=headers):
            return
    assert refusal(server, additional_headers=headers).status_code == 403


# Limits


def test_each_key_may_open_five_sockets() -> None:
    with start_serve() as server:
        with ExitStack() as open_ones:
            for _ in range(5):
                open_ones.enter_context(server.open(key="sk_a"))
            refused = refusal(server, key="sk_a")
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
            assert json.loads(refused.body or b"") == {"error": BUSY}
            with server.open(key="sk_b"):
                pass

        def opens() -> bool:
            try:
                with server.open(key="sk_a"):
                    return True
            except InvalidStatus:
                return False

        eventually(opens)


def test_concurrency_limit_counts_all_transports_of_a_key() -> None:
    with start_serve("--fail", "stall:1", "--fail-times", "1") as server:
        with server.open(key="sk_a") as first, server.open(key="sk_a") as second:
            send(first, hello())
            assert next_message(first)["status"] == "chunk"  # the fault stalls here
            send(second, hello())
            refused = next_message(second)
            assert (refused["status"], refused["message"]) == ("error", BUSY)
            send(second, {"type": "ping"})
            assert next_message(second) == {"type": "pong"}
            for path in ("/waves/v1/tts", "/waves/v1/tts/live"):
                reply = server.post(path, hello(), headers={"Authorization": "Bearer sk_a"})
                assert (reply.status_code, reply.headers["Retry-After"], reply.json()) == (
                    429,
                    "1",
                    {"error": BUSY},
                )
                other = server.post(path, hello(), headers={"Authorization": "Bearer sk_b"})
                assert other.status_code == 200
        eventually(lambda: server.post("/waves/v1/tts", hello(), headers={"Authorization": "Bearer sk_a"}).ok)
        assert [entry["status"] for entry in server.log()[:5]].count("busy") == 3


@pytest.mark.parametrize(("concurrency", "codes"), [(1, [429]), (3, [200])])
def test_stalled_reader_keeps_its_concurrency_slot(concurrency: int, codes: list[int]) -> None:
    with start_offline(concurrency=concurrency) as server, server.open(max_queue=1) as slow:
        send(slow, hello(text="Far too long. " * 2_000, sample_rate=44_100))
        next_message(slow)
        assert [server.post("/waves/v1/tts", hello()).status_code] == codes
        slow.socket.shutdown(socket.SHUT_RDWR)  # no close frame
        eventually(lambda: server.post("/waves/v1/tts", hello()).ok)
