"""Subtitles that are given as text: only what is spoken is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from smallest_cli.text.cues import subtitle_text
from smallest_cli.text.input import read_texts

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Where were</i> you

2
00:00:02,500 --> 00:00:04,000
at 10:30?

3
00:00:05,000 --> 00:00:06,000 X1:40 X2:600
{\\an8}<font color="#ff0000">42</font>
"""
VTT = """WEBVTT - a talk

STYLE
::cue { color: red }

NOTE not spoken

intro
00:01.000 --> 00:02.000 align:start
<v.loud Roger Bingham>Salt &amp; pepper, <c.yellow>a&lt;b</c>

NOTE
nor is this

1
01:00:02.000 --> 01:00:03.000
Never <00:00:02.500>drink.
"""


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\n\n"])
def test_srt_is_its_lines_of_text(start: str, line_end: str) -> None:
    text = (start + SRT).replace("\n", line_end)
    assert subtitle_text(text) == "Where were you\nat 10:30?\n\n42"


def test_vtt_is_its_lines_of_text() -> None:
    assert subtitle_text(VTT) == "Salt & pepper, a<b\nNever drink.\n"


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("1\n00:00:01,000 --> 00:00:02,000\nOne\n2\n00:00:02,000 --> 00:00:03,000\nTwo", "One\nTwo"),
        ("00:00:01.5 --> 00:00:02.5\n今日は\n元気です。\n\n", "今日は\n元気です。\n"),
        ("0\n0:00:01,00 --> 0:00:02,00\na <b then c> d\n\n1\n0:00:03,0 --> 0:00:04,0\n\n", "a <b then c> d"),
        ("1\n00:00:01 --> 00:00:02\n\n2\n00:00:02 --> 00:00:03\n- Yes.\n- No.", "- Yes.\n- No.\n"),
    ],
)  # fmt: skip
def test_subtitles_of_other_programs(text: str, spoken: str) -> None:
    assert subtitle_text(text) == spoken


def test_scrolling_captions_are_read_once() -> None:
    text = (
        "WEBVTT\nKind: captions\n\n"
        "00:00:00.000 --> 00:00:02.000 align:start position:0%\n \nhello<00:00:00.500><c> there</c>\n\n"
        "00:00:02.000 --> 00:00:02.010\nhello there\n \n\n"
        "00:00:02.010 --> 00:00:04.000\nhello there\nmy<00:00:02.500><c> friend</c>\n"
    )
    assert subtitle_text(text) == "hello there\nmy friend"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello.",
        "1\nHello.",
        "x --> y",
        "From 00:00:01,000 --> 00:00:02,000 it says so.",
        "Use this format:\n\n1\n00:00:01,000 --> 00:00:02,000\nText\n",
        "WEBVTT is a format.\n\nIt has cues.",
        "WEBVTT",
        "WEBVTTish\n\n00:01.000 --> 00:02.000\na",
        "1\n00:00:01,000 --> never\nText",
    ],
)
def test_other_text_is_kept(text: str) -> None:
    assert subtitle_text(text) is None


def test_notice_names_the_file_once(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.srt", "b.txt", "c.vtt")]
    for path, text in zip(paths, (SRT, "Hello.", f"\ufeff{VTT}"), strict=True):
        path.write_text(text, encoding="utf-8")
    notices: list[str] = []
    files = [str(path) for path in paths]
    first, second, third = read_texts([], files, 1_000, notices.append)
    assert (first, second, third) == (subtitle_text(SRT), "Hello.", subtitle_text(VTT))
    assert [notice.partition(" has ")[0] for notice in notices] == [files[0], files[2]]
    assert read_texts([], files[:1], 1_000) == [SRT]
