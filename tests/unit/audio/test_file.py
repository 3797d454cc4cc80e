"""File destinations: replacing files, leaving other files alone, and errors."""

from __future__ import annotations

import io
import os
import stat
import tempfile
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.errors import OutputError
from tests.support.audio import FORMAT, in_background, make_fifo, noise, write_audio

PCM = noise(5_000)
OTHER_USER = 65_534


@pytest.fixture(autouse=True)
def no_leaked_descriptors() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before  # descriptors of other tests may be closed meanwhile


def wav(path: Path, pcm: bytes = PCM) -> None:
    write_audio(Destination(str(path), "wav"), pcm)


def fail(path: Path | str, pcm: bytes = PCM, coding: str = "wav") -> OutputError:
    """Fail a run after writing `pcm`, and return the error."""
    with pytest.raises(OutputError) as caught, open_sinks([Destination(str(path), coding)], FORMAT) as sink:
        sink.write(pcm)
        raise OutputError("something else")
    return caught.value


def samples(data: bytes) -> bytes:
    with wave.open(io.BytesIO(data)) as reader:
        return reader.readframes(reader.getnframes())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def snapshot(folder: Path) -> dict[str, tuple[int, ...]]:
    return {
        each.name: (each.lstat().st_ino, each.lstat().st_mtime_ns, each.lstat().st_mode, each.lstat().st_size)
        for each in folder.iterdir()
    }


# A file is complete or unchanged


def test_audio_is_written_to_a_part_file_until_complete(tmp_path: Path) -> None:
    with open_sinks([Destination(str(tmp_path / "out.wav"), "wav")], FORMAT) as sink:
        sink.write(PCM)
        assert os.listdir(tmp_path) == ["out.wav.part"]
        assert sink.frames_played() == 5_000
    assert os.listdir(tmp_path) == ["out.wav"]
    assert samples((tmp_path / "out.wav").read_bytes()) == PCM


def test_failed_run_leaves_the_old_file_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"old")
    path.chmod(0o640)
    before = snapshot(tmp_path)
    assert fail(path).partial == tmp_path / "out.wav.part"
    assert snapshot(tmp_path)["out.wav"] == before["out.wav"]
    assert path.read_bytes() == b"old"


def test_failed_run_without_audio_leaves_no_file(tmp_path: Path) -> None:
    assert fail(tmp_path / "out.wav", b"").partial is None
    assert list(tmp_path.iterdir()) == []


def test_removed_part_file_is_not_named_in_the_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError) as caught,
        open_sinks([Destination(str(tmp_path / "a"))], FORMAT) as sink,
    ):
        sink.write(PCM)
        (tmp_path / "a.part").unlink()
        raise OutputError("something else")
    assert caught.value.partial is None


@pytest.mark.parametrize("old_mode", [0o600, 0o640, 0o666, 0o755])
def test_existing_mode_is_kept_and_set_on_the_part_file(old_mode: int, tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"old")
    path.chmod(old_mode)
    with open_sinks([Destination(str(path), "wav")], FORMAT) as sink:
        assert mode(tmp_path / "out.wav.part") == old_mode
        sink.write(PCM)
    assert mode(path) == old_mode


def test_new_file_honours_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        wav(tmp_path / "out.wav")
    finally:
        os.umask(before)
    assert mode(tmp_path / "out.wav") == 0o640


