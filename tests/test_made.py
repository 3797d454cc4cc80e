"""Completions, man pages and docs/cli.md are those of the command line as it is, and read well."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from smallest_cli.cli import COMMANDS
from tests.programs import need

ROOT = Path(__file__).parent.parent
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
