"""Reading CSV and its variants: cells, row numbers, and quotes that are text."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallest_cli.text.table import read_table

HEADER = {"text"}


def cells(content: str, delimiter: str = ",") -> list[list[str]]:
    """Cells of a table that can be parsed, without the header."""
    table = read_table(content, delimiter, HEADER)
    assert (table.broken, table.error) == (None, "")
    return [row.cells for row in table.rows[1:]]


cell = st.text(st.sampled_from('a,;\t|"\n é'), max_size=9)


@given(
    st.lists(st.lists(cell, min_size=2, max_size=2), max_size=9),
    st.sampled_from(",;|"),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_what_the_csv_module_writes_is_read(rows: list[list[str]], delimiter: str, line_end: str) -> None:
    out = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if line_end == "\r" else csv.QUOTE_MINIMAL  # which leaves a line feed as it is
    writer = csv.writer(out, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerows([["id", "text"], *rows])
    assert cells(out.getvalue()) == [row for row in rows if any(each.strip() for each in row)]


line = st.text(st.sampled_from('a," é'), max_size=9)


@given(st.lists(st.lists(line, min_size=2, max_size=2), max_size=9))
def test_quotes_in_a_tsv_never_merge_rows(rows: list[list[str]]) -> None:
    content = "\n".join("\t".join(row) for row in [["id", "text"], *rows])
    kept = [row for row in rows if any(each.strip('" ') for each in row)]
    found = [row for row in cells(content, "\t") if any(each.strip('" ') for each in row)]
    assert [len(row) for row in found] == [2] * len(kept)
    for row, expected in zip(found, kept, strict=True):
        assert [each.replace('"', "") for each in row] == [each.replace('"', "") for each in expected]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (['1\t"I am here.', '2\t"So am I."'], [["1", '"I am here.'], ["2", "So am I."]]),
        (['1\t"I am here.', '2\tI am, too."'], [["1", '"I am here.'], ["2", 'I am, too."']]),
        (['1\t"Stop!" she cried.'], [["1", '"Stop!" she cried.']]),
        (['1\t"He said ""no"""'], [["1", 'He said "no"']]),
        (['1\t""No"" he said'], [["1", '""No"" he said']]),
        (['1\t"a\tb"', '2\t"c'], [["1", "a\tb"], ["2", '"c']]),
        (['1\t"a', 'b"', '2\t"c', '3\t5"'], [["1", "a\nb"], ["2", '"c'], ["3", '5"']]),
        (['1\t"a', "b\tc", 'd"'], [["1", "a\nb\tc\nd"]]),
    ],
)
def test_tsv_dialect_is_that_of_the_complete_file(rows: list[str], expected: list[list[str]]) -> None:
    assert cells("\n".join(["id\ttext", *rows]), "\t") == expected


def test_tsv_with_a_short_row_is_read_by_line() -> None:
    assert cells('id\ttext\n1\t"a\n2\n3\tIt is "here"\n', "\t") == [["1", '"a'], ["2"], ["3", 'It is "here"']]


@pytest.mark.parametrize(
    ("content", "places"),
    [
        ("id,text\na,b\n", ["row 1", "row 2"]),
        ("\r\n,,\r\nid,text\r\n\r\n,\r\na,b", ["row 3", "row 6"]),
        ('id,text\na,"b\n\nb"\nc,d', ["row 1", "row 2", "row 3 (line 5)"]),
        ("sep=;\nid;text\na;b\n", ["row 1 (line 2)", "row 2 (line 3)"]),
        ("id,text\ra,b\r", ["row 1", "row 2"]),
    ],
)
def test_rows_are_numbered_as_in_a_spreadsheet(content: str, places: list[str]) -> None:
    assert [row.place for row in read_table(content, ",", HEADER).rows] == places


@pytest.mark.parametrize(
    ("content", "place", "error"),
    [
        ('id,text\na,"b" c\nd,e\n', "row 2", "a closing quote is followed by text"),
        ('id,text\na,"b\nc,d\n', "row 2", "a quote is never closed"),
        ('id,text\na,"b\n"\nc,"d', "row 3 (line 4)", "a quote is never closed"),
        ('id;text\na;"b\nc;"d"\n', "row 2", "a closing quote is followed by text"),
    ],
)
def test_misplaced_quote_in_a_csv_is_an_error(content: str, place: str, error: str) -> None:
    table = read_table(content, ",", HEADER)
    assert table.broken is not None
    assert (table.broken.place, table.error) == (place, error)
    assert len(table.rows) == table.broken.number - 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id,text,,\na,b,,\nc,d\n", [["a", "b"], ["c", "d"]]),
        ("id,text\na,b,,,\na,b,c,\n", [["a", "b"], ["a", "b", "c"]]),
        ("text\n one, two\n", [[" one", " two"]]),
        ('"id";"my;text";text\na;b;"c"\n', [["a", "b", "c"]]),
    ],
)
def test_empty_cells_behind_the_header_are_dropped(content: str, expected: list[list[str]]) -> None:
    assert cells(content) == expected
