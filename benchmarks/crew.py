"""Run Locust on several hosts against the offline server over TLS, and collect results and server log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import trustme

from benchmarks.hosts import Host

KEY = "sk_bench_0123456789abcdef"
PORT = 8443
SMALLEST = [sys.executable, "-P", "-m", "smallest_cli"]
EXIT_TIMEOUT_S = 150
"""Extra seconds allowed per run: calibration, final trials, detection of a lost worker."""
REPORT_SECONDS = 3
Entry = dict[str, Any]


@dataclass(frozen=True)
class Load:
    """Load parameters and server behaviour.

    The last worker is killed or unplugged after `lose_after` answered trials. `spawn_rate` is in users per
    second; by default all users start within 5 s.
    """

    users: int
    seconds: int
    first_byte_ms: float
    sigma: float
    realtime_factor: float
    corpus: str = "short"
    lose_after: int | None = None
    loss: Literal["killed", "unplugged"] = "killed"
    spawn_rate: float | None = None


@dataclass(frozen=True)
class Usage:
    """Usage by a process: share of one core in the middle third of the run, then memory and open files."""

    cpu_share: float
    megabytes: float
    files: int


@dataclass
class RunOutput:
    """Output of a run: exit code and result of the master, raw trials by worker, and the server's log."""

    code: int
    result: dict[str, Any] | None
    raw: dict[str, list[Entry]] = field(default_factory=dict)
    log: list[Entry] = field(default_factory=list)
    locust_log: str = ""
    merged: dict[str, Any] | None = None
    usage: dict[str, Usage] = field(default_factory=dict)

    def trials(self) -> list[Entry]:
        """Return all successful raw trials. Their timestamps are monotonic clock values."""
        return [trial for trials in self.raw.values() for trial in trials if not trial["error"]]


