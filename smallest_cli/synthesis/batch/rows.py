"""Read rows from a CSV, TSV or JSON Lines file, and report everything that is wrong with it at once."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterator
from operator import itemgetter
from typing import Any

from smallest_cli.errors import UsageError, plural
from smallest_cli.models import Value
from smallest_cli.security import printable
from smallest_cli.text.input import read_texts
from smallest_cli.text.table import read_table

COLUMNS = ("id", "text", "voice", "model", "language", "speed", "format")
DELIMITERS = {"csv": ",", "tsv": "\t"}
FORMATS = (*DELIMITERS, "jsonl")
SHOWN_PROBLEMS = 20


class Row(Value):
    """One row. None is a column that is empty or missing.

    `number` is that of the row in a spreadsheet, where the header is row 1, or of the line in JSON Lines;
    `place` names it in messages.
    """

    number: int
    place: str
    text: str
    id: str | None = None
    voice: str | None = None
    model: str | None = None
    language: str | None = None
    speed: float | None = None
    format: str | None = None


Problems = list[tuple[int, str]]
"""Messages, each with the number of its row; 0 for the whole file."""
Record = tuple[int, str, dict[str, Any]]
"""Number and place of a row, and its values by column."""


def read_rows(path: str, format: str | None, warn: Callable[[str], None] | None) -> list[Row]:
    """The rows of a file (`-` is stdin). Raises UsageError that names every bad row.

    `format` is one of FORMATS, None for that of the extension. `warn` is called if there are unknown columns.
    """
    name = "stdin" if path == "-" else path
    format = format or os.path.splitext(path)[1].lower().removeprefix(".")
    if format not in FORMATS:
        hint = f"name its format: --input-format {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise UsageError(f"{printable(name)} is not a .csv, .tsv or .jsonl file", hint=hint)
    (content,) = read_texts([], [path], 0)
    problems: Problems = []
    if delimiter := DELIMITERS.get(format):
        records, unknown = _parse_table(content, delimiter, problems)
    else:
        records, unknown = _parse_jsonl(content, problems)
    rows = [row for record in records if (row := _row(*record, problems))]
    problems += _duplicate_ids(rows)
    check_problems([problem for _, problem in sorted(problems, key=itemgetter(0))], name)
    if not rows:
        raise UsageError(f"{printable(name)} has no rows")
    if unknown and warn:
        warn(f"{printable(name)}: ignoring {unknown}")
    return rows


def check_problems(problems: list[str], path: str, *, hint: str = "") -> None:
    """Raise UsageError that lists problems, if there are any."""
    if not problems:
        return
    more = [f"and {len(problems) - SHOWN_PROBLEMS} more"] if len(problems) > SHOWN_PROBLEMS else []
    raise UsageError(f"{printable(path)}: {'; '.join([*problems[:SHOWN_PROBLEMS], *more])}", hint=hint)


def _parse_table(content: str, delimiter: str, problems: Problems) -> tuple[list[Record], str]:
    """The records of a table, and its unknown columns as words."""
    table = read_table(content, delimiter, {"text"})
    if bad := table.broken:
        problems.append((bad.number, f"{bad.place} cannot be parsed: {table.error}"))
    if not table.rows:
        return [], ""
    first, *rows = table.rows
    header = [_column_name(cell) for cell in first.cells]
    problems += ((0, each) for each in _bad_columns(header))
    unnamed = [at for at, name in enumerate(header) if not name]
    is_used = any(row.cells[at].strip() for row in rows for at in unnamed if at < len(row.cells))
    used = [name for name in header if name or is_used]
    found = []
    for row in rows:
        if len(row.cells) == len(header):
            found.append((row.number, row.place, dict(zip(header, row.cells, strict=True))))
        else:
            counts = f"{plural(len(row.cells), 'cell')} for {plural(len(header), 'column')}"
            problems.append((row.number, f"{row.place} has {counts}"))
    return found if "text" in header else [], _unknown_columns(used, problems)


def _parse_jsonl(content: str, problems: Problems) -> tuple[list[Record], str]:
    """The records of a JSON Lines file, and its unknown fields as words."""
    found: list[Record] = []
    used: dict[str, None] = {}
    for number, line in enumerate(re.split(r"\r\n?|\n", content), start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            problems.append((number, f"row {number} is not a JSON object"))
            continue
        names = [_column_name(name) for name in fields]
        used |= dict.fromkeys(names)
        if bad := [(number, f"row {number}: {each}") for each in _bad_columns(names)]:
            problems += bad
        else:
            found.append((number, f"row {number}", dict(zip(names, fields.values(), strict=True))))
    return found, _unknown_columns(used, problems)


def _column_name(cell: str) -> str:
    return cell.strip().lower()


def _bad_columns(names: list[str]) -> Iterator[str]:
    if "text" not in names:
        yield "no text column"
    for name in COLUMNS:
        if names.count(name) > 1:
            yield f"column {name} is given twice"


def _unknown_columns(names: Collection[str], problems: Problems) -> str:
    """Return words for the unknown columns and those that may be meant, "" if all are known.

    Without a text column they are a problem, too.
    """
    unknown = [name for name in dict.fromkeys(names) if name not in COLUMNS]
    if not unknown:
        return ""
    from difflib import get_close_matches  # most tables have known columns only

    missing = [name for name in COLUMNS if name not in names]
    shown = []
    for name in unknown[:SHOWN_PROBLEMS]:
        near = get_close_matches(name[:40], missing, 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        shown.append((printable(name, 40) or "without a name") + meant)
    more = f" and {len(unknown) - SHOWN_PROBLEMS} more" if len(unknown) > SHOWN_PROBLEMS else ""
    words = f"unknown column{'s' * (len(unknown) > 1)} {', '.join(shown)}{more}"
    if "text" not in names:
        problems.append((0, f"{words}; known are {', '.join(COLUMNS)}"))
    return words


def _row(number: int, place: str, fields: dict[str, Any], problems: Problems) -> Row | None:
    values: dict[str, Any] = {}
    bad = []
    for name, value in fields.items():
        if isinstance(value, str) and name != "text":
            value = value.strip()
        if name not in COLUMNS or value is None or value == "":
            continue
        if name == "speed":
            values[name] = _speed(value)
            if values[name] is None:
                bad.append(f"{place}: speed {printable(value, 40)} is not between 0.5 and 2.0")
        elif name == "id" and isinstance(value, int) and not isinstance(value, bool):
            values[name] = str(value)
        elif not isinstance(value, str):
            bad.append(f"{place}: {name} is not text")
        else:
            values[name] = value.lower() if name == "format" else value
    if not bad and not str(values.get("text", "")).strip():
        bad.append(f"{place} has no text")
    problems += ((number, each) for each in bad)
    return None if bad else Row(number, place, **values)


def _speed(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        speed = float(value.replace(",", ".") if isinstance(value, str) else value)  # a decimal comma
    except (ValueError, OverflowError):
        return None
    return speed if 0.5 <= speed <= 2.0 else None


def _duplicate_ids(rows: list[Row]) -> Iterator[tuple[int, str]]:
    first: dict[str, Row] = {}
    for row in rows:
        if row.id is not None and (other := first.setdefault(row.id, row)) is not row:
            yield row.number, f"{row.place} has the id of {other.place}, {printable(row.id, 40)}"
