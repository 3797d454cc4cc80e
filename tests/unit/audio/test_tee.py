"""Several sinks at once: none waits for another, none spoils another, and the end is bounded."""

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
    """A sink that plays in its own time: it is at its end when it is let go."""

    def __init__(self) -> None:
        self.written = b""
        self.got_some, self.let_go = threading.Event(), threading.Event()
        self.fault: BaseException | None = None
        self.ended = ""

    def write(self, pcm: bytes) -> None:
        self.got_some.set()
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
        self.let_go.wait()
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"
        self.let_go.set()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(30)  # minutes of sound are encoded before it ends
        assert not thread.is_alive()


class Pipe:
    """A pipe whose reader does not read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """To the last byte: the next one waits."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        for size in (4096, 1):
            with suppress(BlockingIOError):
                while True:
                    os.write(descriptor, bytes(size))
        os.close(descriptor)


@contextmanager
def unread_pipe(folder: Path) -> Iterator[Pipe]:
    """The reader leaves at the end."""
    before = set(threading.enumerate())
    path = make_fifo(folder)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield Pipe(path)
    finally:
        os.close(reader)
        for thread in set(threading.enumerate()) - before:
            thread.join()  # what was stuck in the pipe is not any more


@contextmanager
def a_signal_when(event: threading.Event) -> Iterator[None]:
    """Ctrl-C as `cli` has it, at the main thread, when `event` is set."""
    over = False

    def interrupt(number: int, _: FrameType | None) -> None:
        raise Interrupted(number)

    def press() -> None:
        event.wait()
        if not over:
            os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with in_background(press):
            try:
                yield
            finally:
                over = True
                event.set()
    finally:
        signal.signal(signal.SIGUSR1, before)


# What each gets


def test_every_format_at_once_gets_the_same_samples(tmp_path: Path) -> None:
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


def test_the_slowest_that_lives_is_heard() -> None:
    class Slow(SlowPlayback):
        def frames_played(self) -> int:
            return 5

    fast, slow, dead = SlowPlayback(), Slow(), SlowPlayback()
    dead.fault = DeviceError("unplugged")
    tee = TeeSink([fast, slow, dead])
    tee.write(noise(100))
    for each in (fast, slow, dead):
        each.got_some.wait()
    while tee.frames_played() < 5:  # the dead one has heard nothing, and no longer counts
        fast.let_go.wait(0.01)
    assert tee.abort() is None
    assert (fast.ended, slow.ended) == ("aborted", "aborted")


# One that dies


def test_a_reader_that_leaves_spoils_no_file(tmp_path: Path) -> None:
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


def test_the_first_to_die_is_told_of() -> None:
    """First in time, not in the order of the command line."""
    first, whole = SlowPlayback(), SlowPlayback()

    class Second(SlowPlayback):
        def close(self) -> None:
            first.let_go.wait()
            raise OutputError("full")

    second = Second()
    whole.let_go.set()
    first.fault = DeviceError("unplugged")
    tee = TeeSink([second, first, whole])
    tee.write(noise(100))
    with pytest.raises(DeviceError, match="unplugged"):
        tee.close()
    assert (first.ended, second.ended) == ("aborted", "aborted")
    assert (whole.ended, whole.written) == ("closed", noise(100))


def test_when_none_is_left_writing_ends_at_once_and_so_does_waiting() -> None:
    """The pipeline would otherwise wait indefinitely, or ask for another segment."""
    only = SlowPlayback()
    only.fault = DeviceError("unplugged")
    tee = TeeSink([only])
    tee.write(noise(10))
    only.let_go.wait()
    with pytest.raises(DeviceError):
        tee.frames_played()
    with pytest.raises(DeviceError):
        tee.write(noise(10))
    assert tee.abort() is None


def test_a_bug_in_a_branch_is_no_success(tmp_path: Path) -> None:
    """Whatever ends a thread is raised by close; the other sinks are complete."""
    buggy, whole = SlowPlayback(), SlowPlayback()
    buggy.fault = ZeroDivisionError("a bug")
    whole.let_go.set()
    tee = TeeSink([buggy, whole])
    tee.write(noise(10))
    with pytest.raises(ZeroDivisionError):
        tee.close()
    assert (buggy.ended, whole.ended) == ("aborted", "closed")


# The end


def test_a_slow_reader_holds_up_no_file(tmp_path: Path) -> None:
    """The file is whole on the disk, and named, while the pipe still has the most of it to take."""
    pcm, path = noise(200_000), tmp_path / "out.wav"
    with unread_pipe(tmp_path) as stuck:
        destinations = [Destination(str(stuck.path), "pcm"), Destination(str(path), "wav")]
        event = threading.Event()
        with a_signal_when(event), pytest.raises(Interrupted), open_sinks(destinations, FORMAT) as sink:
            for piece in pieces(pcm):
                sink.write(piece)
            watch = threading.Thread(target=wait_for, args=(path, event))
            watch.start()
            sink.close()
        watch.join()
        assert decoded(path.read_bytes(), "wav") == pcm


