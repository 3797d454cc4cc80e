"""Closing and aborting a sink: what is kept, and the errors of a missing library or a full disk."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smallest_cli.audio.destinations import Destination, choose_destinations, open_sinks
from smallest_cli.audio.encoders import Encoder, PcmEncoder
from smallest_cli.audio.file import EncodedSink
from smallest_cli.audio.formats import choose_coding
from smallest_cli.audio.libsndfile import CompressedEncoder
from smallest_cli.errors import Interrupted, OutputError, UsageError
from smallest_cli.files import FileTarget
from tests.support.audio import FORMAT, decoded, make_fifo, noise, pieces, tone

LIBRARY_CODINGS = ("flac", "ogg", "opus", "mp3", "ulaw", "alaw", "wav-ulaw", "wav-alaw")


# A file that cannot be completed


@contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    """Limit the file size of this process, to simulate a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("coding", ["wav", "pcm", *LIBRARY_CODINGS])
def test_full_disk_keeps_the_partial_file(coding: str, tmp_path: Path) -> None:
    """The audio was billed, and can be played."""
    path, pcm = tmp_path / "out", noise(200_000)
    path.write_bytes(b"old")
    with (
        limited_file_size(20_000),
        pytest.raises(OutputError, match="File too large") as caught,
        open_sinks([Destination(str(path), coding)], FORMAT) as sink,
    ):
        for piece in pieces(pcm):
            sink.write(piece)
    assert path.read_bytes() == b"old"
    assert caught.value.partial == tmp_path / "out.part"
    data = (tmp_path / "out.part").read_bytes()
    assert len(data) == 20_000
    if coding in ("wav", "pcm"):
        found = decoded(data, coding)
        assert len(found) > 15_000
        assert pcm.startswith(found)
    elif coding in ("ogg", "mp3", "wav-ulaw", "ulaw"):
        assert len(decoded(data, coding)) > 1_000


def test_partial_file_is_discarded_on_request(tmp_path: Path) -> None:
    destination = Destination(str(tmp_path / "out.flac"), "flac", keep=False)
    with pytest.raises(OutputError), open_sinks([destination], FORMAT) as sink:
        sink.write(tone(50_000))
        raise OutputError("something else")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("coding", ["wav", "flac"])
def test_file_created_meanwhile_leaves_the_audio_in_the_partial_file(coding: str, tmp_path: Path) -> None:
    """The partial file is complete, and the error names it."""
    path, pcm = tmp_path / "out", noise(50_000)
    with (
        pytest.raises(UsageError, match="exists") as caught,
        open_sinks([Destination(str(path), coding, clobber=False)], FORMAT) as sink,
    ):
        for piece in pieces(pcm):
            sink.write(piece)
        path.write_bytes(b"came meanwhile")
    assert path.read_bytes() == b"came meanwhile"
    assert caught.value.partial == tmp_path / "out.part"
    assert decoded((tmp_path / "out.part").read_bytes(), coding) == pcm


