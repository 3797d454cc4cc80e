"""A process that is stopped (Ctrl-Z, a frozen container) for longer than its deadlines goes on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trustme

from smallest_cli.models import VIAS
from tests.support.command import SMALLEST, environment
from tests.support.fault_server import SEGMENT, Script, fault_server
from tests.support.fault_server.steps import CHUNK, GOOD, Audio, Checkpoint, End, Fin, Reply
from tests.support.invariants import Run, assert_counts, wav_samples
from tests.support.offline import KEY, Offline, child_of, watched
from tests.support.pulse import SAMPLE, need_pulse, start_pulse, without_silence
from tests.support.runs import HUNG_S, Job, Running, context, state_of, until

pytestmark = pytest.mark.long

RATE = 24_000
TEXT = "Good morning. The kettle is on."
TIMEOUT_S, STOP_S = 3, 5
STOPS = [signal.SIGSTOP, signal.SIGTSTP]


@contextmanager
def stopped(process: subprocess.Popen[bytes], number: int = signal.SIGSTOP) -> Iterator[None]:
    """Stop a process for the time of the context."""
    process.send_signal(number)
    until(lambda: state_of(process.pid) == "T")
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def start(home: Path, base_url: str, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
    """Start `speak` in a process group of its own: SIGTSTP does not stop an orphaned one."""
    return subprocess.Popen(
        [*SMALLEST, "speak", "--base-url", base_url, *arguments],
        cwd=home,
        env=environment(home, SMALLEST_API_KEY=KEY, **env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )


@pytest.mark.parametrize("number", STOPS)
def test_device_plays_on_after_a_stop(number: int, home: Path, server: Offline) -> None:
    need_pulse()
    with start_pulse(RATE) as pulse:
        env = {name: value for name, value in pulse.env.items() if name != "PATH"}
        arguments = [TEXT * 3, "--device", "pulse", "-p", "-o", "a.pcm"]
        with pulse.recording() as recording, start(home, server.base_url, *arguments, **env) as running:
            recording.wait_for_audio(RATE * SAMPLE // 2)
            with stopped(running, number):
                recording.wait_for(6 * RATE * SAMPLE)  # longer than a device may take to play
            assert running.communicate(timeout=HUNG_S) == (b"", b"")
    assert running.returncode == 0
    assert without_silence(recording.pcm) == without_silence((home / "a.pcm").read_bytes())


STAGES: dict[str, Script] = {
    "before the head": (Checkpoint(), *GOOD),
    "before the audio": (Reply("chunked"), Checkpoint(), Audio(), End()),
    "within the audio": (Reply("chunked"), Audio(2 * CHUNK), Checkpoint(), Audio(2 * CHUNK), End()),
    "before the end": (Reply("chunked"), Audio(), Checkpoint(), End()),
}


@pytest.mark.parametrize("answers", ["after the stop", "during the stop"])
@pytest.mark.parametrize("stage", STAGES)
def test_stop_does_not_count_for_the_timeout(stage: str, answers: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(fault_server(STAGES[stage])) for _ in VIAS]
        folders = [tmp_path / via for via in VIAS]
        processes = []
        for via, server, folder in zip(VIAS, servers, folders, strict=True):
            folder.mkdir()
            options = ["Good morning.", "--via", via, "-o", "a.wav", "--timeout", str(TIMEOUT_S)]
            processes.append(stack.enter_context(start(folder, server.base_url, *options, "--retries", "0")))
        with ExitStack() as stops:
            for process, server in zip(processes, servers, strict=True):
                assert server.reached.wait(HUNG_S)
                stops.enter_context(stopped(process))
            if answers == "during the stop":
                for server in servers:
                    server.release.set()
            threading.Event().wait(STOP_S)
        for server in servers:
            server.release.set()
        results = [(process.communicate(timeout=HUNG_S), process.returncode) for process in processes]
    assert results == [((b"", b""), 0)] * len(VIAS)
    assert [assert_counts(wav_samples(folder / "a.wav"), 0) for folder in folders] == [SEGMENT] * len(VIAS)


def test_service_that_hung_up_during_the_stop_leaves_what_was_received(home: Path) -> None:
    script = (Reply("chunked"), Audio(CHUNK), Checkpoint(), Audio(CHUNK), Fin())
    with fault_server(script) as server:
        options = ["Good morning.", "-o", "a.wav", "--timeout", str(TIMEOUT_S), "--retries", "0"]
        with start(home, server.base_url, *options) as running:
            assert server.reached.wait(HUNG_S)
            with stopped(running):
                server.release.set()
                threading.Event().wait(STOP_S)
            _, message = running.communicate(timeout=HUNG_S)
    assert running.returncode == 9, message
    assert assert_counts(wav_samples(home / "a.wav.part"), 0) == 2 * CHUNK


def test_stop_during_the_tls_handshake(home: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(home / "ca.pem"))
    with (
        fault_server(GOOD, tls=context(authority)) as server,
        socket.create_server(("127.0.0.1", 0)) as proxy,
    ):
        proxy.settimeout(HUNG_S)
        url = f"https://127.0.0.1:{proxy.getsockname()[1]}"
        options = ["Hi.", "-o", "a.wav", "--timeout", str(TIMEOUT_S), "--retries", "0", "--ca-file", "ca.pem"]
        with start(home, url, *options) as running:
            ours, _ = proxy.accept()
            hello = ours.recv(65_536)  # held back while the process is stopped
            with stopped(running):
                threading.Event().wait(STOP_S)
            theirs = socket.create_connection(("127.0.0.1", server.port))
            theirs.sendall(hello)
            threads = [
                threading.Thread(target=forward, args=pair, daemon=True)
                for pair in ((ours, theirs), (theirs, ours))
            ]
            for thread in threads:
                thread.start()
            result = running.communicate(timeout=HUNG_S)
            for thread in threads:
                thread.join(HUNG_S)
    assert (result, running.returncode) == ((b"", b""), 0)


def forward(source: socket.socket, target: socket.socket) -> None:
    """Copy until the source ends."""
    try:
        while data := source.recv(65_536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        for sock in (source, target):
            sock.close()


PLAYER = "import os, sys; open('ready', 'w').close(); open('got', 'wb').write(sys.stdin.buffer.read())"


def test_ctrl_z_stops_the_player_and_fg_continues_it(home: Path) -> None:
    (home / "player.py").write_text(PLAYER)
    os.mkfifo(home / "ready")
    player = f"{sys.executable} {home / 'player.py'}"
    with fault_server(STAGES["within the audio"]) as server:
        options = ["Good morning.", "-o", "a.pcm", "-p", "--player", player]
        with start(home, server.base_url, *options) as running:
            (home / "ready").read_text()
            assert server.reached.wait(HUNG_S)
            child = child_of(running.pid)
            with stopped(running, signal.SIGTSTP):
                until(lambda: state_of(child) == "T")
            until(lambda: state_of(child) != "T")
            server.release.set()
            assert running.communicate(timeout=HUNG_S) == (b"", b"")
    assert running.returncode == 0
    assert (home / "got").read_bytes() == (home / "a.pcm").read_bytes()
    assert assert_counts((home / "got").read_bytes(), 0) == SEGMENT


def test_ctrl_c_during_a_stop_ends_the_player(home: Path) -> None:
    (home / "player.py").write_text(PLAYER)
    os.mkfifo(home / "ready")
    player = f"{sys.executable} {home / 'player.py'}"
    with fault_server(STAGES["within the audio"]) as server:
        options = ["Good morning.", "-o", "a.wav", "-p", "--player", player]
        with start(home, server.base_url, *options) as running:
            (home / "ready").read_text()
            assert server.reached.wait(HUNG_S)
            with watched(child_of(running.pid)) as wait:
                with stopped(running, signal.SIGTSTP):
                    running.send_signal(signal.SIGINT)
                out, message = running.communicate(timeout=HUNG_S)
                wait()
    assert (running.returncode, out) == (-signal.SIGINT, b"")
    assert message.startswith(b"smallest: interrupted\n")


def test_suspended_run_that_plays_cannot_be_interrupted(home: Path) -> None:
    """The other run names the process; both can go on when it is continued."""
    (home / "player.py").write_text(PLAYER)
    os.mkfifo(home / "ready")
    options = ["Good morning.", "-p", "--player", f"{sys.executable} {home / 'player.py'}"]
    with fault_server(STAGES["within the audio"]) as server:
        with start(home, server.base_url, *options) as running:
            (home / "ready").read_text()
            assert server.reached.wait(HUNG_S)
            with stopped(running, signal.SIGTSTP):
                with start(home, server.base_url, *options, "--overlap", "interrupt") as other:
                    out, message = other.communicate(timeout=HUNG_S)
                expected = f"smallest: process {running.pid} does not end its playback\n".encode()
                assert (other.returncode, out) == (11, b"")
                assert message.startswith(expected)
            server.release.set()
            assert running.communicate(timeout=HUNG_S) == (b"", b"")
        assert running.returncode == 0
        assert len(server.requests) == 1


def test_pipe_loses_nothing_in_a_stop(tmp_path: Path) -> None:
    with fault_server(STAGES["within the audio"]) as server:
        running = Running(tmp_path, server.base_url, Job("", "", "sse", "pipe"))
        running.wait_for_request(server)
        with stopped(running.process):
            server.release.set()
        run: Run = running.end(())
    assert (run.code, run.err) == (0, b"")
    assert assert_counts(run.out, 0) == SEGMENT
