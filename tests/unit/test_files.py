"""Files that other processes use, too: partial files, locks, and short writes; see audio/test_file.py."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.errors import OutputError, SettingsError
from smallest_cli.files import FileTarget, atomic_write, remove_part, temporary_folder, write_file
from smallest_cli.settings import NO_HOME
from tests.support import ROOT
from tests.support.audio import FORMAT, noise
from tests.support.worlds import with_mounts

PCM = noise(5_000)


def listing(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


# Partial files


@pytest.mark.parametrize("old", [None, b"old"], ids=["a new file", "an existing file"])
@pytest.mark.parametrize("taken", [False, True], ids=["removed", "replaced"])
def test_lost_part_file_loses_no_audio(taken: bool, old: bytes | None, tmp_path: Path) -> None:
    """Something else cleaned the folder, or has its own partial file under the name."""
    target, part = tmp_path / "out.pcm", tmp_path / "out.pcm.part"
    if old is not None:
        target.write_bytes(old)
        target.chmod(0o640)
    with open_sinks([Destination(str(target))], FORMAT) as sink:
        sink.write(PCM)
        mode = part.stat().st_mode
        part.unlink()
        if taken:
            part.write_bytes(b"half of another file")
    assert target.read_bytes() == PCM
    assert target.stat().st_mode == mode
    assert listing(tmp_path) == {"out.pcm": PCM} | ({part.name: b"half of another file"} if taken else {})


def test_failed_run_leaves_a_part_file_that_is_not_its_own(tmp_path: Path) -> None:
    part = tmp_path / "out.pcm.part"
    with (
        pytest.raises(OutputError) as caught,
        open_sinks([Destination(str(tmp_path / "out.pcm"), keep=False)], FORMAT) as sink,
    ):
        sink.write(PCM)
        part.unlink()
        part.write_bytes(b"half of another file")
        raise OutputError("something else")
    assert caught.value.partial is None
    assert listing(tmp_path) == {part.name: b"half of another file"}


def test_part_file_of_a_live_run_is_not_removed(tmp_path: Path) -> None:
    part = tmp_path / "out.part"
    target = FileTarget(str(tmp_path / "out"))
    remove_part(part)
    assert part.exists()
    target.abandon(True)
    remove_part(part)
    assert not part.exists()


def test_part_file_of_a_killed_process_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / "list.tsv.part").write_bytes(b"half")
    atomic_write(tmp_path / "list.tsv", b"new")
    assert listing(tmp_path) == {"list.tsv": b"new"}


def test_parallel_writers_leave_one_complete_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from smallest_cli.files import atomic_write\n"
        "for at in range(50): atomic_write(Path('file'), sys.argv[1].encode() * 10_000)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, letter], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
        for letter in "abcd"
    ]
    assert [writer.wait(50) for writer in writers] == [0] * 4
    assert set(listing(tmp_path)) == {"file"}
    assert listing(tmp_path)["file"] in [letter * 10_000 for letter in (b"a", b"b", b"c", b"d")]


# Access


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes on this system")
def test_access_list_of_the_folder_is_not_inherited_by_an_existing_file(tmp_path: Path) -> None:
    """A default ACL that lets user 55 read and write: tag, permissions and id of each entry."""
    entries = [(1, 6, -1), (2, 6, 55), (4, 4, -1), (16, 6, -1), (32, 4, -1)]
    numbers = [number.to_bytes(size, "little") for tag, access, id in entries
               for number, size in ((tag, 2), (access, 2), (id & 0xFFFF_FFFF, 4))]  # fmt: skip
    target = tmp_path / "out"
    target.write_bytes(b"old")
    target.chmod(0o640)
    try:
        os.setxattr(tmp_path, "system.posix_acl_default", b"\2\0\0\0" + b"".join(numbers))
    except OSError:
        pytest.skip("no access lists on this file system")
    write_file(str(target), b"new")
    assert "system.posix_acl_access" not in os.listxattr(target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_full_disk_does_not_damage_a_file_that_is_written_in_place(tmp_path: Path) -> None:
    code = """if True:
        import os
        from smallest_cli.errors import OutputError
        from smallest_cli.files import write_file
        open("file", "wb").write(b"old" * 1000)
        os.link("file", "other")
        try:
            write_file("file", b"new!" * 3_000)
        except OutputError as error:
            print(error, open("file", "rb").read() == b"old" * 1000, sorted(os.listdir()))
    """
    prefix = with_mounts('mount -t tmpfs -o size=16384 tmpfs "$HOME"; cd "$HOME"')
    env = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    done = subprocess.run([*prefix, sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert (done.stderr, done.stdout) == (
        "", "cannot write file: No space left on device True ['file', 'other']\n"
    )  # fmt: skip


# Short writes, and places without room for files


def test_short_writes_of_a_header_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite

    def short(descriptor: int, data: Any, at: int) -> int:
        return write(descriptor, memoryview(data)[:3], at)

    monkeypatch.setattr(os, "pwrite", short)
    for coding in ("wav", "flac"):
        with open_sinks([Destination(str(tmp_path / coding), coding)], FORMAT) as sink:
            sink.write(PCM)
    monkeypatch.undo()
    for coding in ("wav", "flac"):
        with open_sinks([Destination(str(tmp_path / f"whole {coding}"), coding)], FORMAT) as sink:
            sink.write(PCM)
        assert (tmp_path / coding).read_bytes() == (tmp_path / f"whole {coding}").read_bytes()


def test_no_place_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with (
        pytest.raises(SettingsError, match="^cannot create a temporary folder: No such file"),
        temporary_folder(),
    ):
        pass


def test_no_home_directory_takes_no_file() -> None:
    with pytest.raises(OutputError, match=r"^cannot write list\.tsv: there is no home directory$") as caught:
        atomic_write(NO_HOME / "smallest" / "list.tsv", b"new")
    assert "SMALLEST_CONFIG_DIR" in caught.value.hint


# Locks


def test_parallel_logins_lose_no_key(tmp_path: Path) -> None:
    code = (
        "import sys; from smallest_cli.client.credentials import store_key, Secret\n"
        "for at in range(6): store_key(f'http://127.0.0.1:{sys.argv[1]}{at}', Secret('sk_' + 20 * 'x', 'x'))"
    )
    env = {"PYTHONPATH": str(ROOT), "SMALLEST_CONFIG_DIR": str(tmp_path / "config")}
    logins = [subprocess.Popen([sys.executable, "-c", code, str(at)], env=env) for at in range(1, 7)]
    assert [login.wait(50) for login in logins] == [0] * 6
    assert list(listing(tmp_path / "config")) == ["credentials.json"]
    stored = json.loads(listing(tmp_path / "config")["credentials.json"])
    assert set(stored) == {f"http://127.0.0.1:{at}{port}" for at in range(1, 7) for port in range(6)}
