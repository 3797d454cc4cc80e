"""Playback on a real sound server: every sample arrives at its monitor, the first and the last."""

from __future__ import annotations

import os
import random
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
    """Samples with no zero byte, so that the first and the last are found."""
    return bytes(random.Random(4).choices(range(1, 256), k=round(seconds * rate) * SAMPLE))


def start(env: dict[str, str], path: Path, how: str = "", rate: int = RATE) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*PLAY, str(path), str(rate), how],
        env=env, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True,
    )  # fmt: skip


def play(env: dict[str, str], path: Path, how: str = "", rate: int = RATE) -> tuple[int | None, str, str]:
    """The exit code, what was said, and what anybody printed on stderr."""
    with start(env, path, how, rate) as player:
        said, noted = player.communicate(timeout=30)
    return player.returncode, said, noted


def said_by(player: subprocess.Popen[str]) -> str:
    assert player.stdout
    return player.stdout.readline().strip()


def answer(player: subprocess.Popen[str]) -> None:
    assert player.stdin
    print(file=player.stdin, flush=True)


def is_between_silence(recording: Recording, pcm: bytes) -> bool:
    """Whether the recording is this sound, whole and once, and silence around it."""
    before, found, after = recording.pcm.partition(pcm)
    return bool(found) and not any(before + after)


@pytest.mark.parametrize("frames", [1, 479, 36_000])
def test_every_sample_is_heard_the_first_and_the_last(pulse: Pulse, path: Path, frames: int) -> None:
    path.write_bytes(noise(frames / RATE))
    with pulse.recording() as recording:
        done = play(pulse.env, path)
    assert done == (0, f"{frames} 0\n", "")
    assert is_between_silence(recording, path.read_bytes())


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_every_rate_is_heard_exactly(rate: int, path: Path) -> None:
    need_pulse()
    path.write_bytes(noise(0.5, rate))
    with start_pulse(rate) as server, server.recording() as recording:
        done = play(server.env, path, rate=rate)
    assert done == (0, f"{rate // 2} 0\n", "")
    assert is_between_silence(recording, path.read_bytes())


def test_a_rate_that_the_server_converts_is_heard_at_its_length(pulse: Pulse, path: Path) -> None:
    """Quietly: the server resamples, so the samples are others."""
    path.write_bytes(array("h", [1000] * 4_000).tobytes())
    with pulse.recording() as recording:
        done = play(pulse.env, path, rate=8_000)
    assert done == (0, "4000 0\n", "")
    assert (recording.sound_to() - recording.sound_from()) / SAMPLE == pytest.approx(12_000, abs=200)


def test_a_stall_costs_no_sample_and_is_counted(pulse: Pulse, path: Path) -> None:
    path.write_bytes(noise(0.6))
    first, second = (path.read_bytes()[at : at + 14_400] for at in (0, 14_400))
    with pulse.recording() as recording, start(pulse.env, path, "stall") as player:
        assert said_by(player) == "stalled"
        recording.wait_for_sound(len(first) + RATE)
        answer(player)
        said, noted = player.communicate(timeout=30)
    assert said == "7200\n14400 1\n"  # all of the first half had been heard; one underrun
    assert noted == ""  # ALSA would tell of it
    before, found, rest = recording.pcm.partition(first)
    gap, found_too, after = rest.partition(second)
    assert found
    assert found_too
    assert len(gap) > RATE // 2
    assert not any(before + gap + after)


