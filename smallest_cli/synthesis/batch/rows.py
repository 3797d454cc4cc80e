"""Read rows from a CSV, TSV or JSON Lines file, and report everything that is wrong with it at once."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from smallest_cli.errors import UsageError
from smallest_cli.security import printable
from smallest_cli.text.input import read_texts

COLUMNS = ("id", "text", "voice", "model", "language", "speed", "format")
SHOWN_PROBLEMS = 20
DELIMITER_HINT = "a .csv is comma-separated, a .tsv is tab-separated"


@dataclass(frozen=True, slots=True)
class Row:
    """One row, numbered from 1 in the order of the file. None is a column that is empty or missing."""

    number: int
    text: str
    id: str | None = None
    voice: str | None = None
    model: str | None = None
    language: str | None = None
    speed: float | None = None
    format: str | None = None


Problems = list[tuple[int, str]]
"""Messages, each with the number of its row; 0 for the whole file."""


def read_rows(path: str) -> list[Row]:
    """The rows of a file, whose extension decides the format. Raises UsageError that names every bad row."""
    ending = os.path.splitext(path)[1].lower()
    if ending not in (".csv", ".tsv", ".jsonl"):
        raise UsageError(f"{printable(path)} is not a .csv, .tsv or .jsonl file")
    (content,) = read_texts([], [path], 0)
    problems: Problems = []
    delimiter = "\t" if ending == ".tsv" else ","
    parse = _parse_jsonl if ending == ".jsonl" else _parse_table
    records = parse(content, delimiter, problems)
    rows = [row for number, fields in records if (row := _row(number, fields, problems))]
    problems += _duplicate_ids(rows)
    hint = "" if ending == ".jsonl" or not _has_other_delimiter(content, delimiter) else DELIMITER_HINT
    check_problems([problem for _, problem in sorted(problems, key=itemgetter(0))], path, hint=hint)
    if not rows:
        raise UsageError(f"{printable(path)} has no rows")
    return rows


def check_problems(problems: list[str], path: str, *, hint: str = "") -> None:
    """Raise UsageError that lists problems, if there are any."""
    if not problems:
        return
    more = [f"and {len(problems) - SHOWN_PROBLEMS} more"] if len(problems) > SHOWN_PROBLEMS else []
    raise UsageError(f"{printable(path)}: {'; '.join([*problems[:SHOWN_PROBLEMS], *more])}", hint=hint)


def _has_other_delimiter(content: str, delimiter: str) -> bool:
    header = content.partition("\n")[0]
    return delimiter not in header and any(other in header for other in ",;\t|")


def _parse_table(content: str, delimiter: str, problems: Problems) -> list[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    found = []
    number = 0
    previous_limit = csv.field_size_limit(len(content))  # which is global; --max-chars limits the text
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        problems += ((0, each) for each in _bad_columns(header))
        for number, cells in enumerate((cells for cells in reader if cells), start=1):
            if len(cells) != len(header):
                problems.append((number, f"row {number} has {len(cells)} cells for {len(header)} columns"))
            else:
                found.append((number, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        problems.append((number + 1, f"line {reader.line_num} cannot be parsed: {printable(error, 80)}"))
    finally:
        csv.field_size_limit(previous_limit)
    return [] if "text" not in header else found


def _parse_jsonl(content: str, _: str, problems: Problems) -> list[tuple[int, dict[str, Any]]]:
    found = []
    lines = (line for line in content.split("\n") if line.strip())
    for number, line in enumerate(lines, start=1):
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            problems.append((number, f"row {number} is not a JSON object"))
            continue
        names = [name.strip().lower() for name in fields]
        if bad := [(number, f"row {number}: {each}") for each in _bad_columns(names)]:
            problems += bad
            continue
        found.append((number, dict(zip(names, fields.values(), strict=True))))
    return found


def _bad_columns(names: list[str]) -> Iterator[str]:
    if "text" not in names:
        yield "no text column"
    for name in sorted(set(names) - set(COLUMNS)):
        yield f"unknown column {printable(name, 40) or 'without a name'} (known are {', '.join(COLUMNS)})"
    for name in sorted(name for name in set(names) if names.count(name) > 1):
        yield f"column {printable(name, 40)} is given twice"


def _row(number: int, fields: dict[str, Any], problems: Problems) -> Row | None:
    values: dict[str, Any] = {}
    bad = []
    for name, value in fields.items():
        if name not in COLUMNS or value is None or value == "":
            continue
        if name == "speed":
            values[name] = _speed(value)
            if values[name] is None:
                bad.append(f"row {number}: speed {printable(value, 40)} is not between 0.5 and 2.0")
        elif name == "id" and isinstance(value, int) and not isinstance(value, bool):
            values[name] = str(value)
        elif not isinstance(value, str):
            bad.append(f"row {number}: {name} is not text")
        else:
            values[name] = value if name == "text" else value.strip() or None
    if not bad and not str(values.get("text", "")).strip():
        bad.append(f"row {number} has no text")
    problems += ((number, each) for each in bad)
    return None if bad else Row(number, **values)


def _speed(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        speed = float(value)
    except (ValueError, OverflowError):
        return None
    return speed if 0.5 <= speed <= 2.0 else None


def _duplicate_ids(rows: list[Row]) -> Iterator[tuple[int, str]]:
    first: dict[str, int] = {}
    for row in rows:
        if row.id is not None and first.setdefault(row.id, row.number) != row.number:
            yield row.number, f"row {row.number} has the id of row {first[row.id]}, {printable(row.id, 40)}"
