"""A signal at every stage of a run: it ends at once, by the signal, and what it leaves is true."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.command import SMALLEST, environment
from tests.support.faults.invariants import KEY, OLD, Run, assert_counts, assert_invariants, wav_samples
from tests.support.faults.server import SEGMENT, FaultServer, Script, fault_server
from tests.support.faults.steps import CHUNK, GOOD, Audio, Reply, Stage, Whole

pytestmark = pytest.mark.long

AT_ONCE = 4
HUNG_S = 30.0
LAUNCH = [SMALLEST[0], "-m", "tests.support.faults.launch"]
PLACES = ("file", "pipe")
VIAS = ("ws", "sse", "http")
ENDS = {
    "INT": (signal.SIGINT,),
    "TERM": (signal.SIGTERM,),
    "HUP": (signal.SIGHUP,),
    "KILL": (signal.SIGKILL,),
    "INT INT": (signal.SIGINT, signal.SIGINT),
}
DEAD_HOST = "https://resolver.invalid"
SCRIPTS: dict[str, Script] = {
    "headers": (Stage(), *GOOD),
    "no audio yet": (Reply("chunked"), Stage(), Audio(), Whole()),
    "audio flows": (Reply("chunked"), Audio(2 * CHUNK), Stage(), Audio(2 * CHUNK), Whole()),
    "marker awaited": (Reply("chunked"), Audio(), Stage(), Whole()),
    "finalising": GOOD,
}
BEFORE_REQUEST = ("starting", "resolving", "connecting", "TLS")
SAMPLES = {"audio flows": 2 * CHUNK, "marker awaited": SEGMENT, "finalising": SEGMENT}


@dataclass(frozen=True)
class Job:
    """One run: where it is interrupted, by what, and over which transport into what."""

    stage: str
    end: str
    via: str
    place: str

    def __str__(self) -> str:
        return f"{self.stage}-{self.end}-{self.via}-{self.place}"


def is_worth_a_run(job: Job) -> bool:
    """A pipe is not finalised; before there is a request, a pipe and a file are alike."""
    if job.place == "pipe":
        return job.stage not in (*BEFORE_REQUEST, "finalising")
    return True


JOBS = [
    job
    for stage in (*BEFORE_REQUEST, *SCRIPTS)
    for end in ENDS
    for via in VIAS
    for place in PLACES
    if is_worth_a_run(job := Job(stage, end, via, place))
]


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
        self._until(server.stage.is_set)

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


def run_job(job: Job, folder: Path) -> Run:
    folder.mkdir()
    signals = ENDS[job.end]
    if job.stage in ("starting", "resolving"):
        running = Running(folder, DEAD_HOST, job, "slow-start" if job.stage == "starting" else "no-resolver")
        running.until_told()
        return running.end(signals)
    if job.stage == "connecting":
        with dead_port() as port:
            running = Running(folder, f"http://127.0.0.1:{port}", job)
            running.until_connecting(port)
            return running.end(signals)
    if job.stage == "TLS":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(HUNG_S)
            running = Running(folder, f"https://127.0.0.1:{listener.getsockname()[1]}", job)
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(HUNG_S)
                assert sock.recv(1) == b"\x16"  # its hello, which is never answered
                return running.end(signals)
    with fault_server(SCRIPTS[job.stage]) as server:
        if job.stage == "finalising":
            running = Running(folder, server.base_url, job, f"slow-disk={len(signals)}")
            running.until_told()
            return running.end(signals, told=True)
        running = Running(folder, server.base_url, job)
        running.until_asked(server)
        return running.end(signals, running.until_written(SAMPLES.get(job.stage, 0)))


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Job, Future[Run]]]:
    """Every selected run, several at once: a test waits for its own."""
    base = tmp_path_factory.mktemp("signals")
    wanted = [item.callspec.params["job"] for item in request.session.items if _has_job(item)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {job: pool.submit(run_job, job, base / str(number)) for number, job in enumerate(wanted)}


def _has_job(item: pytest.Item) -> bool:
    return isinstance(getattr(getattr(item, "callspec", None), "params", {}).get("job"), Job)


@pytest.mark.parametrize("job", JOBS, ids=str)
def test_a_signal_ends_it_and_leaves_what_is_true(job: Job, runs: dict[Job, Future[Run]]) -> None:
    run = runs[job].result()
    assert run.code == -ENDS[job.end][0], run.err
    if job.stage == "starting":
        assert run.err == b""
        assert assert_invariants(run) == 0
        return
    if job.end == "KILL":
        assert_old_or_whole(run)
        return
    if job.stage == "finalising":
        assert_finished(run, job.end)
        return
    samples = assert_invariants(run)
    assert samples == SAMPLES.get(job.stage, 0) or job.end == "INT INT"
    if job.end != "INT INT":
        assert run.err.decode().startswith("smallest: interrupted\n")
        assert run.part.exists() == (samples > 0 and job.place == "file")


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


def assert_finished(run: Run, end: str) -> None:
    """The last byte was in: the first signal has the file completed; the second is out at once."""
    if end == "INT INT":
        assert_old_or_whole(run)
        return
    assert run.err == b"smallest: interrupted\n"
    assert not run.part.exists()
    assert assert_counts(wav_samples(run.target), 0) == SEGMENT
