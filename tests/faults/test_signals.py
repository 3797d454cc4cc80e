"""Signals at every stage of a run: it ends at once, by the signal, and leaves correct files."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from smallest_cli.models import VIAS
from tests.support.fault_server import SEGMENT, Script, fault_server
from tests.support.fault_server.steps import CHUNK, GOOD, Audio, Checkpoint, End, Reply
from tests.support.invariants import Run, assert_counts, assert_invariants, wav_samples
from tests.support.runs import HUNG_S, Job, Running, assert_old_or_complete, dead_port

AT_ONCE = 4
OUTPUTS = ("file", "pipe")
ENDS = {
    "INT": (signal.SIGINT,),
    "TERM": (signal.SIGTERM,),
    "HUP": (signal.SIGHUP,),
    "KILL": (signal.SIGKILL,),
    "INT INT": (signal.SIGINT, signal.SIGINT),
}
DEAD_HOST = "https://resolver.invalid"
SCRIPTS: dict[str, Script] = {
    "headers": (Checkpoint(), *GOOD),
    "no audio yet": (Reply("chunked"), Checkpoint(), Audio(), End()),
    "audio flows": (Reply("chunked"), Audio(2 * CHUNK), Checkpoint(), Audio(2 * CHUNK), End()),
    "marker awaited": (Reply("chunked"), Audio(), Checkpoint(), End()),
    "finalising": GOOD,
}
BEFORE_REQUEST = ("starting", "resolving", "connecting", "TLS")
SAMPLES = {"audio flows": 2 * CHUNK, "marker awaited": SEGMENT, "finalising": SEGMENT}


def is_worth_a_run(job: Job) -> bool:
    """A pipe is not finalised, and before the request a pipe and a file are alike."""
    if job.output == "pipe":
        return job.stage not in (*BEFORE_REQUEST, "finalising")
    return True


JOBS = [
    job
    for stage in (*BEFORE_REQUEST, *SCRIPTS)
    for end in ENDS
    for via in VIAS
    for output in OUTPUTS
    if is_worth_a_run(job := Job(stage, end, via, output))
]


def run_job(job: Job, folder: Path) -> Run:
    folder.mkdir()
    signals = ENDS[job.end]
    if job.stage in ("starting", "resolving"):
        running = Running(folder, DEAD_HOST, job, "slow-start" if job.stage == "starting" else "no-resolver")
        running.wait_for_stage()
        return running.end(signals)
    if job.stage == "connecting":
        with dead_port() as port:
            running = Running(folder, f"http://127.0.0.1:{port}", job)
            running.wait_for_connect(port)
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
            running.wait_for_stage()
            return running.end(signals, announced=True)
        running = Running(folder, server.base_url, job)
        running.wait_for_request(server)
        return running.end(signals, running.wait_for_audio(SAMPLES.get(job.stage, 0)))


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Job, Future[Run]]]:
    """Start all selected runs, a few at a time; each test waits for its own."""
    base = tmp_path_factory.mktemp("signals")
    wanted = [item.callspec.params["job"] for item in request.session.items if _has_job(item)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {job: pool.submit(run_job, job, base / str(number)) for number, job in enumerate(wanted)}


def _has_job(item: pytest.Item) -> bool:
    return isinstance(getattr(getattr(item, "callspec", None), "params", {}).get("job"), Job)


@pytest.mark.parametrize("job", JOBS, ids=str)
def test_signal_at_every_stage(job: Job, runs: dict[Job, Future[Run]]) -> None:
    run = runs[job].result()
    assert run.code == -ENDS[job.end][0], run.err
    if job.stage == "starting":
        assert run.err == b""
        assert assert_invariants(run) == 0
        return
    if job.end == "KILL":
        assert_old_or_complete(run)
        return
    if job.stage == "finalising":
        assert_finished(run, job.end)
        return
    samples = assert_invariants(run)
    assert samples == SAMPLES.get(job.stage, 0) or job.end == "INT INT"
    if job.end != "INT INT":
        assert run.err.decode().startswith("smallest: interrupted\n")
        assert run.part.exists() == (samples > 0 and job.output == "file")


def assert_finished(run: Run, end: str) -> None:
    """After the last byte, the first signal lets the file be completed and a second one ends at once."""
    if end == "INT INT":
        assert_old_or_complete(run)
        return
    assert run.err == b"smallest: interrupted\n"
    assert not run.part.exists()
    assert assert_counts(wav_samples(run.target), 0) == SEGMENT
