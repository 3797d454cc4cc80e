"""Faults of the environment: resolver, host, memory, signals, descriptors, locale, working directory."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from smallest_cli.audio.wav import header
from smallest_cli.models import VIAS, AudioFormat
from tests.support import ROOT, frames
from tests.support.command import LAUNCH, SMALLEST, environment
from tests.support.fault_cases import CASES, FEW, Case
from tests.support.fault_server import SEGMENT, Connection, Script, fault_server
from tests.support.fault_server.steps import (
    CHUNK,
    GOOD,
    RATE,
    Audio,
    Checkpoint,
    End,
    Fin,
    Raw,
    Reply,
    speech,
)
from tests.support.invariants import (
    KEY,
    OLD,
    Run,
    assert_counts,
    assert_invariants,
    forms_of,
    wav_samples,
)
from tests.support.runs import HUNG_S, context, dead_port, state_of, until

MB = 1 << 20


def start(
    folder: Path,
    url: str,
    via: str,
    *arguments: str,
    how: str = "",
    env: dict[str, str] | None = None,
    command: list[str] | None = None,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """The command in a folder, with the target there already."""
    (folder / "out.wav").write_bytes(OLD)
    home = Path(tempfile.mkdtemp(dir=folder))
    words = command or ([*LAUNCH, how] if how else SMALLEST)
    given = environment(home, SMALLEST_API_KEY=KEY, PYTHONPATH=str(ROOT)) | (env or {})
    where = ["-o", "out.wav", "--base-url", url, "--via", via, "--retries", "0"]
    return subprocess.Popen(
        [*words, "speak", "Good morning.", *where, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={name: value for name, value in given.items() if value != UNSET},
        cwd=folder,
        **options,
    )


UNSET = "\0"


def ended(folder: Path, process: subprocess.Popen[bytes]) -> Run:
    out, err = process.communicate(timeout=HUNG_S)
    return Run(folder, process.returncode, out, err)


# Rows 2 and 5: no reply


@pytest.mark.parametrize("via", VIAS)
def test_resolver_hangs(via: str, tmp_path: Path) -> None:
    read_fd, written_fd = os.pipe()
    how = f"no-resolver:{written_fd}"
    url = "https://resolver.invalid"
    run = ended(tmp_path, start(tmp_path, url, via, "--timeout", "0.5", how=how, pass_fds=[written_fd]))
    os.close(read_fd)
    os.close(written_fd)
    assert assert_invariants(run) == 0
    assert run.code == 7
    assert b"resolving resolver.invalid took longer than 0.5 s" in run.err


@pytest.mark.parametrize("via", VIAS)
def test_connect_hangs(via: str, tmp_path: Path) -> None:
    with dead_port() as port:
        run = ended(tmp_path, start(tmp_path, f"http://127.0.0.1:{port}", via, "--timeout", "0.5"))
    assert assert_invariants(run) == 0
    assert run.code == 7
    assert f"connecting to 127.0.0.1:{port} took longer than 0.5 s".encode() in run.err


# Rows 33, 56, 64, 75 and goal G14: peers that send without end


MAY_GROW_MB = 20
HOSTILE: dict[str, tuple[str, Script]] = {
    "error body": ("http", (Raw(b"HTTP/1.1 500 Oh\r\nContent-Length: 1000000000\r\n\r\n"),
                            Raw(b"x" * 65536, 1000), Fin())),
    "headers": ("http", (Raw(b"HTTP/1.1 200 OK\r\n"), Raw(b"X-Fill: " + b"y" * 8000 + b"\r\n", 6000), Fin())),
    "handshake": ("ws", (Raw(b"HTTP/1.1 101 Go\r\n"), Raw(b"X-Fill: " + b"y" * 8000 + b"\r\n", 6000), Fin())),
    "frame": ("ws", (Reply(), Raw(b"\x81\x7f\x40" + bytes(7)), Raw(b"x" * 65536, 1000), Fin())),
    "fragments": ("ws", (Reply(), Raw(frames.frame(b"x" * 65536, 1, fin=False)),
                         Raw(frames.frame(b"x" * 65536, 0, fin=False), 1000))),
    "line": ("sse", (Reply(), Raw(b"10000\r\n" + b"x" * 65536 + b"\r\n", 1000))),
    "head of a WAV": ("http", (Reply("close", wav=header(AudioFormat(RATE))[:12]),
                               Raw(b"LIST\0\0\1\0" + bytes(65536), 1000), Fin())),
}  # fmt: skip


WATCHED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def peak_mb(folder: Path, via: str, script: Script) -> tuple[float, Run]:
    """Peak memory of a run in MB. A small program starts it, as a child inherits the peak of its parent."""
    folder.mkdir()
    peak = folder.with_suffix(".kb")
    watched = [sys.executable, "-c", WATCHED, str(peak), *SMALLEST]
    with fault_server(script) as server:
        run = ended(folder, start(folder, server.base_url, via, command=watched))
    return int(peak.read_text()) / 1024, run


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_peer_does_not_fill_memory(name: str, tmp_path: Path) -> None:
    via, script = HOSTILE[name]
    usual, good = peak_mb(tmp_path / "good", via, GOOD)
    assert good.code == 0
    peak, run = peak_mb(tmp_path / "bad", via, script)
    assert assert_invariants(run) == 0
    assert run.code in (7, 8)
    assert peak - usual < MAY_GROW_MB


# Row 69


@dataclass(frozen=True)
class Silence:
    """A segment of zeros."""

    def run(self, connection: Connection) -> None:
        for _ in range(SEGMENT // CHUNK):
            connection.send(speech(connection, bytes(2 * CHUNK)))


@pytest.mark.parametrize("via", VIAS)
def test_silence_is_audio(via: str, tmp_path: Path) -> None:
    with fault_server((Reply(), Silence(), End())) as server:
        run = ended(tmp_path, start(tmp_path, server.base_url, via))
    assert (run.code, run.err) == (0, b"")
    assert wav_samples(run.target) == bytes(2 * SEGMENT)


# Rows 94 and 95: signals that do not end it


FLOWING: Script = (Reply("chunked"), Audio(2 * CHUNK), Checkpoint(), Audio(2 * CHUNK), End())


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("via", VIAS)
def test_ignored_sigint_stays_ignored(via: str, tmp_path: Path) -> None:
    with fault_server(FLOWING) as server:
        process = start(tmp_path, server.base_url, via, preexec_fn=ignore_interrupts)
        assert server.reached.wait(HUNG_S)
        process.send_signal(signal.SIGINT)
        server.release.set()
        run = ended(tmp_path, process)
    assert run.code == 0, run.err
    assert assert_invariants(run, server, budget=1) == SEGMENT


def test_sigterm_ends_a_background_run(tmp_path: Path) -> None:
    with fault_server(FLOWING) as server:
        process = start(tmp_path, server.base_url, "ws", preexec_fn=ignore_interrupts)
        assert server.reached.wait(HUNG_S)
        process.send_signal(signal.SIGTERM)
        run = ended(tmp_path, process)
    assert run.code == -signal.SIGTERM
    assert_invariants(run)


@pytest.mark.parametrize("via", VIAS)
def test_stop_and_continue_lose_no_sample(via: str, tmp_path: Path) -> None:
    with fault_server(FLOWING) as server:
        process = start(tmp_path, server.base_url, via)
        assert server.reached.wait(HUNG_S)
        process.send_signal(signal.SIGSTOP)  # TSTP is not for an orphaned process group
        until(lambda: state_of(process.pid) in "TX")
        server.release.set()
        process.send_signal(signal.SIGCONT)
        run = ended(tmp_path, process)
    assert run.code == 0, run.err
    assert assert_invariants(run, server, budget=1) == SEGMENT


# Row 114: no descriptor is left


def with_few_descriptors(folder: Path, url: str, limit: int) -> Run:
    folder.mkdir()

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    return ended(folder, start(folder, url, VIAS[limit % 3], preexec_fn=few))


def test_few_file_descriptors(tmp_path: Path) -> None:
    with fault_server(GOOD) as server, ThreadPoolExecutor(4) as pool:
        limits = range(4, 22)
        url = server.base_url
        runs = list(pool.map(lambda limit: with_few_descriptors(tmp_path / str(limit), url, limit), limits))
    codes = {limit: run.code for limit, run in zip(limits, runs, strict=True)}
    for limit, run in zip(limits, runs, strict=True):
        if run.code == 0:
            assert_counts(wav_samples(run.target), 0)
            continue
        assert run.target.read_bytes() == OLD
        assert KEY.encode() not in run.err
        if run.err.startswith(b"smallest: "):  # else it is Python itself that could not start
            assert_invariants(run)
        assert run.code != 0, limit
    assert codes[21] == 0, codes


# Row 115: the offline server is killed


def test_killed_offline_server_keeps_part(tmp_path: Path) -> None:
    (tmp_path / "out.wav").write_bytes(OLD)
    text = "One sentence that is said by the server next door. " * 80
    process = subprocess.Popen(
        [*SMALLEST, "speak", "--local", "--ahead", "0", "-o", "out.wav", text],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(tmp_path), cwd=tmp_path,
    )  # fmt: skip
    part = tmp_path / "out.wav.part"
    until(lambda: process.poll() is not None or (part.exists() and part.stat().st_size > MB))
    assert process.poll() is None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    run = ended(tmp_path, process)
    assert run.code == 9, run.err
    assert run.target.read_bytes() == OLD
    assert len(wav_samples(part)) > MB // 2


# Row 120: unusual environments


WORLDS: dict[str, dict[str, str]] = {
    "C locale": {"LC_ALL": "C", "LANG": "C"},
    "no locale": {"LC_ALL": UNSET, "LANG": UNSET},
    "every warning": {"PYTHONWARNINGS": "always"},
    "no home": {"HOME": UNSET, "SMALLEST_CONFIG_DIR": UNSET},
    "a home that is a device": {"HOME": os.devnull, "SMALLEST_CONFIG_DIR": UNSET},
    "no path": {"PATH": UNSET},
    "a terminal of no kind": {"TERM": "dumb", "COLUMNS": "x"},
}


@pytest.mark.parametrize("world", WORLDS)
def test_unusual_environments(world: str, tmp_path: Path) -> None:
    with fault_server(GOOD) as server:
        run = ended(tmp_path, start(tmp_path, server.base_url, "ws", "नमस्ते — 你好 😀", env=WORLDS[world]))
    assert run.code == 0, run.err
    assert assert_invariants(run, server, budget=1) == SEGMENT
    assert server.requests[0].text == "Good morning. नमस्ते — 你好 😀"


def test_deleted_working_directory(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    target = tmp_path / "sound.wav"

    def leave() -> None:
        os.chdir(gone)
        gone.rmdir()

    with fault_server(GOOD) as server:
        run = ended(tmp_path, start(tmp_path, server.base_url, "ws", "-o", str(target), preexec_fn=leave))
    assert run.code == 10
    assert b"smallest: cannot write out.wav" in run.err
    with fault_server(GOOD) as server:
        command = [*SMALLEST, "speak", "Hi.", "--base-url", server.base_url, "-o", str(target)]
        gone.mkdir()
        done = subprocess.run(
            command, env=environment(tmp_path, SMALLEST_API_KEY=KEY, PYTHONPATH=str(ROOT)), check=False,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=HUNG_S, preexec_fn=leave,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert assert_counts(wav_samples(target), 0) == SEGMENT


# Goals K3 and K7: the working directory and OpenSSL variables have no effect


def test_working_directory_sets_no_url_and_no_key(tmp_path: Path) -> None:
    with fault_server(GOOD) as evil, fault_server(GOOD) as server:
        lines = f'base_url = "{evil.base_url}"\napi_key = "sk_evil"\nca_file = "evil.pem"\n'
        for name in (".smallest.toml", "smallest.toml", "config.toml", "pyproject.toml"):
            (tmp_path / name).write_text(lines)
        proxy = f"HTTPS_PROXY={evil.base_url}\nhttp_proxy={evil.base_url}\n"
        (tmp_path / ".env").write_text(
            f"SMALLEST_BASE_URL={evil.base_url}\nSMALLEST_API_KEY=sk_evil\n{proxy}"
        )
        (tmp_path / ".netrc").write_text("default login me password sk_evil\n")
        for name in ("requests", "websocket", "ssl", "typer", "smallest_cli", "sitecustomize"):
            (tmp_path / f"{name}.py").write_text("raise SystemExit('evil was imported')\n")
        script = [str(Path(sys.executable).with_name("smallest"))]
        env = {"PYTHONPATH": UNSET}
        run = ended(tmp_path, start(tmp_path, server.base_url, "http", env=env, command=script))
        assert run.code == 0, run.err
        assert assert_counts(wav_samples(run.target), 0) == SEGMENT
        run = ended(tmp_path, start(tmp_path, "https://127.0.0.1:9", "ws", env=env, command=script))
        assert run.code == 7, run.err
    assert evil.connections == 0
    assert KEY.encode() in server.requests[0].head


@pytest.mark.parametrize("via", VIAS)
def test_no_tls_session_key_is_logged(via: str, tmp_path: Path) -> None:
    authority, log = trustme.CA(), tmp_path / "home"
    log.mkdir()
    authority.cert_pem.write_to_path(log / "ca.pem")
    env = {"SSLKEYLOGFILE": str(log / "keys"), "SSL_CERT_FILE": str(log / "ca.pem")}
    with fault_server(GOOD, tls=context(authority)) as server:
        run = ended(tmp_path, start(tmp_path, server.base_url, via, env=env))
    assert run.code == 0, run.err
    assert not (log / "keys").exists()


@pytest.mark.parametrize("via", VIAS)
def test_old_tls_is_refused(via: str, tmp_path: Path) -> None:
    """A server hello of TLS 1.0 in bytes, as OpenSSL no longer sends one."""
    hello = b"\x02\x00\x00\x2a\x03\x01" + bytes(32) + b"\x00\x00\x2f\x00\x00\x02\x00\x00"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(HUNG_S)
        process = start(tmp_path, f"https://127.0.0.1:{listener.getsockname()[1]}", via)
        sock, _ = listener.accept()
        with sock:
            sock.recv(65536)
            sock.sendall(b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello)
            run = ended(tmp_path, process)
    assert assert_invariants(run) == 0
    assert run.code == 7
    assert b"TLS" in run.err


# Goal K8: --debug shows everything but the key


TELLING = (
    *("nothing wrong", "status 401", "escapes in a header", "redirect 302", "no JSON, mid audio"),
    *("stall mid audio", "error, with escapes", "close 1011, mid audio", "another rate"),
)
WORTH_DEBUGGING = [(case, via) for case in CASES if case.name in TELLING for via in case.vias]


@pytest.mark.parametrize(
    ("case", "via"), WORTH_DEBUGGING, ids=[f"{case.name}-{via}" for case, via in WORTH_DEBUGGING]
)
def test_debug_prints_no_key_and_no_control_character(case: Case, via: str, tmp_path: Path) -> None:
    with fault_server(*case.scripts) as server:
        arguments = ("--timeout", "0.5", "--debug", *case.arguments)
        run = ended(tmp_path, start(tmp_path, server.base_url, via, *arguments))
    assert run.code == case.exit
    err = run.err.decode()
    assert "base_url = " in err
    assert not re.search("[^\n -\x7e\xa0-\U0010ffff]", err), repr(err)
    assert all(form not in run.err for form in forms_of(KEY))


def test_json_failure_reports_partial_audio(tmp_path: Path) -> None:
    with fault_server((Reply(), FEW, Fin())) as server:
        run = ended(tmp_path, start(tmp_path, server.base_url, "ws", "--json"))
    written_fd = json.loads(run.out)
    assert (run.code, written_fd["exit"], Path(written_fd["partial"]).name) == (9, 9, "out.wav.part")
    assert written_fd["audio_seconds"] == 2 * CHUNK / RATE
