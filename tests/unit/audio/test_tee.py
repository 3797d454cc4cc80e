"""Several sinks at once: none blocks or corrupts another, and closing is bounded."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import pytest

from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.audio.tee import TeeSink
from smallest_cli.errors import BrokenPipe, DeviceError, Interrupted, OutputError
from tests.support.audio import FORMAT, correlation, decoded, in_background, make_fifo, noise, pieces, tone

CODINGS = ("wav", "pcm", "flac", "ogg", "opus", "mp3", "ulaw", "alaw")


class SlowPlayback:
    """A sink whose close() blocks until `released` is set."""

    def __init__(self) -> None:
        self.written = b""
        self.received, self.released = threading.Event(), threading.Event()
        self.fault: BaseException | None = None
        self.ended = ""

    def write(self, pcm: bytes) -> None:
        self.received.set()
        if self.fault:
            raise self.fault
        self.written += pcm

    def frames_played(self) -> int:
        return len(self.written) // 2

    @property
    def can_rewind(self) -> bool:
        return False

    def rewind(self, frames: int) -> None:
        raise AssertionError

    def close(self) -> None:
        self.released.wait()
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"
        self.released.set()


@pytest.fixture(autouse=True)
def no_leaked_threads() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(60)  # it may still have a minute of audio to encode
        assert not thread.is_alive()


class Pipe:
    """A pipe whose reader does not read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Fill the buffer of the pipe, so that the next write blocks."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        for size in (4096, 1):
            with suppress(BlockingIOError):
                while True:
                    os.write(descriptor, bytes(size))
        os.close(descriptor)


@contextmanager
def unread_pipe(folder: Path) -> Iterator[Pipe]:
    """A pipe whose reader closes it at the end."""
    before = set(threading.enumerate())
    path = make_fifo(folder)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield Pipe(path)
    finally:
        os.close(reader)
        for thread in set(threading.enumerate()) - before:
            thread.join()  # a write blocked on the pipe fails now


@contextmanager
def signal_on(event: threading.Event) -> Iterator[None]:
    """Raise Interrupted on the main thread when `event` is set, as `cli` does on Ctrl-C."""
    finished = False

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    def send_signal() -> None:
        event.wait()
        if not finished:
            os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with in_background(send_signal):
            try:
                yield
            finally:
                finished = True
                event.set()
    finally:
        signal.signal(signal.SIGUSR1, before)


# Output of each sink


def test_sinks_of_all_formats_get_the_same_samples(tmp_path: Path) -> None:
    pcm = tone(50_000)
    destinations = [Destination(str(tmp_path / coding), coding) for coding in CODINGS]
    with open_sinks(destinations, FORMAT) as sink:
        for piece in pieces(pcm):
            sink.write(piece)
    for coding in CODINGS:
        found = decoded((tmp_path / coding).read_bytes(), coding)
        if coding in ("wav", "pcm", "flac"):
            assert found == pcm
        else:
            assert correlation(found, pcm[: 2 * 40_000]) > 0.99
    assert sorted(os.listdir(tmp_path)) == sorted(CODINGS)


def test_frames_played_is_that_of_the_slowest_working_sink() -> None:
    class Slow(SlowPlayback):
        def frames_played(self) -> int:
            return 5

    fast, slow, failed = SlowPlayback(), Slow(), SlowPlayback()
    failed.fault = DeviceError("unplugged")
    tee = TeeSink([fast, slow, failed])
    tee.write(noise(100))
    for each in (fast, slow, failed):
        each.received.wait()
    while tee.frames_played() < 5:  # the failed sink played nothing and no longer counts
        fast.released.wait(0.01)
    assert tee.abort() is None
    assert (fast.ended, slow.ended) == ("aborted", "aborted")


# A sink that fails


def test_closed_reader_does_not_affect_the_file(tmp_path: Path) -> None:
    pcm, fifo = noise(400_000), make_fifo(tmp_path)
    destinations = [Destination(str(fifo), "pcm"), Destination(str(tmp_path / "out.flac"), "flac")]
    with (
        in_background(lambda: os.close(os.open(fifo, os.O_RDONLY))),
        pytest.raises(BrokenPipe) as caught,
        open_sinks(destinations, FORMAT) as sink,
    ):
        for piece in pieces(pcm):
            sink.write(piece)
    assert caught.value.partial is None
    assert decoded((tmp_path / "out.flac").read_bytes(), "flac") == pcm


