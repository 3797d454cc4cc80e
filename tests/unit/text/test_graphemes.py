"""Display width of text, grapheme boundaries, and when wcwidth is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from smallest_cli.text.graphemes import display_width, last_boundary


@pytest.mark.parametrize(
    ("text", "columns"),
    [("", 0), ("plain", 5), ("हिन्दी", 4), ("日本", 4), ("e\u0301", 1), ("🇮🇳", 2), ("ที่", 1), ("a\x07b", 2)],
)
def test_display_width_in_columns(text: str, columns: int) -> None:
    assert display_width(text) == columns


def test_boundary_is_not_before_a_blank_and_splits_no_cluster() -> None:
    assert last_boundary("ab cd", 2) == 1
    assert last_boundary("ae\u0301", 2) == 1
    assert last_boundary("e\u0301\u0323", 2) == 2  # the cluster is longer than the limit


def test_latin_text_does_not_import_wcwidth() -> None:
    code = (
        "import sys; from smallest_cli.text.sentences import split_segments; "
        "from smallest_cli.text.graphemes import display_width; "
        "split_segments('Grüße, café. ' * 100); display_width('plain'); assert 'wcwidth' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
