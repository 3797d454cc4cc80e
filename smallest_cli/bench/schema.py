"""What files of ours must hold, so that everything behind the reader may trust it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from smallest_cli.bench.metrics import SCALES
from smallest_cli.bench.thresholds import parse_promise
from smallest_cli.security import printable

MOST = 10**18
"""Greater than any number of ours: as nanoseconds it is 31 years."""

Check = Callable[[Any, str], None]
"""Looks at a value; the words say where it stands. Raises Misshapen."""


class SchemaError(Exception):
    """A value is not what it must be; the message says which, and what it must be."""


def _refuse(where: str, what: str) -> None:
    raise SchemaError(f"{printable(where, 80)} is not {what}")


def flag(value: Any, where: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        _refuse(where, "true or false")


def text(value: Any, where: str) -> None:
    """Any text."""
    if not isinstance(value, str):
        _refuse(where, "a text")


def named(pattern: str) -> Check:
    """A text that is whole of that form."""
    form = re.compile(pattern)

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or not form.fullmatch(value):
            _refuse(where, "a name of ours")

    return check


def one_of(*known: str) -> Check:
    """One of those texts."""

    def check(value: Any, where: str) -> None:
        if value not in known:
            _refuse(where, f"one of {', '.join(known)}")

    return check


def whole(least: int = -MOST, most: int = MOST) -> Check:
    """A whole number in that range."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            _refuse(where, "a whole number" + (f" from {least} on" if least > -MOST else ""))

    return check


def number(least: float = -MOST) -> Check:
    """A finite number, not below `least`."""

    def check(value: Any, where: str) -> None:
        known = isinstance(value, int | float) and not isinstance(value, bool)
        if not known or not math.isfinite(value) or not least <= value <= MOST:
            _refuse(where, "a number" + (f" from {least:g} on" if least > -MOST else ""))

    return check


def optional(check: Check) -> Check:
    """That, or null."""
    return lambda value, where: None if value is None else check(value, where)


def each(check: Check, least: int = 0) -> Check:
    """A list of at least so many of those."""

    def check_all(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) < least:
            _refuse(where, f"a list of {least or 'any number'} or more" if least else "a list")
        for place, item in enumerate(value):
            check(item, f"{where}.{place}")

    return check_all


def tuple_of(*checks: Check) -> Check:
    """A list of exactly those."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) != len(checks):
            _refuse(where, f"a list of {len(checks)}")
        for place, (item, own) in enumerate(zip(value, checks, strict=True)):
            own(item, f"{where}.{place}")

    return check


def mapping(check: Check, name: Check = text) -> Check:
    """An object of any such names, each with one of those."""

    def check_all(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            _refuse(where, "an object")
        for key, item in value.items():
            name(key, f"a name in {where}")
            check(item, f"{where}.{key}")

    return check_all


def fields(known: Mapping[str, Check], perhaps: Mapping[str, Check] | None = None) -> Check:
    """An object that has all of those, and some of the others perhaps; what else it has is not looked at."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            _refuse(where, "an object")
        for name, own in (*known.items(), *(perhaps or {}).items()):
            path = f"{where}.{name}" if where else name
            if name in value:
                own(value[name], path)
            elif name in known:
                raise SchemaError(f"{printable(path, 80)} is missing")

    return check


def anything(value: Any, where: str) -> None:
    """Whatever it is, nobody looks at it."""


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
        raise SchemaError(f"{where}.ok is more than its n")
    for name in value["samples"]:
        if name not in ("trial", "text", *value["metrics"]):
            raise SchemaError(f"{where}.metrics lacks what its samples are of")


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
                raise SchemaError(f"run.defs.metrics lacks {name}")


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
            raise SchemaError(f"{where}.arm is none of run.arms")
        if any(after[0] < before[0] for before, after in pairwise(trial["chunks"])):
            raise SchemaError(f"{where}.chunks do not come one after the other")
        if trial.get("error") is None and (not trial["chunks"] or trial.get("sent_ns") is None):
            raise SchemaError(f"{where} has neither sound nor an error")