def wait_for(path: Path, event: threading.Event) -> None:
    """Set `event` when the file has its name."""
    pause = threading.Event()
    while not path.exists():
        pause.wait(0.01)
    event.set()


@pytest.mark.parametrize("coding", [*CODINGS, "wav-ulaw"])
def test_a_signal_ends_a_run_that_is_stuck_in_a_pipe(coding: str, tmp_path: Path) -> None:
    """Also where libsndfile is writing, which would swallow it; and nothing is waited for at the end."""
    event = threading.Event()
    with unread_pipe(tmp_path) as stuck:
        destination = Destination(str(stuck.path), coding)
        with a_signal_when(event), pytest.raises(Interrupted), open_sinks([destination], FORMAT) as sink:
            stuck.fill()
            event.set()
            for piece in pieces(noise(400_000)):
                sink.write(piece)
            sink.close()


@pytest.mark.parametrize("coding", ["opus", "mp3", "flac"])
def test_a_signal_while_the_library_works_is_not_lost(coding: str, tmp_path: Path) -> None:
    """On the main thread it would be raised in a callback of libsndfile, which prints it and goes on."""
    event, much = threading.Event(), tone(24_000) * 300
    destination = Destination(str(tmp_path / "out"), coding, keep=False)
    with a_signal_when(event), pytest.raises(Interrupted), open_sinks([destination], FORMAT) as sink:
        sink.write(tone(24_000))
        event.set()
        sink.write(much)


def test_the_playback_is_silenced_before_anything_is_waited_for() -> None:
    speaker, event = SlowPlayback(), threading.Event()

    class SlowDisk(SlowPlayback):
        def close(self) -> None:
            event.set()
            self.ended = "closed in time" if speaker.let_go.wait(1.5) else "kept waiting"

        def abort(self) -> None:
            """It is busy."""

    disk = SlowDisk()
    tee = TeeSink([disk, speaker])
    with a_signal_when(event), pytest.raises(Interrupted):
        tee.close()
    tee.abort()
    assert (speaker.ended, disk.ended) == ("aborted", "closed in time")


@pytest.mark.parametrize("coding", ["wav", "mp3", "flac", "ogg", "opus", "wav-alaw"])
def test_a_signal_keeps_what_a_file_is_owed(coding: str, tmp_path: Path) -> None:
    """Beside a pipe that is stuck. The file has a true end."""
    pcm, path = tone(60_000), tmp_path / "out"
    event = threading.Event()
    with unread_pipe(tmp_path) as stuck:
        destinations = [Destination(str(stuck.path), "pcm"), Destination(str(path), coding)]
        with (
            a_signal_when(event),
            pytest.raises(Interrupted) as caught,
            open_sinks(destinations, FORMAT) as sink,
        ):
            stuck.fill()
            for piece in pieces(pcm):
                sink.write(piece)
            event.set()
            wait_for(tmp_path / "nothing", threading.Event())
    assert caught.value.partial == tmp_path / "out.part"
    found = decoded((tmp_path / "out.part").read_bytes(), coding)
    assert len(found) >= len(pcm)
    assert correlation(found, pcm[: 2 * 50_000]) > 0.99
    assert not path.exists()


def test_a_signal_silences_the_playback_and_completes_the_file(tmp_path: Path) -> None:
    """Once the last byte is in: the file is whole, whatever is still to be played."""
    pcm, path = noise(50_000), tmp_path / "out.wav"
    event, playback = threading.Event(), SlowPlayback()
    with open_sinks([Destination(str(path), "wav")], FORMAT) as file:
        tee = TeeSink([playback, file])
        for piece in pieces(pcm):
            tee.write(piece)
        watch = threading.Thread(target=wait_for, args=(path, event))
        watch.start()
        with a_signal_when(event), pytest.raises(Interrupted):
            tee.close()
        watch.join()
        assert tee.abort() is None
    assert (playback.ended, playback.written) == ("aborted", pcm)
    assert decoded(path.read_bytes(), "wav") == pcm


def test_a_branch_that_was_aborted_is_no_success(tmp_path: Path) -> None:
    """For a caller that closes it on another thread than the one that a signal came to."""
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


def test_an_abort_with_much_to_encode_is_no_race(tmp_path: Path) -> None:
    """The thread that encodes is the one that ends the file: libsndfile survives nothing else."""
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
