"""Start and end of the offline server: in the foreground, as a child, with its voice process, over TLS."""

from __future__ import annotations

import ctypes.util
import inspect
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from msgspec.structs import fields

from smallest_cli.cli.commands.serve import serve
from smallest_cli.extras import LOCAL, install_command
from smallest_cli.server.config import ServerConfig
from tests.support.offline import (
    HTTP,
    KEY,
    SMALLEST,
    Offline,
    child_of,
    children_of,
    eventually,
    hello,
    launch,
    next_message,
    pcm_of,
    receive,
    send,
    start_offline,
    start_serve,
    watched,
)

pytestmark = pytest.mark.long

LONG = hello(text="Far too long. " * 2_000, sample_rate=44_100)
NOT_READING: dict[str, Any] = {"max_queue": 1, "close_timeout": 0}
TOKEN = "sk_test_of_a_token_0123"


DISPUTED_POINTS = {
    "close_after_complete", "complete_per", "complete_wait_ms", "buffered_complete_wait_ms", "complete_form",
    "answer_empty_close", "sse_shape", "error_form", "chunked", "legacy", "honour_complete_wait",
    "check_voice_model", "blocked_words", "second_request", "request_timeout_s", "keep_alive_s",
}  # fmt: skip
"""Fields of the JSON configuration that have no option."""


def run_serve(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SMALLEST, "serve", *arguments],
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


# In the foreground


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_serve_prints_its_url_and_reraises_the_signal(end: signal.Signals) -> None:
    """`start_serve` asserts that nothing else is on stdout."""
    with start_serve(end=end) as server:
        assert server.base_url == f"http://127.0.0.1:{server.address[1]}"
        assert any(server.post(HTTP["unified"], hello()).content)
        assert pcm_of(server.say(hello()))
        with watched(child_of(server.process.pid)) as voice_ended:
            server.process.send_signal(end)
            assert server.process.wait(10) == -end
            voice_ended()
        assert server.process.stderr
        assert server.process.stderr.read().decode().splitlines() == [
            "The server accepts any key. Press Ctrl-C to stop.",
            "smallest: interrupted",
        ]


def test_signal_ends_the_server_during_synthesis() -> None:
    with start_serve() as server, server.open(**NOT_READING) as ws:
        send(ws, LONG)
        next_message(ws)
        voice = child_of(server.process.pid)
        with watched(voice, child_of(voice)) as all_ended:
            server.process.send_signal(signal.SIGINT)
            assert server.process.wait(10) == -signal.SIGINT
            all_ended()


