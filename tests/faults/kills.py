"""`make kills`: SIGKILL at random times of a run. The target must be the old or the complete new file.

python -m tests.faults.kills [RUNS]
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from smallest_cli.models import VIAS
from tests.support.fault_server import Script, fault_server
from tests.support.fault_server.steps import CHUNK, Audio, End, Reply
from tests.support.invariants import OLD
from tests.support.runs import Job, Running, assert_old_or_complete

AT_ONCE = 3
SCRIPT: Script = (Reply("chunked"), *(Audio(CHUNK),) * 4, End())


def kill(number: int, most_s: float) -> str:
    """Kill a run within its first `most_s` seconds. Returns what was left."""
    job = Job("", "KILL", VIAS[number % len(VIAS)], "file")
    with tempfile.TemporaryDirectory() as name, fault_server(SCRIPT) as server:
        running = Running(Path(name), server.base_url, job)
        threading.Event().wait(random.Random(number).uniform(0, most_s))
        run = running.end((signal.SIGKILL,))
        assert run.code in (-9, 0), run.err
        assert_old_or_complete(run)
        old = run.target.read_bytes() == OLD
        return ("old, a part beside it" if run.part.exists() else "old") if old else "complete"


def run_to_end(number: int) -> None:
    """Let a run finish."""
    with tempfile.TemporaryDirectory() as name, fault_server(SCRIPT) as server:
        run = Running(Path(name), server.base_url, Job("", "", VIAS[number], "file")).end(())
        assert run.code == 0, run.err


def main() -> int:
    """Return 1 if a target was neither."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    started = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        start = time.monotonic()
        list(pool.map(run_to_end, range(AT_ONCE)))
        most_s = time.monotonic() - start
        found = Counter(pool.map(kill, range(count), [most_s] * count))
    seen = ", ".join(f"{what}: {many}" for what, many in sorted(found.items()))
    print(f"{count} runs killed at random times, {time.monotonic() - started:.0f} s; the target is {seen}")
    return 0 if sum(found.values()) == count else 1


if __name__ == "__main__":
    sys.exit(main())
