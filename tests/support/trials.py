"""Trials and runs for tests, and the bench command against test servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from msgspec import convert

from smallest_cli.bench.metrics import METRICS
from smallest_cli.bench.playback import Chunk
from smallest_cli.bench.schema import Arm, Run, Waveform, as_json
from smallest_cli.bench.trial import Phases, Trial
from tests.support.command import Ran, smallest

MS = 1_000_000
RATE = 24_000
KEY = "sk_bench_0123456789abcdef"


def arm(name: str) -> Arm:
    """The arm of an id such as `ws/warm/c1` or `ws/warm/r20/meher`."""
    via, conn, load, *voice = name.split("/")
    number = load[1:]
    many = {"concurrency": number} if load[0] == "c" else {"concurrency": 5, "rate": number}
    many |= dict(zip(["voice"], voice, strict=False))
    return convert({"id": name, "via": via, "conn": conn, **many}, Arm, strict=False)


def trial(index: int = 0, ttfb_ms: float = 50, *, arm: str = "ws/warm/c1", **fields: Any) -> Trial:
    """A successful trial of half a second of audio in five arrivals, 50 ms apart, changed by `fields`."""
    first = round(ttfb_ms * MS)
    chunks: tuple[Chunk, ...] = tuple((first + 50 * MS * n, RATE // 10) for n in range(5))
    cold = "/cold/" in arm
    values: dict[str, Any] = {
        "index": index, "arm": arm, "via": arm.split("/")[0], "phase": "measure",
        "block": index, "text": f"t{index % 3}", "characters": 40, "rate": RATE,
        "started_ns": index * 1000 * MS, "opened_ns": index * 1000 * MS + 10 * MS,
        "phases": Phases(1 * MS, 2 * MS, 3 * MS, 4 * MS) if cold else Phases(), "reused": not cold,
        "sent_ns": index * 1000 * MS + 11 * MS, "chunks": chunks, "onset": 240,
        "waveform": Waveform(end=11_760, clipped=0, dc=-60.0, rms=-20.0),
        "completed_ns": first + 300 * MS, "ended_ns": index * 1000 * MS + 400 * MS, "request_id": f"r{index}",
    }  # fmt: skip
    return Trial(**values | fields)


CALIBRATION: dict[str, Any] = {
    "verdict": "ok", "reasons": [], "lag_ms": {"p50": 0.1, "p99": 0.2, "max": 1.0, "n": 9},
    "floor_ms": {"p50": 0.2, "p99": 0.9, "max": 1.0, "n": 9}, "tolerated_ms": 3.0, "clock_drift_s": 0.0,
}  # fmt: skip
LOAD: dict[str, Any] = {"model": "closed", "concurrency": 1, "rate": None, "arrival": None, "count": 3}
TARGET: dict[str, Any] = {"base_url": "http://127.0.0.1:1", "api": "unified"}
REQUEST: dict[str, Any] = {"voice": "meher", "model": "m", "sample_rate": RATE}


def run(**fields: Any) -> Run:
    """A run without its trials, changed by `fields`."""
    values = {
        "id": "17", "started_utc": "2026-11-21T00:00:00+00:00", "interrupted": False, "complete": True,
        "origin_ns": 0, "seed": 7, "arms": ["ws/warm/c1"], "load": LOAD, "target": TARGET, "request": REQUEST,
        "texts": {"t0": {"characters": 40, "sha256": "00"}}, "buffers_ms": [0.0, 100.0], "slo": [],
        "client": {}, "calibration": CALIBRATION, "defs": {"metrics": METRICS},
    } | fields  # fmt: skip
    values["arms"] = [arm(each) if isinstance(each, str) else each for each in values["arms"]]
    return convert(as_json(values), Run)


def bench(home: Path, base_url: str, *options: str, **more: Any) -> Ran:
    """Run the command against a test server."""
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": base_url}
    return smallest(home, "bench", "--yes", "--no-calibrate", *options, env=env, **more)


def result(ran: Ran) -> dict[str, Any]:
    """The object that --json printed."""
    found = json.loads(ran.out)
    assert isinstance(found, dict)
    return found
