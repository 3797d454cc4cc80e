"""Faults of outputs: full and limited disks, concurrent runs, closed and slow pipes.

For sinks alone see tests/unit/audio; here it is complete runs.
"""

from __future__ import annotations

import fcntl
import os
import re
import resource
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from smallest_cli.models import VIAS
from tests.support import ROOT
from tests.support.command import LAUNCH, SMALLEST, environment
from tests.support.fault_server import SEGMENT, FaultServer, Script, fault_server
from tests.support.fault_server.steps import CHUNK, GOOD, Audio, Checkpoint, End, Reply
from tests.support.invariants import KEY, OLD, Run, assert_counts, assert_invariants, wav_samples
from tests.support.runs import HUNG_S, state_of, until

LONG = 4 * SEGMENT
LONG_SCRIPT: Script = (Reply("chunked", LONG), Audio(LONG), End())
PIPE_SIZE = 4096


def start(
    folder: Path, server: FaultServer, output: str, *arguments: str, how: str = "", **options: Any
) -> subprocess.Popen[bytes]:
    """The command in a folder, with the target there already."""
    home = Path(tempfile.mkdtemp(dir=folder))
    command = [*LAUNCH, how] if how else SMALLEST
    return subprocess.Popen(
        [
            *command,
            "speak",
            "Hello.",
            "--base-url",
            server.base_url,
            "-o",
            output,
            "--retries",
            "0",
            *arguments,
        ],
        env=environment(home, SMALLEST_API_KEY=KEY, PYTHONPATH=str(ROOT)),
        cwd=folder,
        **({"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options),
    )


def run(folder: Path, server: FaultServer, output: str = "out.wav", *arguments: str, **options: Any) -> Run:
    if output == "out.wav":
        (folder / output).write_bytes(OLD)
    with start(folder, server, output, *arguments, **options) as process:
        out, err = process.communicate(timeout=HUNG_S)
    return Run(folder, process.returncode, out or b"", err, output == "-")


def assert_kept(ran: Run, code: int, words: str) -> int:
    """The old file is untouched. Returns the number of samples in the part file."""
    samples = assert_invariants(ran)
    assert ran.code == code, ran.err
    assert words in ran.err.decode()
    return samples


# Rows 76 to 83: files


@pytest.mark.parametrize("via", VIAS)
def test_full_device(via: str, tmp_path: Path) -> None:
    with fault_server(GOOD) as server:
        ran = run(tmp_path, server, "/dev/full", "--format", "wav", "--via", via)
    assert (ran.code, ran.out) == (10, b"")
    assert ran.err == b"smallest: cannot write /dev/full: No space left on device\n"


@pytest.mark.parametrize("via", VIAS)
def test_file_size_limit(via: str, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * SEGMENT - 1, 2 * SEGMENT - 1))

    with fault_server(LONG_SCRIPT) as server:
        ran = run(tmp_path, server, "out.wav", "--via", via, preexec_fn=limit)
    samples = assert_kept(ran, 10, "cannot write out.wav: File too large")
    assert samples == (2 * SEGMENT - 45) // 2


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[list[str]]:
    """Mount a tmpfs of `size` bytes at `folder`. Yields the command prefix that does so."""
    words = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = f'mount -t tmpfs -o size={size} tmpfs "{folder}" && cd "{folder}" && exec "$@"'
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here")
    yield [*words, "sh", "-c", mount, "sh"]


@pytest.mark.parametrize("via", VIAS)
def test_disk_fills_up(via: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    look = '"$@"; code=$?; ls; cat out.wav; cat out.wav.part | wc -c; exit $code'
    with small_disk(disk, 4 * 4096) as mounted, fault_server(LONG_SCRIPT) as server:
        arguments = ["speak", "Hello.", "--base-url", server.base_url, "-o", "out.wav", "--via", via]
        done = subprocess.run(
            [*mounted, "sh", "-c", f"printf old >out.wav; {look}", "sh", *SMALLEST, *arguments],
            env=environment(tmp_path, SMALLEST_API_KEY=KEY, PYTHONPATH=str(ROOT)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=HUNG_S,
            check=False,
        )
    assert done.returncode == 10, done.stderr
    assert done.stderr.startswith("smallest: cannot write out.wav: No space left on device\n")
    assert "out.wav.part" in done.stderr
    assert done.stdout.split("\n", 2)[:2] == ["out.wav", "out.wav.part"]
    assert re.fullmatch("old[0-9]+", done.stdout.split("\n", 2)[2].strip())


@pytest.mark.parametrize("via", VIAS)
def test_rename_fails(via: str, tmp_path: Path) -> None:
    with fault_server(GOOD) as server:
        ran = run(tmp_path, server, "out.wav", "--via", via, how="no-rename")
    assert assert_kept(ran, 10, "cannot write out.wav: Stale file handle") == SEGMENT


@pytest.mark.parametrize("name", ["EPERM", "ENOTSUP", "ENOSYS"])
def test_no_clobber_without_hard_links(name: str, tmp_path: Path) -> None:
    with fault_server(GOOD) as server:
        ran = run(tmp_path, server, "new.wav", "--no-clobber", how=f"no-link={name}")
    assert (ran.code, ran.err) == (0, b"")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["new.wav"]
    assert assert_counts(wav_samples(tmp_path / "new.wav"), 0) == SEGMENT


def test_no_clobber_without_hard_links_keeps_a_new_file(tmp_path: Path) -> None:
    script = (Reply("chunked"), Audio(2 * CHUNK), Checkpoint(), Audio(2 * CHUNK), End())
    with fault_server(script) as server:
        process = start(tmp_path, server, "new.wav", "--no-clobber", how="no-link=EPERM")
        assert server.reached.wait(HUNG_S)
        (tmp_path / "new.wav").write_bytes(b"came meanwhile")
        server.release.set()
        _, err = process.communicate(timeout=HUNG_S)
    assert (process.returncode, err.splitlines()[0]) == (2, b"smallest: new.wav exists")
    assert (tmp_path / "new.wav").read_bytes() == b"came meanwhile"
    assert assert_counts(wav_samples(tmp_path / "new.wav.part"), 0) == SEGMENT


def test_reserved_name_is_released(tmp_path: Path) -> None:
    with fault_server(GOOD) as server:
        ran = run(tmp_path, server, "new.wav", "--no-clobber", how="no-name")
    assert (ran.code, ran.err.splitlines()[0]) == (10, b"smallest: cannot write new.wav: Stale file handle")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["new.wav.part"]
    assert assert_counts(wav_samples(tmp_path / "new.wav.part"), 0) == SEGMENT


@pytest.mark.parametrize("via", VIAS)
def test_concurrent_runs_leave_one_complete_file(via: str, tmp_path: Path) -> None:
    script = (Reply("chunked"), Audio(2 * CHUNK), Checkpoint(), Audio(2 * CHUNK), End())
    with fault_server(script, seed=1) as one, fault_server(script, seed=30_000) as two:
        runs = [start(tmp_path, server, "out.wav", "--via", via) for server in (one, two)]
        for server in (one, two):
            assert server.reached.wait(HUNG_S)
        for server in (two, one):
            server.release.set()
        for process in runs:
            out, err = process.communicate(timeout=HUNG_S)
            assert (process.returncode, out, err) == (0, b"", b"")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.wav"]
    pcm = wav_samples(tmp_path / "out.wav")
    assert assert_counts(pcm, 1 if pcm[0] == 1 else 30_000) == SEGMENT


# Rows 84 to 87: pipes


def close_stdout() -> None:
    os.close(1)


def test_closed_stdout_sends_no_request(tmp_path: Path) -> None:
    with fault_server(GOOD) as server:
        ran = run(tmp_path, server, "-", stdout=None, preexec_fn=close_stdout)
    assert (ran.code, ran.err.splitlines()[0]) == (2, b"smallest: stdout is closed")
    assert server.requests == []


def test_closed_stdout_does_not_damage_a_file(tmp_path: Path) -> None:
    """Descriptor 1 is then the first free one, and must not be taken for stdout."""
    with fault_server(GOOD) as server:
        ran = run(tmp_path, server, stdout=None, preexec_fn=close_stdout)
    assert ran.code == 0, ran.err
    assert assert_invariants(ran, server, budget=1) == SEGMENT


def test_closed_stderr_does_not_damage_a_file(tmp_path: Path) -> None:
    with fault_server((Reply("chunked"), Audio(2 * CHUNK))) as server:
        ran = run(
            tmp_path, server, "out.wav", "--timeout", "0.5", stderr=None, preexec_fn=lambda: os.close(2)
        )
    assert ran.code == 9
    assert ran.target.read_bytes() == OLD
    assert assert_counts(wav_samples(ran.part), 0) == 2 * CHUNK


READERS: dict[str, int] = {"before the first byte": 0, "during audio": 2 * CHUNK}


@pytest.mark.parametrize("when", READERS)
@pytest.mark.parametrize("via", VIAS)
def test_pipe_reader_leaves(via: str, when: str, tmp_path: Path) -> None:
    head = (Audio(2 * CHUNK),) if READERS[when] else ()
    script = (Reply("chunked", LONG), *head, Checkpoint(), Audio(LONG), End())
    with fault_server(script) as server:
        process = start(tmp_path, server, "-", "--via", via)
        assert process.stdout
        assert process.stderr
        audio = process.stdout.read(READERS[when])
        assert server.reached.wait(HUNG_S)
        process.stdout.close()
        server.release.set()
        with process.stderr:
            assert process.stderr.read() == b""
        assert process.wait(HUNG_S) == -signal.SIGPIPE
    assert_counts(audio, 0)


@pytest.mark.parametrize("flags", [0, os.O_NONBLOCK], ids=["blocking", "O_NONBLOCK"])
@pytest.mark.parametrize("via", VIAS)
def test_slow_reader_gets_every_sample(via: str, flags: int, tmp_path: Path) -> None:
    """Waiting for the reader must not count as a stall of the service, however short --timeout is."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    os.set_blocking(writing, not flags)
    with fault_server(LONG_SCRIPT) as server:
        process = start(tmp_path, server, "-", "--via", via, "--timeout", "1", stdout=writing)
        os.close(writing)
        audio = read_slowly(reading, process)
        assert process.stderr
        with process.stderr:
            assert process.stderr.read() == b""
        assert process.wait(HUNG_S) == 0
    assert assert_counts(audio, 0) == LONG


def read_slowly(descriptor: int, process: subprocess.Popen[bytes]) -> bytes:
    """Read everything, but only while the writer sleeps: the pipe is full then, or it waits for audio."""
    audio = b""
    with selectors.DefaultSelector() as selector, open(descriptor, "rb", buffering=0) as pipe:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            assert selector.select(HUNG_S)
            until(lambda: process.poll() is not None or state_of(process.pid) in "SZX")
            piece = pipe.read(512)
            if not piece:
                return audio
            audio += piece
