"""Every format, in a file and in a pipe, decoded again; and programs that read the pipe."""

from __future__ import annotations

import io
import os
import random
import subprocess
import threading
import wave
from pathlib import Path

import pytest
import soundfile

from smallest_cli.audio.destinations import Destination, choose_destinations, open_sinks
from smallest_cli.audio.formats import CODINGS, check_rate, choose_coding
from smallest_cli.errors import BrokenPipe, OutputError, UsageError
from smallest_cli.models import AudioFormat
from tests.support.programs import need

FORMAT = AudioFormat(24_000)
FRAMES = 30_000


def noise(frames: int = FRAMES, loudest: int = 12_000) -> bytes:
    luck = random.Random(7)
    return b"".join(
        luck.randrange(-loudest, loudest).to_bytes(2, "little", signed=True) for _ in range(frames)
    )


def tone(frames: int = FRAMES) -> bytes:
    """What lossy formats keep: a slow swell of 220 Hz, in whole numbers."""
    import math

    return b"".join(
        round(9000 * math.sin(2 * math.pi * 220 * at / 24_000)).to_bytes(2, "little", signed=True)
        for at in range(frames)
    )


def pour(path: str, coding: str, pcm: bytes, format: AudioFormat = FORMAT) -> None:
    with open_sinks([Destination(path, coding)], format) as sink:
        for at in range(0, len(pcm), 7680):
            sink.write(pcm[at : at + 7680])


