"""TLS: which authorities are trusted, how a bad value is reported, and session tickets."""

from __future__ import annotations

import os
import select
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import certifi
import pytest
import trustme

from smallest_cli.errors import SecurityError, SettingsError
from smallest_cli.models import Service
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import Origin
from smallest_cli.network.tls import load_system_certificates
from smallest_cli.security import Secret
from smallest_cli.transports.http_connection import HTTPConnection
from tests.support.command import smallest
from tests.support.fault_server import fault_server, wait_for_close
from tests.support.fault_server.steps import GOOD
from tests.support.frames import read_request
from tests.support.offline import KEY
from tests.support.programs import OPENSSL
from tests.support.runs import context

NEEDS_OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason=OPENSSL)
FILE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def other_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with the certificate of another authority."""
    path = tmp_path_factory.mktemp("other") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def folder(ca_file: Path) -> str:
    """A directory as `openssl rehash` leaves it."""
    command = ["openssl", "x509", "-noout", "-hash", "-in", str(ca_file)]
    name = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    path = ca_file.parent / "certs"
    path.mkdir()
    (path / f"{name}.0").write_bytes(ca_file.read_bytes())
    return str(path)


def is_trusted(authority: trustme.CA, environ: dict[str, str], ca_file: str | None = None) -> bool:
    """Whether a server of that authority is connected to. Raises SettingsError."""
    with fault_server(wait_for_close, tls=context(authority)) as server:
        try:
            dialer = Dialer(timeout=10, environ=environ, ca_file=ca_file, ca_source="--ca-file")
            dialer.connect(Origin(True, "127.0.0.1", server.port)).close()
        except SecurityError:
            return False
    return True


# Where authorities come from


@NEEDS_OPENSSL
def test_folder_is_trusted_beside_the_file(
    authority: trustme.CA, ca_file: Path, folder: str, other_file: str
) -> None:
    missing = "/nowhere/certs"
    trusted: list[dict[str, str]] = [
        {"SSL_CERT_DIR": folder},
        {"SSL_CERT_FILE": other_file, "SSL_CERT_DIR": folder},
        {"SSL_CERT_FILE": str(ca_file), "SSL_CERT_DIR": missing},
        {"SSL_CERT_FILE": "", "SSL_CERT_DIR": folder},
        {"SSL_CERT_DIR": os.pathsep.join([missing, folder])},
        {"SSL_CERT_FILE": folder},
        {"REQUESTS_CA_BUNDLE": folder},
    ]
    for environ in trusted:
        assert is_trusted(authority, environ), environ
    assert is_trusted(authority, {"SSL_CERT_DIR": missing}, ca_file=folder)
    for name in FILE_VARIABLES[1:]:
        assert not is_trusted(authority, {name: other_file, "SSL_CERT_DIR": folder})
    assert not is_trusted(authority, {"SSL_CERT_DIR": folder}, ca_file=other_file)
    assert not is_trusted(authority, {"SSL_CERT_FILE": other_file})


@pytest.mark.parametrize("name", ["~/ca.pem", "~/certs/../ca.pem"])
def test_tilde_is_the_home_directory(
    name: str, authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ca_file.parent / "certs").mkdir()
    monkeypatch.setenv("HOME", str(ca_file.parent))
    assert is_trusted(authority, {}, ca_file=name)
    for variable in FILE_VARIABLES:
        assert is_trusted(authority, {variable: name})


def test_tilde_in_settings_is_the_home_directory(authority: trustme.CA, ca_file: Path, home: Path) -> None:
    config = home / "config" / "config.toml"
    config.parent.mkdir()
    for place in ("--ca-file=~/ca.pem", "SMALLEST_CA_FILE", "config.toml"):
        env, arguments = {"SMALLEST_API_KEY": KEY}, []
        config.unlink(missing_ok=True)
        if place.startswith("--"):
            arguments = [place]
        elif place == "config.toml":
            config.write_text('ca_file = "~/ca.pem"\n')
            config.chmod(0o600)
        else:
            env[place] = "~/ca.pem"
        with fault_server(GOOD, tls=context(authority)) as server:
            to = ["--base-url", server.base_url, *arguments]
            ran = smallest(home, "speak", "Hi.", "-o", "x.wav", *to, env=env)
        assert (ran.code, ran.err) == (0, ""), place


def test_certifi_replaces_an_empty_store_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    expected = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    expected.load_verify_locations(certifi.where())
    for bundle in ("empty.pem", "missing.pem"):
        trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        load_system_certificates(trusted, str(tmp_path / bundle), str(tmp_path))
        assert trusted.get_ca_certs() == expected.get_ca_certs()


def test_system_without_authorities_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "certifi", None)  # as if it were not installed
    with pytest.raises(SettingsError, match="no certificate authorities") as caught:
        load_system_certificates(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), str(tmp_path / "x"), str(tmp_path))
    assert "--ca-file" in caught.value.hint
    assert "ca-certificates" in caught.value.hint


# Bad values


@pytest.mark.parametrize(
    "variable", [*FILE_VARIABLES, "SSL_CERT_DIR", "SMALLEST_CA_FILE", "--ca-file", "ca_file"]
)
@pytest.mark.parametrize("fault", ["missing", "empty file", "empty folder"])
def test_source_of_a_bad_value_is_named(variable: str, fault: str, home: Path) -> None:
    path = home / "authorities"
    if fault == "empty file":
        path.touch()
    elif fault == "empty folder":
        path.mkdir()
    env, arguments, source = {"SMALLEST_API_KEY": KEY}, [], variable
    if variable == "--ca-file":
        arguments = ["--ca-file", str(path)]
    elif variable == "ca_file":
        config = home / "config" / "config.toml"
        config.parent.mkdir()
        config.write_text(f'ca_file = "{path}"\n')
        config.chmod(0o600)
        source = str(config)
    else:
        env[variable] = str(path)
    with fault_server(wait_for_close) as server:
        to = ["--base-url", f"https://127.0.0.1:{server.port}", "--retries", "0"]
        ran = smallest(home, "speak", "Hi.", "-o", "x.wav", *to, *arguments, env=env)
    assert ran.code == 3
    problem = "cannot read the certificates in" if fault == "missing" else "no certificate in"
    if fault == "missing" and variable == "--ca-file":
        problem = "no such file:"  # before the text is read
    assert ran.lines[0].startswith(f"smallest: {source}: {problem} {path}")
    if fault != "missing":
        assert ("openssl rehash" if fault == "empty folder" else "PEM") in ran.lines[1]


# Session tickets


@pytest.mark.parametrize("tickets", [0, 1, 2, 9])
def test_session_tickets_do_not_close_a_prepared_connection(
    tickets: int, authority: trustme.CA, ca_file: Path
) -> None:
    tls = context(authority)
    tls.num_tickets = tickets
    answered = threading.Event()

    def script(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        answered.wait(10)
        wait_for_close(sock)

    with fault_server(script, tls=tls) as server:
        service = Service(server.base_url, Secret(KEY, "the test"))
        http = HTTPConnection(service, Dialer(timeout=10, environ={}, ca_file=str(ca_file)), "/", "*/*")
        http.connect()
        if tickets:
            assert select.select([http.connection.fileno()], [], [], 10)[0]
        for _ in range(3):
            http.connect()
        opened, _ = http.send(b"{}")
        http.read_head()
        assert (http.read(), http.read()) == (b"ok", b"")
        assert not opened.reused
        assert server.connections == 1
        answered.set()
        http.close()
