"""Jumps of the wall clock change no wait, timeout or figure."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.command import LAUNCH, environment
from tests.support.fault_server import SEGMENT, fault_server
from tests.support.fault_server.steps import GOOD, Reply, Stall, Status
from tests.support.invariants import KEY, OLD, Run, assert_invariants


def speak(folder: Path, url: str, *arguments: str) -> Run:
    (folder / "out.wav").write_bytes(OLD)
    home = folder / "home"
    home.mkdir()
    done = subprocess.run(
        [*LAUNCH, "clock", "speak", "Hello.", "--base-url", url, "-o", "out.wav", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(home, SMALLEST_API_KEY=KEY, PYTHONPATH=str(ROOT)),
        cwd=folder,
        timeout=30,
        check=False,
    )
    return Run(folder, done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("via", ["ws", "sse", "http"])
def test_wall_clock_jumps_change_no_figure(via: str, tmp_path: Path) -> None:
    with fault_server((Status(503, headers=b"Retry-After: 0\r\n"),), GOOD) as server:
        run = speak(tmp_path, server.base_url, "--via", via, "--retries", "1", "--json")
    result = json.loads(run.out)
    run.out = b""
    assert assert_invariants(run) == SEGMENT
    assert 0 <= result["ttfb_ms"] <= result["total_ms"] < 3_600_000


@pytest.mark.parametrize("via", ["ws", "sse", "http"])
def test_wall_clock_jumps_change_no_timeout(via: str, tmp_path: Path) -> None:
    with fault_server((Reply(), Stall())) as server:
        run = speak(tmp_path, server.base_url, "--via", via, "--retries", "0", "--timeout", "0.5")
    assert assert_invariants(run) == 0
    assert run.code == 7
    assert b"within 0.5 s" in run.err
