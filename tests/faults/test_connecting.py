"""Faults before a connection: names, TLS, proxies, redirects.

Each one on every transport. For the dialer alone see tests/integration/test_network.py.
"""

from __future__ import annotations

import socket
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from smallest_cli.models import VIAS
from tests.support.fault_server import SEGMENT, FaultServer, fault_server, wait_for_close
from tests.support.fault_server.steps import GOOD, Status
from tests.support.frames import read_request
from tests.support.invariants import KEY, Run, assert_invariants
from tests.support.runs import context, speak

PASSWORD = "pa55word-canary"
UNKNOWN_HOST = "https://api.example.invalid"
ARGUMENTS = ("Good morning.", "--timeout", "1", "--retries", "0")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def speak_to(folder: Path, url: str, via: str, *arguments: str, **env: str) -> Run:
    """Run `speak` against a URL."""
    return speak(folder, FaultServer((GOOD,)), *ARGUMENTS, "--via", via, "--base-url", url, *arguments, **env)


def assert_refused(run: Run, code: int, *words: str) -> None:
    """The run left no file, ended with `code` and printed `words` but no password."""
    err = run.err.decode()
    assert assert_invariants(run) == 0
    assert run.code == code, err
    for word in words:
        assert word in err
    for form in (PASSWORD, b64encode(f"me:{PASSWORD}".encode()).decode()):
        assert form not in err


# Rows 1 to 9: names, addresses and TLS


@pytest.mark.parametrize("via", VIAS)
def test_unknown_host(via: str, tmp_path: Path) -> None:
    assert_refused(
        speak_to(tmp_path, UNKNOWN_HOST, via, "--timeout", "10"), 7, "cannot resolve api.example.invalid"
    )


@pytest.mark.parametrize("via", VIAS)
def test_connection_refused(via: str, tmp_path: Path) -> None:
    assert_refused(speak_to(tmp_path, "http://127.0.0.1:9", via), 7, "127.0.0.1:9", "refused")


@pytest.mark.parametrize("via", VIAS)
def test_untrusted_certificate(via: str, authority: trustme.CA, tmp_path: Path) -> None:
    with fault_server(GOOD, tls=context(authority)) as server:
        run = speak_to(tmp_path, server.base_url, via)
    assert_refused(run, 12, "not trusted", "--ca-file")
    assert server.requests == []


