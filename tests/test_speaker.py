"""The loudspeaker, for real: every sample at the monitor of a sound server, the first and the last."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pulse import Pulse, need_pulse, start_pulse

PLAY = [sys.executable, "-m", "tests.play_pcm"]
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def pulse() -> Iterator[Pulse]:
    need_pulse()
    with start_pulse() as server:
        yield server


def noise(seconds: float, rate: int = 24_000) -> bytes:
    """Samples none of which is 0, so that the first and the last are found."""
    luck = random.Random(4)
    return b"".join(
        (luck.randrange(1, 30_000) * luck.choice([-1, 1])).to_bytes(2, "little", signed=True)
        for _ in range(round(seconds * rate))
    )


def between_silence(recorded: bytes, pcm: bytes) -> bool:
    """Whether the recording is this sound, whole and once, and silence around it."""
    before, found, after = recorded.partition(pcm)
    return bool(found) and not any(before) and not any(after)


def play(pulse: Pulse, path: Path, rate: int = 24_000) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PLAY, str(path), str(rate)], env=pulse.env, cwd=ROOT, capture_output=True, text=True, check=False
    )


def heard_exactly(pulse: Pulse, path: Path, rate: int = 24_000) -> bool:
    """Whether it is; a machine that is too busy to play drops samples now and then, but not three times."""
    for _ in range(3):
        with pulse.recording(rate):
            done = play(pulse, path, rate)
        assert (done.returncode, done.stderr) == (0, "")
        if between_silence(pulse.recorded, path.read_bytes()):
            return True
    return False


def test_every_sample_is_heard_the_first_and_the_last(pulse: Pulse, tmp_path: Path) -> None:
    path = tmp_path / "noise.pcm"
    path.write_bytes(noise(1.5))
    assert heard_exactly(pulse, path)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_every_rate_is_heard_exactly(rate: int, tmp_path: Path) -> None:
    need_pulse()
    path = tmp_path / "noise.pcm"
    path.write_bytes(noise(0.5, rate))
    with start_pulse(rate) as server:
        assert heard_exactly(server, path, rate)


def test_abort_drops_what_is_queued(pulse: Pulse, tmp_path: Path) -> None:
    path = tmp_path / "noise.pcm"
    path.write_bytes(noise(20))
    with (
        pulse.recording(24_000),
        subprocess.Popen(
            [*PLAY, str(path), "24000", "abort"],
            env=pulse.env,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as player,
    ):
        assert player.stdin
        assert player.stdout
        assert player.stdout.readline() == b"playing\n"
        player.communicate(b"\n", timeout=30)
    played = pulse.recorded.strip(b"\0")
    assert path.read_bytes().startswith(played)
    assert len(played) < len(path.read_bytes()) / 4


def test_a_device_that_is_lost_is_an_error_and_no_hang(tmp_path: Path) -> None:
    need_pulse()
    path = tmp_path / "noise.pcm"
    path.write_bytes(noise(20))
    with (
        start_pulse() as server,
        subprocess.Popen(
            [*PLAY, str(path), "24000"], env=server.env, cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as player,
    ):
        inputs = ["pactl", "list", "short", "sink-inputs"]
        while not subprocess.run(inputs, env=server.env, capture_output=True, check=True).stdout:
            assert player.poll() is None
        server.process.kill()
        said, _ = player.communicate(timeout=30)
    assert player.returncode == 11
    assert "loudspeaker" in said


def test_no_device_is_told_before_anything_is_played(tmp_path: Path) -> None:
    need_pulse()
    path = tmp_path / "noise.pcm"
    path.write_bytes(noise(0.1))
    done = subprocess.run(
        [*PLAY, str(path), "24000"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PULSE_SERVER": "unix:/nowhere"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (11, "")
    assert done.stdout == "no loudspeaker was found; use -o FILE\n"
