"""The programs on the vendor's pages, run against the offline server, receive the audio that `speak` does.

Each runs as a process: the WebSocket and event-stream programs of v3.1, and the v2 program with
websocket-client. Only address, key and renamed library arguments are changed, and on the current routes
the envelope of the event stream.
"""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import smallest
from tests.support.offline import HTTP, KEY, SSE, WS, Offline, hello, start_offline
from tests.support.seeds import TODAYS_EVENTS, V31_EVENTS, WITH_WEBSOCKET_CLIENT, WITH_WEBSOCKETS

TEXT = "Sound that begins before the sentence has ended is what makes a voice at the other end bearable."


@pytest.fixture(scope="module", params=["live", "instant"])
def server(request: pytest.FixtureRequest) -> Iterator[Offline]:
    # `complete` after 0.3 s instead of 4, where the profile waits.
    wait = {"complete_wait_ms": 300} if request.param == "live" else {}
    with start_offline(profile=request.param, **wait) as server:
        yield server


def run_program(server: Offline, program: str, url: str, folder: Path) -> bytes:
    """The samples of the WAV that the program saves."""
    (folder / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py", url, TEXT, "theirs.wav"],
        cwd=folder,
        env=os.environ | {"SMALLEST_API_KEY": server.key, "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(" pieces\n")
    return samples(folder / "theirs.wav")


def run_speak(server: Offline, api: str, via: str, folder: Path, *options: str) -> bytes:
    """The samples of the WAV that `speak` saves over that API."""
    where = ["--base-url", server.base_url, "--api", api, "--via", via]
    ran = smallest(folder, "speak", TEXT, *where, "-o", "ours.wav", *options, env={"SMALLEST_API_KEY": KEY})
    assert (ran.code, ran.err) == (0, "")
    return samples(folder / "ours.wav")


def samples(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        return file.readframes(file.getnframes())


@pytest.mark.parametrize(
    ("api", "via", "program", "options"),
    [
        ("unified", "ws", WITH_WEBSOCKETS, ("-v", "magnus")),
        ("unified", "sse", TODAYS_EVENTS, ("-v", "magnus")),
        ("v3.1", "ws", WITH_WEBSOCKETS, ("-v", "magnus")),
        ("v3.1", "sse", V31_EVENTS, ("-v", "magnus")),
        ("v2", "ws", WITH_WEBSOCKET_CLIENT, ("-v", "ryan", "-l", "en")),
    ],
)
def test_published_program_saves_what_speak_saves(
    server: Offline, tmp_path: Path, api: str, via: str, program: str, options: tuple[str, ...]
) -> None:
    url = server.ws_url + WS[api] if via == "ws" else server.base_url + SSE[api]
    theirs = run_program(server, program, url, tmp_path)
    assert len(theirs) > 3 * 48_000
    assert any(theirs)
    voice = "ryan" if api == "v2" else "magnus"
    assert server.post(HTTP[api], hello(text=TEXT, voice_id=voice)).content == theirs
    assert run_speak(server, api, via, tmp_path, *options) == theirs


def test_all_programs_receive_the_same_audio(server: Offline, tmp_path: Path) -> None:
    programs = [
        (WITH_WEBSOCKETS, server.ws_url + WS["unified"]),
        (TODAYS_EVENTS, server.base_url + SSE["unified"]),
        (WITH_WEBSOCKETS, server.ws_url + WS["v3.1"]),
        (V31_EVENTS, server.base_url + SSE["v3.1"]),
        (WITH_WEBSOCKET_CLIENT.replace("ryan", "magnus"), server.ws_url + WS["v2"]),
    ]
    assert len({run_program(server, program, url, tmp_path) for program, url in programs}) == 1


def test_v2_program_reports_an_error(server: Offline, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(WITH_WEBSOCKET_CLIENT.replace("ryan", "no_such_voice"))
    done = subprocess.run(
        [sys.executable, "program.py", server.ws_url + WS["v2"], TEXT, "theirs.wav"],
        cwd=tmp_path,
        env=os.environ | {"SMALLEST_API_KEY": server.key},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (1, "failed: Invalid input data\n")
