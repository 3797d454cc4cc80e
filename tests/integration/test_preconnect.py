"""Preconnecting: the connection is used once or closed, and an invalid command opens none."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from smallest_cli.errors import NetworkError
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import parse_base_url
from tests.support.command import smallest


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def has_pending_connection(listener: socket.socket, seconds: float = 0) -> bool:
    return bool(select.select([listener], [], [], seconds)[0])


def test_preconnection_is_used_once(listener: socket.socket) -> None:
    dialer, origin = Dialer(timeout=5), parse_base_url(url_of(listener))
    with dialer.preconnect(origin):
        assert has_pending_connection(listener, 5)
        connection = dialer.connect(origin)
        listener.accept()[0].close()
        assert not has_pending_connection(listener)
        other = dialer.connect(origin)
        assert has_pending_connection(listener, 5)
    connection.close()
    other.close()


def test_unused_preconnection_is_closed(listener: socket.socket) -> None:
    dialer = Dialer(timeout=5)
    with dialer.preconnect(parse_base_url(url_of(listener))):
        peer, _ = listener.accept()
    with peer:
        peer.settimeout(5)
        assert peer.recv(1) == b""


def test_first_connect_raises_preconnect_error(listener: socket.socket) -> None:
    listener.close()
    dialer, origin = Dialer(timeout=5), parse_base_url("http://127.0.0.1:9")
    with dialer.preconnect(origin), pytest.raises(NetworkError, match="cannot connect"):
        dialer.connect(origin)


@pytest.mark.parametrize(
    "arguments",
    [
        [""], ["Hi.", "--speed", "9"], ["Hi.", "-o", "x.opus", "-r", "44100"], ["Hi.", "--via", "fax"],
        ["Hi.", "--max-chars", "1"], ["Hi.", "-v", "meher", "-m", "lightning_v3.1"], ["-f", "no-such-file"],
    ],
)  # fmt: skip
def test_invalid_command_does_not_connect(
    arguments: list[str], listener: socket.socket, tmp_path: Path
) -> None:
    env = {"SMALLEST_API_KEY": "sk_unused", "SMALLEST_BASE_URL": url_of(listener)}
    ran = smallest(tmp_path, "speak", *arguments, *([] if "-o" in arguments else ["-o", "x.wav"]), env=env)
    assert ran.code in (2, 10)
    assert not has_pending_connection(listener)