@pytest.mark.parametrize("days", [-2, 2], ids=["expired", "not yet"])
@pytest.mark.parametrize("via", VIAS)
def test_expired_or_future_certificate(
    via: str, days: int, authority: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    middle = datetime.now(UTC) + timedelta(days=days)
    day = timedelta(days=1)
    tls = context(authority, not_before=middle - day, not_after=middle + day)
    with fault_server(GOOD, tls=tls) as server:
        run = speak_to(tmp_path, server.base_url, via, "--ca-file", str(ca_file))
    assert_refused(run, 12, "expired" if days < 0 else "not yet valid", "clock")
    assert server.requests == []


@pytest.mark.parametrize("via", VIAS)
def test_certificate_of_another_host(via: str, authority: trustme.CA, ca_file: Path, tmp_path: Path) -> None:
    with fault_server(GOOD, tls=context(authority, "other.example")) as server:
        run = speak_to(tmp_path, server.base_url, via, "--ca-file", str(ca_file))
    assert_refused(run, 12, "127.0.0.1", "another host's")
    assert server.requests == []


@pytest.mark.parametrize("via", VIAS)
def test_tls_to_a_plain_port(via: str, tmp_path: Path) -> None:
    with fault_server(lambda sock: sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        run = speak_to(tmp_path, server.base_url.replace("http:", "https:"), via)
    assert_refused(run, 7, "does not speak TLS", "is the base URL an http one?")


@pytest.mark.parametrize("via", VIAS)
def test_tls_that_hangs(via: str, tmp_path: Path) -> None:
    with fault_server(wait_for_close) as server:
        run = speak_to(tmp_path, server.base_url.replace("http:", "https:"), via, "--timeout", "0.3")
    assert_refused(run, 7, "no TLS handshake within 0.3 s")


# Row 10: one CA policy for every transport

WAYS = ("--ca-file", "SMALLEST_CA_FILE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("via", VIAS)
def test_private_certificate_authority(
    via: str, way: str, authority: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    env = {} if way.startswith("--") else {way: str(ca_file)}
    arguments = [way, str(ca_file)] if way.startswith("--") else []
    with fault_server(GOOD, tls=context(authority)) as server:
        run = speak_to(tmp_path, server.base_url, via, *arguments, **env)
    assert run.code == 0, run.err
    assert assert_invariants(run, server, budget=1) == SEGMENT


# Rows 11 to 13: proxies


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway"])
@pytest.mark.parametrize("via", VIAS)
def test_proxy_refuses(via: str, status: str, tmp_path: Path) -> None:
    seen: list[bytes] = []

    def refuse(sock: socket.socket) -> None:
        seen.append(read_request(sock))
        sock.sendall(f"HTTP/1.1 {status}\r\nX-Told: me:{PASSWORD}\r\nContent-Length: 0\r\n\r\n".encode())

    with fault_server(refuse) as proxy:
        run = speak_to(tmp_path, UNKNOWN_HOST, via, HTTPS_PROXY=proxy_url(proxy.port))
    assert_refused(run, 7, f"the proxy 127.0.0.1:{proxy.port} (HTTPS_PROXY) answered {status[:3]}")
    (head,) = seen
    assert head.startswith(b"CONNECT api.example.invalid:443 HTTP/1.1\r\n")
    assert KEY.encode() not in head


def proxy_url(port: int) -> str:
    return f"http://me:{PASSWORD}@127.0.0.1:{port}"


@pytest.mark.parametrize("via", VIAS)
def test_proxy_without_http(via: str, tmp_path: Path) -> None:
    with fault_server(lambda sock: sock.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")) as proxy:
        run = speak_to(tmp_path, UNKNOWN_HOST, via, HTTPS_PROXY=proxy_url(proxy.port))
    assert_refused(run, 7, "did not answer in HTTP")


@pytest.mark.parametrize("via", VIAS)
def test_proxy_that_closes_is_retried_once(via: str, tmp_path: Path) -> None:
    seen: list[bytes] = []
    with fault_server(lambda sock: seen.append(read_request(sock))) as proxy:
        run = speak_to(tmp_path, UNKNOWN_HOST, via, HTTPS_PROXY=proxy_url(proxy.port))
    assert_refused(run, 7, "closed")
    assert len(seen) <= 2


@pytest.mark.parametrize("via", VIAS)
def test_proxy_hangs(via: str, tmp_path: Path) -> None:
    with fault_server(wait_for_close) as proxy:
        run = speak_to(tmp_path, UNKNOWN_HOST, via, HTTPS_PROXY=proxy_url(proxy.port))
    assert_refused(run, 7, f"no answer from the proxy 127.0.0.1:{proxy.port} (HTTPS_PROXY) within 1 s")


@pytest.mark.parametrize("via", VIAS)
def test_loopback_bypasses_proxies(via: str, tmp_path: Path) -> None:
    with fault_server(GOOD) as server, fault_server(GOOD) as proxy:
        proxies = dict.fromkeys(
            ("http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), proxy_url(proxy.port)
        )
        run = speak_to(tmp_path, server.base_url, via, **proxies)
    assert run.code == 0, run.err
    assert assert_invariants(run, server, budget=1) == SEGMENT
    assert proxy.connections == 0


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "https", "ftp"])
@pytest.mark.parametrize("via", VIAS)
def test_unsupported_proxy_scheme(via: str, scheme: str, tmp_path: Path) -> None:
    with fault_server(GOOD) as proxy:
        run = speak_to(tmp_path, UNKNOWN_HOST, via, HTTPS_PROXY=proxy_url(proxy.port).replace("http", scheme))
    assert_refused(run, 3, f"not supported: {scheme}")
    assert proxy.connections == 0


# Row 14: redirects


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("via", VIAS)
def test_redirect_sends_nothing_to_another_origin(via: str, code: int, tmp_path: Path) -> None:
    with fault_server(GOOD) as other:
        where = f"Location: {other.base_url}/waves/v1/tts\r\n".encode()
        with fault_server((Status(code, headers=where),)) as server:
            run = speak_to(tmp_path, server.base_url, via)
    assert_refused(run, 12, "refused to follow")
    assert other.connections == 0
    assert server.connections == 1
