"""`make soak`: thousands of streams, half of them faulty; none may end as success with wrong audio.

    python -m tests.faults.soak [STREAMS [WORKERS]]

Half of the streams are long texts without a fault. The others cover all faults of the matrix, transports and
sinks evenly, and the faults after which one segment is requested again. Each worker is a process that runs
the command in itself, one stream after the other, so that leaks add up. Files are in memory, and the time in
which the machine was busy elsewhere is subtracted: a slow disk is not a hang of the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from smallest_cli.cli import app
from tests.support.fault_cases import ALL, CASES, FEW, RETRIED, WS, Case
from tests.support.fault_server import SEGMENT, FaultServer, fault_server
from tests.support.fault_server.steps import GOOD, Close, Fin, Reply, Rst
from tests.support.invariants import KEY, OLD, Run, assert_invariants

TEXT = "Good morning."
LONG = "The first sentence. A second one is here. And a third. This is the fourth."
SEGMENTS = 4
SPLIT = ("--split", "25")
TIMEOUT_S, SLACK_S, WAITS_S = 0.5, 0.5, (0.5, 1.0)
HANGS_AFTER_S = 60
MAY_GROW_MB = 5.0
MAY_RESEND = 0.02
BEFORE_AUDIO_SHARE = 0.999
REPEATED = tuple(
    Case(f"{name}, redone", rows, vias, (GOOD, script, GOOD), 0, "complete", arguments=SPLIT, requests=5)
    for name, rows, vias, script in (
        ("reset", "39", ALL, (Reply(), FEW, Rst())),
        ("closed", "40", ALL, (Reply(), FEW, Fin())),
        ("close 1011", "45", WS, (Reply(), FEW, Close(1011))),
    )
)
FINE = Case("nothing wrong, long", "-", ALL, (GOOD,), 0, "complete", arguments=SPLIT, requests=SEGMENTS)
RECOVERABLE = frozenset(case.name for case in RETRIED if case.exit == 0 and case.name != "closed idle")
Job = tuple[Case, str, str]


def jobs(count: int, random_source: random.Random) -> Iterator[Job]:
    """Yield faulty and good streams in turn; every fault comes once before any is repeated."""
    faults: list[Job] = []
    for number in range(count):
        if number % 2:
            yield FINE, random_source.choice(ALL), random_source.choice(("file", "pipe"))
            continue
        if not faults:
            faults = [(case, via, "file") for case in REPEATED for via in case.vias]
            faults += [(case, via, sink) for case in CASES for via in case.vias for sink in ("file", "pipe")]
            random_source.shuffle(faults)
        yield faults.pop()


@dataclass
class Tally:
    """Results of a worker. `misses` maps a goal to the streams that missed it; sizes are in MB."""

    streams: int = 0
    exits: Counter[str] = field(default_factory=Counter)
    misses: dict[str, list[str]] = field(default_factory=dict)
    recoverable: int = 0
    recovered: int = 0
    characters: int = 0
    resent: int = 0
    slowest_s: float = 0.0
    growth_mb: float = 0.0

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


def speak(job: Job, folder: Path, server: FaultServer) -> Run:
    case, via, sink = job
    (folder / "out.wav").write_bytes(OLD)
    long = SPLIT[0] in case.arguments
    retries = "2" if long else "0"
    return command(
        folder, "speak", LONG if long else TEXT, "--base-url", server.base_url, "--via", via,
        "-o", "-" if sink == "pipe" else "out.wav", "--timeout", case.timeout, "--retries", retries,
        *case.arguments, piped=sink == "pipe",
    )  # fmt: skip


def examine(job: Job, run: Run, server: FaultServer, seconds: float, tally: Tally) -> None:
    """Check one stream against every goal."""
    case, via, sink = job
    long = SPLIT[0] in case.arguments
    name = f"{case.name}, {via}, {sink}: exit {run.code}"
    if sink == "pipe":
        (run.folder / "out.wav").unlink()
    wanted = SEGMENT * (SEGMENTS if long else 1)
    try:
        samples = assert_invariants(run, server, budget=case.requests)
    except AssertionError as error:
        touched = sink == "file" and run.code and run.target.read_bytes() != OLD
        goal = "G3" if run.code == 0 else "G4" if touched else "G5"
        tally.miss(goal, f"{name}: {str(error)[:300]}")
        return
    if run.code == 0 and samples != wanted:
        tally.miss("G3", f"{name}: {samples} samples of {wanted}")
    if run.code != case.exit:
        tally.miss("exit", f"{name}, not {case.exit}: {run.err.decode()[:300]}")
    timeout_s = float(case.arguments[1]) if "--timeout" in case.arguments else TIMEOUT_S
    deadline_s = case.requests * timeout_s + sum(WAITS_S) * (case.requests > 1) + SLACK_S
    tally.slowest_s = max(tally.slowest_s, seconds)
    if seconds > deadline_s:
        tally.miss("G7", f"{name}: {seconds:.2f} s, not {deadline_s:.2f} s")
    if case.name in RECOVERABLE:
        tally.recoverable += 1
        tally.recovered += run.code == 0
    once = len(LONG if long else TEXT)
    tally.characters += once
    tally.resent += max(0, server.characters - once)


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


def work(count: int, seed: int) -> Tally:
    """Run `count` streams in this process. Memory growth is measured over the second half."""
    tally = Tally()
    memory = "/dev/shm"
    base = Path(tempfile.mkdtemp(dir=memory if os.path.isdir(memory) else None))
    os.environ |= {"SMALLEST_API_KEY": KEY, "HOME": str(base), "SMALLEST_CONFIG_DIR": str(base / "config")}
    before: dict[str, int] = {}
    lateness = Lateness()
    half_mb = 0.0
    for number, job in enumerate(jobs(count, random.Random(seed))):
        faulthandler.dump_traceback_later(HANGS_AFTER_S, exit=True)
        folder = base / str(number)
        folder.mkdir()
        with fault_server(*job[0].scripts, seed=(seed * 7919 + number) & 0xFFFF) as server:
            began, late_s = time.monotonic(), lateness.seconds
            run = speak(job, folder, server)
            seconds = time.monotonic() - began - (lateness.seconds - late_s)
        examine(job, run, server, seconds, tally)
        tally.streams += 1
        tally.exits[str(run.code)] += 1
        os.chdir(base)
        shutil.rmtree(folder)
        left = resources()
        before = before or left
        if left != before:
            tally.miss("G6", f"{job[0].name}, {job[1]}, {job[2]}: {before} -> {left}")
            before = left
        if number == count // 2:
            half_mb = resident_mb()
    faulthandler.cancel_dump_traceback_later()
    tally.growth_mb = (resident_mb() - half_mb) / max(1, count - count // 2) * 1000
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
    resent = sum(t.resent for t in tallies) / max(1, sum(t.characters for t in tallies))
    few = {goal: len(misses.get(goal, [])) for goal in ("G3", "G4", "G5", "G6", "G7", "exit")}
    return [
        ("G2", f"streams, of {wanted}", str(streams), streams == wanted),
        ("G3", "wrong audio and exit 0", str(few["G3"]), not few["G3"]),
        ("G4", "targets damaged by a failure", str(few["G4"]), not few["G4"]),
        ("G5", "tracebacks, keys, control characters, stray files", str(few["G5"]), not few["G5"]),
        ("G6", "descriptors, threads, children left behind", str(few["G6"]), not few["G6"]),
        ("G6", f"memory per 1,000 streams, under {MAY_GROW_MB:g} MB", f"{growth:+.2f} MB",
         growth < MAY_GROW_MB),
        ("G7", f"beyond the deadline and {SLACK_S} s (slowest {max(t.slowest_s for t in tallies):.2f} s)",
         str(few["G7"]), not few["G7"]),
        ("G8", f"faults before audio that end well, {BEFORE_AUDIO_SHARE:.1%} or more",
         f"{recovered} of {recoverable}",
         recovered >= BEFORE_AUDIO_SHARE * recoverable),
        ("G9", f"characters sent again, {MAY_RESEND:.0%} or less", f"{resent:.2%}", resent <= MAY_RESEND),
        ("-", "another exit code than the matrix states", str(few["exit"]), not few["exit"]),
    ]  # fmt: skip


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    began = time.monotonic()
    shares = [count // workers + (number < count % workers) for number in range(workers)]
    children = [
        subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error::ResourceWarning",
                "-m",
                "tests.faults.soak",
                "work",
                str(share),
                str(seed),
            ],
            stdout=subprocess.PIPE,
        )
        for seed, share in enumerate(shares)
    ]
    tallies = []
    for child in children:
        out = child.communicate()[0]
        if child.returncode == 0:
            tallies.append(Tally(**json.loads(out)))
    exits = sum((Counter(tally.exits) for tally in tallies), Counter[str]())
    print(f"{count} streams, {workers} at once, {time.monotonic() - began:.0f} s;", end=" ")
    print(
        "exits", ", ".join(f"{code}: {many}" for code, many in sorted(exits.items(), key=lambda e: int(e[0])))
    )
    found = rows(tallies, count) if tallies else [("G2", "streams", "none", False)]
    print("\n| Goal | What | Seen | |\n|---|---|---|---|")
    for goal, what, seen, met in found:
        print(f"| {goal} | {what} | {seen} | {'met' if met else 'MISSED'} |")
    for tally in tallies:
        for goal, names in tally.misses.items():
            for name in names[:20]:
                print(f"{goal}: {name}", file=sys.stderr)
    return 0 if all(met for *_, met in found) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        result = work(int(sys.argv[2]), int(sys.argv[3]))
        print(json.dumps(vars(result)))
        sys.exit()
    sys.exit(main())
