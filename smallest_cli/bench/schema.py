"""What files of ours must hold, so that everything behind the reader may trust it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from smallest_cli.bench.metrics import SCALES
from smallest_cli.bench.shape import (
    Misshapen,
    anything,
    each,
    fields,
    flag,
    mapping,
    named,
    number,
    one_of,
    optional,
    text,
    tuple_of,
    whole,
)
from smallest_cli.bench.thresholds import parse_promise

VERDICTS = ("ok", "suspect", "invalid")
_ID = named(r"[a-z0-9]{1,12}/[a-z0-9]{1,12}/[cr][0-9][0-9.e+-]{0,20}")
_NAME = named(r"[A-Za-z0-9_.-]{1,40}")
_KNOWN = optional(number())


def _promise(value: Any, where: str) -> None:
    text(value, where)
    parse_promise(value)


def _load(value: Any, where: str) -> None:
    fields(
        {"model": one_of("open", "closed"), "concurrency": whole(0)},
        {"engine": text, "count": optional(whole(0))},
    )(value, where)
    if value["model"] == "open":
        fields({"rate": number(0), "arrival": text})(value, where)


_WITNESS = optional(fields({"p50": number(), "p99": number()}))
_RUN = {
    "id": text, "started_utc": text, "interrupted": flag, "complete": flag, "seed": whole(),
    "arms": each(_ID), "load": _load, "target": fields({"base_url": text, "api": text}),
    "request": fields({"voice": optional(text), "model": optional(text), "sample_rate": whole(1)}),
    "texts": mapping(anything), "buffers_ms": each(number(0), 1), "slo": each(_promise),
    "calibration": fields(
        {"verdict": one_of(*VERDICTS), "reasons": each(text), "floor_ms": _WITNESS, "lag_ms": _WITNESS}
    ),
    "defs": fields({"metrics": mapping(fields({"starts": text, "stops": text}), _NAME)}),
}  # fmt: skip
_MERGED = {"merged": each(text), "part_of": text, "cut_short": optional(text)}
_ESTIMATE = fields({"v": number(), "lo": _KNOWN, "hi": _KNOWN}, {"why": text})
_METRIC = fields(
    {"unit": one_of(*SCALES), "n": whole(1), "outliers": whole(0)}
    | dict.fromkeys(("mean", "min", "max", "mad", "mean_without_outliers"), number())
    | dict.fromkeys(("p50", "p90", "p95", "p99", "p99.9"), _ESTIMATE),
    {"at_least": each(text)},
)
_PLAYED = fields(
    {"ttfa_p50": _KNOWN}
    | dict.fromkeys(("buffer_ms", "smooth", "stalls_mean", "stall_total_p95", "stall_max"), number(0))
)
_COURSE = fields(
    {
        "trial": whole(), "ttfb": number(0), "last_audio": number(0), "complete": optional(number(0)),
        "connect": mapping(number(0), one_of("dns", "tcp", "tls", "upgrade")),
        "arrivals": each(tuple_of(number(0), number(0)), 1),
    }
)  # fmt: skip


def _samples(value: Any, where: str) -> None:
    mapping(anything)(value, where)
    for name, values in value.items():
        if name not in ("trial", "text"):
            each(optional(number(0)))(values, f"{where}.{name}")


def _arm(value: Any, where: str) -> None:
    fields(
        {
            "id": _ID, "n": whole(0), "ok": whole(0), "errors": mapping(whole(1), _NAME),
            "error_rate": number(0), "messages": mapping(text, _NAME), "streaming": flag,
            "reopened": whole(0), "metrics": mapping(_METRIC, _NAME), "player": each(_PLAYED),
            "samples": _samples, "drawn": mapping(_COURSE),
        },
        {"first_is_outlier": flag},
    )(value, where)  # fmt: skip
    if value["ok"] > value["n"]:
        raise Misshapen(f"{where}.ok is more than its n")
    for name in value["samples"]:
        if name not in ("trial", "text", *value["metrics"]):
            raise Misshapen(f"{where}.metrics lacks what its samples are of")


_JUDGED = fields(
    {
        "expr": _promise, "arm": text, "value": _KNOWN, "ci": optional(tuple_of(_KNOWN, _KNOWN)),
        "pass": flag, "confident": flag,
    },
    {"unit": one_of("share", *SCALES), "at_least": flag, "why": optional(text)},
)  # fmt: skip
_RESULT = fields(
    {"run": fields(_RUN, _MERGED), "arms": each(_arm), "slo": each(_JUDGED), "exit": whole(0, 255)}
)


def check_result(found: Mapping[str, Any]) -> None:
    """The object of `--save`. Raises Misshapen, UsageError."""
    _RESULT(found, "")
    known = found["run"]["defs"]["metrics"]
    for arm in found["arms"]:
        for name in arm["metrics"]:
            if name not in known:
                raise Misshapen(f"run.defs.metrics lacks {name}")


_TRIAL = fields(
    {
        "index": whole(-1), "arm": _ID, "phase": one_of("warmup", "measure"), "block": whole(-1),
        "text": text, "characters": whole(0), "rate": whole(1), "started_ns": whole(), "ended_ns": whole(),
        "chunks": each(tuple_of(whole(0), whole(1))),
    },
    dict.fromkeys(("scheduled_ns", "opened_ns", "sent_ns"), optional(whole()))
    | dict.fromkeys(("onset", "completed_ns"), optional(whole(0)))
    | dict.fromkeys(("message", "request_id"), optional(text))
    | {
        "phases": optional(fields({}, dict.fromkeys(("dns", "tcp", "tls", "upgrade"), whole(0)))),
        "reused": optional(flag), "error": optional(_NAME),
    },
)  # fmt: skip


def check_raw(run: Any, trials: list[Any]) -> None:
    """What `--jsonl` writes. Raises Misshapen, UsageError."""
    fields(_RUN, _MERGED)(run, "run")
    arms = set(run["arms"])
    for place, trial in enumerate(trials):
        where = f"trial {place}"
        _TRIAL(trial, where)
        if trial["arm"] not in arms:
            raise Misshapen(f"{where}.arm is none of run.arms")
        if any(after[0] < before[0] for before, after in pairwise(trial["chunks"])):
            raise Misshapen(f"{where}.chunks do not come one after the other")
        if trial.get("error") is None and (not trial["chunks"] or trial.get("sent_ns") is None):
            raise Misshapen(f"{where} has neither sound nor an error")
