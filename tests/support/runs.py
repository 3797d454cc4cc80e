"""Runs of the command against a fault server, and how they are interrupted."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme

from tests.support import ROOT
from tests.support.command import LAUNCH, SMALLEST, environment
from tests.support.fault_server import SEGMENT, FaultServer
from tests.support.invariants import KEY, OLD, Run, assert_counts, wav_samples

HUNG_S = 30.0


def speak(
    folder: Path,
    server: FaultServer,
    *arguments: str,
    piped: bool = False,
    command: str = "speak",
    **env: str,
) -> Run:
    """Run a command against a fault server; the target exists already."""
    where = ["-o", "-"] if piped else ["-o", "out.wav"]
    if not piped:
        (folder / "out.wav").write_bytes(OLD)
    home = tempfile.mkdtemp(dir=folder)
    more = {"SMALLEST_API_KEY": KEY, "PYTHONWARNINGS": "error::ResourceWarning", "PYTHONDEVMODE": "1"} | env
    done = subprocess.run(
        [*SMALLEST, command, "--base-url", server.base_url, *where, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(Path(home), **more),
        cwd=folder,
        timeout=50,
        check=False,
    )
    return Run(folder, done.returncode, done.stdout, done.stderr, piped)


@dataclass(frozen=True)
class Job:
    """One interrupted run: the stage, the signals, the transport and the output."""

    stage: str
    end: str
    via: str
    output: str

    def __str__(self) -> str:
        return f"{self.stage}-{self.end}-{self.via}-{self.output}"


class Running:
    """`speak` as a process in its own directory; the target exists already."""

    def __init__(self, folder: Path, base_url: str, job: Job, how: str = "") -> None:
        self.folder = folder
        self.piped = job.output == "pipe"
        if not self.piped:
            (folder / "out.wav").write_bytes(OLD)
        home = Path(tempfile.mkdtemp(dir=folder))
        more = {"SMALLEST_API_KEY": KEY, "PYTHONWARNINGS": "error::ResourceWarning", "PYTHONPATH": str(ROOT)}
        if how == "no-resolver":  # modules are still being imported then
            del more["PYTHONWARNINGS"]
        self.read_fd, write_fd = os.pipe()
        command = [*LAUNCH, f"{how}:{write_fd}"] if how else SMALLEST
        where = ["--base-url", base_url, "-o", "-" if self.piped else "out.wav"]
        self.process = subprocess.Popen(
            [*command, "speak", "Good morning.", "--via", job.via, *where],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(home, **more),
            cwd=folder,
            pass_fds=[write_fd],
        )
        os.close(write_fd)

    def wait_for_stage(self) -> None:
        """Wait until the launcher reports that the stage is reached."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.read_fd, selectors.EVENT_READ)
            assert selector.select(HUNG_S), "the stage was not reached"
        assert os.read(self.read_fd, 1) == b"!", "ended before the stage"

    def wait_for_audio(self, samples: int) -> bytes:
        """Wait until that many samples are in the part file, or read them from the pipe."""
        wanted = 2 * samples
        assert self.process.stdout
        if self.piped:
            return self.process.stdout.read(wanted)
        part = self.folder / "out.wav.part"
        self._wait(lambda: part.exists() and part.stat().st_size >= wanted + 44)
        return b""

    def _wait(self, condition: Callable[[], bool]) -> None:
        pause, deadline = threading.Event(), time.monotonic() + HUNG_S
        while not condition():
            assert self.process.poll() is None, "ended before the stage"
            assert time.monotonic() < deadline, "the stage was not reached"
            pause.wait(0.005)

    def wait_for_connect(self, port: int) -> None:
        """Wait until its SYN is sent."""
        self._wait(lambda: not sockets_of(self.process.pid).isdisjoint(waiting_at(port)))

    def wait_for_request(self, server: FaultServer) -> None:
        """Wait until the script of the server is at its checkpoint."""
        self._wait(server.reached.is_set)

    def end(
        self, signals: tuple[signal.Signals, ...], before: bytes = b"", *, announced: bool = False
    ) -> Run:
        """Send the signals and wait for the end.

        With `announced`, the launcher must report its stage again before the second signal.
        """
        for number, each in enumerate(signals):
            if announced and number:
                self.wait_for_stage()
            self.process.send_signal(each)
        out, err = self.process.communicate(timeout=HUNG_S)
        os.close(self.read_fd)
        return Run(self.folder, self.process.returncode, before + out, err, self.piped)


@contextmanager
def dead_port() -> Iterator[int]:
    """A port with a full connection queue: a SYN to it is never answered."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for filler in fillers:
            filler.close()


def waiting_at(port: int) -> set[str]:
    """Inodes of sockets that wait for a port to answer their SYN (state 2 in /proc/net/tcp)."""
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return {line.split()[9] for line in lines if f":{port:04X} 02 " in line}


def sockets_of(pid: int) -> set[str]:
    """Inodes of the sockets of a process."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(os.readlink(link).removeprefix("socket:[").removesuffix("]"))
    return found


def assert_old_or_complete(run: Run) -> None:
    """After SIGKILL the target is the old or the complete new file, and the part is readable."""
    assert run.err == b""
    if run.piped:
        assert_counts(run.out, 0)
        return
    assert run.target.read_bytes() == OLD or assert_counts(wav_samples(run.target), 0) == SEGMENT
    if run.part.exists() and (data := run.part.read_bytes()):
        assert int.from_bytes(data[40:44], "little") <= len(data) - 44
        assert_counts(data[44:], 0)


def context(authority: trustme.CA, name: str = "127.0.0.1", **more: datetime) -> ssl.SSLContext:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **more).configure_cert(server)
    return server


def state_of(pid: int) -> str:
    """State of a process, one letter as in proc(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        pass