def test_ignored_sigint_stays_ignored() -> None:
    shell = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    command = [*shell, *SMALLEST, "serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        url = process.stdout.readline().decode().strip()
        process.send_signal(signal.SIGINT)
        assert requests.get(f"{url}/waves/v1/health", timeout=10).ok
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM
        assert process.stderr
        process.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--colour", "red"], "No such option: --colour"),
        (["--port", "x"], "'x' is not a valid int"),
        (["--port", "70000"], "smallest: --port is invalid: expected int <= 65535"),
        (["--max-text", "-1"], "smallest: --max-text is invalid: expected int >= 1"),
        (["--idle-timeout", "0"], "smallest: --idle-timeout is invalid: expected float >= 0.01"),
        (["--first-byte-ms", "-1"], "smallest: --first-byte-ms is invalid: expected float >= 0"),
        (["--fail-times", "-1"], "smallest: --fail-times is invalid: expected int >= 0"),
        (["--fail", "explode"], "unknown fault 'explode'"),
        (["--profile", "x"], "'x' is not one of 'live', 'documented', 'instant'"),
        (["--complete-wait", "0"], "No such option: --complete-wait"),
        (["--host", "0.0.0.0"], "listening on 0.0.0.0 needs a token of at least 16 characters"),
        (["--host", "192.0.2.1", "--token", TOKEN], "cannot listen on 192.0.2.1:0"),
        (["--host", "no.such.invalid", "--token", TOKEN], "cannot listen on no.such.invalid:0"),
        (["--tls-cert", "x.pem"], "a TLS certificate and its key must be given together"),
        (["--tls-cert", "/x/x.pem", "--tls-key", "/x/y.pem"], "cannot use the TLS certificate: "),
        (["words"], "unexpected extra argument"),
        (["--extra-voice", "a", "--extra-voice", ""], "smallest: --extra-voice is empty"),
        (["--log", ""], "smallest: --log is empty"),
        (["--host", ""], "smallest: --host is empty"),
        (["--token", ""], "smallest: --token is empty"),
        (["--tls-cert", "", "--tls-key", ""], "smallest: --tls-cert is empty"),
        (["--fail", ""], "smallest: --fail is empty"),
    ],
)
def test_invalid_options_are_one_line_and_exit_2(arguments: list[str], words: str) -> None:
    ran = run_serve(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    first, *hints = ran.stderr.splitlines()
    assert first.startswith("smallest: ")
    assert words in first
    assert all(hint.startswith("  ") for hint in hints)
    assert len(hints) < 2


def test_wildcard_address_is_announced_as_loopback() -> None:
    with start_serve("--host", "0.0.0.0", "--token", KEY) as server:
        assert server.address[0] == "127.0.0.1"
        env = {"SMALLEST_API_KEY": KEY, "HOME": "/nowhere", "PATH": "/nowhere"}
        command = [*SMALLEST, "dict", "list", "--base-url", server.base_url]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_unwritable_log_is_one_line_and_exit_10() -> None:
    ran = run_serve("--log", "/nowhere/at/all")
    assert (ran.returncode, ran.stdout) == (10, "")
    assert ran.stderr == "smallest: cannot write the log /nowhere/at/all: No such file or directory\n"


def test_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = run_serve("--port", str(port))
        assert (ran.returncode, ran.stdout) == (2, "")
        assert ran.stderr == f"smallest: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    with start_serve("--port", str(port)) as server:
        assert server.address[1] == port
        assert pcm_of(server.say(hello()))
    with start_serve("--port", str(port)) as server:  # the same port, immediately
        assert server.address[1] == port


MISSING = "import sys; sys.modules['{}'] = None"
BROKEN = """
import sys
from types import SimpleNamespace as Module
nowhere = {"get_library_path": lambda: "/nowhere/lib.so", "get_data_path": lambda: "/nowhere"}
sys.modules["espeakng_loader"] = Module(**nowhere)
"""


@pytest.mark.parametrize(
    ("site", "words"),
    [
        (MISSING.format("aiohttp"), "aiohttp is not installed"),
        (MISSING.format("soxr"), "soxr is not installed"),
        (MISSING.format("numpy"), "numpy is not installed"),
        (BROKEN, "eSpeak NG cannot be loaded: /nowhere/lib.so"),
        pytest.param(
            MISSING.format("espeakng_loader"),
            "eSpeak NG is not installed",
            marks=pytest.mark.skipif(
                ctypes.util.find_library("espeak-ng") is not None, reason="the system has eSpeak NG"
            ),
        ),
    ],
)
def test_missing_extra_names_what_to_install(tmp_path: Path, site: str, words: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(site)
    ran = run_serve(PYTHONPATH=str(tmp_path))
    assert (ran.returncode, ran.stdout) == (3, "")
    assert ran.stderr.startswith(f"smallest: {words}")
    hint = install_command(*LOCAL.values())
    assert ran.stderr.endswith(f"\n  {hint}\n")
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "smallest_cli.server"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        answer = json.loads(child.communicate(b"{}\n", timeout=20)[0])
    assert (child.returncode, answer["exit"], answer["hint"]) == (3, 3, hint)
    assert answer["error"].startswith(words)


def test_nothing_is_imported_from_the_current_directory(tmp_path: Path) -> None:
    for module in ("numpy", "soxr", "aiohttp", "json", "smallest_cli"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('imported from the current folder')")
    with start_serve(cwd=tmp_path) as server:
        assert pcm_of(server.say(hello()))
    process, answer = launch({}, cwd=tmp_path)
    with process:
        assert set(answer) == {"base_url", "key"}
        assert process.stdin
        process.stdin.close()


def test_options_match_config_fields_and_defaults() -> None:
    options = {name: option.default for name, option in inspect.signature(serve).parameters.items()}
    config = {item.name: item.default if item.default != () else None for item in fields(ServerConfig)}
    assert options.pop("profile") == "live"
    assert {name: config[name] for name in options} == options
    assert config.keys() - options.keys() == DISPUTED_POINTS


# Keys and TLS


@pytest.mark.parametrize("given", [["--token", TOKEN], []])
def test_token_is_the_only_accepted_key(given: list[str]) -> None:
    env = {} if given else {"SMALLEST_SERVE_TOKEN": TOKEN}
    with start_serve(*given, "--host", "0.0.0.0", env=os.environ | env) as server:
        port = server.address[1]
        url = f"http://127.0.0.1:{port}/waves/v1/tts"
        codes = [
            requests.post(
                url, json=hello(), headers={"Authorization": f"Bearer {key}", "Host": host}, timeout=10
            ).status_code
            for key, host in ((TOKEN, "other.example"), (KEY, f"127.0.0.1:{port}"), (TOKEN[:-1], "127.0.0.1"))
        ]
        assert codes == [200, 401, 401]


def test_ipv6_url_has_brackets() -> None:
    with start_offline(host="::1") as server:
        assert server.base_url.startswith("http://[::1]:")
        assert server.post(HTTP["unified"], hello()).ok


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for blob in issued.cert_chain_pems:
        blob.write_to_path(folder / "cert.pem", append=True)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return {name: str(folder / f"{name}.pem") for name in ("cert", "key", "ca")}


def test_tls_serves_https_and_wss(authority: trustme.CA, tls_files: dict[str, str]) -> None:
    with start_offline(tls_cert=tls_files["cert"], tls_key=tls_files["key"]) as server:
        assert server.base_url.startswith("https://127.0.0.1:")
        reply = server.post(HTTP["unified"], hello(), verify=tls_files["ca"])
        assert any(reply.content)
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with server.open(ssl=context) as ws:
            send(ws, hello())
            assert pcm_of(receive(ws)) == reply.content
        with pytest.raises(requests.exceptions.SSLError):
            server.post(HTTP["unified"], hello())  # unknown certificate authority
        assert server.raw(b"GET / HTTP/1.1\r\n\r\n")[:5] != b"HTTP/"


def test_encrypted_tls_key_is_an_error_without_prompt(tls_files: dict[str, str], tmp_path: Path) -> None:
    key = load_pem_private_key(Path(tls_files["key"]).read_bytes(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"1234"))
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(pem)
    ran = run_serve("--tls-cert", tls_files["cert"], "--tls-key", str(encrypted))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.splitlines() == [
        "smallest: the TLS key is encrypted",
        "  decrypt it: openssl pkey -in KEY -out PLAIN_KEY",
    ]


# As a child


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"legacy": "off"}\n', "legacy is invalid: invalid enum value 'off'"),
        (b"[]\n", "the first line of stdin is not a JSON object"),
        (b"\xff\n", "the first line of stdin is not a JSON object"),
        (b"", "the first line of stdin is not a JSON object"),
    ],
)
def test_child_reports_why_it_cannot_serve(line: bytes, words: str) -> None:
    command = [sys.executable, "-P", "-m", "smallest_cli.server"]
    ran = subprocess.run(command, input=line, capture_output=True, timeout=30)
    answer = json.loads(ran.stdout)
    assert (ran.returncode, answer["exit"], answer["error"], ran.stderr) == (2, 2, words, b"")


