"""`make soak`: thousands of random runs against a random service, half of them with faults.

    python -m tests.faults.soak [RUNS] [--first SEED] [--workers N]
    python -m tests.faults.soak --seed SEED...

`tests/support/random_faults.py` draws each run from its seed. None may end as success with audio that is
wrong or not proven to be complete, damage a target, pay twice without a report, hang or leak; all without a
fault must succeed. Each worker is a process that runs the command in itself, one run after the other, so that
leaks add up. Files are in memory, and the time in which the machine was busy elsewhere is subtracted: a slow
disk is not a hang of the command.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smallest_cli.cli import app
from tests.support.fault_server import SEGMENT, FaultServer, fault_server
from tests.support.invariants import KEY, OLD, Run, assert_invariants
from tests.support.random_faults import Answer, Plan

SLACK_S, WAITS_S = 0.5, (0.5, 1.0)
BUSY_S = 0.2
"""Seconds by which this machine may be late before a time-out of a good run is its own fault."""
HANGS_AFTER_S = 60
MAY_GROW_MB = 5.0
RECOVERED = 0.999


@dataclass
class Tally:
    """Results of a worker. `misses` maps a goal to the runs that missed it; sizes are in MB."""

    streams: int = 0
    exits: Counter[str] = field(default_factory=Counter)
    misses: dict[str, list[str]] = field(default_factory=dict)
    recoverable: int = 0
    recovered: int = 0
    slowest_s: float = 0.0
    growth_mb: float = 0.0
    shown: bool = False

    def miss(self, goal: str, what: str) -> None:
        self.misses.setdefault(goal, []).append(what)


@contextlib.contextmanager
def descriptor_as(number: int, other: int) -> Iterator[None]:
    """Replace descriptor `number` by `other` within the context."""
    saved = os.dup(number)
    os.dup2(other, number)
    try:
        yield
    finally:
        os.dup2(saved, number)
        os.close(saved)


def command(folder: Path, *arguments: str, piped: bool) -> Run:
    """Run the command in this process, from its argv to its exit code."""
    stderr = os.memfd_create("stderr")
    reading, writing = os.pipe()
    os.chdir(folder)
    sys.argv = ["smallest", *arguments]
    app.app.registered_commands.clear()
    code = 0
    with descriptor_as(1, writing), descriptor_as(2, stderr):
        os.close(writing)
        try:
            app.run()
        except SystemExit as left:
            code = int(left.code or 0)
        gc.collect()
        sys.stdout.flush()
        sys.stderr.flush()
    with open(reading, "rb") as pipe:
        out = pipe.read()
    err = os.pread(stderr, 1 << 20, 0)
    os.close(stderr)
    return Run(folder, code, out, err, piped)


def run_plan(plan: Plan, folder: Path, server: FaultServer) -> tuple[Run, dict[str, Any]]:
    """Run the command of a plan. Returns the run and the object of its --json."""
    (folder / "out.wav").write_bytes(OLD)
    where = ("--base-url", server.base_url, "-o", "-" if plan.piped else "out.wav")
    run = command(folder, *plan.arguments, *where, piped=plan.piped)
    if plan.piped:
        (folder / "out.wav").unlink()
        return run, {}
    result, run.out = json.loads(run.out or b"{}"), b""
    return run, result


def close_pipes(kept: set[str]) -> None:
    """Close the pipes that the thread that reads the text of `stream` leaves to the exit of the process."""
    for thread in threading.enumerate():
        if thread.name.endswith("(_fill)"):
            thread.join()
    for name in set(os.listdir("/proc/self/fd")) - kept:
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("pipe:"):
                os.close(int(name))


def examine(
    plan: Plan,
    run: Run,
    result: dict[str, Any],
    server: FaultServer,
    seconds: float,
    tally: Tally,
    late_s: float,
) -> None:
    """Check one run against every goal."""
    name = f"--seed {plan.seed} ({plan.command}, {plan.via}, {plan.faults or 'no fault'}): exit {run.code}"
    err = run.err.decode()
    try:
        samples = assert_invariants(run, server)
    except AssertionError as error:
        touched = not plan.piped and run.code and run.target.read_bytes() != OLD
        goal = "G3" if run.code == 0 else "G4" if touched or "sample" in str(error) else "G5"
        tally.miss(goal, f"{name}: {str(error)[:300]}")
        return
    requests = [
        each for each in server.requests if (each.text.startswith("part ")) == (plan.command == "converse")
    ]
    sizes = {each.text: len(each.text) for each in requests}
    if run.code == 0 and samples != SEGMENT * plan.sentences:
        tally.miss("G3", f"{name}: {samples} samples of {SEGMENT * plan.sentences}")
    if run.code == 0 and sizes.keys() - {each.text for each in requests if each.proven}:
        tally.miss("G3", f"{name} without proof")
    if plan.must_succeed:
        tally.recoverable += bool(plan.faults)
        tally.recovered += bool(plan.faults) and run.code == 0
        if run.code and not (late_s > BUSY_S and "within" in err):
            tally.miss("G8" if plan.faults else "legal", f"{name}: {err[:300]}")
    again = sum(len(each.text) for each in requests) - sum(sizes.values())
    ids = [each.request_id for each in requests if plan.via != "ws" and plan.answers[0].ids != "none"]
    if run.code == 0 and result and not again and ids and result["request_ids"] != ids:
        tally.miss("legal", f"{name}: request ids {result['request_ids']}, not {ids}")
    # A request that the service refused as busy is not counted: the refusal says that it was not billed.
    refused, retried = "takes one request at a time" in err, " again" in err
    reported = again <= result["characters_resent"] if run.code == 0 and result else retried or not again
    if not (reported or refused) or len(requests) - len(sizes) > plan.may_resend:
        tally.miss("G9", f"{name}: {again} characters sent again: {err[:300]}")
    attempts = 2 if plan.command == "converse" else len(server.requests) + plan.retries
    deadline_s = attempts * plan.timeout_s + sum(WAITS_S[: plan.retries]) + server.delayed_s + SLACK_S
    tally.slowest_s = max(tally.slowest_s, seconds)
    if seconds > deadline_s + late_s:
        tally.miss("G7", f"{name}: {seconds:.2f} s, not {deadline_s:.2f} s")


class Lateness:
    """Total seconds by which a sleeping thread wakes up late."""

    STEP_S = 0.02

    def __init__(self) -> None:
        self.seconds = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        pause = threading.Event()
        while True:
            before = time.monotonic()
            pause.wait(self.STEP_S)
            self.seconds += time.monotonic() - before - self.STEP_S


def resources() -> dict[str, int]:
    """Return the resources that a stream must release."""
    gc.collect()
    me = os.getpid()
    children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "children": len(children),
    }


def resident_mb() -> float:
    """Return the resident memory, after the C library has returned free memory to the system."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def play(plan: Plan, folder: Path, lateness: Lateness, tally: Tally) -> None:
    """Run a plan and check it; a cached one again, with what it left in the cache."""
    os.environ["SMALLEST_CACHE_DIR"] = str(folder / "cache")
    with fault_server(*plan.scripts, seed=plan.seed & 0xFFFF) as server:
        began, late_s = time.monotonic(), lateness.seconds
        run, result = run_plan(plan, folder, server)
        late_s = lateness.seconds - late_s
        if tally.shown:
            print(plan, f"exit {run.code}", run.err.decode(), sep="\n", flush=True)
        seconds = time.monotonic() - began - late_s
        examine(plan, run, result, server, seconds, tally, late_s)
        tally.exits[str(run.code)] += 1
        if plan.cached:
            complete, sent = run.code == 0, len(server.requests)
            server.scripts = [[Answer(plan.seed)]]
            (folder / "out.wav.part").unlink(missing_ok=True)
            run, _ = run_plan(plan, folder, server)
            name = f"--seed {plan.seed}, from the cache: exit {run.code}"
            try:
                whole = assert_invariants(run, server) == SEGMENT * plan.sentences
            except AssertionError:
                whole = False
            if run.code or not whole:
                tally.miss("legal" if run.code else "G3", f"{name}: {run.err.decode()[:300]}")
            if complete and len(server.requests) > sent:
                tally.miss("G9", f"{name}, and {len(server.requests) - sent} requests")


