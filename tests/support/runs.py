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
    """Run the command against a fault server, its target there already."""
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
    """One run: where it is interrupted, by what, and over which transport into what."""

    stage: str
    end: str
    via: str
    place: str

    def __str__(self) -> str:
        return f"{self.stage}-{self.end}-{self.via}-{self.place}"


class Running:
    """The command in a folder of its own, its target there already."""

    def __init__(self, folder: Path, base_url: str, job: Job, how: str = "") -> None:
        self.folder = folder
        self.piped = job.place == "pipe"
        if not self.piped:
            (folder / "out.wav").write_bytes(OLD)
        home = Path(tempfile.mkdtemp(dir=folder))
        more = {"SMALLEST_API_KEY": KEY, "PYTHONWARNINGS": "error::ResourceWarning", "PYTHONPATH": str(ROOT)}
        if how == "no-resolver":  # libraries are then still being imported, and leave their own things open
            del more["PYTHONWARNINGS"]
        self.told, telling = os.pipe()
        command = [*LAUNCH, f"{how}:{telling}"] if how else SMALLEST
        where = ["--base-url", base_url, "-o", "-" if self.piped else "out.wav"]
        self.process = subprocess.Popen(
            [*command, "speak", "Good morning.", "--via", job.via, *where],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(home, **more),
            cwd=folder,
            pass_fds=[telling],
        )
        os.close(telling)

    def until_told(self) -> None:
        """Until the launcher says that the run is there."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.told, selectors.EVENT_READ)
            assert selector.select(HUNG_S), "never got there"
        assert os.read(self.told, 1) == b"!", "ended before it got there"

    def until_written(self, samples: int) -> bytes:
        """Until so much sound is in the file beside the target, or was read from the pipe here."""
        wanted = 2 * samples
        assert self.process.stdout
        if self.piped:
            return self.process.stdout.read(wanted)
        part = self.folder / "out.wav.part"
        self._until(lambda: part.exists() and part.stat().st_size >= wanted + 44)
        return b""

    def _until(self, condition: Callable[[], bool]) -> None:
        pause, deadline = threading.Event(), time.monotonic() + HUNG_S
        while not condition():
            assert self.process.poll() is None, "ended before it got there"
            assert time.monotonic() < deadline, "never got there"
            pause.wait(0.005)

    def until_connecting(self, port: int) -> None:
        """Until its SYN is out."""
        self._until(lambda: not sockets_of(self.process.pid).isdisjoint(waiting_at(port)))

    def until_asked(self, server: FaultServer) -> None:
        """Until the server's script has come to its stage."""
        self._until(server.reached.is_set)

    def end(self, signals: tuple[signal.Signals, ...], before: bytes = b"", *, told: bool = False) -> Run:
        """Send the signals, each when the launcher has told again where `told`, and wait for the end."""
        for number, each in enumerate(signals):
            if told and number:
                self.until_told()
            self.process.send_signal(each)
        out, err = self.process.communicate(timeout=HUNG_S)
        os.close(self.told)
        return Run(self.folder, self.process.returncode, before + out, err, self.piped)


@contextmanager
def dead_port() -> Iterator[int]:
    """A port whose queue of connections is full: a SYN to it is never answered."""
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
    """The inodes of sockets whose SYN to a port is not answered (state 2 in Linux's table)."""
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return {line.split()[9] for line in lines if f":{port:04X} 02 " in line}


def sockets_of(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(os.readlink(link).removeprefix("socket:[").removesuffix("]"))
    return found


def assert_old_or_whole(run: Run) -> None:
    """After SIGKILL: nothing was said, the target is one or the other, and the rest is readable."""
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
    """One letter, as in proc(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        pass