def run(hosts: Sequence[Host], load: Load, folder: Path, *options: str) -> RunOutput:
    """Run the server on the first host, the master on the second, and a worker on each other host."""
    server, master, *workers = hosts
    write_certificate(folder, server.address)
    with ExitStack() as stack:
        log = stack.enter_context((folder / "locust.log").open("wb"))
        serving = stack.enter_context(_start_server(server, load, folder))
        target_options = [
            "--host",
            f"https://{server.address}:{PORT}",
            "--ca-file",
            "ca.pem",
            "--corpus",
            load.corpus,
        ]
        files = ["--smallest-json", "all.json", "--smallest-jsonl", "raw.jsonl"]
        pace = [
            "-u",
            str(load.users),
            "-r",
            str(load.spawn_rate or max(20, load.users // 5)),
            "-t",
            f"{load.seconds}s",
        ]
        commands = [("master", master, ["--master", "--expect-workers", str(len(workers)), "--headless",
                                        *pace, *target_options, *files, *options])]  # fmt: skip
        commands += [
            (f"worker {n}", host, ["--worker", "--master-host", master.address])
            for n, host in enumerate(workers, 1)
        ]
        started = {
            name: stack.enter_context(_terminating(
                host.start(*_locust(), *arguments, cwd=folder, env=_environment(), stdout=log, stderr=log)))
            for name, host, arguments in commands
        }  # fmt: skip
        last = started[f"worker {len(workers)}"]
        if load.lose_after is not None:
            _wait_for(folder / "log.jsonl", load.lose_after, started["master"])
            if load.loss == "unplugged":
                workers[-1].ip("link set eth0 down")
            else:
                last.kill()
        usage = _watch({"server": serving, **started}, load)
        code = started["master"].wait(EXIT_TIMEOUT_S)
        if load.loss == "unplugged":
            last.kill()  # without a network it is not notified of the end of the run
            workers[-1].ip("link set eth0 up")
        for process in started.values():
            process.wait(EXIT_TIMEOUT_S)
    return _read(folder, code, usage)


def write_certificate(folder: Path, address: str) -> None:
    """Create a temporary CA and a server certificate for `address`, as PEM files in `folder`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    server_cert = authority.issue_cert(address)
    server_cert.private_key_pem.write_to_path(str(folder / "key.pem"))
    server_cert.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))


def _locust() -> list[str]:
    file = subprocess.run(
        [*SMALLEST, "bench", "locustfile"], capture_output=True, text=True, check=True
    ).stdout
    return [sys.executable, "-m", "locust", "-f", file.strip(), "--only-summary"]


def _environment() -> dict[str, str]:
    return os.environ | {"SMALLEST_API_KEY": KEY, "SMALLEST_SERVE_TOKEN": KEY}


@contextmanager
def _start_server(host: Host, load: Load, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    timing = ["--first-byte-ms", str(load.first_byte_ms), "--first-byte-sigma", str(load.sigma),
              "--seed", "7", "--realtime-factor", str(load.realtime_factor)]  # fmt: skip
    files = ["--tls-cert", "cert.pem", "--tls-key", "key.pem", "--log", "log.jsonl"]
    where = [
        "--profile",
        "instant",
        "--host",
        host.address,
        "--port",
        str(PORT),
        "--concurrency",
        str(2 * load.users),
    ]
    server = host.start(*SMALLEST, "serve", *where, *timing, *files, cwd=folder, env=_environment(),
                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
    with _terminating(server):
        assert server.stdout
        if not server.stdout.readline():
            raise RuntimeError("the offline server did not start")
        yield server


@contextmanager
def _terminating(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Terminate the process on exit; kill it after 20 s."""
    with process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _lines(path: Path) -> list[Entry]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _wait_for(log: Path, answers: int, master: subprocess.Popen[bytes]) -> None:
    """Wait until the server has answered `answers` requests and the workers have reported them."""
    pause, deadline = threading.Event(), time.monotonic() + EXIT_TIMEOUT_S
    while log.read_text().count("\n") < answers and master.poll() is None and time.monotonic() < deadline:
        pause.wait(0.2)
    pause.wait(REPORT_SECONDS + 1)


def _watch(processes: dict[str, subprocess.Popen[bytes]], load: Load) -> dict[str, Usage]:
    """Measure the resource usage of each process. Returns an empty dict if a worker is to be lost."""
    if load.lose_after is not None:
        return {}
    pause, third_s = threading.Event(), load.seconds / 3
    pause.wait(third_s)
    before = {name: _cpu_seconds(process.pid) for name, process in processes.items()}
    start = time.monotonic()
    pause.wait(third_s)
    seconds = time.monotonic() - start
    return {
        name: Usage((_cpu_seconds(process.pid) - before[name]) / seconds, *_memory_and_files(process.pid))
        for name, process in processes.items()
    }


def _cpu_seconds(pid: int) -> float:
    """Return the CPU seconds used by a process, including its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_and_files(pid: int) -> tuple[float, int]:
    """Return resident memory in MB and the number of open files."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir(f"/proc/{pid}/fd"))


def _read(folder: Path, code: int, usage: dict[str, Usage]) -> RunOutput:
    path = folder / "all.json"
    result = json.loads(path.read_text()) if path.exists() else None
    output = RunOutput(code, result, log=_lines(folder / "log.jsonl"), usage=usage)
    output.locust_log = (folder / "locust.log").read_text(errors="replace")
    files = sorted(folder.glob("raw.*.jsonl"))
    for file in files:
        head, *records = _lines(file)
        origin = head["run"]["origin_ns"]
        trials = [line["trial"] for line in records if line["trial"]["phase"] == "measure"]
        worker = file.name.removeprefix("raw.").removesuffix(".jsonl")
        output.raw[worker] = [each | {"sent_ns": origin + (each["sent_ns"] or 0)} for each in trials]
    if files:
        merged = subprocess.run([*SMALLEST, "bench", "merge", *map(str, files), "--json"],
                                capture_output=True, check=False)  # fmt: skip
        output.merged = json.loads(merged.stdout)
    return output