def work(seeds: Sequence[int], *, show: bool = False) -> Tally:
    """Run the plans of these seeds in this process. Memory growth is measured over the second half."""
    tally = Tally(shown=show)
    memory = "/dev/shm"
    base = Path(tempfile.mkdtemp(dir=memory if os.path.isdir(memory) else None))
    os.environ |= {"SMALLEST_API_KEY": KEY, "HOME": str(base), "SMALLEST_CONFIG_DIR": str(base / "config")}
    before: dict[str, int] = {}
    lateness = Lateness()
    half_mb = 0.0
    kept = set(os.listdir("/proc/self/fd"))
    count = len(seeds)
    for number, seed in enumerate(seeds):
        plan = Plan.draw(seed)
        faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True)
        folder = base / str(number)
        folder.mkdir()
        try:
            play(plan, folder, lateness, tally)
        except Exception as error:
            tally.miss("G5", f"--seed {plan.seed}: {error!r}")
        tally.streams += 1
        os.chdir(base)
        shutil.rmtree(folder)
        if plan.arguments[0] == "stream":
            close_pipes(kept)
        left = resources()
        before = before or left
        if left != before:
            tally.miss("G6", f"--seed {plan.seed}: {before} -> {left}")
            before = left
        if number == count // 2:
            half_mb = resident_mb()
    faulthandler.cancel_dump_traceback_later()
    tally.growth_mb = (resident_mb() - half_mb) / max(1.0, (count - count // 2) / 1000)
    shutil.rmtree(base)
    return tally


def rows(tallies: list[Tally], wanted: int) -> list[tuple[str, str, str, bool]]:
    """Return the goals: id, description, measured value, whether it is met."""
    misses: dict[str, list[str]] = {}
    for tally in tallies:
        for goal, names in tally.misses.items():
            misses.setdefault(goal, []).extend(names)
    streams = sum(tally.streams for tally in tallies)
    growth = max(tally.growth_mb for tally in tallies)
    recoverable, recovered = sum(t.recoverable for t in tallies), sum(t.recovered for t in tallies)
    few = {goal: len(misses.get(goal, [])) for goal in ("G3", "G4", "G5", "G6", "G7", "G9", "legal")}
    return [
        ("G2", f"runs, of {wanted}", str(streams), streams == wanted),
        ("G3", "exit 0 with wrong or unproven audio", str(few["G3"]), not few["G3"]),
        ("G4", "targets damaged by a failure, or wrong audio in a .part", str(few["G4"]), not few["G4"]),
        ("G5", "tracebacks, keys, control characters, stray files", str(few["G5"]), not few["G5"]),
        ("G6", "descriptors, threads, children left behind", str(few["G6"]), not few["G6"]),
        ("G6", f"memory per 1,000 runs, under {MAY_GROW_MB:g} MB", f"{growth:+.2f} MB",
         growth < MAY_GROW_MB),
        ("G7", f"beyond the deadline and {SLACK_S} s (slowest {max(t.slowest_s for t in tallies):.2f} s)",
         str(few["G7"]), not few["G7"]),
        ("G8", f"single faults that a retry mends, {RECOVERED:.1%} or more",
         f"{recovered} of {recoverable}",
         recovered >= RECOVERED * recoverable),
        ("G9", "texts sent again without a report, or too often", str(few["G9"]), not few["G9"]),
        ("-", "failures of a service without a fault", str(few["legal"]), not few["legal"]),
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("count", nargs="?", type=int, default=10_000, help="number of runs")
    parser.add_argument("--workers", type=int, default=8, help="number of processes")
    parser.add_argument(
        "--first", type=int, default=secrets.randbits(32), help="first seed [default: random]"
    )
    parser.add_argument("--seed", type=int, nargs="+", help="run these seeds only, in this process")
    parser.add_argument("--work", type=int, nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        print(json.dumps(vars(work(range(*given.work)))))
        return 0
    if given.seed:
        tally = work(given.seed, show=True)
        print_misses([tally])
        return 1 if tally.misses else 0
    count, workers, first = given.count, given.workers, given.first
    print(
        f"seeds {first} to {first + count - 1}; to repeat one: python -m tests.faults.soak --seed N",
        flush=True,
    )
    program = [sys.executable, "-W", "error::ResourceWarning", "-m", "tests.faults.soak"]
    began = time.monotonic()
    children = [
        subprocess.Popen(
            [*program, "--work", str(first + number), str(first + count), str(workers)],
            stdout=subprocess.PIPE,
        )
        for number in range(workers)
    ]
    tallies = []
    for child in children:
        out = child.communicate()[0]
        if child.returncode == 0:
            tallies.append(Tally(**json.loads(out)))
    exits = sum((Counter(tally.exits) for tally in tallies), Counter[str]())
    print(f"{count} runs, {workers} at once, {time.monotonic() - began:.0f} s; exits", end=" ")
    print(", ".join(f"{code}: {many}" for code, many in sorted(exits.items(), key=lambda each: int(each[0]))))
    found = rows(tallies, count) if tallies else [("G2", "runs", "none", False)]
    print("\n| Goal | What | Seen | |\n|---|---|---|---|")
    for goal, what, seen, met in found:
        print(f"| {goal} | {what} | {seen} | {'met' if met else 'MISSED'} |")
    print_misses(tallies)
    return 0 if all(met for *_, met in found) else 1


def print_misses(tallies: list[Tally]) -> None:
    for tally in tallies:
        for goal, names in tally.misses.items():
            for name in names[:5]:
                print(f"{goal}: {name}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
