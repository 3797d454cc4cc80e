"""Third-party programs that read from a real pipe: each gets every sample and prints no warning."""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from pathlib import Path

import pytest
import soundfile

from smallest_cli.audio.destinations import Destination, open_sinks
from tests.support.audio import (
    FORMAT,
    correlation,
    decoded,
    in_background,
    make_fifo,
    noise,
    tone,
    write_audio,
)
from tests.support.programs import need

FRAMES = 40_000
RAW_IN = ["-f", "s16le", "-sample_rate", "24000"]
QUIETLY = ["ffmpeg", "-hide_banner", "-loglevel", "warning"]
S16_OUT = ["-f", "s16le", "-ar", "24000", "-"]
SOX_OUT = ["-t", "raw", "-e", "signed", "-b", "16", "-"]

EXACT = {
    # ffmpeg warns about the last block of a WAV of unknown length, but reads it
    ("ffmpeg", "wav"): ["ffmpeg", "-loglevel", "error", "-i", "-", *S16_OUT],
    ("ffmpeg", "pcm"): [*QUIETLY, *RAW_IN, "-guess_layout_max", "0", "-i", "-", *S16_OUT],
    ("ffmpeg", "flac"): [*QUIETLY, "-i", "-", *S16_OUT],
    ("sox", "wav"): ["sox", "-t", "wav", "-", *SOX_OUT],
    ("sox", "pcm"): ["sox", "-t", "raw", "-r", "24000", "-e", "signed", "-b", "16", "-c", "1", "-", *SOX_OUT],
    ("sox", "flac"): ["sox", "-t", "flac", "-", *SOX_OUT],
    ("flac", "flac"): [
        "flac", "--totally-silent", "--decode", "--force-raw-format", "--endian=little", "--sign=signed",
        "--stdout", "-",
    ],
}  # fmt: skip

LAW_IN = ["-ar", "24000", "-i", "-"]
SOX_LAW = ["-r", "24000", "-c", "1"]
G711 = {
    ("ffmpeg", "ulaw"): [*QUIETLY, "-f", "mulaw", "-guess_layout_max", "0", *LAW_IN, *S16_OUT],
    ("ffmpeg", "alaw"): [*QUIETLY, "-f", "alaw", "-guess_layout_max", "0", *LAW_IN, *S16_OUT],
    ("ffmpeg", "wav-ulaw"): ["ffmpeg", "-loglevel", "error", "-i", "-", *S16_OUT],
    ("ffmpeg", "wav-alaw"): ["ffmpeg", "-loglevel", "error", "-i", "-", *S16_OUT],
    ("sox", "ulaw"): ["sox", "-t", "ul", *SOX_LAW, "-", *SOX_OUT],
    ("sox", "alaw"): ["sox", "-t", "al", *SOX_LAW, "-", *SOX_OUT],
    ("sox", "wav-ulaw"): ["sox", "-t", "wav", "-", *SOX_OUT],
    ("sox", "wav-alaw"): ["sox", "-t", "wav", "-", *SOX_OUT],
}

LOSSY = {
    ("ffmpeg", "ogg"): [*QUIETLY, "-i", "-", *S16_OUT],
    ("ffmpeg", "opus"): [*QUIETLY, "-i", "-", *S16_OUT],
    ("ffmpeg", "mp3"): [*QUIETLY, "-i", "-", *S16_OUT],
    ("sox", "ogg"): ["sox", "-t", "ogg", "-", *SOX_OUT],
}
ENCODER_DELAY = 1_800
"""Frames of silence at the start of an MP3. The first frame cannot state them when written to a pipe."""


def read_through(command: list[str], folder: Path, coding: str, pcm: bytes, **env: str) -> bytes:
    """Run a program that reads the pipe that the sink writes to. Returns its stdout."""
    program = need(command[0])
    fifo = make_fifo(folder)
    with in_background(lambda: write_audio(Destination(str(fifo), coding), pcm)), fifo.open("rb") as pipe:
        done = subprocess.run(
            [program, *command[1:]], stdin=pipe, env=os.environ | env, capture_output=True, check=True
        )
    assert done.stderr.decode() == ""
    return done.stdout


