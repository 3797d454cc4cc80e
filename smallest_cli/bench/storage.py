"""How runs are kept: raw trials as lines of JSON, results as one object. They hold no key and no text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smallest_cli.bench.metrics import METRICS
from smallest_cli.bench.results import SCHEMA, Result, summarise
from smallest_cli.bench.schema import SchemaError, check_raw, check_result, optional, whole
from smallest_cli.bench.trial import Trial
from smallest_cli.errors import UsageError
from smallest_cli.files import write_file
from smallest_cli.security import os_error_text, printable

RAW_SCHEMA = "smallest.bench.raw/1"
SAME = ("request", "texts", "buffers_ms")
"""What two runs must share to be of one kind."""


def write_text(path: Path, text: str) -> None:
    """Write a whole file, or leave the old one as it was; a device or a FIFO in place. Raises OutputError,
    and UsageError for `-`."""
    refuse_stdout(str(path))
    write_file(str(path), text.encode())


def refuse_stdout(name: str) -> None:
    """Raise UsageError for `-`, which elsewhere is stdout: the result is printed there already."""
    if name == "-":
        raise UsageError("stdout has the result already", hint="name a file, or print it with --json")


def as_text(result: Mapping[str, Any]) -> str:
    """The object of --json as --save keeps it, in ASCII, so that no byte of it acts on a terminal."""
    return json.dumps(result) + "\n"


def raw_lines(run: Mapping[str, Any], trials: Sequence[Trial]) -> Iterator[str]:
    """A run as lines: what is known of it and how many trials follow, then each, warm-ups among them."""
    yield json.dumps({"schema": RAW_SCHEMA, "run": run, "trials": len(trials)}) + "\n"
    for trial in trials:
        yield json.dumps({"trial": trial.as_json()}) + "\n"


def read_raw(path: Path) -> tuple[dict[str, Any], list[Trial]]:
    """The run and the trials in a file of `raw_lines`. Raises UsageError.

    A file that holds fewer trials than it says was cut off: its run is marked as incomplete, with the reason.
    """
    return _read_lines(path, _read(path))


def _read_lines(path: Path, text: str) -> tuple[dict[str, Any], list[Trial]]:
    lines = [line for line in text.split("\n") if line.strip()]
    head, *bodies = [_parse(path, line) for line in lines] or [None]
    _refuse_other(path, head, [RAW_SCHEMA], "bench --jsonl FILE writes raw trials")
    if not all(isinstance(body, dict) and isinstance(body.get("trial"), dict) for body in bodies):
        raise UsageError(f"{printable(path)} holds a line that is no trial")
    found = [body["trial"] for body in bodies]
    with _told_of(path):
        check_raw(head.get("run"), found)
        optional(whole(0))(head.get("trials"), "trials")
    trials = [Trial.from_json(each) for each in found]
    missing = _missing(head, trials)
    if missing < 0:
        raise UsageError(f"{printable(path)} holds {-missing} trials more than it says")
    run = _defined(head["run"])
    return _cut_off(run, missing) if missing else run, trials


def _defined(run: dict[str, Any]) -> dict[str, Any]:
    """A run that knows every metric that we reckon: an older file may lack some."""
    theirs = run["defs"]["metrics"]
    ours = {name: asdict(metric) for name, metric in METRICS.items() if name not in theirs}
    return run | {"defs": run["defs"] | {"metrics": theirs | ours}} if ours else run


def _missing(head: Mapping[str, Any], trials: Sequence[Trial]) -> int:
    """How many trials the file lacks, by its own count, or by what a run that was completed had planned."""
    if head.get("trials") is not None:
        return int(head["trials"]) - len(trials)
    run = head["run"]
    planned = (run["load"].get("count") or 0) * len(run["arms"]) if run["complete"] else 0
    return max(0, planned - sum(trial.phase == "measure" for trial in trials))


def _cut_off(run: dict[str, Any], missing: int) -> dict[str, Any]:
    calibration, why = run["calibration"], f"{missing} trials are missing in the file: it was cut off"
    return run | {
        "complete": False,
        "calibration": calibration | {"reasons": [*calibration["reasons"], why]},
    }


def read_result(path: Path) -> Result:
    """The result in a file of `--save`, or reckoned again from one of `--jsonl`. Raises UsageError."""
    text = _read(path)
    found = None
    with suppress(UsageError):
        found = _parse(path, text)
    if found is None or (isinstance(found, dict) and found.get("schema") == RAW_SCHEMA):
        return summarise(*_read_lines(path, text))
    _refuse_other(path, found, [SCHEMA, RAW_SCHEMA], "bench --save FILE or --jsonl FILE writes one")
    with _told_of(path):
        check_result(found)
    result: Result = found
    return result


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {printable(path)}: {os_error_text(error)}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{printable(path)} is not UTF-8 text") from None


def _parse(path: Path, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise UsageError(f"{printable(path)} is no JSON, or is cut off") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _refuse_other(path: Path, found: Any, wanted: Sequence[str], hint: str) -> None:
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema is None:
        raise UsageError(f"{printable(path)} holds nothing that bench wrote", hint=hint)
    if schema not in wanted:
        raise UsageError(
            f"{printable(path)} has the schema {printable(schema, 60)}, and {' or '.join(wanted)} is wanted",
            hint=hint,
        )


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """What is misshapen, told as the person's input."""
    try:
        yield
    except SchemaError as error:
        raise UsageError(f"{printable(path)} is damaged: {error}") from None