def test_abort_drops_what_is_queued_and_what_the_device_holds(pulse: Pulse, path: Path) -> None:
    path.write_bytes(noise(20))
    with pulse.recording() as recording, start(pulse.env, path, "abort") as player:
        assert said_by(player) == "playing"
        recording.wait_for_sound(RATE * SAMPLE)
        answer(player)
        heard = int(said_by(player))
        recording.wait_for(RATE * SAMPLE)  # the player still lives: this is the silence of abort, not of exit
        end = recording.sound_to()
        assert len(recording.pcm) - end > RATE // 2 * SAMPLE
        assert player.poll() is None
        said, noted = player.communicate("\n", timeout=30)
    assert (said, noted, player.returncode) == ("0\n", "", 0)
    assert recording.sound_to() == end
    played = recording.pcm[recording.sound_from() : end]
    assert path.read_bytes().startswith(played)
    assert abs(len(played) // SAMPLE - heard) < RATE // 2


def test_a_device_that_is_lost_is_an_error_and_neither_hang_nor_crash(path: Path) -> None:
    """The server dies, hangs, or suspends the device during playback; or hangs from the start."""
    need_pulse()
    path.write_bytes(noise(20))
    with ExitStack() as stack:
        dead, hung, asleep, deaf = (stack.enter_context(start_pulse()) for _ in range(4))
        deaf.process.send_signal(signal.SIGSTOP)
        players = [stack.enter_context(start(server.env, path)) for server in (dead, hung, asleep, deaf)]
        for server in (dead, hung, asleep):
            with server.recording() as recording:
                recording.wait_for_sound(SAMPLE)
        dead.process.kill()
        hung.process.send_signal(signal.SIGSTOP)
        asleep.control("suspend-sink", "spk", "1")
        told = [(*player.communicate(timeout=40), player.returncode) for player in players]
    stopped = ("the output device stopped playing; use -o FILE\n", "", 11)
    assert told[1:3] == [stopped, stopped]
    assert told[3] == ("the sound server does not respond; use -o FILE\n", "", 11)
    assert told[0][0].startswith("device error: ")
    assert told[0][1:] == ("", 11)


# Errors that are found before anything is played


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """An environment with no sound server, where `.asoundrc` is all the hardware there is."""
    need_pulse()
    kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    return kept | {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PULSE_SERVER": "unix:/nowhere"}


def test_no_device(nowhere: dict[str, str], path: Path) -> None:
    path.write_bytes(noise(0.1))
    assert play(nowhere, path) == (11, "no output device found; use -o FILE\n", "")
    assert play(nowhere, path, "list") == (0, "", "")


def test_no_portaudio(nowhere: dict[str, str], path: Path, tmp_path: Path) -> None:
    path.write_bytes(noise(0.1))
    (tmp_path / "libportaudio.so.2").write_bytes(b"")  # what the loader finds first, and cannot load
    nowhere["LD_LIBRARY_PATH"] = str(tmp_path)
    told = (
        11,
        "the PortAudio library is missing; apt install libportaudio2, or use --player aplay or -o FILE\n",
        "",
    )
    assert play(nowhere, path) == told
    assert play(nowhere, path, "list") == told


def test_no_sounddevice(path: Path) -> None:
    path.write_bytes(noise(0.1))
    done = subprocess.run(  # -S: without the packages that are installed
        [sys.executable, "-S", *PLAY[1:], str(path), str(RATE)],
        env={}, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (11, "")
    assert (
        done.stdout
        == "the sounddevice package is missing; pip install sounddevice, or use --player aplay or -o FILE\n"
    )


def test_a_device_by_its_name(pulse: Pulse, path: Path) -> None:
    path.write_bytes(noise(0.1))
    code, said, noted = play(pulse.env, path, "list")
    assert (code, noted) == (0, "")
    assert "default: 44100, the default\n" in said
    with pulse.recording() as recording:
        assert play(pulse.env, path, "default") == (0, "2400 0\n", "")
    assert is_between_silence(recording, path.read_bytes())


def test_a_device_that_will_not_do(nowhere: dict[str, str], path: Path, tmp_path: Path) -> None:
    path.write_bytes(noise(0.1))
    (tmp_path / ".asoundrc").write_text(
        """
        pcm.kitchen_left { type linear slave { pcm "null" format S16_LE } }
        pcm.kitchen_right { type linear slave { pcm "null" format S16_LE } }
        pcm.cinema { type a52 slavepcm "null" rate 48000 channels 2 }
        """
    )
    hint = "--device ? lists them, -o FILE needs none"
    for how, told in {
        "hall\x1b": f"no output device named 'hall\\x1b'; {hint}\n",
        "kitchen": f"several output devices match 'kitchen'; {hint}\n",
        "cinema": "the output device cinema does not support 24000 Hz; "
        "its rate is 48000 Hz; try another --device or -o FILE\n",
    }.items():
        assert play(nowhere, path, how) == (11, told, "")