@pytest.mark.parametrize("exists", [True, False], ids=["a file", "nothing yet"])
def test_symlink_is_followed_and_kept(exists: bool, tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    if exists:
        (there / "real.wav").write_bytes(b"old")
    (here / "link.wav").symlink_to("../there/real.wav")
    with open_sinks([Destination(str(here / "link.wav"), "wav")], FORMAT) as sink:
        sink.write(PCM)
        assert (there / "real.wav.part").exists()
    assert os.readlink(here / "link.wav") == "../there/real.wav"
    assert samples((there / "real.wav").read_bytes()) == PCM
    assert os.listdir(here) == ["link.wav"]
    assert os.listdir(there) == ["real.wav"]


def test_part_file_of_another_run_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out.wav.part").write_bytes(b"partial file of another run")
    kept = fail(tmp_path / "out.wav").partial
    assert kept
    assert kept.name.startswith("out.wav.")
    assert kept.name.endswith(".part")
    assert samples(kept.read_bytes()) == PCM
    wav(tmp_path / "out.wav")
    assert (tmp_path / "out.wav.part").read_bytes() == b"partial file of another run"
    assert len(os.listdir(tmp_path)) == 3


# A FIFO or device is written in place


def test_fifo_is_written_in_place(tmp_path: Path) -> None:
    fifo = make_fifo(tmp_path)
    before = snapshot(tmp_path)["fifo"][0]
    got: list[bytes] = []
    with in_background(lambda: got.append(fifo.read_bytes())):
        wav(fifo)
    assert got[0][44:] == PCM
    assert (snapshot(tmp_path)["fifo"][0], os.listdir(tmp_path)) == (before, ["fifo"])


def test_device_is_written_in_place() -> None:
    wav(Path("/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert not list(Path("/dev").glob("null.*"))


# Unwritable destinations: an error before any audio, and no file is left


def create_obstacles(folder: Path) -> None:
    (folder / "file").write_bytes(b"")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "lost").symlink_to("nowhere/out.wav")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere/out.wav", "no such directory: {folder}/nowhere"), ("file/out.wav", "Not a directory"),
        ("lost", "no such directory: {folder}/nowhere"), ("folder", "it is a directory"),
        ("", "it is a directory"),
        ("loop", "Too many levels of symbolic links"), ("x" * 300, "File name too long"),
        ("nowhere/\x1b[31m\n.wav", r"\x1b[31m .wav"), ("/sys/out.wav", "Permission denied"),
    ],
)  # fmt: skip
def test_unwritable_destination_error_names_the_reason(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_obstacles(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(OutputError) as caught, open_sinks([Destination(name, "wav")], FORMAT):
        pass
    line = str(caught.value)
    assert line.startswith("cannot write ")
    assert words.format(folder=tmp_path) in line
    assert line.isprintable()
    assert snapshot(tmp_path) == before


def test_full_disk_error_message() -> None:
    for coding in ("pcm", "wav"):
        with pytest.raises(OutputError, match="^cannot write /dev/full: No space left on device$"):
            write_audio(Destination("/dev/full", coding), PCM)


@contextmanager
def folder_of_another_user() -> Iterator[Path]:
    """A folder whose permissions apply: root drops its privileges."""
    with tempfile.TemporaryDirectory() as name:
        if os.getuid() == 0:
            os.chown(name, OTHER_USER, OTHER_USER)
            os.setresuid(OTHER_USER, OTHER_USER, 0)
        try:
            yield Path(name)
        finally:
            os.chmod(name, 0o700)
            if os.geteuid() == OTHER_USER:
                os.setresuid(0, 0, 0)


def test_read_only_file_or_folder_error_message() -> None:
    with folder_of_another_user() as folder:
        (folder / "out.wav").write_bytes(b"old")
        (folder / "out.wav").chmod(0o444)
        with pytest.raises(OutputError, match=r"^cannot write .*/out.wav: it is read-only$"):
            wav(folder / "out.wav")
        folder.chmod(0o555)
        with pytest.raises(OutputError, match=r"^cannot write .*/new.wav: Permission denied$"):
            wav(folder / "new.wav")
        assert os.listdir(folder) == ["out.wav"]


def test_write_only_folder_is_accepted() -> None:
    with folder_of_another_user() as folder:
        folder.chmod(0o300)
        wav(folder / "out.wav")
        assert samples((folder / "out.wav").read_bytes()) == PCM
