"""Playback on a real sound server, recorded at the monitor of its output device."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.pulse import SAMPLE, Pulse, Recording, need_pulse, start_pulse

pytestmark = pytest.mark.long

RATE = 24_000
PLAY = [sys.executable, "-m", "tests.support.play_pcm"]


@pytest.fixture(scope="module")
def pulse() -> Iterator[Pulse]:
    need_pulse()
    with start_pulse(RATE) as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "noise.pcm"


def noise(seconds: float, rate: int = RATE) -> bytes:
    """Samples without zero bytes, so that the first and the last can be distinguished from silence."""
    return bytes(random.Random(4).choices(range(1, 256), k=round(seconds * rate) * SAMPLE))


def start(env: dict[str, str], path: Path, how: str = "", rate: int = RATE) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*PLAY, str(path), str(rate), how],
        env=env, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True,
    )  # fmt: skip


def play(env: dict[str, str], path: Path, how: str = "", rate: int = RATE) -> tuple[int | None, str, str]:
    """Run the player to its end. Returns its exit code, stdout and stderr."""
    with start(env, path, how, rate) as player:
        output, stderr = player.communicate(timeout=30)
    return player.returncode, output, stderr


def read_line(player: subprocess.Popen[str]) -> str:
    assert player.stdout
    return player.stdout.readline().strip()


def send_line(player: subprocess.Popen[str]) -> None:
    assert player.stdin
    print(file=player.stdin, flush=True)


def is_between_silence(recording: Recording, pcm: bytes) -> bool:
    """Whether the recording is exactly this audio, once, with silence around it."""
    before, found, after = recording.pcm.partition(pcm)
    return bool(found) and not any(before + after)


@pytest.mark.parametrize("frames", [1, 479, 36_000])
def test_every_sample_is_played(pulse: Pulse, path: Path, frames: int) -> None:
    path.write_bytes(noise(frames / RATE))
    with pulse.recording() as recording:
        done = play(pulse.env, path)
    assert done == (0, f"{frames} 0\n", "")
    assert is_between_silence(recording, path.read_bytes())


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_every_rate_is_played_unchanged(rate: int, path: Path) -> None:
    need_pulse()
    path.write_bytes(noise(0.5, rate))
    with start_pulse(rate) as server, server.recording() as recording:
        done = play(server.env, path, rate=rate)
    assert done == (0, f"{rate // 2} 0\n", "")
    assert is_between_silence(recording, path.read_bytes())


def test_resampled_audio_keeps_its_duration(pulse: Pulse, path: Path) -> None:
    """The server resamples, so the samples differ; a warning would be on stderr."""
    path.write_bytes(array("h", [1000] * 4_000).tobytes())
    with pulse.recording() as recording:
        done = play(pulse.env, path, rate=8_000)
    assert done == (0, "4000 0\n", "")
    assert (recording.audio_end() - recording.audio_start()) / SAMPLE == pytest.approx(12_000, abs=200)


def test_underrun_loses_no_sample_and_is_counted(pulse: Pulse, path: Path) -> None:
    path.write_bytes(noise(0.6))
    first, second = (path.read_bytes()[at : at + 14_400] for at in (0, 14_400))
    with pulse.recording() as recording, start(pulse.env, path, "stall") as player:
        assert read_line(player) == "stalled"
        recording.wait_for_audio(len(first) + RATE)
        send_line(player)
        output, stderr = player.communicate(timeout=30)
    assert output == "7200\n14400 1\n"  # the complete first half was played; one underrun
    assert stderr == ""  # ALSA would print an underrun here
    before, found, rest = recording.pcm.partition(first)
    gap, found_too, after = rest.partition(second)
    assert found
    assert found_too
    assert len(gap) > RATE // 2
    assert not any(before + gap + after)


def test_abort_drops_queued_and_buffered_audio(pulse: Pulse, path: Path) -> None:
    path.write_bytes(noise(20))
    with pulse.recording() as recording, start(pulse.env, path, "abort") as player:
        assert read_line(player) == "playing"
        recording.wait_for_audio(RATE * SAMPLE)
        send_line(player)
        played_frames = int(read_line(player))
        recording.wait_for(RATE * SAMPLE)  # still running: abort causes this silence
        end = recording.audio_end()
        assert len(recording.pcm) - end > RATE // 2 * SAMPLE
        assert player.poll() is None
        output, stderr = player.communicate("\n", timeout=30)
    assert (output, stderr, player.returncode) == ("0\n", "", 0)
    assert recording.audio_end() == end
    played = recording.pcm[recording.audio_start() : end]
    assert path.read_bytes().startswith(played)
    assert abs(len(played) // SAMPLE - played_frames) < RATE // 2


def test_lost_device_is_an_error(path: Path) -> None:
    """The server is killed, hangs, or suspends the device during playback; or hangs from the start."""
    need_pulse()
    path.write_bytes(noise(20))
    with ExitStack() as stack:
        killed, hung, suspended, unresponsive = (stack.enter_context(start_pulse()) for _ in range(4))
        unresponsive.process.send_signal(signal.SIGSTOP)
        players = [
            stack.enter_context(start(server.env, path)) for server in (killed, hung, suspended, unresponsive)
        ]
        for server in (killed, hung, suspended):
            with server.recording() as recording:
                recording.wait_for_audio(SAMPLE)
        killed.process.kill()
        hung.process.send_signal(signal.SIGSTOP)
        suspended.control("suspend-sink", "spk", "1")
        results = [(*player.communicate(timeout=40), player.returncode) for player in players]
    stopped = ("the output device stopped playing; use -o FILE\n", "", 11)
    assert results[1:3] == [stopped, stopped]
    assert results[3] == ("the sound server does not respond; use -o FILE\n", "", 11)
    assert results[0][0].startswith("device error: ")
    assert results[0][1:] == ("", 11)


# Errors before playback


@pytest.fixture
def no_sound_server(tmp_path: Path) -> dict[str, str]:
    """An environment without a sound server, where `.asoundrc` defines the only devices."""
    need_pulse()
    kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return kept | {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PULSE_SERVER": "unix:/nowhere"}


def test_no_device(no_sound_server: dict[str, str], path: Path) -> None:
    path.write_bytes(noise(0.1))
    assert play(no_sound_server, path) == (11, "no output device found; use -o FILE\n", "")
    assert play(no_sound_server, path, "list") == (0, "", "")


def test_no_portaudio(no_sound_server: dict[str, str], path: Path, tmp_path: Path) -> None:
    path.write_bytes(noise(0.1))
    (tmp_path / "libportaudio.so.2").write_bytes(b"")  # the loader finds this first and cannot load it
    no_sound_server["LD_LIBRARY_PATH"] = str(tmp_path)
    expected = (
        11,
        "the PortAudio library is missing; apt install libportaudio2, or use --player aplay or -o FILE\n",
        "",
    )
    assert play(no_sound_server, path) == expected
    assert play(no_sound_server, path, "list") == expected


def test_no_sounddevice(path: Path) -> None:
    path.write_bytes(noise(0.1))
    done = subprocess.run(  # -S: without site-packages
        [sys.executable, "-S", *PLAY[1:], str(path), str(RATE)],
        env={}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (11, "")
    assert re.fullmatch(
        r"the sounddevice package is missing; .*pip .*sounddevice, or use --player aplay or -o FILE\n",
        done.stdout,
    )


def test_device_is_selected_by_name(pulse: Pulse, path: Path) -> None:
    path.write_bytes(noise(0.1))
    code, output, stderr = play(pulse.env, path, "list")
    assert (code, stderr) == (0, "")
    assert "default: 44100, the default\n" in output
    with pulse.recording() as recording:
        assert play(pulse.env, path, "default") == (0, "2400 0\n", "")
    assert is_between_silence(recording, path.read_bytes())


def test_unusable_device_is_an_error(no_sound_server: dict[str, str], path: Path, tmp_path: Path) -> None:
    path.write_bytes(noise(0.1))
    (tmp_path / ".asoundrc").write_text(
        """
        pcm.kitchen_left { type linear slave { pcm "null" format S16_LE } }
        pcm.kitchen_right { type linear slave { pcm "null" format S16_LE } }
        pcm.cinema { type a52 slavepcm "null" rate 48000 channels 2 }
        """
    )
    hint = "--device ? lists them, -o FILE needs none"
    for how, expected in {
        "hall\x1b": f"no output device named 'hall\\x1b'; {hint}\n",
        "kitchen": f"several output devices match 'kitchen'; {hint}\n",
        "cinema": "the output device cinema does not support 24000 Hz; "
        "its rate is 48000 Hz; try another --device or -o FILE\n",
    }.items():
        assert play(no_sound_server, path, how) == (11, expected, "")