def test_first_failure_in_time_is_raised() -> None:
    """Not the first failed sink on the command line."""
    first, complete = SlowPlayback(), SlowPlayback()

    class Second(SlowPlayback):
        def close(self) -> None:
            first.released.wait()
            raise OutputError("full")

    second = Second()
    complete.released.set()
    first.fault = DeviceError("unplugged")
    tee = TeeSink([second, first, complete])
    tee.write(noise(100))
    with pytest.raises(DeviceError, match="unplugged"):
        tee.close()
    assert (first.ended, second.ended) == ("aborted", "aborted")
    assert (complete.ended, complete.written) == ("closed", noise(100))


def test_write_and_frames_played_raise_once_every_sink_failed() -> None:
    """The pipeline would otherwise wait indefinitely, or request another segment."""
    only = SlowPlayback()
    only.fault = DeviceError("unplugged")
    tee = TeeSink([only])
    tee.write(noise(10))
    only.released.wait()
    with pytest.raises(DeviceError):
        tee.frames_played()
    with pytest.raises(DeviceError):
        tee.write(noise(10))
    assert tee.abort() is None


def test_bug_in_a_sink_thread_is_raised_by_close(tmp_path: Path) -> None:
    """The other sinks are complete."""
    buggy, complete = SlowPlayback(), SlowPlayback()
    buggy.fault = ZeroDivisionError("a bug")
    complete.released.set()
    tee = TeeSink([buggy, complete])
    tee.write(noise(10))
    with pytest.raises(ZeroDivisionError):
        tee.close()
    assert (buggy.ended, complete.ended) == ("aborted", "closed")


# Closing and aborting


def test_blocked_pipe_does_not_delay_the_file(tmp_path: Path) -> None:
    """The file is complete and has its final name while most of the audio still waits for the pipe."""
    pcm, path = noise(200_000), tmp_path / "out.wav"
    with unread_pipe(tmp_path) as blocked:
        destinations = [Destination(str(blocked.path), "pcm"), Destination(str(path), "wav")]
        event = threading.Event()
        with signal_on(event), pytest.raises(Interrupted), open_sinks(destinations, FORMAT) as sink:
            for piece in pieces(pcm):
                sink.write(piece)
            watch = threading.Thread(target=wait_for, args=(path, event))
            watch.start()
            sink.close()
        watch.join()
        assert decoded(path.read_bytes(), "wav") == pcm


def wait_for(path: Path, event: threading.Event) -> None:
    """Set `event` when the file has its final name."""
    pause = threading.Event()
    while not path.exists():
        pause.wait(0.01)
    event.set()


@pytest.mark.parametrize("coding", [*CODINGS, "wav-ulaw"])
def test_signal_ends_a_run_blocked_on_a_pipe(coding: str, tmp_path: Path) -> None:
    """Also in a callback of libsndfile, which would swallow the exception; closing does not block."""
    event = threading.Event()
    with unread_pipe(tmp_path) as blocked:
        destination = Destination(str(blocked.path), coding)
        with signal_on(event), pytest.raises(Interrupted), open_sinks([destination], FORMAT) as sink:
            blocked.fill()
            event.set()
            for piece in pieces(noise(400_000)):
                sink.write(piece)
            sink.close()


@pytest.mark.parametrize("coding", ["opus", "mp3", "flac"])
def test_signal_during_encoding_is_not_lost(coding: str, tmp_path: Path) -> None:
    """On the main thread it would be raised in a callback of libsndfile, which would print and ignore it."""
    event, long_audio = threading.Event(), tone(24_000) * 60
    destination = Destination(str(tmp_path / "out"), coding, keep=False)
    with signal_on(event), pytest.raises(Interrupted), open_sinks([destination], FORMAT) as sink:
        sink.write(tone(24_000))
        event.set()
        sink.write(long_audio)


