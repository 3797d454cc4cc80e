"""Committed completions, man pages, docs/cli.md and help texts are up to date and well-formed."""

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

VARIABLE = re.compile(r"SMALLEST_[A-Z_]*[A-Z]")
PAGES = sorted((ROOT / "man").glob("*.1"))


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with freshly generated files."""
    folder = tmp_path_factory.mktemp("generated")
    subprocess.run(
        [sys.executable, "-m", "tools", "completions", "docs", "--into", str(folder)], cwd=ROOT, check=True
    )
    return folder


@pytest.mark.parametrize("folder", ["completions", "man", "tests/data/golden/help"])
def test_committed_files_are_up_to_date(folder: str, generated: Path) -> None:
    committed = {path.name: path.read_text() for path in (ROOT / folder).iterdir()}
    current = {path.name: path.read_text() for path in (generated / folder).iterdir()}
    outdated = sorted(name for name in committed | current if committed.get(name) != current.get(name))
    assert not outdated, f"run make completions docs: {', '.join(outdated)}"


def test_reference_page_is_up_to_date(generated: Path) -> None:
    same = (ROOT / "docs/cli.md").read_text() == (generated / "docs/cli.md").read_text()
    assert same, "run make docs: docs/cli.md"


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_man_page_renders_without_warnings(page: Path) -> None:
    env = os.environ | {"LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MANPAGER": "cat", "MANROFFSEQ": ""}
    rendered = subprocess.run(
        [need("man"), "--warnings", "-l", str(page)], env=env, capture_output=True, text=True, check=True
    )
    assert rendered.stderr == ""
    for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "SEE ALSO"):
        assert f"\n{title}\n" in rendered.stdout
    assert not [line for line in rendered.stdout.splitlines() if len(line) > 80]


def test_man_finds_the_pages_where_the_wheel_installs_them(tmp_path: Path) -> None:
    """`share/man/man1` under the prefix of the `smallest` that is found on PATH."""
    (tmp_path / "share/man").mkdir(parents=True)
    (tmp_path / "share/man/man1").symlink_to(ROOT / "man")
    (tmp_path / "bin").mkdir()
    env = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "MANPAGER": "cat"}
    for command in (["smallest"], ["smallest-speak"], ["smallest", "speak"]):
        rendered = subprocess.run(
            [need("man"), *command], env=env, capture_output=True, text=True, check=True
        )
        assert rendered.stdout.startswith("SMALLEST")


def test_every_command_has_a_man_page() -> None:
    assert {page.name for page in PAGES} == {"smallest.1"} | {f"smallest-{name}.1" for name in COMMANDS}


def test_every_environment_variable_is_documented() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "smallest_cli").rglob("*.py"))
    variables = set(VARIABLE.findall(sources))
    for page in ("man/smallest.1", "docs/cli.md"):
        assert variables <= set(VARIABLE.findall((ROOT / page).read_text()))


def test_every_exit_code_is_documented() -> None:
    section = (ROOT / "man/smallest.1").read_text().partition("EXIT STATUS")[2].partition(".SH")[0]
    rows = re.findall(r"\\fB([\d ]+)\\fR", section)
    codes = [int(code) for row in rows for code in row.split()]
    assert codes == sorted(codes)
    assert {*range(13), *range(20, 24), 129, 130, 141, 143} <= set(codes)


SPEAK_FLAGS = """
-v --voice --voice-id -m --model -l --language -s --speed -r --sample-rate --via --api --consistency
--similarity --enhancement --dict --number-language --math-notation --format -o --output --out -p
--play --no-clobber --partial --device --local --base-url --ca-file --plain-http --api-key-file
--timeout --max-time --retries --completion-wait --ahead --pause --split --max-chars --json -q
--quiet --verbose --debug --dry-run --force -f --file -h --help
"""


def flags_of(command: str) -> set[str]:
    """The flags of a command in docs/cli.md."""
    section = (ROOT / "docs/cli.md").read_text().partition(f"## {command}\n")[2].partition("\n#")[0]
    return {
        flag for row in re.findall(r"^\| `(-[^`]*)`", section, re.M) for flag in re.findall(r"-[-\w]+", row)
    }


def test_speak_has_every_flag_of_the_contract() -> None:
    assert set(SPEAK_FLAGS.split()) <= flags_of("smallest speak")


def test_flags_page_names_only_existing_flags() -> None:
    page = (ROOT / "docs/flags.md").read_text()
    rows = [
        row.rsplit("|", 2)[1] for row in page.splitlines() if row.startswith("| ") and " here " not in row
    ]
    mentioned = {
        flag
        for row in rows
        for flag in re.findall(r"(?<![\w-])--?[a-z][-a-z]*", row.replace("`smallestai", ""))
    }
    existing = set(re.findall(r"--?[A-Za-z][-\w]*", (ROOT / "docs/cli.md").read_text()))
    assert len(mentioned) > 20
    assert mentioned <= existing
