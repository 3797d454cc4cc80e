"""A signal at any time from the first line on ends the run by that signal, without a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.command import environment
from tests.support.fault_server import SEGMENT, FaultServer, fault_server
from tests.support.fault_server.steps import GOOD
from tests.support.invariants import KEY, OLD, assert_counts, wav_samples

AT_ONCE = 2
POINTS = 15
"""Points at each end of the run, and in between."""


def run(folder: Path, server: FaultServer, number: int, turn: int) -> tuple[int, str]:
    """Run `speak` with a signal at a call. Returns its exit code and stderr."""
    folder.mkdir()
    (folder / "out.wav").write_bytes(OLD)
    command = [sys.executable, "-m", "tests.support.signal_at", str(number), str(turn), "speak", "Hi."]
    done = subprocess.run(
        [*command, "--base-url", server.base_url, "-o", "out.wav"],
        cwd=folder,
        env=environment(folder, SMALLEST_API_KEY=KEY, PYTHONPATH=str(ROOT)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.timeout(300)  # 45 runs each
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_at_any_call(number: int, tmp_path: Path) -> None:
    with fault_server(GOOD) as server:
        calls = int(run(tmp_path / "counted", server, number, 0)[1])
        between = range(POINTS, calls - POINTS, calls // POINTS)
        turns = sorted({*range(1, POINTS), *between, *range(calls - POINTS, calls)})
        with ThreadPoolExecutor(AT_ONCE) as pool:
            ran = pool.map(lambda turn: run(tmp_path / str(turn), server, number, turn), turns)
            results = dict(zip(turns, ran, strict=True))
    for turn, (code, err) in results.items():
        # The number of calls varies a little between runs: the last ones may be after the end.
        assert code == -number or (code == 0 and turn >= calls - POINTS), f"call {turn} of {calls}: {err}"
        assert err in ("", "smallest: interrupted\n") or "partial audio saved to" in err, err
        assert "Traceback" not in err
        target = tmp_path / str(turn) / "out.wav"
        assert target.read_bytes() == OLD or assert_counts(wav_samples(target), 0) == SEGMENT
