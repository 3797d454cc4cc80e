"""The length in a WAV header: in a file, in a pipe, and on a stdout that is either."""

from __future__ import annotations

import io
import os
import pty
import struct
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.errors import BrokenPipe, OutputError
from smallest_cli.models import AudioFormat
from tests.support.audio import FORMAT, in_background, make_fifo, noise, write_audio

PCM = noise(30_000)
UNKNOWN = (0x7FFF_F024, 0x7FFF_F000)
HEADER_SIZE = 44


def sizes(data: bytes) -> tuple[int, int]:
    """The RIFF size and the data size."""
    return struct.unpack("<I", data[4:8])[0], struct.unpack("<I", data[40:44])[0]


def samples(data: bytes) -> bytes:
    with wave.open(io.BytesIO(data)) as reader:
        return reader.readframes(reader.getnframes())


def assert_valid_wav(data: bytes, pcm: bytes = PCM) -> None:
    assert sizes(data) == (len(data) - 8, len(pcm))
    assert samples(data) == pcm


# A file


@pytest.mark.parametrize("frames", [1, 23_999, 24_000, 24_001, 60_000])
def test_partial_file_is_a_valid_wav(frames: int, tmp_path: Path) -> None:
    pcm = noise(frames)
    with (
        pytest.raises(OutputError) as caught,
        open_sinks([Destination(str(tmp_path / "out.wav"), "wav")], FORMAT) as sink,
    ):
        sink.write(pcm)
        raise OutputError("something else")
    assert caught.value.partial
    assert_valid_wav(caught.value.partial.read_bytes(), pcm)


def test_header_is_updated_every_second(tmp_path: Path) -> None:
    """So that the file left by a system crash can be played."""
    with open_sinks([Destination(str(tmp_path / "out.wav"), "wav")], FORMAT) as sink:
        for seconds in (1, 2, 3):
            for _ in range(10):
                sink.write(bytes(4_800))
            assert sizes((tmp_path / "out.wav.part").read_bytes())[1] == seconds * 48_000


def test_empty_audio_is_a_valid_wav(tmp_path: Path) -> None:
    write_audio(Destination(str(tmp_path / "out.wav"), "wav"), b"")
    assert_valid_wav((tmp_path / "out.wav").read_bytes(), b"")


def test_wav_is_limited_to_4_gib() -> None:
    block = bytes(1 << 26)
    with open_sinks([Destination("/dev/null", "wav")], AudioFormat(44_100)) as sink:
        for _ in range(63):
            sink.write(block)
        sink.write(block[:-38])  # the largest RIFF size in whole frames
        with pytest.raises(OutputError, match="^a WAV file is limited to 4 GiB$"):
            sink.write(block[:2])
        assert sink.frames_played() == (1 << 31) - 19


# A pipe


def test_pipe_gets_the_placeholder_length(tmp_path: Path) -> None:
    fifo = make_fifo(tmp_path)
    got: list[bytes] = []
    with in_background(lambda: got.append(fifo.read_bytes())):
        write_audio(Destination(str(fifo), "wav"), PCM)
    assert sizes(got[0]) == UNKNOWN
    assert got[0][HEADER_SIZE:] == PCM
    assert samples(got[0]) == PCM


def test_closed_reader_raises_broken_pipe(tmp_path: Path) -> None:
    fifo = make_fifo(tmp_path)
    with in_background(lambda: os.close(os.open(fifo, os.O_RDONLY))), pytest.raises(BrokenPipe):
        write_audio(Destination(str(fifo), "wav"), noise(100_000))


# Stdout

WRITER = """
import sys
from smallest_cli.errors import SmallestError
from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.models import AudioFormat
ending, coding = sys.argv[1:]
try:
    with open_sinks([Destination("-", coding)], AudioFormat(24_000)) as sink:
        pcm = sys.stdin.buffer.read()
        for at in range(0, len(pcm), 7680):
            sink.write(pcm[at : at + 7680])
        if ending == "fail":
            raise SmallestError("something else")
except SmallestError as error:
    print(error.exit_code, error, error.partial, file=sys.stderr)
"""


def write_to_stdout(stdout: int, ending: str = "close", coding: str = "wav", pcm: bytes = PCM) -> str:
    """Write audio to `stdout` in a child process and return its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", WRITER, ending, coding],
        input=pcm,
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=True,
    )
    return done.stderr.decode()


@pytest.mark.parametrize("ending", ["close", "fail"])
def test_redirected_file_has_a_valid_header(ending: str, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        stderr = write_to_stdout(file.fileno(), ending)
    assert_valid_wav((tmp_path / "out").read_bytes())
    assert stderr == ("1 something else None\n" if ending == "fail" else "")


def test_header_is_written_at_the_current_position_of_stdout(tmp_path: Path) -> None:
    """As with `{ echo before; smallest ...; echo after; } > out`."""
    with (tmp_path / "out").open("wb", buffering=0) as file:
        file.write(b"before\n")
        assert write_to_stdout(file.fileno()) == ""
        file.write(b"after\n")
    data = (tmp_path / "out").read_bytes()
    assert data.startswith(b"before\n")
    assert data.endswith(b"after\n")
    assert_valid_wav(data[7:-6])


def test_append_mode_keeps_the_file_and_states_no_length(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"before\n")
    with (tmp_path / "out").open("ab") as file:
        assert write_to_stdout(file.fileno()) == ""
    data = (tmp_path / "out").read_bytes()
    assert data.startswith(b"before\n")
    assert sizes(data[7:]) == UNKNOWN
    assert data[7 + HEADER_SIZE :] == PCM


@pytest.mark.parametrize("ending", ["close", "fail"])
def test_non_blocking_pipe_gets_every_byte(ending: str) -> None:
    """Another program may have set O_NONBLOCK, and the reader may be slow."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    got: list[bytes] = []

    def read() -> None:
        with open(reading, "rb") as file:
            got.append(file.read())

    with in_background(read):
        stderr = write_to_stdout(writing, ending, pcm=noise(200_000))
        os.close(writing)
    assert sizes(got[0]) == UNKNOWN
    assert got[0][HEADER_SIZE:] == noise(200_000)
    assert stderr == ("1 something else None\n" if ending == "fail" else "")


def test_closed_reader_exits_as_sigpipe_does() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert write_to_stdout(writing, coding="pcm") == "141 the reader closed the pipe None\n"
    os.close(writing)


def test_full_disk_error_message() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        assert write_to_stdout(full.fileno()) == "10 cannot write stdout: No space left on device None\n"


def test_audio_is_not_written_to_a_terminal() -> None:
    parent, child = pty.openpty()
    stderr = write_to_stdout(child)
    os.write(child, b".")
    assert stderr == "2 refusing to write audio to a terminal None\n"
    assert os.read(parent, 1000) == b"."
    os.close(child)
    os.close(parent)


def test_closed_stdout_error_message() -> None:
    command = ["sh", "-c", 'exec "$0" "$@" >&-', sys.executable, "-c", WRITER, "close", "wav"]
    done = subprocess.run(command, input=b"", stderr=subprocess.PIPE, check=True)
    assert done.stderr == b"2 stdout is closed None\n"
