"""Where a command runs: without a home directory, in another user's, in a zip archive."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import zipapp
from collections.abc import Iterator
from pathlib import Path

import pytest

from smallest_cli.client.service import open_local_service
from smallest_cli.errors import SettingsError
from smallest_cli.stdio import exhaustion_error
from tests.support import ROOT
from tests.support.command import SMALLEST, Ran
from tests.support.offline import KEY, Offline
from tests.support.worlds import as_stranger

pytestmark = pytest.mark.long


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can write to."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


def run(folder: Path, prefix: list[str], *arguments: str, stdin: bytes = b"", **env: str) -> Ran:
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | env
    done = subprocess.run(
        [*prefix, *arguments],
        input=stdin,
        capture_output=True,
        env=given,
        cwd=folder,
        timeout=50,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr.decode())


def private_home(folder: Path) -> str:
    """The home directory of another user, with settings that are not valid."""
    settings = folder / "home" / ".config" / "smallest" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("[")
    (folder / "home").chmod(0o700)
    return str(folder / "home")


HOMES = ("none", "unreadable", "missing", "relative", "/dev/null")


@pytest.mark.parametrize("home", HOMES)
def test_no_home_directory_means_no_settings(home: str, folder: Path, server: Offline) -> None:
    """For a user without an entry in /etc/passwd, as in a container."""
    prefix = [*as_stranger(), *SMALLEST]
    places = {"none": {}, "unreadable": {"HOME": private_home(folder)}, "missing": {"HOME": "/nonexistent"}}
    env = places.get(home, {"HOME": home})
    speak = ("speak", "Hi there", "--base-url", server.base_url, "-o", "out.wav")
    ran = run(folder, prefix, *speak, SMALLEST_API_KEY=KEY, **env)
    assert (ran.code, ran.err) == (0, "")
    ran = run(folder, prefix, *speak, "--cache", SMALLEST_API_KEY=KEY, **env)
    assert (ran.code, "cannot cache" in ran.err) == (0, True)
    ran = run(folder, prefix, *speak, **env)
    assert (ran.code, ran.lines[0].partition(":")[2]) == (3, " no API key")
    ran = run(folder, prefix, "logout", **env)
    assert (ran.code, ran.lines) == (0, ["no saved key"])
    ran = run(folder, prefix, "login", "--no-check", stdin=KEY.encode(), **env)
    assert (ran.code, len(ran.lines)) == (10, 2 if home in ("none", "relative", "/dev/null") else 1)
    for shell in ("bash", "zsh", "fish", "powershell"):
        assert run(folder, prefix, "completion", shell, "--install", **env).code == 10
    assert sorted(os.listdir(folder)) == ["home", "out.wav"]


def test_run_from_a_zip_archive(home: Path, server: Offline) -> None:
    shutil.copytree(ROOT / "smallest_cli", home / "app" / "smallest_cli")
    shutil.copytree(ROOT / "completions", home / "app" / "smallest_cli" / "completions")
    zipapp.create_archive(home / "app", home / "smallest.pyz", main="smallest_cli.__main__:main")
    shutil.rmtree(home / "app")
    command = [sys.executable, "smallest.pyz"]
    for voice in ("meher", "magnus"):
        arguments = ("speak", "Hi.", "-v", voice, "--base-url", server.base_url, "-o", f"{voice}.wav")
        ran = run(home, command, *arguments, SMALLEST_API_KEY=KEY, HOME=str(home), PYTHONPATH="")
        assert (ran.code, ran.err) == (0, "")
    ran = run(home, command, "completion", "fish", PYTHONPATH="")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.decode() == (ROOT / "completions" / "smallest.fish").read_text()


def test_offline_server_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no more processes are allowed."""
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    with (
        pytest.raises(SettingsError, match="^cannot start the offline server: No such file or directory$"),
        open_local_service(),
    ):
        pass


def test_no_more_processes_is_a_lack_of_resources() -> None:
    """As for the pager of `voices`: fork fails with EAGAIN at the limit of processes."""
    error = exhaustion_error(BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
    assert error
    assert (error.exit_code, str(error)) == (3, "out of resources: Resource temporarily unavailable")
