"""Files as places for sound: what is replaced, what is left alone, and what cannot be written."""

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
def no_descriptor_is_left() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before  # what others left may go meanwhile


def wav(path: Path, pcm: bytes = PCM) -> None:
    write_audio(Destination(str(path), "wav"), pcm)


def fail(path: Path | str, pcm: bytes = PCM, coding: str = "wav") -> OutputError:
    """A run that ends badly after this much sound."""
    with pytest.raises(OutputError) as caught, open_sinks([Destination(str(path), coding)], FORMAT) as sink:
        sink.write(pcm)
        raise OutputError("something else")
    return caught.value


def samples(data: bytes) -> bytes:
    with wave.open(io.BytesIO(data)) as sound:
        return sound.readframes(sound.getnframes())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def everything(folder: Path) -> dict[str, tuple[int, ...]]:
    return {
        each.name: (each.lstat().st_ino, each.lstat().st_mtime_ns, each.lstat().st_mode, each.lstat().st_size)
        for each in folder.iterdir()
    }


# A file is whole, or as it was


def test_the_sound_lies_beside_its_name_until_it_is_whole(tmp_path: Path) -> None:
    with open_sinks([Destination(str(tmp_path / "out.wav"), "wav")], FORMAT) as sink:
        sink.write(PCM)
        assert os.listdir(tmp_path) == ["out.wav.part"]
        assert sink.frames_played() == 5_000
    assert os.listdir(tmp_path) == ["out.wav"]
    assert samples((tmp_path / "out.wav").read_bytes()) == PCM


def test_a_run_that_fails_leaves_the_old_file_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"old")
    path.chmod(0o640)
    before = everything(tmp_path)
    assert fail(path).partial == tmp_path / "out.wav.part"
    assert everything(tmp_path)["out.wav"] == before["out.wav"]
    assert path.read_bytes() == b"old"


def test_a_run_that_fails_without_sound_leaves_nothing(tmp_path: Path) -> None:
    assert fail(tmp_path / "out.wav", b"").partial is None
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_is_gone_is_not_named(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError) as caught,
        open_sinks([Destination(str(tmp_path / "a"))], FORMAT) as sink,
    ):
        sink.write(PCM)
        (tmp_path / "a.part").unlink()
    assert caught.value.partial is None


@pytest.mark.parametrize("old_mode", [0o600, 0o640, 0o666, 0o755])
def test_a_file_keeps_its_mode_and_the_sound_has_it_from_its_first_byte(
    old_mode: int, tmp_path: Path
) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"old")
    path.chmod(old_mode)
    with open_sinks([Destination(str(path), "wav")], FORMAT) as sink:
        assert mode(tmp_path / "out.wav.part") == old_mode
        sink.write(PCM)
    assert mode(path) == old_mode


def test_a_new_file_has_the_mode_that_the_person_set(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        wav(tmp_path / "out.wav")
    finally:
        os.umask(before)
    assert mode(tmp_path / "out.wav") == 0o640


@pytest.mark.parametrize("exists", [True, False], ids=["a file", "nothing yet"])
def test_a_link_is_followed_and_stays(exists: bool, tmp_path: Path) -> None:
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


def test_the_part_of_another_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out.wav.part").write_bytes(b"kept of yesterday")
    kept = fail(tmp_path / "out.wav").partial
    assert kept
    assert kept.name.startswith("out.wav.")
    assert kept.name.endswith(".part")
    assert samples(kept.read_bytes()) == PCM
    wav(tmp_path / "out.wav")
    assert (tmp_path / "out.wav.part").read_bytes() == b"kept of yesterday"
    assert len(os.listdir(tmp_path)) == 3


# A FIFO or device is written in place


def test_a_fifo_is_written_in_place(tmp_path: Path) -> None:
    fifo = make_fifo(tmp_path)
    before = everything(tmp_path)["fifo"][0]
    got: list[bytes] = []
    with in_background(lambda: got.append(fifo.read_bytes())):
        wav(fifo)
    assert got[0][44:] == PCM
    assert (everything(tmp_path)["fifo"][0], os.listdir(tmp_path)) == (before, ["fifo"])


def test_a_device_is_written_in_place() -> None:
    wav(Path("/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert not list(Path("/dev").glob("null.*"))


# What cannot be written: one clear line, before any sound, and nothing is left


def in_the_way(folder: Path) -> None:
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
def test_a_place_that_takes_no_file_is_one_clear_line(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_way(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = everything(tmp_path)
    with pytest.raises(OutputError) as caught, open_sinks([Destination(name, "wav")], FORMAT):
        pass
    line = str(caught.value)
    assert line.startswith("cannot write ")
    assert words.format(folder=tmp_path) in line
    assert line.isprintable()
    assert everything(tmp_path) == before


def test_a_full_disk_is_one_clear_line() -> None:
    for coding in ("pcm", "wav"):
        with pytest.raises(OutputError, match="^cannot write /dev/full: No space left on device$"):
            write_audio(Destination("/dev/full", coding), PCM)


@contextmanager
def folder_of_another_user() -> Iterator[Path]:
    """A folder whose rights count: root, whom none stops, stands aside."""
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


def test_a_folder_or_a_file_that_is_read_only_is_one_clear_line() -> None:
    with folder_of_another_user() as folder:
        (folder / "out.wav").write_bytes(b"old")
        (folder / "out.wav").chmod(0o444)
        with pytest.raises(OutputError, match=r"^cannot write .*/out.wav: it is read-only$"):
            wav(folder / "out.wav")
        folder.chmod(0o555)
        with pytest.raises(OutputError, match=r"^cannot write .*/new.wav: Permission denied$"):
            wav(folder / "new.wav")
        assert os.listdir(folder) == ["out.wav"]


def test_a_folder_that_may_be_written_and_not_read_takes_files() -> None:
    with folder_of_another_user() as folder:
        folder.chmod(0o300)
        wav(folder / "out.wav")
        assert samples((folder / "out.wav").read_bytes()) == PCM
