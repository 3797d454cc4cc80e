"""Is a run over several hosts right? A master, two workers and the server, each in a network of its own.

Needs root and iproute2. Network namespaces are joined by a bridge; the server speaks TLS with a certificate
made here, and its own stamps are the truth. Checks: merged quantiles equal those of the union of the raw
trials (0.1 %) and the server's (1 ms or 1 %, unless the verdict doubts itself); a worker that is killed is named;
500 paced streams get an honest verdict. Ends with 1 where one is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from smallest_cli.stats.quantiles import quantile

KEY = "sk_of_nobody_0123456789"
SERVER, MASTER, WORKERS = "10.83.7.1", "10.83.7.2", ("10.83.7.3", "10.83.7.4")
NAMES = {SERVER: "sml0", MASTER: "sml1", WORKERS[0]: "sml2", WORKERS[1]: "sml3"}
BRIDGE, PORT = "smlbr", 8443
Run = dict[str, Any]


@dataclass(frozen=True)
class Load:
    """What the server does, and how many users ask for how long."""

    users: int
    seconds: int
    first_byte_ms: float
    sigma: float
    realtime_factor: float
    corpus: str = "short"
    kill_after: float | None = None


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def networks() -> Iterator[None]:
    """A namespace for each address, joined by a bridge."""
    with ExitStack() as undo:
        ip("link", "add", BRIDGE, "type", "bridge")
        undo.callback(ip, "link", "del", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for address, name in NAMES.items():
            ip("netns", "add", name)
            undo.callback(ip, "netns", "del", name)
            ip("link", "add", f"{name}v", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"{name}v", "master", BRIDGE, "up")
            ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield


def inside(address: str, *command: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["ip", "netns", "exec", NAMES[address], *command],
        env=os.environ | {"SMALLEST_API_KEY": KEY, "SMALLEST_SERVE_TOKEN": KEY},
        stdin=subprocess.DEVNULL,
        **options,
    )


def certificate(folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    own = authority.issue_cert(SERVER)
    own.private_key_pem.write_to_path(str(folder / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))


@contextmanager
def serving(folder: Path, load: Load) -> Iterator[None]:
    smallest = [sys.executable, "-P", "-m", "smallest_cli", "serve", "--host", SERVER, "--port", str(PORT)]
    timing = ["--first-byte-ms", str(load.first_byte_ms), "--first-byte-sigma", str(load.sigma), "--seed", "7",
              "--realtime-factor", str(load.realtime_factor)]  # fmt: skip
    files = ["--tls-cert", "cert.pem", "--tls-key", "key.pem", "--log", "log.jsonl"]
    server = inside(
        SERVER, *smallest, *timing, *files, "--concurrency", "2000", cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with server:
        assert server.stdout
        print("server:", server.stdout.readline().decode().strip(), flush=True)
        try:
            yield
        finally:
            server.terminate()


def run(folder: Path, load: Load) -> tuple[int, Run | None]:
    """The exit code and the result of a run."""
    file = subprocess.run(
        [sys.executable, "-m", "smallest_cli", "bench", "locustfile"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    locust = [sys.executable, "-m", "locust", "-f", file, "--only-summary"]
    asked = ["--host", f"https://{SERVER}:{PORT}", "--ca-file", "ca.pem", "--corpus", load.corpus]
    files = ["--smallest-json", "all.json", "--smallest-jsonl", "raw.jsonl"]
    certificate(folder)
    with serving(folder, load):
        log = (folder / "locust.log").open("wb")
        master = inside(
            MASTER, *locust, "--master", "--expect-workers", "2", "--headless", "-u", str(load.users),
            "-r", str(max(20, load.users // 5)), "-t", f"{load.seconds}s", *asked, *files,
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
        workers = [
            inside(each, *locust, "--worker", "--master-host", MASTER, cwd=folder, stdout=log, stderr=log)
            for each in WORKERS
        ]
        if load.kill_after is not None:
            time.sleep(load.kill_after)
            workers[1].kill()
        code = master.wait(load.seconds + 120)
        for worker in workers:
            worker.wait(60)
        log.close()
    path = folder / "all.json"
    return code, json.loads(path.read_text()) if path.exists() else None


def truth(folder: Path) -> list[float]:
    """The server's own milliseconds, from a request received to its first audio about to be sent."""
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return sorted((e["first_audio_ns"] - e["received_ns"]) / 1e6 for e in entries if e["first_audio_ns"])