@pytest.mark.parametrize(("program", "coding"), EXACT)
def test_program_reads_every_sample(program: str, coding: str, tmp_path: Path) -> None:
    pcm = noise(FRAMES)
    assert read_through(EXACT[program, coding], tmp_path, coding, pcm) == pcm


@pytest.mark.parametrize(("program", "coding"), G711)
def test_program_decodes_g711(program: str, coding: str, tmp_path: Path) -> None:
    pcm = tone(FRAMES)
    output = read_through(G711[program, coding], tmp_path, coding, pcm)
    write_audio(Destination(str(tmp_path / "same"), coding), pcm)
    assert output == decoded((tmp_path / "same").read_bytes(), coding)


@pytest.mark.parametrize(("program", "coding"), LOSSY)
def test_program_decodes_complete_lossy_audio(program: str, coding: str, tmp_path: Path) -> None:
    pcm = tone(FRAMES)
    output = read_through(LOSSY[program, coding], tmp_path, coding, pcm)
    delay = ENCODER_DELAY if coding == "mp3" else 0
    assert len(pcm) <= len(output) <= len(pcm) + 2 * (delay + 2 * 1152)
    assert correlation(output, pcm, delay) > 0.99


PLAYED = {"wav": [], "pcm": ["-t", "raw", "-f", "S16_LE", "-r", "24000", "-c", "1"]}


@pytest.mark.parametrize("coding", PLAYED)
def test_aplay_plays_every_sample(coding: str, tmp_path: Path) -> None:
    """Plays to the file device of ALSA, which fills its last period with silence."""
    played = tmp_path / "played"
    device = f'pcm.!default {{ type file slave.pcm "null" file "{played}" format "raw" }}\n'
    (tmp_path / ".asoundrc").write_text(device)
    pcm = noise(FRAMES)
    read_through(["aplay", "--quiet", *PLAYED[coding], "-"], tmp_path, coding, pcm, HOME=str(tmp_path))
    assert played.read_bytes().rstrip(b"\0") == pcm


# No `-fflags nobuffer`: it drops the first 40 ms of raw audio, and gains nothing over a small probe size.
PLAYED_BY_FFPLAY = {
    "wav": ["-i", "-"],
    "pcm": ["-flags", "low_delay", "-probesize", "32", *RAW_IN, "-i", "-"],
}


@pytest.mark.parametrize("coding", PLAYED_BY_FFPLAY)
def test_ffplay_plays_every_sample(coding: str, tmp_path: Path) -> None:
    """Plays to the file device of SDL with flags for live audio. It fills its last block with silence."""
    program, fifo, played = need("ffplay"), make_fifo(tmp_path), tmp_path / "played"
    env = {"SDL_AUDIODRIVER": "disk", "SDL_DISKAUDIOFILE": str(played), "SDL_DISKAUDIODELAY": "0"}
    command = [program, "-loglevel", "error", "-nodisp", "-autoexit", *PLAYED_BY_FFPLAY[coding]]
    pcm = noise(FRAMES)
    with in_background(lambda: write_audio(Destination(str(fifo), coding), pcm)), fifo.open("rb") as pipe:
        done = subprocess.run(command, stdin=pipe, env=os.environ | env, capture_output=True, check=True)
    messages = [line for line in done.stderr.splitlines() if not line.startswith(b"CRITICAL")]
    assert messages == []  # SDL announces its file device as critical
    assert played.read_bytes().strip(b"\0") == pcm


# Python readers of a pipe


def test_wave_module_reads_a_pipe(tmp_path: Path) -> None:
    fifo, pcm = make_fifo(tmp_path), noise(FRAMES)
    with (
        in_background(lambda: write_audio(Destination(str(fifo), "wav"), pcm)),
        fifo.open("rb") as pipe,
        wave.open(pipe) as audio,
    ):
        assert audio.readframes(2 * FRAMES) == pcm


