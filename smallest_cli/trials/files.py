"""How runs are kept: raw trials as lines of JSON, results as one object. They hold no key and no text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from smallest_cli.errors import SettingsError, UsageError
from smallest_cli.files import write_whole
from smallest_cli.safety import reason, safe
from smallest_cli.trials.record import Trial
from smallest_cli.trials.summary import SCHEMA, Result, summarise

RAW_SCHEMA = "smallest.bench.raw/1"
SAME = ("request", "texts", "buffers_ms")
"""What two runs must share to be of one kind."""


def write_text(path: Path, text: str) -> None:
    """Write a whole file, or leave the old one as it was; a device or a FIFO in place. Raises OutputFailed,
    and UsageError for `-`."""
    refuse_stdout(str(path))
    write_whole(str(path), text.encode())


def refuse_stdout(name: str) -> None:
    """Raise UsageError for `-`, which elsewhere is stdout: the result is printed there already."""
    if name == "-":
        raise UsageError("stdout has the result already", hint="name a file, or print it with --json")


def as_text(result: Mapping[str, Any]) -> str:
    """The object of --json as --save keeps it, in ASCII, so that no byte of it acts on a terminal."""
    return json.dumps(result) + "\n"


def raw_lines(run: Mapping[str, Any], trials: Iterable[Trial]) -> Iterator[str]:
    """A run as lines: what is known of it first, then each trial, warm-ups among them."""
    yield json.dumps({"schema": RAW_SCHEMA, "run": run}) + "\n"
    for trial in trials:
        yield json.dumps({"trial": trial.as_json()}) + "\n"


def read_raw(path: Path) -> tuple[dict[str, Any], list[Trial]]:
    """The run and the trials in a file of `raw_lines`. Raises UsageError, SettingsError."""
    lines = _read(path).splitlines()
    try:
        head = json.loads(lines[0]) if lines else None
        bodies = [json.loads(line) for line in lines[1:]]
    except ValueError:
        raise SettingsError(f"{safe(path)} holds a line that is no JSON") from None
    if (
        not isinstance(head, dict)
        or head.get("schema") != RAW_SCHEMA
        or not isinstance(head.get("run"), dict)
    ):
        raise SettingsError(f"{safe(path)} holds no raw trials", hint="bench --jsonl FILE writes them")
    if not all(isinstance(body, dict) and isinstance(body.get("trial"), dict) for body in bodies):
        raise SettingsError(f"{safe(path)} holds a line that is no trial")
    return head["run"], [Trial.from_json(body["trial"]) for body in bodies]


def read_result(path: Path) -> Result:
    """The result in a file of `--save`, or reckoned again from one of `--jsonl`. Raises UsageError,
    SettingsError."""
    text = _read(path)
    try:
        found = json.loads(text)
    except ValueError:
        return summarise(*read_raw(path))
    if isinstance(found, dict) and found.get("schema") == RAW_SCHEMA:
        return summarise(*read_raw(path))
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise SettingsError(f"{safe(path)} holds no result of bench")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {safe(path)}: {reason(error)}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{safe(path)} is not UTF-8 text") from None


def merge_runs(runs: Sequence[tuple[dict[str, Any], list[Trial]]]) -> tuple[dict[str, Any], list[Trial]]:
    """Several runs as one, exactly, since their trials are pooled and no quantile is averaged.

    Clocks of different machines are never compared: each run's window begins where the one before ended.
    Raises UsageError where they are not of one kind.
    """
    first = runs[0][0]
    trials: list[Trial] = []
    begins = 0
    for run, own in runs:
        for name in SAME:
            if run.get(name) != first.get(name):
                raise UsageError(f"these runs differ in their {name}: they cannot be one")
        trials += [_moved(trial, begins, index) for index, trial in enumerate(own, len(trials))]
        begins = max([begins, *(trial.ended_ns for trial in trials)])
    arms = list(dict.fromkeys(arm for run, _ in runs for arm in run["arms"]))
    worst = max((run["calibration"] for run, _ in runs), key=_badness)
    merged = {
        "arms": arms,
        "calibration": worst,
        "merged": [run["id"] for run, _ in runs],
        "interrupted": any(run["interrupted"] for run, _ in runs),
        "complete": all(run.get("complete", True) for run, _ in runs),
        "cut_short": next((run["cut_short"] for run, _ in runs if run.get("cut_short")), None),
    }
    return first | (merged if len(runs) > 1 else {}), trials


def _badness(calibration: Mapping[str, Any]) -> int:
    return ("ok", "suspect", "invalid").index(calibration["verdict"])


def _moved(trial: Trial, by_ns: int, index: int) -> Trial:
    def later(ns: int | None) -> int | None:
        return None if ns is None else ns + by_ns

    return replace(
        trial,
        index=index,
        started_ns=trial.started_ns + by_ns,
        ended_ns=trial.ended_ns + by_ns,
        scheduled_ns=later(trial.scheduled_ns),
        opened_ns=later(trial.opened_ns),
        sent_ns=later(trial.sent_ns),
    )