def test_child_generates_a_key_outside_argv_and_environment() -> None:
    process, answer = launch({})
    with process:
        assert len(answer["key"]) == 48
        for pid in (process.pid, child_of(process.pid)):
            for name in ("cmdline", "environ"):
                assert answer["key"].encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
        assert process.stdin
        process.stdin.close()
    assert process.returncode == 0


def test_child_ignores_sigint() -> None:
    with start_offline() as server:
        os.kill(child_of(server.process.pid), signal.SIGINT)
        server.process.send_signal(signal.SIGINT)
        assert any(server.post(HTTP["unified"], hello()).content)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0


PARENT = """
import json, os, sys
from smallest_cli.client.service import open_local_service
with open_local_service() as service:
    print(json.dumps([service.base_url, service.key.reveal()]), flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
def test_child_processes_end_with_the_parent(end: signal.Signals | None) -> None:
    """Server, voice process and active fork end in every case."""
    command, pipe = [sys.executable, "-P", "-c", PARENT], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdin
        assert parent.stdout
        url, key = json.loads(parent.stdout.readline())
        with Offline(url, key, parent, Path()).open(**NOT_READING) as ws:
            send(ws, LONG)
            next_message(ws)
            server = child_of(parent.pid)
            voice = child_of(server)
            with watched(server, voice, child_of(voice)) as all_ended:
                if end is None:
                    parent.stdin.close()
                else:
                    parent.send_signal(end)
                all_ended()


def test_voice_process_ends_with_the_server() -> None:
    with start_serve(end=signal.SIGKILL) as server, server.open(**NOT_READING) as ws:
        send(ws, LONG)
        next_message(ws)
        voice = child_of(server.process.pid)
        with watched(voice, child_of(voice)) as all_ended:
            server.process.kill()
            all_ended()


def test_utterances_leak_no_process_or_descriptor() -> None:
    with start_offline() as server:
        voice = child_of(server.process.pid)
        before = [open_files(pid) for pid in (server.process.pid, voice)]
        for _ in range(50):
            assert server.post(HTTP["unified"], hello(text="Yes.")).ok
            assert pcm_of(server.say(hello(text="No.")))
        eventually(lambda: not children_of(voice))
        eventually(lambda: [open_files(pid) for pid in (server.process.pid, voice)] == before)


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
