"""Files of runs: raw trials as lines of JSON (`--jsonl`), results as one object (`--save`).

They hold no key and no text. JSON is written in ASCII, so that it cannot control a terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder
from msgspec.structs import replace

from smallest_cli.bench.metrics import METRICS
from smallest_cli.bench.results import summarise
from smallest_cli.bench.schema import (
    RAW_SCHEMA,
    SAMPLED,
    SCHEMA,
    Count,
    Result,
    Run,
    as_json,
)
from smallest_cli.bench.thresholds import parse_threshold
from smallest_cli.bench.trial import Trial
from smallest_cli.errors import UsageError, plural
from smallest_cli.files import write_file
from smallest_cli.security import printable, translate_os_errors

OLD_SCHEMAS = ("smallest.bench/1", "smallest.bench.raw/1")


class _Header(Struct):
    schema: str


class _RawHeader(_Header):
    run: Run
    trials: Count | None = None


class _RawLine(Struct):
    trial: Trial


def write_text(path: Path, text: str) -> None:
    """Write a file atomically; a device or FIFO in place. Raises OutputError, and UsageError for `-`."""
    refuse_stdout(str(path))
    write_file(str(path), text.encode())


def refuse_stdout(name: str) -> None:
    """Raise UsageError for `-`: the result is printed on stdout already."""
    if name == "-":
        raise UsageError("stdout is used for the result", hint="name a file, or print JSON with --json")


def as_text(result: Result) -> str:
    """Return a result as `--json` prints it and `--save` writes it."""
    return json.dumps(as_json(result)) + "\n"


def raw_lines(run: Run, trials: Sequence[Trial]) -> Iterator[str]:
    """Yield the lines of a raw file: the run and the number of trials, then each trial with the warm-ups."""
    yield json.dumps({"schema": RAW_SCHEMA, "run": as_json(run), "trials": len(trials)}) + "\n"
    for trial in trials:
        yield json.dumps({"trial": as_json(trial)}) + "\n"


def read_result(path: Path) -> Result:
    """Read a result from a `--save` file, or recompute it from a `--jsonl` file. Raises UsageError."""
    text = _read(path)
    with _refuse_invalid(path):
        try:
            schema = _schema(text)
        except DecodeError:
            schema = RAW_SCHEMA  # JSON lines are not a single document
        if schema == RAW_SCHEMA:
            return summarise(*_read_lines(path, text))
        _check_schema(path, schema, [SCHEMA, RAW_SCHEMA], "write one with bench --save or --jsonl")
        result = Decoder(Result).decode(text)
        check_result(result)
    return result


def read_raw(path: Path) -> tuple[Run, list[Trial]]:
    """Read the run and the trials of a `--jsonl` file. Raises UsageError.

    The run of a file with fewer trials than its header says is marked incomplete.
    """
    text = _read(path)
    with _refuse_invalid(path):
        return _read_lines(path, text)


def _read_lines(path: Path, text: str) -> tuple[Run, list[Trial]]:
    head, *rest = [line for line in text.split("\n") if line.strip()] or [""]
    schema = _schema(head)
    _check_schema(path, schema, [RAW_SCHEMA], "write raw trials with bench --jsonl FILE")
    header = Decoder(_RawHeader).decode(head)
    decoder = Decoder(_RawLine)
    trials = [decoder.decode(line).trial for line in rest]
    run = header.run
    for text in run.slo:
        parse_threshold(text)
    vias = {arm.id: arm.via for arm in run.arms}
    for number, trial in enumerate(trials):
        _check_trial(trial, vias, f"trial {number}")
    # An older file may lack newer metrics.
    ours = {name: metric for name, metric in METRICS.items() if name not in run.defs.metrics}
    run = replace(run, defs=replace(run.defs, metrics=run.defs.metrics | ours))
    missing = (header.trials or 0) - len(trials)
    if header.trials is None:  # use the plan of a complete run
        planned = (run.load.count or 0) * len(run.arms) if run.complete else 0
        missing = max(0, planned - sum(trial.phase == "measure" for trial in trials))
    if missing < 0:
        raise UsageError(f"{printable(path)} has {plural(-missing, 'more trial')} than its header says")
    if missing:
        reasons = [*run.calibration.reasons, f"{plural(missing, 'trial')} missing: the file was cut off"]
        run = replace(run, complete=False, calibration=replace(run.calibration, reasons=reasons))
    return run, trials


def _check_trial(trial: Trial, vias: Mapping[str, str], where: str) -> None:
    if vias.get(trial.arm) != trial.via:
        raise ValidationError(f"{where}: its arm is not in `run.arms`")
    if any(after < before for (before, _), (after, _) in pairwise(trial.chunks)):
        raise ValidationError(f"{where}: `chunks` are not in order")
    if trial.error is None and (not trial.chunks or trial.sent_ns is None):
        raise ValidationError(f"{where} has neither audio nor an error")
    if trial.waveform and trial.error is None and trial.waveform.end > trial.frames:
        raise ValidationError(f"{where}: `waveform` is longer than its audio")
    if trial.cancellation and trial.cancellation.last_byte_ns < trial.cancellation.at_ns:
        raise ValidationError(f"{where}: `cancellation` ends before it begins")


def check_result(result: Result) -> None:
    """Check cross-field rules of a result. Raises ValidationError, and UsageError for a threshold."""
    if len({arm.id for arm in result.run.arms}) < len(result.run.arms):
        raise ValidationError("`run.arms` has an id twice")
    for text in (*result.run.slo, *(threshold.expr for threshold in result.slo)):
        parse_threshold(text)
    for arm in result.arms:
        if arm.ok > arm.n:
            raise ValidationError(f"{arm.id}: `ok` is more than `n`")
        if unknown := arm.metrics.keys() - result.run.defs.metrics.keys():
            raise ValidationError(f"`run.defs.metrics` lacks {', '.join(sorted(unknown))}")
        for name in SAMPLED:
            if arm.samples.of(name) and name not in arm.metrics:
                raise ValidationError(f"{arm.id}: `samples` has {name}, `metrics` has not")


def _read(path: Path) -> str:
    try:
        with translate_os_errors(UsageError, "read", path):
            return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{printable(path)} is not UTF-8 text") from None


def _schema(text: str) -> str | None:
    """Return the schema named in a JSON object, if any. Raises DecodeError for invalid JSON."""
    try:
        return Decoder(_Header).decode(text).schema if text else None
    except ValidationError:
        return None


def _check_schema(path: Path, schema: str | None, wanted: Sequence[str], hint: str) -> None:
    if schema is None:
        raise UsageError(f"{printable(path)} is not a file of smallest bench", hint=hint)
    if schema in OLD_SCHEMAS:
        hint = "it is of an earlier version, which did not record the parts of arms: measure again"
    if schema not in wanted:
        names = " or ".join(wanted)
        raise UsageError(f"{printable(path)} has schema {printable(schema, 60)}, not {names}", hint=hint)


@contextmanager
def _refuse_invalid(path: Path) -> Iterator[None]:
    """Convert decoding errors of a file to UsageError."""
    try:
        yield
    except ValidationError as error:
        raise UsageError(f"{printable(path)} is damaged: {printable(error, 200)}") from None
    except (DecodeError, RecursionError):
        raise UsageError(f"{printable(path)} is not JSON, or is cut off") from None
