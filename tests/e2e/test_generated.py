"""Completions, man pages and docs/cli.md are those of the command line as it is, and read well."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from smallest_cli.cli.app import COMMANDS
from tests.support import ROOT
from tests.support.programs import need

OURS = re.compile(r"SMALLEST_[A-Z_]*[A-Z]")
PAGES = sorted((ROOT / "man").glob("*.1"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    subprocess.run(
        [sys.executable, "-m", "tools", "completions", "docs", "--into", str(folder)], cwd=ROOT, check=True
    )
    return folder


@pytest.mark.parametrize("folder", ["completions", "man"])
def test_what_is_committed_is_what_is_made(folder: str, made: Path) -> None:
    committed = {path.name: path.read_text() for path in (ROOT / folder).iterdir()}
    again = {path.name: path.read_text() for path in (made / folder).iterdir()}
    differ = sorted(name for name in committed | again if committed.get(name) != again.get(name))
    assert not differ, f"make completions docs: {', '.join(differ)}"


def test_the_reference_is_what_is_made(made: Path) -> None:
    same = (ROOT / "docs/cli.md").read_text() == (made / "docs/cli.md").read_text()
    assert same, "make docs: docs/cli.md"


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_a_page_is_drawn_without_a_warning(page: Path) -> None:
    env = os.environ | {"LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MANPAGER": "cat", "MANROFFSEQ": ""}
    drawn = subprocess.run(
        [need("man"), "--warnings", "-l", str(page)], env=env, capture_output=True, text=True, check=True
    )
    assert drawn.stderr == ""
    for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"):
        assert f"\n{title}\n" in drawn.stdout
    assert not [line for line in drawn.stdout.splitlines() if len(line) > 80]


def test_man_finds_the_pages_where_the_wheel_puts_them(tmp_path: Path) -> None:
    """`share/man/man1` under the prefix of the `smallest` that is found on PATH."""
    (tmp_path / "share/man").mkdir(parents=True)
    (tmp_path / "share/man/man1").symlink_to(ROOT / "man")
    (tmp_path / "bin").mkdir()
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"}
    for command in (["smallest"], ["smallest-speak"], ["smallest", "speak"]):
        drawn = subprocess.run([need("man"), *command], env=env, capture_output=True, text=True, check=True)
        assert drawn.stdout.startswith("SMALLEST")


def test_every_command_has_its_page() -> None:
    assert {page.name for page in PAGES} == {"smallest.1"} | {f"smallest-{name}.1" for name in COMMANDS}


def test_every_variable_of_ours_is_told() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "smallest_cli").rglob("*.py"))
    ours = set(OURS.findall(sources))
    for page in ("man/smallest.1", "docs/cli.md"):
        assert ours <= set(OURS.findall((ROOT / page).read_text()))


def test_every_exit_code_is_told() -> None:
    told = (ROOT / "man/smallest.1").read_text().partition("EXIT STATUS")[2].partition(".SH")[0]
    rows = re.findall(r"\\fB([\d ]+)\\fR", told)
    codes = [int(code) for row in rows for code in row.split()]
    assert codes == sorted(codes)
    assert {*range(13), *range(20, 24), 129, 130, 141, 143} <= set(codes)


PROMISED = """
-v --voice --voice-id -m --model -l --language -s --speed -r --sample-rate --via --api --consistency
--similarity --enhancement --dict --number-language --math-notation --format -o --output --out -p
--play --no-clobber --partial --device --local --base-url --ca-file --plain-http --api-key-file
--timeout --max-time --retries --completion-wait --ahead --pause --split --max-chars --json -q
--quiet --verbose --debug --dry-run --force -f --file -h --help
"""


def flags_of(command: str) -> set[str]:
    """The flags that docs/cli.md tells of a command."""
    section = (ROOT / "docs/cli.md").read_text().partition(f"## {command}\n")[2].partition("\n#")[0]
    return {
        flag for row in re.findall(r"^\| `(-[^`]*)`", section, re.M) for flag in re.findall(r"-[-\w]+", row)
    }


def test_what_was_promised_of_speak_is_there() -> None:
    assert set(PROMISED.split()) <= flags_of("smallest speak")


def test_the_table_for_other_tools_names_what_is_here() -> None:
    page = (ROOT / "docs/flags.md").read_text()
    rows = [
        row.rsplit("|", 2)[1] for row in page.splitlines() if row.startswith("| ") and " here " not in row
    ]
    named = {
        flag
        for row in rows
        for flag in re.findall(r"(?<![\w-])--?[a-z][-a-z]*", row.replace("`smallestai", ""))
    }
    there = set(re.findall(r"--?[A-Za-z][-\w]*", (ROOT / "docs/cli.md").read_text()))
    assert len(named) > 20
    assert named <= there
