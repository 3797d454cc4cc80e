"""What a WAV states of its length: in a file, in a pipe, and on a stdout that is either."""

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
    """The size of RIFF, the size of its data."""
    return struct.unpack("<I", data[4:8])[0], struct.unpack("<I", data[40:44])[0]


def samples(data: bytes) -> bytes:
    with wave.open(io.BytesIO(data)) as sound:
        return sound.readframes(sound.getnframes())


def assert_true(data: bytes, pcm: bytes = PCM) -> None:
    assert sizes(data) == (len(data) - 8, len(pcm))
    assert samples(data) == pcm


# A file


@pytest.mark.parametrize("frames", [1, 23_999, 24_000, 24_001, 60_000])
def test_what_is_kept_of_a_failure_is_a_true_wav(frames: int, tmp_path: Path) -> None:
    pcm = noise(frames)
    with (
        pytest.raises(OutputError) as caught,
        open_sinks([Destination(str(tmp_path / "out.wav"), "wav")], FORMAT) as sink,
    ):
        sink.write(pcm)
        raise OutputError("something else")
    assert caught.value.partial
    assert_true(caught.value.partial.read_bytes(), pcm)


def test_while_it_is_written_it_is_true_to_the_last_whole_second(tmp_path: Path) -> None:
    """What a crash of the whole machine leaves can be heard."""
    with open_sinks([Destination(str(tmp_path / "out.wav"), "wav")], FORMAT) as sink:
        for seconds in (1, 2, 3):
            for _ in range(10):
                sink.write(bytes(4_800))
            assert sizes((tmp_path / "out.wav.part").read_bytes())[1] == seconds * 48_000


def test_no_sound_is_a_wav_too(tmp_path: Path) -> None:
    write_audio(Destination(str(tmp_path / "out.wav"), "wav"), b"")
    assert_true((tmp_path / "out.wav").read_bytes(), b"")


def test_a_wav_ends_at_4_gib() -> None:
    block = bytes(1 << 26)
    with open_sinks([Destination("/dev/null", "wav")], AudioFormat(44_100)) as sink:
        for _ in range(63):
            sink.write(block)
        sink.write(block[:-38])  # the most that the size of RIFF can state, in whole frames
        with pytest.raises(OutputError, match="^a WAV file is limited to 4 GiB$"):
            sink.write(block[:2])
        assert sink.frames_played() == (1 << 31) - 19


# A pipe


def test_in_a_pipe_the_length_is_the_one_that_every_program_reads_to_its_end(tmp_path: Path) -> None:
    fifo = make_fifo(tmp_path)
    got: list[bytes] = []
    with in_background(lambda: got.append(fifo.read_bytes())):
        write_audio(Destination(str(fifo), "wav"), PCM)
    assert sizes(got[0]) == UNKNOWN
    assert got[0][HEADER_SIZE:] == PCM
    assert samples(got[0]) == PCM


def test_a_reader_that_left_is_told(tmp_path: Path) -> None:
    fifo = make_fifo(tmp_path)
    with in_background(lambda: os.close(os.open(fifo, os.O_RDONLY))), pytest.raises(BrokenPipe):
        write_audio(Destination(str(fifo), "wav"), noise(100_000))


# Stdout

SPEAKER = """
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


def speak(stdout: int, ending: str = "close", coding: str = "wav", pcm: bytes = PCM) -> str:
    """Speak to a stdout in a process of its own; what it says."""
    done = subprocess.run(
        [sys.executable, "-c", SPEAKER, ending, coding],
        input=pcm,
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=True,
    )
    return done.stderr.decode()


@pytest.mark.parametrize("ending", ["close", "fail"])
def test_a_redirected_file_has_a_true_header(ending: str, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        said = speak(file.fileno(), ending)
    assert_true((tmp_path / "out").read_bytes())
    assert said == ("1 something else None\n" if ending == "fail" else "")


def test_a_file_that_others_began_has_the_header_where_we_began(tmp_path: Path) -> None:
    """As `{ echo before; smallest ...; echo after; } > out` writes it."""
    with (tmp_path / "out").open("wb", buffering=0) as file:
        file.write(b"before\n")
        assert speak(file.fileno()) == ""
        file.write(b"after\n")
    data = (tmp_path / "out").read_bytes()
    assert data.startswith(b"before\n")
    assert data.endswith(b"after\n")
    assert_true(data[7:-6])


def test_a_file_opened_to_append_keeps_what_it_had_and_states_no_length(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"before\n")
    with (tmp_path / "out").open("ab") as file:
        assert speak(file.fileno()) == ""
    data = (tmp_path / "out").read_bytes()
    assert data.startswith(b"before\n")
    assert sizes(data[7:]) == UNKNOWN
    assert data[7 + HEADER_SIZE :] == PCM


@pytest.mark.parametrize("ending", ["close", "fail"])
def test_a_pipe_that_would_not_block_gets_every_byte(ending: str) -> None:
    """Another program may have set it so, and the reader may be slow."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    got: list[bytes] = []

    def read() -> None:
        with open(reading, "rb") as file:
            got.append(file.read())

    with in_background(read):
        said = speak(writing, ending, pcm=noise(200_000))
        os.close(writing)
    assert sizes(got[0]) == UNKNOWN
    assert got[0][HEADER_SIZE:] == noise(200_000)
    assert said == ("1 something else None\n" if ending == "fail" else "")


def test_a_pipe_whose_reader_left_ends_as_sigpipe_does() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert speak(writing, coding="pcm") == "141 the reader closed the pipe None\n"
    os.close(writing)


def test_a_full_disk_is_one_clear_line() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        assert speak(full.fileno()) == "10 cannot write stdout: No space left on device None\n"


def test_sound_is_not_written_to_a_terminal() -> None:
    parent, child = pty.openpty()
    said = speak(child)
    os.write(child, b".")
    assert said == "2 refusing to write audio to a terminal None\n"
    assert os.read(parent, 1000) == b"."
    os.close(child)
    os.close(parent)


def test_a_stdout_that_is_closed_is_one_clear_line() -> None:
    command = ["sh", "-c", 'exec "$0" "$@" >&-', sys.executable, "-c", SPEAKER, "close", "wav"]
    done = subprocess.run(command, input=b"", stderr=subprocess.PIPE, check=True)
    assert done.stderr == b"2 stdout is closed None\n"
