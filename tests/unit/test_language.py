"""Forbidden words do not occur in code, messages or documents."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT

FORBIDDEN = re.compile(
    r"""
    whoever | nobody | somebody | reckon | loudspeaker
    | (?<![a-z]) lest (?![a-z])
    | (?<![a-z]) for {gap} ever (?![a-z])
    | (?<![a-z]) is {gap} no {gap} (?:folder|setting|voice|number|file) (?![a-z])
    | what {gap} dangles
    | so {gap} many {gap} at {gap} once
    | nevertheless | (?<![a-z]) had {gap} no {gap} room (?![a-z])
    | (?<![a-z]) is {gap} no {gap} --
    """.replace("{gap}", r"[\s_#*-]+"),
    re.IGNORECASE | re.VERBOSE,
)
"""A gap may be a line break inside a comment, or the underscore of a name."""
SUFFIXES = {".py", ".md", ".toml", ".txt", ".1", ".bash", ".fish", ".ps1", ".sh", ".html", ".j2"}
NAMES = {"Makefile", "_smallest"}
FOLDERS = {".ci"}
EXCLUDED = {"tests/unit/test_language.py", "tests/data/golden/sse_raw.txt"}
"""This file, and messages published by the service."""


def documents() -> list[Path]:
    """Every text file of the repository, or of an unpacked sdist."""
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(git, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
        paths = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [path for path in ROOT.rglob("*") if not {".venv", ".venv-peers", "build"} & {*path.parts}]
    return [path for path in paths if path.is_file() and _is_checked(path.relative_to(ROOT))]


def _is_checked(path: Path) -> bool:
    if str(path) in EXCLUDED:
        return False
    return path.suffix in SUFFIXES or path.name in NAMES or path.parts[0] in FOLDERS


def violations(text: str) -> list[tuple[int, str]]:
    """Line number and words of each forbidden expression."""
    return [(text.count("\n", 0, match.start()) + 1, match[0]) for match in FORBIDDEN.finditer(text)]


def test_no_forbidden_word_occurs() -> None:
    paths = documents()
    assert len(paths) > 250
    found = [
        f"{path.relative_to(ROOT)}:{line}: {words!r}"
        for path in paths
        for line, words in violations(path.read_text(encoding="utf-8"))
    ]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "def test_nobody_listens():",
        "Whoever sends the request waits.",
        "# hold it, lest it is lost",
        "the time is reckoned from here",
        "it waits for\n    # ever",
        "vioce is no setting",
        "is_no_folder = True",
        "say what dangles",
        "so many at\nonce",
        "LOUDSPEAKER",
        "compare them nevertheless",
        "the next word had no room",
        "HOST is no --speaker",
    ],
)
def test_forbidden_words_are_found(text: str) -> None:
    assert violations(text)


@pytest.mark.parametrize(
    "text", ["smallest speak", "for every row", "there is no reason", "this number", "forever"]
)
def test_ordinary_words_are_not_found(text: str) -> None:
    assert violations(text) == []
