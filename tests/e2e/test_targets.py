"""Targets that cannot be replaced, and open descriptors: complete runs of the command.

For `files.FileTarget` alone see tests/unit/test_files.py.
"""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smallest_cli.files import FileTarget
from tests.support.command import SMALLEST, Ran, environment, smallest
from tests.support.offline import KEY, Offline
from tests.support.worlds import STRANGER, as_stranger, with_mounts

pytestmark = pytest.mark.long

OLD = b"old " * 5_000
"""Longer than the new audio, of which nothing may be left over."""


def speak(
    folder: Path, server: Offline, *arguments: str, prefix: list[str] | None = None, fd: int = -1
) -> Ran:
    """Run `speak` in a folder; `fd` is a descriptor that it inherits."""
    done = subprocess.run(
        [*(prefix or []), *SMALLEST, "speak", "Hi there", "--base-url", server.base_url, *arguments],
        env=environment(folder, SMALLEST_API_KEY=KEY),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=folder,
        timeout=50,
        pass_fds=[] if fd < 0 else [fd],
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr.decode())


def assert_complete(path: Path) -> None:
    with wave.open(str(path)) as file:
        assert file.getnframes() > 1_000
        assert path.stat().st_size == 44 + 2 * file.getnframes()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


# Files that can be written, but not replaced


MOUNTS = {
    "a bind mount": "touch out.wav; mount --bind real.wav out.wav",
    "a bind mount in a read-only folder": (
        "mount -t tmpfs tmpfs there; touch there/out.wav; mount --bind real.wav there/out.wav;"
        " mount -o remount,ro,bind there; ln -s there/out.wav out.wav"
    ),
}


@pytest.mark.parametrize("world", MOUNTS)
def test_bind_mount_is_written_in_place(world: str, folder: Path, server: Offline) -> None:
    (folder / "real.wav").write_bytes(OLD)
    (folder / "there").mkdir()
    ran = speak(folder, server, "-o", "out.wav", prefix=with_mounts(MOUNTS[world]))
    assert (ran.code, ran.err) == (0, "")
    assert_complete(folder / "real.wav")
    assert not list(folder.rglob("*.part"))


def test_read_only_mount_is_refused_before_a_request(folder: Path, server: Offline) -> None:
    (folder / "real.wav").write_bytes(OLD)
    script = f"{MOUNTS['a bind mount']}; mount -o remount,ro,bind out.wav"
    before = len(server.log())
    ran = speak(folder, server, "-o", "out.wav", prefix=with_mounts(script))
    assert (ran.code, ran.err) == (10, "smallest: cannot write out.wav: it is read-only\n")
    assert (folder / "real.wav").read_bytes() == OLD
    assert len(server.log()) == before


@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o755], ids=["sticky", "open", "read-only"])
def test_file_of_another_user_keeps_its_owner(mode: int, folder: Path, server: Offline) -> None:
    """It can be written, but a file of ours in its place would belong to us, if that is allowed at all."""
    place = folder / "place"
    place.mkdir()
    place.chmod(mode)
    for name in ("out.wav", "out.srt"):
        (place / name).write_bytes(OLD)
        (place / name).chmod(0o666)
    arguments = ("-o", "place/out.wav", "--subtitles", "place/out.srt")
    ran = speak(folder, server, *arguments, prefix=as_stranger())
    assert (ran.code, ran.err) == (0, "")
    assert_complete(place / "out.wav")
    assert (place / "out.srt").read_text().startswith("1\n00:00:00,000")
    assert sorted(os.listdir(place)) == ["out.srt", "out.wav"]
    assert {(place / name).stat().st_uid for name in os.listdir(place)} == {0}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change the owner of a file")
def test_root_leaves_owner_and_attributes(tmp_path: Path, server: Offline) -> None:
    target = tmp_path / "out.wav"
    target.write_bytes(OLD)
    os.setxattr(target, "user.note", b"mine")
    os.chown(target, STRANGER, STRANGER + 1)
    target.chmod(0o640)
    inode = target.stat().st_ino
    assert speak(tmp_path, server, "-o", "out.wav").code == 0
    found = target.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (STRANGER, STRANGER + 1, 0o640)
    assert os.getxattr(target, "user.note") == b"mine"
    assert found.st_ino != inode
    assert_complete(target)


def test_all_names_of_a_file_get_the_audio(tmp_path: Path, server: Offline) -> None:
    (tmp_path / "out.wav").write_bytes(OLD)
    os.link(tmp_path / "out.wav", tmp_path / "other.wav")
    assert speak(tmp_path, server, "-o", "out.wav").code == 0
    assert_complete(tmp_path / "other.wav")
    assert (tmp_path / "out.wav").samefile(tmp_path / "other.wav")
    assert sorted(os.listdir(tmp_path)) == ["other.wav", "out.wav"]


@pytest.mark.parametrize(
    "stem", ["x" * 246, "x" * 247, "x" * 251, "ü" * 125, "😀" * 62], ids=["250", "251", "255", "254", "252"]
)
def test_name_of_up_to_255_bytes(stem: str, tmp_path: Path, server: Offline) -> None:
    for _ in range(2):  # a new file, and an existing one
        ran = speak(tmp_path, server, "-o", f"{stem}.wav")
        assert (ran.code, ran.err) == (0, "")
    assert os.listdir(tmp_path) == [f"{stem}.wav"]
    assert_complete(tmp_path / f"{stem}.wav")


