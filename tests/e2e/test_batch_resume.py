"""`smallest batch --resume` with other options than the earlier run asks before it pays again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.command import Ran, on_terminal, smallest, speak
from tests.support.offline import KEY, Offline

TABLE = "id,text,voice\na,Good morning.,\nb,Good night.,\nc,Sleep well.,ines\n"


@pytest.fixture
def spoken(home: Path, server: Offline) -> Path:
    """A folder with a finished batch, in WAV."""
    (home / "in.csv").write_text(TABLE)
    assert batch(home, server).code == 0
    return home


def batch(home: Path, server: Offline, *arguments: str) -> Ran:
    return speak(home, server, "in.csv", "-d", "out", "--json", *arguments, command="batch")


@pytest.mark.parametrize(
    ("options", "rows", "characters"),
    [
        ("--format mp3", 3, 35), ("-v magnus", 2, 24), ("-s 1.5", 3, 35), ("-r 8000", 3, 35),
        ("-l en", 3, 35),
        ("--format mp3 -v magnus", 3, 35),
    ],
)  # fmt: skip
def test_other_options_are_not_paid_for_unasked(
    options: str, rows: int, characters: int, spoken: Path, server: Offline
) -> None:
    sent = len(server.log())
    ran = batch(spoken, server, "--resume", *options.split())
    assert ran.lines == [
        f"smallest: {rows} rows of {characters} characters spoken with other options would be paid for again",
        "  give the options of that run, or all with --yes",
    ]
    assert (ran.code, len(server.log())) == (2, sent)
    ran = batch(spoken, server, "--resume", "--yes", *options.split())
    assert (ran.code, json.loads(ran.out)["done"]) == (0, rows)
    ran = batch(spoken, server, "--resume", *options.split())
    assert (ran.code, json.loads(ran.out)["skipped"]) == (0, 3)


@pytest.mark.parametrize("options", ["", "--jobs 2", "--retries 5", "--via http", "--format wav"])
def test_options_that_change_no_audio_resume(options: str, spoken: Path, server: Offline) -> None:
    ran = batch(spoken, server, "--resume", *options.split())
    assert (ran.code, json.loads(ran.out)["skipped"]) == (0, 3)


def test_rows_that_were_spoken_offline_are_spoken_unasked(home: Path, server: Offline) -> None:
    (home / "in.csv").write_text(TABLE)
    assert smallest(home, "batch", "in.csv", "-d", "out", "--local").code == 0
    ran = batch(home, server, "--resume")
    assert (ran.code, json.loads(ran.out)["done"]) == (0, 3)


@pytest.mark.parametrize(
    ("before", "after"),
    [("Good night.", "Good evening."), (",ines", ",magnus"), ("b,Good night.,\n", ""), ("c,", "d,")],
)
def test_changed_rows_are_spoken_unasked(before: str, after: str, spoken: Path, server: Offline) -> None:
    table = spoken / "in.csv"
    table.write_text(table.read_text().replace(before, after))
    ran = batch(spoken, server, "--resume")
    assert ran.code == 0
    assert json.loads(ran.out)["done"] <= 1


def test_missing_file_is_spoken_with_other_options_unasked(spoken: Path, server: Offline) -> None:
    for path in (spoken / "out").glob("*.wav"):
        path.unlink()
    ran = batch(spoken, server, "--resume", "--format", "mp3")
    assert (ran.code, json.loads(ran.out)["done"]) == (0, 3)


def test_manifest_without_options_resumes(spoken: Path, server: Offline) -> None:
    path = spoken / "out" / "manifest.jsonl"
    text = re.sub(r'"options": "\w+", ', "", path.read_text())
    path.write_text(text)
    assert "options" not in text
    assert json.loads(batch(spoken, server, "--resume").out)["skipped"] == 3
    assert batch(spoken, server, "--resume", "-v", "magnus").code == 0


def test_question_at_a_terminal_can_be_declined(spoken: Path, server: Offline) -> None:
    arguments = ["in.csv", "-d", "out", "--resume", "--format", "mp3", "--base-url", server.base_url]
    ran = on_terminal(spoken, "batch", *arguments, stdin=b"", SMALLEST_API_KEY=KEY)
    assert ran.code == 2
    assert "would be paid for again" in ran.err
    assert not [*(spoken / "out").glob("*.mp3")]


@pytest.mark.parametrize("name", ["a.\\u0000", "", ".", "../a.wav", "a"])
def test_manifest_with_a_strange_file_name_is_not_trusted(name: str, spoken: Path, server: Offline) -> None:
    path = spoken / "out" / "manifest.jsonl"
    path.write_text(path.read_text().replace('"a.wav"', f'"{name}"').replace('"options": "', '"options": "x'))
    ran = batch(spoken, server, "--resume")
    assert ran.code == 0
    assert json.loads(ran.out)["done"] == 1
