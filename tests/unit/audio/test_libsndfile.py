"""Sound libraries that are too old, broken, or fail in the midst: told, and no target is touched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from smallest_cli.audio.destinations import Destination, open_sinks
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


@pytest.mark.parametrize(
    ("library", "told"),
    [
        (WITHOUT_LIBSNDFILE, "3; flac needs libsndfile, which is not installed; apt install libsndfile1"),
        (OLD, "3; libsndfile 1.0.\\x1b[2J cannot write flac; pip install --upgrade soundfile brings 1.2"),
        (FAILING, "10; cannot encode flac: of its\\x1b own"),
    ],
    ids=["none", "old", "failing"],
)
def test_what_a_library_cannot_do_is_told_with_its_remedy(library: str, told: str, tmp_path: Path) -> None:
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
    assert (done.stdout[: len(told)], done.stderr) == (told, "")
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("coding", ["flac", "ogg", "mp3", "wav-ulaw"])
def test_no_sound_is_a_file_all_the_same(coding: str, tmp_path: Path) -> None:
    target = tmp_path / "out"
    with open_sinks([Destination(str(target), coding)], AudioFormat()):
        pass
    assert target.stat().st_size < 5_000
    assert list(tmp_path.iterdir()) == [target]
