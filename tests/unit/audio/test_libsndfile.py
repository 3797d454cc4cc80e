"""Audio libraries that are missing, too old or failing: an error, and the old file is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.extras import install_command
from smallest_cli.models import AudioFormat
from tests.support.command import environment

CODE = """
import sys
from smallest_cli.errors import SmallestError
from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.models import AudioFormat
try:
    with open_sinks([Destination("out", sys.argv[1])], AudioFormat()) as sink:
        sink.write(bytes(100_000))
except SmallestError as error:
    print(error.exit_code, error, error.hint, sep="; ")
"""
WITHOUT_LIBSNDFILE = "raise OSError('sndfile library not found')"
OLD = """
class SoundFileError(Exception): pass
def check_format(*_): return False
__libsndfile_version__ = "1.0.\\x1b[2J"
"""
FAILING = """
class SoundFileError(Exception): pass
def check_format(*_): return True
class SoundFile:
    def __init__(self, *_, **__): pass
    def buffer_write(self, *_): raise SoundFileError("of its\\x1b own")
    def close(self): raise SoundFileError("again")
"""


UPGRADE = install_command("--upgrade", "soundfile")


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        (WITHOUT_LIBSNDFILE, "3; flac needs libsndfile, which is not installed; apt install libsndfile1"),
        (OLD, f"3; libsndfile 1.0.\\x1b[2J cannot write flac; {UPGRADE} brings 1.2"),
        (FAILING, "10; cannot encode flac: of its\\x1b own"),
    ],
    ids=["none", "old", "failing"],
)
def test_library_error_is_reported_and_the_old_file_is_kept(
    library: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "soundfile.py").write_text(library)
    target = tmp_path / "out"
    target.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", CODE, "flac"],
        cwd=tmp_path,
        env=environment(tmp_path, PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout[: len(expected)], done.stderr) == (expected, "")
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("coding", ["flac", "ogg", "mp3", "wav-ulaw"])
def test_empty_audio_creates_a_file(coding: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with open_sinks([Destination(str(target), coding)], AudioFormat()):
        pass
    assert target.stat().st_size < 5_000
    assert list(tmp_path.iterdir()) == [target]
