"""Errors, hints and warnings as they are printed: styles of a terminal, lines of hints, rows of a batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smallest_cli.models import VIAS
from tests.support.command import on_terminal, smallest, speak
from tests.support.offline import KEY, start_offline

RED, DIM, END = "\x1b[31m", "\x1b[2m", "\x1b[0m"


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (
            "speak Hi --speeed 2",
            "No such option: --speeed (did you mean --speed?)",
            "see smallest speak --help",
        ),
        ("speak Hi -o a.xyz", "a.xyz: unknown extension .xyz", "use --format"),
        ("batch x.csv", "batch needs a directory", "name one: --dir DIR"),
        ("config set vioce x", "unknown setting 'vioce'", ""),
        ("bench report missing.json", "cannot read missing.json", ""),
    ],
)
def test_error_is_red_and_its_hint_dim_on_a_terminal(
    arguments: str, error: str, hint: str, home: Path
) -> None:
    lines = on_terminal(home, *arguments.split()).lines
    assert lines[0].startswith(f"{RED}smallest: {error}")
    assert not hint or lines[1].startswith(f"{DIM}  {hint}")
    assert all(line.endswith(END) for line in lines)


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}])
def test_styles_are_not_printed_where_they_are_not_wanted(env: dict[str, str], home: Path) -> None:
    assert "\x1b" not in on_terminal(home, "speak", "Hi", "--speeed", "2", **env).err


def test_styles_are_not_printed_into_pipes_or_with_json(home: Path) -> None:
    env = {"TERM": "xterm", "FORCE_COLOR": "1"}
    assert "\x1b" not in smallest(home, "speak", "Hi", "--speeed", "2", env=env).err
    ran = on_terminal(home, "speak", "Hi", "-o", "a.xyz", "--json")
    assert "\x1b" not in ran.err
    assert json.loads(ran.out)["exit"] == 2


def test_control_sequences_in_an_error_are_escaped_within_its_style(home: Path) -> None:
    line = on_terminal(home, "speak", "Hi", "-o", "a\x1b[0m.xyz").lines[0]
    assert line.startswith(RED)
    assert line.count("\x1b") == 2


def test_failed_rows_are_red(home: Path) -> None:
    (home / "in.csv").write_text("id,text\na,Good morning.\nb,Good night.\n")
    with start_offline(fail=["status:400"]) as server:
        ran = on_terminal(
            home, "batch", "in.csv", "-d", "out", "--base-url", server.base_url, SMALLEST_API_KEY=KEY
        )
    assert ran.code == 13
    assert f"{RED}smallest: row 2 (a): " in ran.err
    assert f"{RED}smallest: 2 of 2 rows failed{END}" in ran.lines


def test_hint_without_a_key_has_short_lines(home: Path) -> None:
    ran = smallest(home, "speak", "Hi", "-o", "a.wav")
    assert (ran.code, ran.lines) == (
        3,
        [
            "smallest: no API key",
            "  get one at https://console.smallest.ai, then: smallest login",
            "  or set SMALLEST_API_KEY or SMALLEST_API_KEY_FILE, or use --api-key-file FILE",
            "  or, without a key: smallest speak Hi -o a.wav --local",
        ],
    )


@pytest.mark.parametrize("words", [["a\nsmallest: forged"], ["speak", "a\nsmallest: forged"]])
def test_line_ends_of_arguments_do_not_end_the_line_of_a_hint(words: list[str], home: Path) -> None:
    lines = smallest(home, *words).lines
    assert not any(line.strip().startswith("smallest: forged") for line in lines)


@pytest.mark.parametrize("via", VIAS)
def test_retry_of_a_batch_names_the_row(via: str, home: Path) -> None:
    (home / "in.csv").write_text("id,text\na,Good morning.\nb,Good night.\n")
    with start_offline(fail=["status:503"], fail_times=1) as server:
        ran = speak(home, server, "in.csv", "-d", "out", "--via", via, command="batch")
    assert (ran.code, len(ran.lines)) == (0, 1)
    assert ran.lines[0].startswith("smallest: warning: row 2 (a): ")
    assert "; trying again in " in ran.lines[0]


def test_retry_of_a_row_without_id_names_its_number(home: Path) -> None:
    (home / "in.jsonl").write_text('{"text": "Good morning."}\n')
    with start_offline(fail=["status:429"], fail_times=1) as server:
        ran = speak(home, server, "in.jsonl", "-d", "out", "--naming", "index", command="batch")
    assert ran.lines[0].startswith("smallest: warning: row 1: ")