def test_folder_removed_meanwhile_raises_output_error(tmp_path: Path) -> None:
    """The closed descriptor must not be written to: its number may be reused."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with (
        pytest.raises(OutputError, match="No such file"),
        open_sinks([Destination(str(folder / "out.wav"), "wav")], FORMAT) as sink,
    ):
        sink.write(noise(50_000))
        (folder / "out.wav.part").unlink()
        folder.rmdir()


class InterruptedTarget:
    """A target whose first `commit` is interrupted by a signal."""

    def __init__(self, path: Path) -> None:
        self._target = FileTarget(str(path))
        self.descriptor = self._target.descriptor
        self.is_file = self.is_ours = True
        self._signals = 1

    def commit(self) -> None:
        if self._signals:
            self._signals -= 1
            raise Interrupted(signal.SIGINT)
        self._target.commit()

    def abandon(self, keep: bool) -> Path | None:
        return self._target.abandon(keep)


@pytest.mark.parametrize("coding", ["pcm", "flac"])
def test_signal_during_commit_still_completes_the_file(coding: str, tmp_path: Path) -> None:
    path, pcm = tmp_path / "out", noise(50_000)
    target = InterruptedTarget(path)
    encoder: Encoder = PcmEncoder(target.descriptor)
    if coding == "flac":
        encoder = CompressedEncoder(coding, target.descriptor, FORMAT)
    sink = EncodedSink("out", target, encoder, FORMAT)
    sink.write(pcm)
    with pytest.raises(Interrupted):
        sink.close()
    assert not path.exists()
    assert sink.abort() is None
    assert decoded(path.read_bytes(), coding) == pcm
    assert sink.abort() is None
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("coding", ["wav", "flac"])
def test_sink_aborted_by_another_thread_is_not_completed(coding: str, tmp_path: Path) -> None:
    """A signal aborts on the main thread while a worker is between two steps."""
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with (
        pytest.raises(OutputError, match="interrupted"),
        open_sinks([Destination(str(path), coding)], FORMAT) as sink,
    ):
        sink.write(noise(50_000))
        assert sink.abort() == tmp_path / "out.part"
    assert path.read_bytes() == b"old"
    assert decoded((tmp_path / "out.part").read_bytes(), coding) == noise(50_000)


def test_aborted_sink_does_not_write_to_a_reused_descriptor(tmp_path: Path) -> None:
    """The number may already belong to another file."""
    with (
        pytest.raises(OutputError, match="interrupted"),
        open_sinks([Destination(str(tmp_path / "out"), "pcm")], FORMAT) as sink,
    ):
        sink.abort()
        with (tmp_path / "other").open("w+b", buffering=0) as other:
            for step in (lambda: sink.write(b"RIFF"), lambda: sink.rewind(0)):
                with pytest.raises(OutputError, match="interrupted"):
                    step()
            assert other.read() == b""


def test_descriptor_is_closed_once(tmp_path: Path) -> None:
    """Its number may belong to another file by the second call."""
    target = FileTarget(str(tmp_path / "out"), clobber=False)
    (tmp_path / "out").write_bytes(b"came meanwhile")
    number = target.descriptor
    with pytest.raises(UsageError):
        target.commit()
    assert target.abandon(True) == tmp_path / "out.part"
    with (tmp_path / "other").open("wb", buffering=0) as other:
        assert other.fileno() == number
        assert target.abandon(True) is None
        target.commit()
        other.write(b"whole")


@pytest.mark.parametrize(("coding", "head"), [("flac", 1_000), ("ogg", 4_000), ("opus", 1_200)])
def test_failed_run_writes_nothing_more_to_a_pipe(coding: str, head: int, tmp_path: Path) -> None:
    """Flushing the encoder could block on a reader that is closed or stopped."""
    fifo = make_fifo(tmp_path)
    with fifo.open("rb+", buffering=0) as pipe:
        os.set_blocking(pipe.fileno(), False)
        with pytest.raises(OutputError), open_sinks([Destination(str(fifo), coding)], FORMAT) as sink:
            sink.write(noise(3_000))
            raise OutputError("something else")
        assert len(pipe.read(65_536) or b"") < head


# Before anything is written


def test_nothing_is_written_before_the_first_audio(tmp_path: Path) -> None:
    """The reader of a compressed pipe gets no header if the request fails."""
    fifo = make_fifo(tmp_path)
    with fifo.open("rb+", buffering=0) as pipe:
        os.set_blocking(pipe.fileno(), False)
        with pytest.raises(OutputError), open_sinks([Destination(str(fifo), "mp3")], FORMAT):
            raise OutputError("something else")
        assert pipe.read(1) is None


@pytest.mark.parametrize("coding", LIBRARY_CODINGS)
def test_missing_library_error_names_the_install_command(coding: str, tmp_path: Path) -> None:
    code = """
import sys
sys.modules["soundfile"] = None  # as if it were not installed
from smallest_cli.errors import SettingsError
from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.models import AudioFormat
try:
    with open_sinks([Destination("out", sys.argv[1])], AudioFormat()):
        pass
except SettingsError as error:
    print(error, error.hint, sep="; ")
"""
    done = subprocess.run(
        [sys.executable, "-c", code, coding], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "needs soundfile, which is not installed; " in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("coding", ["wav", "pcm"])
def test_uncompressed_audio_loads_no_library_and_starts_no_thread(coding: str, tmp_path: Path) -> None:
    code = """
import sys, threading
from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.models import AudioFormat
with open_sinks([Destination("out", sys.argv[1])], AudioFormat()) as sink:
    sink.write(bytes(100))
    print(threading.active_count(), {"soundfile", "numpy", "cffi", "queue", "sounddevice"} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, coding], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1 set()\n"


def test_same_destination_under_two_names_is_refused(tmp_path: Path) -> None:
    one, fifo = tmp_path / "a.wav", make_fifo(tmp_path, "fifo.wav")
    one.write_bytes(b"")
    os.link(one, tmp_path / "hard.wav")
    (tmp_path / "link.wav").symlink_to(fifo)
    (tmp_path / "new.wav").symlink_to(tmp_path / "not yet.wav")
    for first, second in (
        ("a.wav", "a.wav"), ("a.wav", "hard.wav"), ("fifo.wav", "link.wav"), ("new.wav", "not yet.wav"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match="twice"):
            choose_destinations([str(tmp_path / first), str(tmp_path / second)], FORMAT)
    choose_destinations(["/dev/null", "/dev/full"], FORMAT, format="pcm")
    choose_destinations([str(tmp_path / "a.wav"), str(tmp_path / "b.wav")], FORMAT)


@pytest.mark.parametrize("stdout", ["pipe", "file"])
def test_stdout_named_twice_is_refused(stdout: str, tmp_path: Path) -> None:
    """`-o - -o /dev/stdout` would interleave two audio streams."""
    code = """
import sys
from smallest_cli.errors import UsageError
from smallest_cli.audio.destinations import choose_destinations
from smallest_cli.models import AudioFormat
try:
    choose_destinations(["-", sys.argv[1]], AudioFormat(), format="pcm")
except UsageError as error:
    print(error, file=sys.stderr)
"""
    target = tmp_path / "out.pcm"
    with target.open("wb") as file:
        for name in ["/dev/stdout", *([str(target)] if stdout == "file" else [])]:
            done = subprocess.run(
                [sys.executable, "-c", code, name],
                stdout=file if stdout == "file" else subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                check=True,
            )
            assert "twice" in done.stderr


def test_given_format_overrides_an_unknown_extension() -> None:
    assert choose_coding("minutes.2026", "flac") == "flac"
    with pytest.raises(UsageError, match=r"\.2026"):
        choose_coding("minutes.2026")
