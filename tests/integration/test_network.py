"""Connections against real sockets: DNS, TCP, TLS, proxies, deadlines and limits."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from smallest_cli.errors import NetworkError, ProtocolError, SecurityError, SettingsError
from smallest_cli.network.connection import Deadline
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.dns import STAGGER_SECONDS, connect_any
from smallest_cli.network.origin import Origin, parse_base_url
from smallest_cli.network.proxy import find_proxy
from smallest_cli.network.tls import load_system_certificates
from tests.support.command import smallest
from tests.support.fault_server import fault_server, wait_for_close
from tests.support.frames import read_request
from tests.support.programs import OPENSSL


def dialer(**options: object) -> Dialer:
    return Dialer(**({"timeout": 2.0, "environ": {}} | options))  # type: ignore[arg-type]


def local(port: int, *, secure: bool = False, host: str = "127.0.0.1") -> Origin:
    return Origin(secure, host, port)


# Base URLs


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://api.smallest.ai", Origin(True, "api.smallest.ai", 443)),
        ("http://127.0.0.1:8080/", Origin(False, "127.0.0.1", 8080)),
        ("wss://host/some/prefix/", Origin(True, "host", 443, "/some/prefix")),
        ("http://[::1]:99", Origin(False, "::1", 99)),
        ("https://B\u00dccher.example/p", Origin(True, "xn--bcher-kva.example", 443, "/p")),
        ("https://a_b.example", Origin(True, "a_b.example", 443)),
    ],
)
def test_parse_base_url(given: str, origin: Origin) -> None:
    assert parse_base_url(given) == origin


def test_origin_url() -> None:
    assert parse_base_url("https://h/p").url("ws", "/x") == "wss://h/p/x"
    assert parse_base_url("http://[::1]:99").url("http", "/x") == "http://[::1]:99/x"


@pytest.mark.parametrize(
    "given", ["", "api.smallest.ai", "ftp://host", "http://", "http://h:port", "http://k@h", "http://h/?q=1"]
)
def test_invalid_base_url_is_settings_error(given: str) -> None:
    with pytest.raises(SettingsError):
        parse_base_url(given)


@pytest.mark.parametrize("host", ["stra\u00dfe.example", "b\u00fc..example", "\u00fc" * 70, "\udcff.example"])
def test_ambiguous_international_host_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match="ASCII"):
        parse_base_url(f"https://{host}")


# Connecting


def test_connection_reports_phase_durations() -> None:
    with fault_server(wait_for_close) as server:
        connection = dialer().connect(local(server.port, host="localhost"))
        connection.close()
    assert connection.phases.dns > 0
    assert connection.phases.tcp > 0
    assert connection.phases.tls == 0


def test_refused_connection_is_network_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(NetworkError, match="cannot connect to 127.0.0.1"):
        dialer().connect(local(port))


def test_unknown_host_is_network_error() -> None:
    with pytest.raises(NetworkError, match="cannot resolve nowhere.invalid"):
        dialer().connect(Origin(True, "nowhere.invalid", 443))


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port whose accept queue is full, so that a SYN to it is never answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.2", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.2", port))
            fillers.append(filler)
        yield port
        for filler in fillers:
            filler.close()


def test_unresponsive_first_address_does_not_delay_second(dead_port: int) -> None:
    addresses = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", dead_port)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    with fault_server(wait_for_close) as server:
        addresses[1] = (*addresses[1][:4], ("127.0.0.1", server.port))
        assert STAGGER_SECONDS <= 0.3
        sock = connect_any(addresses, "host", Deadline(time.monotonic() + 5.0, 5.0))
        assert sock.getpeername() == ("127.0.0.1", server.port)
        sock.close()


def test_unresponsive_address_ends_at_deadline(dead_port: int) -> None:
    with pytest.raises(NetworkError, match=r"took longer than 0\.2 s"):
        dialer(timeout=0.2).connect(local(dead_port, host="127.0.0.2"))


def test_ctrl_c_interrupts_name_resolution() -> None:
    code = (
        "import os, socket, sys, threading\n"
        "never = threading.Event()\n"
        "def hang(*a, **k):\n    os.write(1, b'resolving\\n')\n    never.wait()\n"
        "socket.getaddrinfo = hang\n"
        "from smallest_cli.network.dialer import Dialer\n"
        "from smallest_cli.network.origin import Origin\n"
        "from smallest_cli.errors import Interrupted\n"
        "from smallest_cli.signals import catch_signals\n"
        "catch_signals()\n"
        "try:\n    Dialer(timeout=60, environ={}).connect(Origin(True, 'slow.invalid', 443))\n"
        "except Interrupted:\n    sys.exit(42)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "resolving\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=10) == 42


# Deadlines and limits


def test_slow_bytes_do_not_extend_deadline() -> None:
    stop = threading.Event()

    def drip(sock: socket.socket) -> None:
        while not stop.wait(0.02):
            sock.sendall(b"x")

    with fault_server(drip) as server:
        connection = dialer().connect(local(server.port))
        connection.set_deadline("audio", 0.3)
        with pytest.raises(NetworkError, match=r"no audio within 0\.3 s"):
            while True:
                connection.set_read_limit(100)
                connection.recv(10)
        connection.close()
        stop.set()


def test_read_limit_is_enforced() -> None:
    with fault_server(lambda sock: sock.sendall(b"x" * 100_000)) as server:
        connection = dialer().connect(local(server.port))
        connection.set_deadline("audio", 5)
        connection.set_read_limit(10_000)
        with pytest.raises(ProtocolError, match="too large"):
            for _ in range(100):
                connection.recv(1000)
        connection.close()


def test_connection_reset_is_network_error() -> None:
    def reset(sock: socket.socket) -> None:
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with fault_server(reset) as server:
        connection = dialer().connect(local(server.port))
        connection.set_deadline("audio", 5)
        connection.send(b"x")
        with pytest.raises(NetworkError, match="reset"):
            connection.recv(1)
        connection.close()


def test_received_ns_is_the_time_of_the_system_read() -> None:
    ticks = iter(range(1, 1000))
    with fault_server(lambda sock: sock.sendall(b"abcdef")) as server:
        connection = dialer(clock=lambda: next(ticks)).connect(local(server.port))
        connection.set_deadline("audio", 5)
        assert connection.recv(2) == b"ab"
        stamp = connection.received_ns
        assert connection.recv(4) == b"cdef"
        assert connection.received_ns == stamp > 0
        connection.close()


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_ca_file_is_trusted(authority: trustme.CA, tmp_path: object) -> None:
    with (
        authority.cert_pem.tempfile() as ca,
        fault_server(
            lambda sock: sock.sendall(b"hello"), tls=server_context(authority, "localhost")
        ) as server,
    ):
        connection = dialer(ca_file=ca).connect(local(server.port, secure=True, host="localhost"))
        connection.set_deadline("audio", 5)
        assert connection.recv(5) == b"hello"
        assert connection.phases.tls > 0
        connection.close()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_environment_variable_names_ca_file(authority: trustme.CA, variable: str) -> None:
    with (
        authority.cert_pem.tempfile() as ca,
        fault_server(wait_for_close, tls=server_context(authority, "localhost")) as server,
    ):
        dialer(environ={variable: ca}).connect(local(server.port, secure=True, host="localhost")).close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason=OPENSSL)
@pytest.mark.parametrize("is_complete", [True, False])
def test_hashed_folder_is_used_where_it_holds_all_of_the_bundle(
    authority: trustme.CA, is_complete: bool, tmp_path: Path
) -> None:
    bundle, folder = tmp_path / "bundle.pem", tmp_path / "certs"
    folder.mkdir()
    bundle.write_bytes(authority.cert_pem.bytes() * (1 if is_complete else 2))
    command = ["openssl", "x509", "-noout", "-hash", "-in", str(bundle)]
    name = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    (folder / f"{name}.0").write_bytes(authority.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_system_certificates(context, str(bundle), str(folder))
    assert bool(context.cert_store_stats()["x509"]) == (not is_complete)  # whether the bundle was read
    with (
        fault_server(wait_for_close, tls=server_context(authority, "localhost")) as server,
        socket.create_connection(("127.0.0.1", server.port)) as sock,
    ):
        is_trusted = True
        try:
            context.wrap_socket(sock, server_hostname="localhost").close()
        except ssl.SSLCertVerificationError:
            is_trusted = False
    assert is_trusted


def test_unknown_authority_is_security_error(authority: trustme.CA) -> None:
    with fault_server(wait_for_close, tls=server_context(authority, "localhost")) as server:
        with pytest.raises(SecurityError, match="not trusted") as caught:
            dialer().connect(local(server.port, secure=True, host="localhost"))
        assert "--ca-file" in caught.value.hint


def test_certificate_of_another_host_is_security_error(authority: trustme.CA) -> None:
    with (
        authority.cert_pem.tempfile() as ca,
        fault_server(wait_for_close, tls=server_context(authority, "other.example")) as server,
        pytest.raises(SecurityError, match="not trusted"),
    ):
        dialer(ca_file=ca).connect(local(server.port, secure=True, host="localhost"))


def test_plain_http_port_reports_that_it_does_not_speak_tls(authority: trustme.CA) -> None:
    with (
        fault_server(lambda sock: sock.sendall(b"hello, not TLS\n" * 10)) as server,
        pytest.raises(NetworkError, match=r"^localhost:\d+ does not speak TLS$") as caught,
    ):
        dialer().connect(local(server.port, secure=True, host="localhost"))
    assert (caught.value.hint, caught.value.retryable) == ("is the base URL an http one?", False)


def test_handshake_alert_is_reported_without_openssl_codes() -> None:
    refusal = bytes.fromhex("15030100020228")  # an alert: fatal, handshake_failure
    with (
        fault_server(lambda sock: sock.sendall(refusal)) as server,
        pytest.raises(NetworkError, match="failed: [a-z0-9 ]*alert handshake failure$"),
    ):
        dialer().connect(local(server.port, secure=True, host="localhost"))


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_ca_file_without_certificate_is_settings_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(text)
    with (
        fault_server(wait_for_close) as server,
        pytest.raises(SettingsError, match="no certificate in") as caught,
    ):
        dialer(ca_file=str(tmp_path / "ca.pem")).connect(local(server.port, secure=True, host="localhost"))
    assert "_ssl.c" not in str(caught.value)
    assert "PEM" in caught.value.hint


def test_silent_tls_port_ends_at_deadline() -> None:
    with (
        fault_server(wait_for_close) as server,
        pytest.raises(NetworkError, match=r"no TLS handshake within 0\.3 s"),
    ):
        dialer(timeout=0.3).connect(local(server.port, secure=True, host="localhost"))


def test_missing_ca_file_is_settings_error() -> None:
    with fault_server(wait_for_close) as server, pytest.raises(SettingsError, match="certificates"):
        dialer(ca_file="/nowhere/ca.pem").connect(local(server.port, secure=True, host="localhost"))


# Plain http and proxies


def test_key_is_not_sent_over_plain_http_to_another_machine() -> None:
    with pytest.raises(SecurityError, match="plain http"):
        dialer().connect(Origin(False, "192.0.2.1", 80))


def connect_reply(answer: bytes, seen: list[bytes]) -> object:
    """A proxy that records the request and sends `answer`."""

    def script(sock: socket.socket) -> None:
        seen.append(read_request(sock))
        sock.sendall(answer)
        wait_for_close(sock)

    return script


def test_proxy_receives_connect_with_credentials() -> None:
    seen: list[bytes] = []
    with fault_server(connect_reply(b"HTTP/1.1 200 ok\r\n\r\nhello", seen)) as proxy:  # type: ignore[arg-type]
        environ = {"http_proxy": f"http://user:pa%20ss@127.0.0.1:{proxy.port}"}
        connection = dialer(environ=environ, plain_http=True).connect(Origin(False, "api.example", 8080))
        connection.set_deadline("audio", 5)
        connection.close()
    head = seen[0].decode()
    assert head.startswith("CONNECT api.example:8080 HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic dXNlcjpwYSBzcw==\r\n" in head


def test_proxy_error_does_not_show_its_password() -> None:
    with fault_server(connect_reply(b"HTTP/1.1 407 no\r\n\r\n", [])) as proxy:  # type: ignore[arg-type]
        environ = {"https_proxy": f"http://user:secret@127.0.0.1:{proxy.port}"}
        with pytest.raises(
            NetworkError, match=rf"the proxy 127\.0\.0\.1:{proxy.port} \(https_proxy\) answered 407"
        ) as caught:
            dialer(environ=environ).connect(Origin(True, "api.example", 443))
    assert "secret" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("secure", "host", "environ", "used"),
    [
        (True, "api.example", {"HTTPS_PROXY": "http://p:1"}, True),
        (True, "api.example", {"https_proxy": "p:1"}, True),
        (True, "api.example", {"ALL_PROXY": "http://p:1"}, True),
        (True, "api.example", {"http_proxy": "http://p:1"}, False),
        (False, "api.example", {"http_proxy": "http://p:1"}, True),
        (True, "localhost", {"HTTPS_PROXY": "http://p:1"}, False),
        (False, "127.0.0.1", {"http_proxy": "http://p:1", "ALL_PROXY": "socks5://p:1"}, False),
        (True, "api.example", {"https_proxy": "http://p:1", "no_proxy": ".example"}, False),
        (True, "evilexample", {"https_proxy": "http://p:1", "no_proxy": ".example"}, True),
        (True, "api.example", {"https_proxy": "http://p:1", "NO_PROXY": "*"}, False),
        (True, "api.example", {"https_proxy": "http://p:1", "NO_PROXY": "api.example:443"}, False),
        (True, "api.example", {}, False),
    ],
)
def test_proxy_selection_from_environment(
    secure: bool, host: str, environ: dict[str, str], used: bool
) -> None:
    assert (find_proxy(Origin(secure, host, 443), environ) is not None) is used


@pytest.mark.parametrize("url", ["socks5://p:1", "https://p:1", "http://", "http://p:port", "http://[::1"])
def test_unsupported_proxy_is_error_not_direct_connection(url: str) -> None:
    with pytest.raises(SettingsError, match="proxy"):
        find_proxy(Origin(True, "api.example", 443), {"https_proxy": url})


def test_invalid_proxy_url_message(tmp_path: Path) -> None:
    env = {"SMALLEST_API_KEY": "sk_test_0123456789abcdef", "https_proxy": "http://user:secret@[::1"}
    ran = smallest(tmp_path, "speak", "Hi.", "-o", "x.wav", "--base-url", "https://api.example", env=env)
    assert (ran.code, ran.out) == (3, b"")
    assert ran.lines == [
        "smallest: the proxy in https_proxy is not a URL",
        "  use http://HOST:PORT",
    ]


def test_proxy_receives_host_in_ascii(tmp_path: Path) -> None:
    seen: list[bytes] = []
    with fault_server(connect_reply(b"HTTP/1.1 407 no\r\n\r\n", seen)) as proxy:  # type: ignore[arg-type]
        named = f"http://127.0.0.1:{proxy.port}"
        env = {"SMALLEST_API_KEY": "sk_test_0123456789abcdef", "https_proxy": named}
        to = ["--base-url", "https://b\u00fccher.example", "--retries", "0"]
        ran = smallest(tmp_path, "speak", "Hi.", "-o", "x.wav", *to, env=env)
    assert (ran.code, ran.out) == (7, b"")
    assert ran.lines[0] == f"smallest: the proxy 127.0.0.1:{proxy.port} (https_proxy) answered 407"
    assert seen[0].startswith(b"CONNECT xn--bcher-kva.example:443 HTTP/1.1\r\n")


def test_test_environment_has_no_proxy() -> None:
    assert not any(name.lower().endswith("_proxy") for name in os.environ)


def test_proxy_variable_in_lower_case_wins_and_an_empty_one_switches_off() -> None:
    origin = parse_base_url("https://api.example")
    for names in (("https_proxy", "HTTPS_PROXY"), ("HTTPS_PROXY", "https_proxy")):
        values = {name: f"http://{'low' if name.islower() else 'up'}:1" for name in names}
        proxy = find_proxy(origin, values)
        assert proxy
        assert proxy.host == "low"
        assert find_proxy(origin, values | {"https_proxy": ""}) is None
    assert find_proxy(origin, {"https_proxy": "", "ALL_PROXY": "http://other:1"}) is None