# Partial files


def test_batch_leaves_the_part_file_of_a_live_run(tmp_path: Path, server: Offline) -> None:
    (tmp_path / "in.csv").write_text("id,text\na,Hi there\n")
    (tmp_path / "out").mkdir()
    live = FileTarget(str(tmp_path / "out" / "a.wav"))
    live.write(b"half")
    (tmp_path / "out" / "a.wav.0123abcd.part").write_bytes(b"left by a run that was killed")
    arguments = ("batch", "in.csv", "-d", "out", "--base-url", server.base_url)
    assert smallest(tmp_path, *arguments, env={"SMALLEST_API_KEY": KEY}).code == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["a.wav", "a.wav.part", "manifest.jsonl"]
    live.commit()
    assert (tmp_path / "out" / "a.wav").read_bytes() == b"half"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_manifest_that_cannot_be_one_is_refused(
    make: Callable[[Path], None], tmp_path: Path, server: Offline
) -> None:
    (tmp_path / "in.csv").write_text("id,text\na,Hi there\n")
    (tmp_path / "out").mkdir()
    make(tmp_path / "out" / "manifest.jsonl")
    arguments = ("batch", "in.csv", "-d", "out", "--base-url", server.base_url)
    for more in ((), ("--resume", "--dry-run")):
        ran = smallest(tmp_path, *arguments, *more, env={"SMALLEST_API_KEY": KEY})
        assert (ran.code, len(ran.lines), "manifest.jsonl" in ran.lines[0]) == (10, 1, True)


# Open descriptors


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """Open a file as a shell does for a redirection."""
    descriptor = os.open(path, flags | os.O_CREAT, 0o666)
    os.set_inheritable(descriptor, True)
    yield descriptor
    os.close(descriptor)


NAMES = {
    "/dev/fd": "/dev/fd/{}", "/proc/self/fd": "/proc/self/fd/{}", "relative": "../../../../../../dev/fd/{}",
    "a link": "link.wav", "a link to a link": "link-to-link.wav",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_descriptor_is_written_where_it_stands(name: str, tmp_path: Path, server: Offline) -> None:
    (tmp_path / "file").write_bytes(b"head")
    with opened(tmp_path / "file", os.O_RDWR) as fd:
        (tmp_path / "link.wav").symlink_to(f"/dev/fd/{fd}")
        (tmp_path / "link-to-link.wav").symlink_to("link.wav")
        os.lseek(fd, 4, os.SEEK_SET)
        ran = speak(tmp_path, server, "--format", "wav", "-o", NAMES[name].format(fd), fd=fd)
        assert (ran.code, ran.err) == (0, "")
        os.write(fd, b"tail")
    data = (tmp_path / "file").read_bytes()
    assert (data[:4], data[-4:]) == (b"head", b"tail")
    (tmp_path / "alone.wav").write_bytes(data[4:-4])
    assert_complete(tmp_path / "alone.wav")
    assert sorted(os.listdir(tmp_path)) == ["alone.wav", "file", "link-to-link.wav", "link.wav"]


def test_descriptor_opened_to_append(tmp_path: Path, server: Offline) -> None:
    (tmp_path / "file").write_bytes(b"head")
    with opened(tmp_path / "file", os.O_WRONLY | os.O_APPEND) as fd:
        assert speak(tmp_path, server, "-o", f"/dev/fd/{fd}", fd=fd).code == 0
    data = (tmp_path / "file").read_bytes()
    assert data[:4] == b"head"
    assert len(data) > 2_000


def test_descriptor_of_an_unlinked_file(tmp_path: Path, server: Offline) -> None:
    with opened(tmp_path / "file", os.O_RDWR) as fd:
        (tmp_path / "file").unlink()
        assert speak(tmp_path, server, "--format", "wav", "-o", f"/dev/fd/{fd}", fd=fd).code == 0
        data = os.pread(fd, 1 << 20, 0)
    (tmp_path / "copy.wav").write_bytes(data)
    assert_complete(tmp_path / "copy.wav")
    assert os.listdir(tmp_path) == ["copy.wav"]


def test_link_to_stdout_is_stdout(tmp_path: Path, server: Offline) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    (tmp_path / "link.wav").symlink_to("link")
    assert speak(tmp_path, server, "-o", "link").out[:4] != b"RIFF"
    ran = speak(tmp_path, server, "-o", "link.wav")
    assert (ran.code, ran.out[:4]) == (0, b"RIFF")
    assert (tmp_path / "link.wav").is_symlink()


def test_unusable_descriptor_is_refused_before_a_request(tmp_path: Path, server: Offline) -> None:
    before = len(server.log())
    # Python itself opens the first free numbers, for signals: they must not be taken for the caller's.
    for fd in (3, 4, 5, 99):
        ran = speak(tmp_path, server, "-o", f"/dev/fd/{fd}")
        assert (ran.code, ran.err) == (10, f"smallest: cannot write /dev/fd/{fd}: Bad file descriptor\n")
    with opened(tmp_path / "file", os.O_RDONLY) as fd:
        ran = speak(tmp_path, server, "-o", f"/dev/fd/{fd}", fd=fd)
        assert (ran.code, ran.err) == (
            10,
            f"smallest: cannot write /dev/fd/{fd}: it is open for reading only\n",
        )
    assert len(server.log()) == before