def through_a_pipe(tmp_path: Path, coding: str, pcm: bytes) -> bytes:
    """What the reader of a FIFO gets, which no header can be patched in."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    try:
        pour(str(fifo), coding, pcm)
    finally:
        reader.join()
    return got[0]


def decoded(data: bytes, coding: str) -> tuple[bytes, int]:
    """Samples as s16le, and their rate."""
    options = {}
    if coding in ("ulaw", "alaw"):
        options = {"samplerate": 24_000, "channels": 1, "format": "RAW", "subtype": coding.upper()}
    if coding == "pcm":
        return data, 24_000
    with soundfile.SoundFile(io.BytesIO(data), **options) as sound:
        return sound.read(dtype="int16").tobytes(), sound.samplerate


def correlation(one: bytes, other: bytes) -> float:
    import numpy

    a, b = (numpy.frombuffer(each, "<i2")[2_000:20_000].astype(float) for each in (one, other))
    return float(numpy.corrcoef(a, b)[0, 1])


# libsndfile itself reads neither an MP3 nor a FLAC that states no length; ffmpeg does, below
PLACES = [(coding, "file") for coding in CODINGS]
PLACES += [(coding, "pipe") for coding in CODINGS if coding not in ("mp3", "flac")]
PLACES += [("wav-ulaw", "pipe"), ("wav-alaw", "pipe")]


@pytest.mark.parametrize(("coding", "place"), [*PLACES, ("wav-ulaw", "file"), ("wav-alaw", "file")])
def test_every_format_is_decoded_again(coding: str, place: str, tmp_path: Path) -> None:
    pcm = noise() if coding in ("wav", "pcm", "flac") else tone()
    if place == "pipe":
        data = through_a_pipe(tmp_path, coding, pcm)
    else:
        pour(str(tmp_path / "out"), coding, pcm)
        data = (tmp_path / "out").read_bytes()
    found, rate = decoded(data, coding)
    assert rate == 24_000
    if coding in ("wav", "pcm", "flac"):
        assert found == pcm
    elif coding == "mp3":
        assert len(found) >= len(pcm)
    else:
        assert len(found) == len(pcm)
        assert correlation(found, pcm) > 0.98


@pytest.mark.parametrize("coding", ["ulaw", "alaw"])
def test_g711_is_what_its_standard_says(coding: str, tmp_path: Path) -> None:
    """Values of the tables of ITU-T G.711: silence, and the loudest sample of each sign."""
    pcm = b"".join(value.to_bytes(2, "little", signed=True) for value in (0, 32_767, -32_768))
    pour(str(tmp_path / "out"), coding, pcm)
    expected = {"ulaw": b"\xff\x80\x00", "alaw": b"\xd5\xaa\x2a"}
    assert (tmp_path / "out").read_bytes() == expected[coding]


@pytest.mark.parametrize(
    ("output", "format", "coding"),
    [
        ("a.wav", None, "wav"), ("A.WAV", None, "wav"), ("a.raw", None, "pcm"), ("a.ul", None, "ulaw"),
        ("a.al", None, "alaw"), ("a.wav", "mulaw", "wav-ulaw"), ("a.wav", "alaw", "wav-alaw"),
        ("a.mp3", "mp3", "mp3"), ("-", None, "pcm"), ("-", "wav", "wav"), ("noext", "flac", "flac"),
    ],
)  # fmt: skip
def test_the_format_is_the_one_named(output: str, format: str | None, coding: str) -> None:
    assert choose_coding(output, format) == coding


@pytest.mark.parametrize(
    ("output", "format"), [("a.xyz", None), ("a", None), ("a.mp3", "flac"), ("a.flac", "ulaw"), ("-", "aiff")]
)
def test_a_format_that_clashes_is_refused(output: str, format: str | None) -> None:
    with pytest.raises(UsageError):
        choose_coding(output, format)


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Opus does not support 44100"):
        check_rate("opus", 44_100)
    for coding in CODINGS:
        for rate in (8_000, 16_000, 24_000, 44_100):
            if (coding, rate) != ("opus", 44_100):
                check_rate(coding, rate)
                pour(str(tmp_path / f"{rate}.{coding}"), coding, tone(9_000), AudioFormat(rate))


@pytest.mark.parametrize("coding", CODINGS)
def test_a_full_disk_is_told(coding: str) -> None:
    with pytest.raises(OutputError, match="No space left"):
        pour("/dev/full", coding, noise(200_000))


@pytest.mark.parametrize("coding", CODINGS)
def test_a_reader_that_leaves_is_told(coding: str, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: os.close(os.open(fifo, os.O_RDONLY)))
    reader.start()
    with pytest.raises(BrokenPipe):
        pour(str(fifo), coding, noise(500_000))
    reader.join()


# Programs that read what goes to a pipe


def test_wav_in_a_pipe_is_read_to_its_last_sample(tmp_path: Path) -> None:
    pcm = noise()
    data = through_a_pipe(tmp_path, "wav", pcm)
    assert (data[4:8], data[40:44]) == (b"\x24\xf0\xff\x7f", b"\x00\xf0\xff\x7f")
    assert data[44:] == pcm
    with wave.open(io.BytesIO(data)) as sound:
        assert sound.readframes(FRAMES + 1) == pcm
    with soundfile.SoundFile(io.BytesIO(data)) as sound:
        assert sound.read(dtype="int16").tobytes() == pcm


READERS = {
    # ffmpeg calls the last block short of the stated length corrupt, and reads it all the same
    "ffmpeg": ["-loglevel", "error", "-i", "-", "-f", "s16le", "-"],
    "sox": ["-t", "wav", "-", "-t", "raw", "-"],
}


@pytest.mark.parametrize("program", READERS)
def test_a_program_reads_a_wav_from_a_pipe(program: str, tmp_path: Path) -> None:
    pcm = noise()
    wav = through_a_pipe(tmp_path, "wav", pcm)
    done = subprocess.run([need(program), *READERS[program]], input=wav, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (pcm, b"")


@pytest.mark.parametrize("coding", ["flac", "ogg", "opus", "mp3"])
def test_ffmpeg_reads_a_compressed_pipe(coding: str, tmp_path: Path) -> None:
    data = through_a_pipe(tmp_path, coding, tone())
    command = [need("ffmpeg"), "-loglevel", "error", "-i", "-", "-f", "s16le", "-ar", "24000", "-"]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    assert done.stderr == b""
    if coding == "flac":
        assert done.stdout == tone()
    else:
        assert abs(len(done.stdout) - 2 * FRAMES) < 2 * 2400


# Where sound goes when several places are named


def test_every_place_gets_the_same_samples(tmp_path: Path) -> None:
    pcm = noise()
    names = ["a.wav", "b.pcm", "c.flac"]
    destinations = choose_destinations([str(tmp_path / name) for name in names], FORMAT)
    with open_sinks(destinations, FORMAT) as sink:
        for at in range(0, len(pcm), 5000):
            sink.write(pcm[at : at + 5000])
    for name in names:
        assert decoded((tmp_path / name).read_bytes(), name[2:])[0] == pcm
    assert sorted(os.listdir(tmp_path)) == names


def test_a_slow_reader_holds_up_no_file(tmp_path: Path) -> None:
    """The reader reads nothing until the whole sound was taken."""
    pcm = noise(200_000)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    begin, got = threading.Event(), []

    def read() -> None:
        with fifo.open("rb") as file:
            begin.wait()
            got.append(file.read())

    reader = threading.Thread(target=read)
    reader.start()
    destinations = [Destination(str(tmp_path / "out.wav"), "wav"), Destination(str(fifo), "pcm")]
    with open_sinks(destinations, FORMAT) as sink:
        for at in range(0, len(pcm), 7680):
            sink.write(pcm[at : at + 7680])
        assert sink.frames_played() < len(pcm) // 2
        begin.set()
    reader.join()
    assert got == [pcm]
    assert decoded((tmp_path / "out.wav").read_bytes(), "wav")[0] == pcm


def test_a_branch_that_dies_is_dropped_and_told_in_the_end(tmp_path: Path) -> None:
    pcm = noise()
    destinations = [Destination("/dev/full", "pcm"), Destination(str(tmp_path / "out.wav"), "wav")]
    with pytest.raises(OutputError, match="/dev/full"), open_sinks(destinations, FORMAT) as sink:
        for at in range(0, len(pcm), 7680):
            sink.write(pcm[at : at + 7680])
    assert decoded((tmp_path / "out.wav").read_bytes(), "wav")[0] == pcm


def test_a_run_that_fails_keeps_what_had_come_and_leaves_the_old(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"old")
    destinations = choose_destinations([str(tmp_path / "a.wav"), str(tmp_path / "b.wav")], FORMAT)
    with pytest.raises(OutputError) as caught, open_sinks(destinations, FORMAT) as sink:
        sink.write(noise())
        raise OutputError("something else")
    assert caught.value.partial == tmp_path / "a.wav.part"
    assert (tmp_path / "a.wav").read_bytes() == b"old"
    assert not (tmp_path / "b.wav").exists()
    for name in ("a.wav.part", "b.wav.part"):
        found, _ = decoded((tmp_path / name).read_bytes(), "wav")
        assert noise().startswith(found)


def test_a_place_is_named_once(tmp_path: Path) -> None:
    one = tmp_path / "a.wav"
    one.write_bytes(b"")
    (tmp_path / "link.wav").symlink_to(one)
    for other in (one, tmp_path / "link.wav", tmp_path / "." / "a.wav"):
        with pytest.raises(UsageError, match="twice"):
            choose_destinations([str(one), str(other)], FORMAT)


def test_no_clobber_never_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    destination = Destination(str(path), "wav", clobber=False)
    with pytest.raises(UsageError, match="exists"), open_sinks([destination], FORMAT) as sink:
        sink.write(noise())
        path.write_bytes(b"came meanwhile")
    assert path.read_bytes() == b"came meanwhile"
    with pytest.raises(UsageError, match="exists"), open_sinks([destination], FORMAT):
        pass
