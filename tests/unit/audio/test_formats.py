"""Every format, written to a file and a pipe and decoded again; and programs that read the pipe."""

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
    rng = random.Random(7)
    return b"".join(
        rng.randrange(-loudest, loudest).to_bytes(2, "little", signed=True) for _ in range(frames)
    )


def tone(frames: int = FRAMES) -> bytes:
    """A 220 Hz sine, which lossy formats preserve, as s16le."""
    import math

    return b"".join(
        round(9000 * math.sin(2 * math.pi * 220 * at / 24_000)).to_bytes(2, "little", signed=True)
        for at in range(frames)
    )


def write_audio(path: str, coding: str, pcm: bytes, format: AudioFormat = FORMAT) -> None:
    with open_sinks([Destination(path, coding)], format) as sink:
        for at in range(0, len(pcm), 7680):
            sink.write(pcm[at : at + 7680])


def read_through_pipe(tmp_path: Path, coding: str, pcm: bytes) -> bytes:
    """Return what the reader of a FIFO gets; its header cannot be rewritten at the end."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    try:
        write_audio(str(fifo), coding, pcm)
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
    with soundfile.SoundFile(io.BytesIO(data), **options) as reader:
        return reader.read(dtype="int16").tobytes(), reader.samplerate


def correlation(one: bytes, other: bytes) -> float:
    import numpy

    a, b = (numpy.frombuffer(each, "<i2")[2_000:20_000].astype(float) for each in (one, other))
    return float(numpy.corrcoef(a, b)[0, 1])


# libsndfile itself reads neither an MP3 nor a FLAC that states no length; ffmpeg does, below
TARGETS = [(coding, "file") for coding in CODINGS]
TARGETS += [(coding, "pipe") for coding in CODINGS if coding not in ("mp3", "flac")]
TARGETS += [("wav-ulaw", "pipe"), ("wav-alaw", "pipe")]


@pytest.mark.parametrize(("coding", "target"), [*TARGETS, ("wav-ulaw", "file"), ("wav-alaw", "file")])
def test_format_round_trip(coding: str, target: str, tmp_path: Path) -> None:
    pcm = noise() if coding in ("wav", "pcm", "flac") else tone()
    if target == "pipe":
        data = read_through_pipe(tmp_path, coding, pcm)
    else:
        write_audio(str(tmp_path / "out"), coding, pcm)
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
def test_g711_matches_the_tables_of_its_standard(coding: str, tmp_path: Path) -> None:
    """Values of the tables of ITU-T G.711: silence, and the loudest sample of each sign."""
    pcm = b"".join(value.to_bytes(2, "little", signed=True) for value in (0, 32_767, -32_768))
    write_audio(str(tmp_path / "out"), coding, pcm)
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
def test_format_from_extension_or_option(output: str, format: str | None, coding: str) -> None:
    assert choose_coding(output, format) == coding


@pytest.mark.parametrize(
    ("output", "format"), [("a.xyz", None), ("a", None), ("a.mp3", "flac"), ("a.flac", "ulaw"), ("-", "aiff")]
)
def test_unknown_or_conflicting_format_is_refused(output: str, format: str | None) -> None:
    with pytest.raises(UsageError):
        choose_coding(output, format)


def test_unsupported_sample_rate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Opus does not support 44100"):
        check_rate("opus", 44_100)
    for coding in CODINGS:
        for rate in (8_000, 16_000, 24_000, 44_100):
            if (coding, rate) != ("opus", 44_100):
                check_rate(coding, rate)
                write_audio(str(tmp_path / f"{rate}.{coding}"), coding, tone(9_000), AudioFormat(rate))


@pytest.mark.parametrize("coding", CODINGS)
def test_full_disk_raises_output_error(coding: str) -> None:
    with pytest.raises(OutputError, match="No space left"):
        write_audio("/dev/full", coding, noise(200_000))


@pytest.mark.parametrize("coding", CODINGS)
def test_closed_reader_raises_broken_pipe(coding: str, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: os.close(os.open(fifo, os.O_RDONLY)))
    reader.start()
    with pytest.raises(BrokenPipe):
        write_audio(str(fifo), coding, noise(500_000))
    reader.join()


# Programs that read from a pipe


def test_wav_from_a_pipe_is_read_completely(tmp_path: Path) -> None:
    pcm = noise()
    data = read_through_pipe(tmp_path, "wav", pcm)
    assert (data[4:8], data[40:44]) == (b"\x24\xf0\xff\x7f", b"\x00\xf0\xff\x7f")
    assert data[44:] == pcm
    with wave.open(io.BytesIO(data)) as reader:
        assert reader.readframes(FRAMES + 1) == pcm
    with soundfile.SoundFile(io.BytesIO(data)) as reader:
        assert reader.read(dtype="int16").tobytes() == pcm


READERS = {
    # ffmpeg calls the last block short of the stated length corrupt, but still reads it
    "ffmpeg": ["-loglevel", "error", "-i", "-", "-f", "s16le", "-"],
    "sox": ["-t", "wav", "-", "-t", "raw", "-"],
}


@pytest.mark.parametrize("program", READERS)
def test_ffmpeg_and_sox_read_wav_from_a_pipe(program: str, tmp_path: Path) -> None:
    pcm = noise()
    wav = read_through_pipe(tmp_path, "wav", pcm)
    done = subprocess.run([need(program), *READERS[program]], input=wav, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (pcm, b"")


@pytest.mark.parametrize("coding", ["flac", "ogg", "opus", "mp3"])
def test_ffmpeg_reads_compressed_audio_from_a_pipe(coding: str, tmp_path: Path) -> None:
    data = read_through_pipe(tmp_path, coding, tone())
    command = [need("ffmpeg"), "-loglevel", "error", "-i", "-", "-f", "s16le", "-ar", "24000", "-"]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    assert done.stderr == b""
    if coding == "flac":
        assert done.stdout == tone()
    else:
        assert abs(len(done.stdout) - 2 * FRAMES) < 2 * 2400


# Several destinations


def test_every_destination_gets_the_same_samples(tmp_path: Path) -> None:
    pcm = noise()
    names = ["a.wav", "b.pcm", "c.flac"]
    destinations = choose_destinations([str(tmp_path / name) for name in names], FORMAT)
    with open_sinks(destinations, FORMAT) as sink:
        for at in range(0, len(pcm), 5000):
            sink.write(pcm[at : at + 5000])
    for name in names:
        assert decoded((tmp_path / name).read_bytes(), name[2:])[0] == pcm
    assert sorted(os.listdir(tmp_path)) == names


def test_slow_reader_does_not_delay_the_file(tmp_path: Path) -> None:
    """The reader reads nothing until all audio was written."""
    pcm = noise(200_000)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    start_reading, got = threading.Event(), []

    def read() -> None:
        with fifo.open("rb") as file:
            start_reading.wait()
            got.append(file.read())

    reader = threading.Thread(target=read)
    reader.start()
    destinations = [Destination(str(tmp_path / "out.wav"), "wav"), Destination(str(fifo), "pcm")]
    with open_sinks(destinations, FORMAT) as sink:
        for at in range(0, len(pcm), 7680):
            sink.write(pcm[at : at + 7680])
        assert sink.frames_played() < len(pcm) // 2
        start_reading.set()
    reader.join()
    assert got == [pcm]
    assert decoded((tmp_path / "out.wav").read_bytes(), "wav")[0] == pcm


def test_failed_destination_is_dropped_and_raised_at_the_end(tmp_path: Path) -> None:
    pcm = noise()
    destinations = [Destination("/dev/full", "pcm"), Destination(str(tmp_path / "out.wav"), "wav")]
    with pytest.raises(OutputError, match="/dev/full"), open_sinks(destinations, FORMAT) as sink:
        for at in range(0, len(pcm), 7680):
            sink.write(pcm[at : at + 7680])
    assert decoded((tmp_path / "out.wav").read_bytes(), "wav")[0] == pcm


def test_failed_run_keeps_the_partial_files_and_the_old_file(tmp_path: Path) -> None:
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


def test_destination_named_twice_is_refused(tmp_path: Path) -> None:
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