def test_abort_stops_playback_before_waiting_for_other_sinks() -> None:
    speaker, event = SlowPlayback(), threading.Event()

    class SlowDisk(SlowPlayback):
        def close(self) -> None:
            event.set()
            self.ended = "closed in time" if speaker.released.wait(1.5) else "kept waiting"

        def abort(self) -> None:
            """Do nothing, like a sink that is busy."""

    disk = SlowDisk()
    tee = TeeSink([disk, speaker])
    with signal_on(event), pytest.raises(Interrupted):
        tee.close()
    tee.abort()
    assert (speaker.ended, disk.ended) == ("aborted", "closed in time")


@pytest.mark.parametrize("coding", ["wav", "mp3", "flac", "ogg", "opus", "wav-alaw"])
def test_signal_keeps_the_written_audio_in_the_partial_file(coding: str, tmp_path: Path) -> None:
    """Beside a blocked pipe. The partial file is terminated properly."""
    pcm, path = tone(60_000), tmp_path / "out"
    event = threading.Event()
    with unread_pipe(tmp_path) as blocked:
        destinations = [Destination(str(blocked.path), "pcm"), Destination(str(path), coding)]
        with (
            signal_on(event),
            pytest.raises(Interrupted) as caught,
            open_sinks(destinations, FORMAT) as sink,
        ):
            blocked.fill()
            for piece in pieces(pcm):
                sink.write(piece)
            event.set()
            wait_for(tmp_path / "nothing", threading.Event())
    assert caught.value.partial == tmp_path / "out.part"
    found = decoded((tmp_path / "out.part").read_bytes(), coding)
    assert len(found) >= len(pcm)
    assert correlation(found, pcm[: 2 * 50_000]) > 0.99
    assert not path.exists()


def test_signal_during_close_stops_playback_and_completes_the_file(tmp_path: Path) -> None:
    """The file is complete even if audio is still to be played."""
    pcm, path = noise(50_000), tmp_path / "out.wav"
    event, playback = threading.Event(), SlowPlayback()
    with open_sinks([Destination(str(path), "wav")], FORMAT) as file:
        tee = TeeSink([playback, file])
        for piece in pieces(pcm):
            tee.write(piece)
        watch = threading.Thread(target=wait_for, args=(path, event))
        watch.start()
        with signal_on(event), pytest.raises(Interrupted):
            tee.close()
        watch.join()
        assert tee.abort() is None
    assert (playback.ended, playback.written) == ("aborted", pcm)
    assert decoded(path.read_bytes(), "wav") == pcm


def test_close_after_an_abort_raises_output_error(tmp_path: Path) -> None:
    """For a caller that closes the sink on another thread than the one that got the signal."""
    path, pcm = tmp_path / "out", noise(50_000)
    path.write_bytes(b"old")
    with (
        pytest.raises(OutputError, match="interrupted"),
        open_sinks([Destination(str(path), "flac"), Destination(str(tmp_path / "b"), "wav")], FORMAT) as sink,
    ):
        sink.write(pcm)
        assert sink.abort() == tmp_path / "out.part"
        sink.close()
    assert path.read_bytes() == b"old"
    assert not (tmp_path / "b").exists()
    assert decoded((tmp_path / "b.part").read_bytes(), "wav") == pcm


def test_abort_during_encoding_leaves_valid_partial_files(tmp_path: Path) -> None:
    """The encoding thread closes its file: a libsndfile handle must not be used by two threads."""
    pcm = tone(24_000) * 40
    destinations = [Destination(str(tmp_path / coding), coding) for coding in CODINGS]
    with pytest.raises(OutputError) as caught, open_sinks(destinations, FORMAT) as sink:
        for _ in range(3):
            sink.write(pcm)
        raise OutputError("something else")
    assert caught.value.partial == tmp_path / "wav.part"
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()
    for coding in ("wav", "flac", "ogg"):
        found = decoded((tmp_path / f"{coding}.part").read_bytes(), coding)
        assert found
        if coding != "ogg":
            assert (pcm * 3).startswith(found)
