"""The lock of the output device, by several users in one process: flock locks descriptors, not processes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from smallest_cli.audio import playback_lock
from smallest_cli.audio.playback_lock import PlaybackLock
from smallest_cli.errors import DeviceError
from smallest_cli.models import AudioFormat
from tests.support.memory_sink import MemorySink

FORMAT = AudioFormat(24_000)
FRAMES = 240


class Late(Exception):
    """The time limit of the run."""


class Runs:
    """Locks of runs, and what they warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.is_late = False
        self.sinks: list[MemorySink] = []

    def new(self, overlap: str = "wait") -> PlaybackLock:
        return PlaybackLock(FORMAT, self.warnings.append, self.check_time, overlap)

    def playing(self, overlap: str = "wait") -> PlaybackLock:
        """A run that holds the lock, and has written all its audio."""
        lock = self.new(overlap)
        assert lock.take()
        self.sinks.append(MemorySink())
        lock.guard(self.sinks[-1]).write(bytes(FRAMES * FORMAT.frame_size))
        return lock

    def check_time(self) -> None:
        if self.is_late:
            raise Late


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setenv("SMALLEST_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return Runs()


def test_lock_is_released_once_the_frames_were_played(runs: Runs) -> None:
    first, second = runs.playing(), runs.new()
    first.finish(FRAMES + 1)
    assert not second.take(0)
    first.finish(FRAMES)
    assert second.take()
    assert runs.warnings == [f"waiting until process {os.getpid()} has finished playing"]
    assert not first.take(0)
    second.end()
    assert first.take()
    first.end()


def test_interruption_after_the_last_sample_is_no_error(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost: the lock is only kept for what a player may still play."""
    monkeypatch.setattr(playback_lock, "TAIL_S", 1000)
    first, second = runs.playing(), runs.new("interrupt")
    first.finish(FRAMES)
    assert second.take()
    first.check()
    second.end()
    assert first.take()
    first.end()


def test_interrupted_run_takes_the_lock_no_more(runs: Runs) -> None:
    first, second = runs.playing(), runs.playing("interrupt")
    with pytest.raises(DeviceError, match="interrupted the playback"):
        first.check()
    assert first.take(0)
    third = runs.new()
    assert not third.take(0)
    second.end()
    assert third.take()
    third.end()
    assert len(runs.warnings) == 1


def test_holder_that_ignores_the_request_is_named(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that is suspended, or another version of this program."""
    monkeypatch.setattr(playback_lock, "INTERRUPTED_WITHIN_S", 0.1)
    first = runs.new()
    monkeypatch.setattr(PlaybackLock, "_watch", lambda *_: None)
    assert first.take()
    with pytest.raises(DeviceError, match=f"process {os.getpid()} does not end its playback") as caught:
        runs.new("interrupt").take()
    assert "--overlap mix" in caught.value.hint
    first.end()


def test_time_limit_ends_the_wait(runs: Runs) -> None:
    first, second = runs.playing(), runs.new()
    assert not second.take(0)
    runs.is_late = True
    with pytest.raises(Late):
        second.take()
    assert first.is_wanted()
    second.end()
    assert not first.is_wanted()
    first.end()


def test_failed_close_is_ignored(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    first, close = runs.playing(), os.close

    def fail(descriptor: int) -> None:
        close(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "close", fail)
    assert not runs.new().take(0)
    first.end()
    second = runs.new()
    assert second.take()
    second.end()
    assert len(runs.warnings) == 1