def union(folder: Path) -> Run:
    raw = sorted(str(path) for path in folder.glob("raw.*.jsonl"))
    merged = subprocess.run(
        [sys.executable, "-m", "smallest_cli", "bench", "merge", *raw, "--json"],
        capture_output=True,
        check=False,
    )
    found: Run = json.loads(merged.stdout)
    return found


def check_quantiles(folder: Path, load: Load, *, to_union: bool = True) -> bool:
    """Merged against the union of the raw trials, and against the server."""
    code, result = run(folder, load)
    if result is None:
        print((folder / "locust.log").read_text()[-3000:])
        return False
    (arm,) = result["arms"]
    true, verdict, holds = truth(folder), result["run"]["calibration"]["verdict"], True
    print(f"exit {code}; {arm['ok']} of {arm['n']} ok, errors {arm['errors']}; verdict {verdict}")
    for why in result["run"]["calibration"]["reasons"]:
        print(f"  {why}")
    (exact,) = union(folder)["arms"] if to_union else (arm,)
    for metric in ("ttfb", "ttfa", "min_safe_buffer", "gap"):
        for name in ("p50", "p99"):
            found, raw = arm["metrics"][metric][name]["v"], exact["metrics"][metric][name]["v"]
            off = abs(found - raw) / max(raw, 0.5)
            holds = holds and off <= 0.001
            print(f"  {metric} {name}: merged {found:.3f}, union of raw {raw:.3f} ms ({off:.3%})")
    for name, p in (("p50", 0.5), ("p99", 0.99)):
        found, server = arm["metrics"]["ttfb"][name]["v"], quantile(true, p)
        near = abs(found - server) <= max(1.0, 0.01 * server)
        holds = holds and (near or verdict != "ok")
        print(
            f"  ttfb {name}: merged {found:.2f}, server {server:.2f} ms ({'within' if near else 'beyond'} the limit)"
        )
    return holds and arm["n"] == exact["n"]


def check_cut(folder: Path, load: Load) -> bool:
    """One worker is killed: the run ends by itself, names it, and counts what had arrived."""
    code, result = run(folder, load)
    if result is None:
        print((folder / "locust.log").read_text()[-3000:])
        return False
    workers = result["run"]["workers"]
    for each in workers:
        print(f"  {each['id']}: {each['state']}, {each['trials']} trials")
    lost = [each["id"] for each in workers if each["state"] == "cut off"]
    reasons = result["run"]["calibration"]["reasons"]
    print(f"exit {code}; verdict {result['run']['calibration']['verdict']}; {'; '.join(reasons)}")
    found, server = result["arms"][0]["metrics"]["ttfb"]["p50"]["v"], quantile(truth(folder), 0.5)
    print(f"  ttfb p50 {found:.2f}, server {server:.2f} ms")
    counted = sum(each["trials"] for each in workers) == result["arms"][0]["n"]
    return len(lost) == 1 and any(lost[0] in why for why in reasons) and counted


CHECKS = {
    "lognormal": (check_quantiles, Load(20, 20, 150, 0.3, 4)),
    "cut": (check_cut, Load(20, 15, 100, 0.2, 4, kill_after=10)),
    "crowd": (check_quantiles, Load(500, 30, 300, 0.2, 1, "long")),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checks", nargs="*", help=f"of {', '.join(CHECKS)}; all of them")
    chosen = parser.parse_args().checks or list(CHECKS)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    missed = []
    with networks():
        for name in chosen:
            check, load = CHECKS[name]
            print(f"== {name}: {load}", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                held = check(Path(folder), load)
            print(f"== {name}: {'holds' if held else 'MISSED'}", flush=True)
            missed += [] if held else [name]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