def test_soundfile_reads_a_wav_pipe_to_the_last_sample(tmp_path: Path) -> None:
    fifo, pcm = make_fifo(tmp_path), noise(FRAMES)
    with (
        in_background(lambda: write_audio(Destination(str(fifo), "wav"), pcm)),
        fifo.open("rb") as pipe,
        soundfile.SoundFile(pipe.fileno(), closefd=False) as audio,
    ):
        assert audio.read(FRAMES, dtype="int16").tobytes() == pcm
        assert len(audio.read(100)) == 0


@pytest.mark.parametrize("coding", ["ogg", "opus", "mp3"])
def test_soundfile_reads_lossy_data_from_a_pipe(coding: str, tmp_path: Path) -> None:
    """soundfile computes the length of an MP3 from its first bit rate, so the encoder must keep that rate."""
    fifo, pcm = make_fifo(tmp_path), tone(FRAMES)
    with in_background(lambda: write_audio(Destination(str(fifo), coding), pcm)):
        data = fifo.read_bytes()
    found = decoded(data, coding)
    assert len(pcm) <= len(found) <= len(pcm) + (2 * 3 * 1152 if coding == "mp3" else 0)
    assert correlation(found, pcm, ENCODER_DELAY if coding == "mp3" else 0) > 0.99


# Stdout redirected to a file, with and without append mode

WRITE_STDIN_TO_STDOUT = """
import sys
from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.models import AudioFormat
with open_sinks([Destination("-", sys.argv[1])], AudioFormat(24_000)) as sink:
    sink.write(sys.stdin.buffer.read())
"""


@pytest.mark.parametrize("coding", ["wav", "flac", "wav-ulaw"])
@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_existing_content_of_a_stdout_file_is_kept(coding: str, mode: str, tmp_path: Path) -> None:
    """`{ echo; smallest; } > file` starts at an offset; `>>` appends, so the header cannot be rewritten."""
    path, pcm = tmp_path / "out", tone(FRAMES)
    before = b"not ours\n"
    if mode == "ab":
        path.write_bytes(before)
    with path.open(mode) as out:
        if mode == "wb":
            out.write(before)
            out.flush()
        subprocess.run(
            [sys.executable, "-c", WRITE_STDIN_TO_STDOUT, coding], input=pcm, stdout=out, check=True
        )
    data = path.read_bytes()
    assert data.startswith(before)
    audio = data.removeprefix(before)
    if mode == "ab" and coding == "flac":  # its length is unknown, which soundfile requires
        (tmp_path / "sound").write_bytes(audio)
        command = [need("flac"), "-s", "-t", str(tmp_path / "sound")]
        assert subprocess.run(command, check=True).returncode == 0
    elif coding == "wav-ulaw":
        assert correlation(decoded(audio, coding), pcm) > 0.99
    else:
        assert decoded(audio, coding) == pcm


# Streaming: seconds of audio, and the bytes that the encoder must write for them

EARLY = {
    "pcm": (0.1, 4_800), "wav": (0.1, 4_844), "ulaw": (0.1, 2_400), "alaw": (0.1, 2_400),
    "mp3": (0.3, 800), "flac": (0.4, 1_000), "opus": (1.2, 2_000), "ogg": (2.0, 3_500),
}  # fmt: skip


@pytest.mark.parametrize("coding", EARLY)
def test_audio_reaches_the_reader_before_close(coding: str, tmp_path: Path) -> None:
    """Read the expected bytes while the sink is open. A failure shows as a hang."""
    seconds, size = EARLY[coding]
    fifo = make_fifo(tmp_path)
    got = 0
    with (
        fifo.open("rb+", buffering=0) as pipe,
        open_sinks([Destination(str(fifo), coding)], FORMAT) as sink,
    ):
        sink.write(noise(round(seconds * FORMAT.sample_rate)))
        while got < size:
            got += len(os.read(pipe.fileno(), 65_536))
    assert got >= size
