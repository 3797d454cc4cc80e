"""Proxies: which hosts are excepted, what a proxy may answer, and that its faults name it."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from smallest_cli.errors import ConnectError, NetworkError
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import Origin
from smallest_cli.network.proxy import find_proxy
from tests.support.command import smallest
from tests.support.fault_server import fault_server, reset, wait_for_close
from tests.support.frames import read_request
from tests.support.offline import KEY

SERVICE = Origin(True, "api.example", 443)


@pytest.mark.parametrize(
    ("host", "no_proxy", "is_excepted"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.30", "10.1.2.3", False),
        ("10.1.2.3", "10.1.2.3/32", True),
        ("10.1.2.3", "10.1.9.9/16", True),  # bits of the host are set
        ("10.1.2.3", "192.168.0.0/16, 10.0.0.0/8", True),
        ("10.1.2.3", "192.168.0.0/16 10.0.0.0/8", True),
        ("10.1.2.3", "0.0.0.0/0", True),
        ("10.1.2.3", "10.0.0.0/33,10.0.0.0/x,/,", False),
        ("10.1.2.3", "2.3", False),
        ("10.1.2.3", ".3", False),
        ("10.1.2.3", "10.1.2.3:443", True),
        ("10.1.2.3", "10.1.2.3:8443", False),
        ("10.1.2.3", "*", True),
        ("10.1.2.3", "::/0", False),
        ("fd00::7", "fd00::/8", True),
        ("fd00::7", "[fd00::]/8", True),
        ("fd00::7", "FD00:0:0::7", True),
        ("fd00::7", "[fd00::7]", True),
        ("fd00::7", "[fd00::7]:443", True),
        ("fd00::7", "[fd00::7]:8443", False),
        ("fd00::7", "fe80::/10", False),
        ("fd00::7", "0.0.0.0/0", False),
        ("fd00::443", "fd00::443", True),
        ("fd00::443", "fd00::", False),
        ("api.example", "10.0.0.0/8", False),
        ("api.example", "example", True),
        ("api.example", ".example", True),
        ("api.example", "EXAMPLE.", True),
        ("api.example", "api.example", True),
        ("api.example.", "api.example", True),
        ("api.example", "ple", False),
        ("api.example", "xapi.example", False),
        ("api.example", "www.api.example", False),
        ("api.example", "example:443", True),
        ("api.example", "example:80", False),
        ("api.example", "a b,,\texample\n", True),
        ("api.example", "", False),
        ("api.example", ".", False),
    ],
)
def test_no_proxy_lists_hosts_and_networks(host: str, no_proxy: str, is_excepted: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        environ = {"https_proxy": "http://p:1", name: no_proxy}
        assert (find_proxy(Origin(True, host, 443), environ) is None) == is_excepted


def test_no_proxy_in_lower_case_wins() -> None:
    environ = {"https_proxy": "http://p:1", "NO_PROXY": "*"}
    assert find_proxy(SERVICE, environ | {"no_proxy": ""}) is not None
    assert find_proxy(SERVICE, environ | {"no_proxy": "other"}) is not None
    assert find_proxy(SERVICE, environ) is None


def dial(environ: dict[str, str], timeout: float = 10) -> None:
    Dialer(timeout=timeout, environ=environ).connect(SERVICE)


def dead_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def answered(reply: bytes) -> Callable[[socket.socket], None]:
    def script(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(reply)

    return script


def reset_after_request(sock: socket.socket) -> None:
    read_request(sock)
    reset(sock)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (answered(b""), "failed: the connection was closed before an answer came"),
        (answered(b"HTTP/1.1 200 OK\r\n"), "failed: the connection was closed before an answer came"),
        (answered(b"HTTP/1.1 103 Early\r\n\r\n"), "failed: the connection was closed before an answer came"),
        (reset_after_request, "failed: the connection was reset"),
        (answered(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000), "failed: the service sent a message"),
        (answered(b"SSH-2.0-OpenSSH\r\n\r\n"), "did not answer in HTTP"),
        (answered(b"HTTP/1.1 2000 OK\r\n\r\n"), "did not answer in HTTP"),
        (answered(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), "answered 502"),
        (answered(b"HTTP/1.1 301 Moved\r\nLocation: http://x/\r\n\r\n"), "answered 301"),
    ],
)
@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_fault_of_a_proxy_names_it(
    script: Callable[[socket.socket], None], words: str, variable: str
) -> None:
    with fault_server(script) as proxy, pytest.raises(ConnectError) as caught:
        dial({variable: f"http://me:secret@127.0.0.1:{proxy.port}"})
    assert str(caught.value).startswith(f"the proxy 127.0.0.1:{proxy.port} ({variable}) {words}")


def test_unreachable_proxy_is_named() -> None:
    port = dead_port()
    with pytest.raises(
        ConnectError, match=rf"^cannot connect to the proxy 127\.0\.0\.1:{port} \(all_proxy\): "
    ):
        dial({"all_proxy": f"127.0.0.1:{port}"})
    with pytest.raises(ConnectError, match=rf"^cannot connect to the proxy \[::1\]:{port} \(https_proxy\): "):
        dial({"https_proxy": f"http://[::1]:{port}"})
    with pytest.raises(ConnectError, match=r"^cannot resolve the proxy nowhere\.invalid:80 \(https_proxy\)$"):
        dial({"https_proxy": "http://nowhere.invalid"})


def test_silent_proxy_is_named() -> None:
    with (
        fault_server(wait_for_close) as proxy,
        pytest.raises(
            NetworkError, match=rf"^no answer from the proxy 127\.0\.0\.1:{proxy.port} \(https_proxy\)"
        ),
    ):
        dial({"https_proxy": f"http://127.0.0.1:{proxy.port}"}, timeout=1)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.0 200\r\n\r\n",
        b"HTTP/1.1 201 Created\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nVia: x\r\n\r\n",
        b"HTTP/1.1 299 Odd\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",  # RFC 9110, 9.3.6
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
    ],
)
def test_tunnel_is_open_after_any_2xx(reply: bytes) -> None:
    with fault_server(answered(reply + b"hello")) as proxy:
        environ = {"http_proxy": f"http://127.0.0.1:{proxy.port}"}
        dialer = Dialer(timeout=10, environ=environ, plain_http=True)
        connection = dialer.connect(Origin(False, "api.example", 80))
    connection.close()


@pytest.mark.parametrize("via", ["ws", "sse", "http"])
@pytest.mark.parametrize(
    ("status", "requests", "hint"), [(407, 1, "  set user name and password: "), (403, 1, ""), (502, 3, "")]
)
def test_refusal_by_a_proxy_is_final_unless_it_is_transient(
    via: str, status: int, requests: int, hint: str, home: Path
) -> None:
    seen: list[bytes] = []

    def refuse(sock: socket.socket) -> None:
        seen.append(read_request(sock))
        sock.sendall(b"HTTP/1.1 %d No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n" % status)

    with fault_server(refuse) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        env = {"SMALLEST_API_KEY": KEY, "HTTPS_PROXY": url}
        to = ["--base-url", "https://api.example", "--via", via, "--retries", "2"]
        ran = smallest(home, "speak", "Hi.", "-o", "x.wav", *to, env=env)
    assert ran.code == 7
    assert f"the proxy 127.0.0.1:{proxy.port} (HTTPS_PROXY) answered {status}" in ran.err
    assert len(seen) == requests
    if hint:
        assert ran.lines[-1] == f"{hint}HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"


def test_doctor_names_a_dead_proxy(home: Path) -> None:
    port = dead_port()
    env = {"SMALLEST_API_KEY": KEY, "https_proxy": f"http://127.0.0.1:{port}"}
    ran = smallest(home, "doctor", "--base-url", "https://api.example", "--json", env=env)
    found = {each["name"]: each["value"] for each in json.loads(ran.out)["findings"]}
    assert ran.code == 7
    for name in ("connection", "key accepted"):
        assert found[name].startswith(f"cannot connect to the proxy 127.0.0.1:{port} (https_proxy): ")
