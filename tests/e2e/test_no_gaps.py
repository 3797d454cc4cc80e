"""Playback in real time has no gap, whenever the service sends `complete` (waves/api.md, 0).

The server is paced at 3.3 times real time, with 200 ms to first audio. A stall is 100 ms without audio.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import SMALLEST, environment
from tests.support.offline import KEY, Offline, start_offline

SENTENCES = (
    "The first sentence is here.",
    "A second one follows it.",
    "Here comes a third.",
    "Then there is a fourth one.",
    "And this is the last.",
)
BYTE_RATE = 48_000
STALL_S = 0.1
WAIT_MS = 1_000
"""Scaled down from 4 s; the one test at the full length is test_live_completion_wait_causes_no_gap."""
IGNORED = {"honour_complete_wait": False, "complete_wait_ms": WAIT_MS}
MODES: dict[str, dict[str, Any]] = {
    "complete at once": {},
    "complete late for each": IGNORED,
    "complete once after quiet": IGNORED | {"complete_per": "quiet"},
    "next request held back": IGNORED | {"second_request": "hold"},
    "complete late, then closed": IGNORED | {"close_after_complete": True},
    "second request refused": IGNORED | {"second_request": "refuse"},
}


@dataclass
class Playback:
    code: int
    pcm: bytes
    err: str
    stalls: list[float]


@contextmanager
def paced(**config: Any) -> Iterator[Offline]:
    with start_offline(first_byte_ms=200, realtime_factor=3.3, **config) as server:
        yield server


def play_in_real_time(
    home: Path, server: Offline, command: str, *arguments: str, every_s: float = 0.3
) -> Playback:
    """Play the pipe in real time; the sentences are written one by one."""
    env = environment(home, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url)
    args = [*SMALLEST, command, "-o", "-", *arguments]
    with subprocess.Popen(
        args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=home
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        stdin = process.stdin

        def write() -> None:
            with stdin:
                for sentence in SENTENCES:
                    stdin.write(f"{sentence} ".encode())
                    stdin.flush()
                    threading.Event().wait(every_s)  # the pace of the writer, not a wait for a condition

        writer = threading.Thread(target=write)
        writer.start()
        pcm, stalls, played_until = b"", [], 0.0
        while data := os.read(process.stdout.fileno(), 65_536):
            now = time.monotonic()
            if pcm and now - played_until > STALL_S:
                stalls.append(now - played_until)
            played_until = max(now, played_until) + len(data) / BYTE_RATE
            pcm += data
        writer.join()
        err = process.stderr.read().decode()
    return Playback(process.returncode, pcm, err, stalls)


def reference_audio(home: Path, server: Offline) -> bytes:
    """The audio of all sentences, each requested separately."""
    env = environment(home, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url)
    command = [*SMALLEST, "stream", "-o", "-", "--via", "http", " ".join(SENTENCES), "--split", "30"]
    return subprocess.run(command, env=env, cwd=home, capture_output=True, check=True).stdout


LONG = pytest.mark.long


@pytest.mark.parametrize("command", ["stream", pytest.param("speak", marks=LONG)])
@pytest.mark.parametrize("mode", MODES)
def test_auto_has_no_gap(mode: str, command: str, tmp_path: Path) -> None:
    with paced(**MODES[mode]) as server:
        playback = play_in_real_time(tmp_path, server, command)
        assert (playback.code, playback.err, playback.stalls) == (0, "", [])
        assert {entry["via"] for entry in server.log()} == {"sse"}


OVERLAPPING = ("complete at once", "complete late for each", "complete once after quiet")


@LONG
@pytest.mark.parametrize("mode", OVERLAPPING)
@pytest.mark.parametrize("command", ["stream", "speak"])
def test_ws_has_no_gap_with_overlapping_requests(mode: str, command: str, tmp_path: Path) -> None:
    with paced(**MODES[mode]) as server:
        playback = play_in_real_time(tmp_path, server, command, "--via", "ws")
        assert (playback.code, playback.err, playback.stalls) == (0, "", [])
        assert {entry["via"] for entry in server.log()} == {"ws"}


@LONG
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in OVERLAPPING])
def test_ws_audio_is_complete_without_overlapping_requests(mode: str, tmp_path: Path) -> None:
    """Nothing is lost, doubled or out of order; one warning names a transport without that wait."""
    with paced(**MODES[mode]) as server:
        playback = play_in_real_time(tmp_path, server, "stream", "--via", "ws", "--split", "30")
        (warning,) = playback.err.splitlines()
        assert playback.code == 0
        assert "--via sse" in warning
        assert playback.pcm == reference_audio(tmp_path, server)


@LONG
@pytest.mark.parametrize("command", ["stream", "speak"])
def test_live_completion_wait_causes_no_gap(command: str, tmp_path: Path) -> None:
    """The `live` profile with its wait of 4 s."""
    with paced(profile="live") as server:
        playback = play_in_real_time(tmp_path, server, command, "--via", "ws")
    assert (playback.code, playback.err, playback.stalls) == (0, "", [])


def test_early_request_is_resent_and_counted(tmp_path: Path) -> None:
    with paced(**MODES["complete late, then closed"]) as server:
        env = environment(tmp_path, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url)
        command = [
            *SMALLEST,
            "speak",
            "--via",
            "ws",
            "--retries",
            "0",
            "--split",
            "30",
            "--json",
            "-o",
            "a.wav",
        ]
        ran = subprocess.run([*command, " ".join(SENTENCES)], env=env, cwd=tmp_path, capture_output=True)
        assert ran.returncode == 0, ran.stderr
        result = json.loads(ran.stdout)
        assert result["segments"] == len(SENTENCES)
        assert 0 < result["characters_resent"] <= 30
        texts = [entry["text"].strip() for entry in server.log()]
        assert list(dict.fromkeys(texts)) == list(SENTENCES)
