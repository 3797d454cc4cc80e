"""The fault matrix, through the command line: no fault may end as success with wrong audio."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fault_cases import CASES, Case
from tests.support.fault_server import SEGMENT, FaultServer, fault_server
from tests.support.invariants import Run, assert_invariants
from tests.support.runs import speak

AT_ONCE = 4
TEXT = "Good morning."
SINKS = ("file", "pipe")
Job = tuple[Case, str, str]
JOBS: list[Job] = [(case, via, sink) for case in CASES for via in case.vias for sink in SINKS]


@dataclass
class Outcome:
    """A finished run and its server."""

    run: Run
    server: FaultServer


def run_job(job: Job, folder: Path) -> Outcome:
    case, via, sink = job
    folder.mkdir()
    with fault_server(*case.scripts, seed=zlib.crc32(case.name.encode()) & 0xFFFF) as server:
        arguments = [TEXT, "--via", via, "--timeout", case.timeout, "--retries", "0", *case.arguments]
        run = speak(folder, server, *arguments, piped=sink == "pipe")
    return Outcome(run, server)


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Outcome]]]:
    """Start all selected cases, a few at a time; each test waits for its own."""
    base = tmp_path_factory.mktemp("matrix")
    wanted = [item.callspec.params["fault"] for item in request.session.items if "fault" in _parameters(item)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            name_of(job): pool.submit(run_job, job, base / str(number)) for number, job in enumerate(wanted)
        }


def _parameters(item: pytest.Item) -> dict[str, object]:
    return getattr(getattr(item, "callspec", None), "params", {})


def name_of(job: Job) -> str:
    return f"{job[0].name}-{job[1]}-{job[2]}"


@pytest.mark.parametrize("fault", JOBS, ids=name_of)
def test_fault_matrix(fault: Job, outcomes: dict[str, Future[Outcome]]) -> None:
    case, _, _ = fault
    outcome = outcomes[name_of(fault)].result()
    run, server = outcome.run, outcome.server
    err = run.err.decode()
    samples = assert_invariants(run, server, budget=case.requests)
    assert run.code == case.exit, err
    assert re.search(case.says, err), err
    match case.left:
        case "old":
            assert samples == 0
        case "part":
            assert case.samples <= samples <= SEGMENT, err
        case "complete":
            assert samples == SEGMENT
            assert len(server.requests) >= 1
