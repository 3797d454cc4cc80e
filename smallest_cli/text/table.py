"""Read delimited tables as spreadsheets write them: CSV, its variants with other delimiters, and TSV.

CSV is read by RFC 4180, and a quote that does not fit is an error. In a TSV a quote is often only a quote, so
that file is read in the first way that gives every row as many cells as the header.
"""

from __future__ import annotations

import re
from collections.abc import Set
from itertools import chain
from typing import NamedTuple

DELIMITERS = (",", "\t", ";", "|")
_DELIMITER_LINE = re.compile(r'"?sep=([^"\r\n])"?[ \t]*(?:\r\n?|\n|\Z)', re.IGNORECASE)
"""The first line of a file of Excel."""


def _quoted(*excluded: str) -> str:
    """A pattern of what is between the quotes of a cell that lacks one of these sets of characters."""
    return "|".join(rf'[^"{each}]*(?:""[^"{each}]*)*' for each in excluded)


_CSV_QUOTED = _quoted("")
_TSV_QUOTED = (
    _quoted(r"\t\r\n"),
    _quoted(r"\r\n"),
    _quoted(r"\r\n", r"\t"),
    _CSV_QUOTED,
)
"""What may be in a quoted cell besides text: nothing; tabs; tabs or line ends; both."""
_OPEN_QUOTE = re.compile(rf'"{_CSV_QUOTED}\Z')


class TableRow(NamedTuple):
    """A row that is not empty. `number` is that of a spreadsheet: the header is row 1, empty rows count."""

    number: int
    line: int
    """The line at which it starts."""
    cells: list[str]

    @property
    def place(self) -> str:
        """The row for a message, and its line if a cell before it has several lines."""
        return f"row {self.number}" + (f" (line {self.line})" if self.line != self.number else "")


class Table(NamedTuple):
    """The rows, the header first. `broken` could not be parsed because of `error`; the rows end before it."""

    rows: list[TableRow]
    broken: TableRow | None = None
    error: str = ""


def read_table(content: str, delimiter: str, header: Set[str]) -> Table:
    """Read a table. Empty cells behind the columns of the first row are dropped.

    `delimiter` is used unless the first line names another one, or another one is needed to find the names
    of `header`, in lower case, in it.
    """
    line = 1
    if marked := _DELIMITER_LINE.match(content):
        delimiter, content, line = marked[1], content[marked.end() :], 2
    else:
        delimiter = _find_delimiter(content, delimiter, header)
    if delimiter != "\t":
        return _parse(content, delimiter, _CSV_QUOTED, line, strict=True)
    tables = (_parse(content, delimiter, quoted, line) for quoted in _TSV_QUOTED)
    first = next(tables)
    return next((table for table in chain([first], tables) if _is_regular(table)), first)


def _find_delimiter(content: str, default: str, names: Set[str]) -> str:
    first = re.match(r'(?:"[^"]*"|[^"\r\n])*', content.lstrip("\r\n"))
    # Delimiters within quotes do not count.
    row = re.sub('"[^"]*"', lambda cell: re.sub(r"[,\t;|]", " ", cell[0]), first[0] if first else "")
    choices = (default, *DELIMITERS)
    for delimiter in choices:
        if names <= {name.strip(' "').lower() for name in row.split(delimiter)}:
            return delimiter
    return next((delimiter for delimiter in choices if delimiter in row), default)


def _is_regular(table: Table) -> bool:
    return len({len(row.cells) for row in table.rows}) <= 1


def _parse(content: str, delimiter: str, quoted: str, line: int, *, strict: bool = False) -> Table:
    """Parse cells. `strict`: a cell that begins with a quote must be a quoted cell."""
    end = re.escape(delimiter)
    cell = re.compile(rf'(?:"({quoted})"|([^{end}\r\n]*))({end}|\r\n?|\n|\Z)')
    rows: list[TableRow] = []
    number, start, columns = 1, line, 0
    cells: list[str] = []
    for match in cell.finditer(content):
        inside, plain, after = match.groups()
        if inside is not None:
            cells.append(inside.replace('""', '"'))
            line += len(re.findall(r"\r\n?|\n", inside))
        elif strict and plain.startswith('"'):
            is_open = _OPEN_QUOTE.match(content, match.start())
            error = "a quote is never closed" if is_open else "a closing quote is followed by text"
            return Table(rows, TableRow(number, start, cells), error)
        else:
            cells.append(plain)
        if after == delimiter:
            continue
        if any(map(str.strip, cells)):
            while len(cells) > columns and not cells[-1].strip():
                cells.pop()
            columns = columns or len(cells)
            rows.append(TableRow(number, start, cells))
        line += 1
        number, start, cells = number + 1, line, []
    return Table(rows)
