"""The list of commands, and that only the one that is run is imported."""

from __future__ import annotations

import fcntl
import inspect
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
import typer

from smallest_cli.cli.app import BOXES_FROM, COMMANDS
from tests.support.command import SMALLEST, environment, smallest
from tools.tree import Command, read_tree

STYLE = re.compile(r"\x1b\[[0-9;]*m")
PAGES = [*read_tree().walk()]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_by_the_first_line_of_its_help(name: str) -> None:
    place, line = COMMANDS[name]
    file, _, attribute = place.rpartition(".")
    command = getattr(import_module(f"smallest_cli.cli.commands.{file}"), attribute)
    if isinstance(command, typer.Typer):
        assert command.registered_callback
        command = command.registered_callback.callback
    assert (inspect.getdoc(command) or "").splitlines()[0] == line


def test_the_list_names_every_command(tmp_path: Path) -> None:
    ran = smallest(tmp_path, "--help")
    assert (ran.code, ran.err) == (0, "")
    for name in COMMANDS:
        assert f"  {name} " in ran.out.decode()


@pytest.mark.parametrize("arguments", [(), ("speek", "hello"), ("--loud", "speak"), ("hello world",)])
def test_what_is_no_command_is_a_usage_error(arguments: tuple[str, ...], tmp_path: Path) -> None:
    ran = smallest(tmp_path, *arguments)
    assert ran.code == 2 if arguments else ran.code in (0, 2)
    assert not arguments or ran.lines[0].startswith("smallest: No such ")


NUMBERS = [
    "bench --local --rate", "bench --local -d", "bench --local --max-time", "bench compare a b --min-effect",
    "speak --local Hello. --timeout", "speak --local Hello. --pause", "speak --local Hello. --ahead",
    "speak --local Hello. -s", "stream --local Hello. --drain", "serve --first-byte-ms",
    "voices play magnus --local -s",
]  # fmt: skip


@pytest.mark.parametrize("number", ["nan", "inf"])
@pytest.mark.parametrize("option", NUMBERS)
def test_what_is_no_finite_number_is_refused(option: str, number: str, tmp_path: Path) -> None:
    ran = smallest(tmp_path, *option.split(), number)
    assert (ran.code, ran.out) == (2, b"")
    assert number in ran.lines[0]


def test_the_list_costs_no_command(tmp_path: Path) -> None:
    env = environment(tmp_path, PYTHONPROFILEIMPORTTIME="1")
    done = subprocess.run([*SMALLEST, "--help"], env=env, capture_output=True, text=True, check=True)
    assert "smallest_cli.cli.commands" not in done.stderr
    assert "smallest_cli.network" not in done.stderr


PRINTING = [
    ("--version",),
    ("--help",),
    ("voices",),
    ("voices", "--json"),
    ("speak", "--help"),
    ("speak", "Hello.", "--dry-run", "-o", "out.wav"),
    ("completion", "zsh"),
    ("cache", "info", "--json"),
    ("login", "--json"),  # which fails, whoever reads of it
]


def ended(home: Path, arguments: tuple[str, ...], stdout: int) -> tuple[int, str]:
    """Exit code and stderr of a command with this stdout."""
    done = subprocess.run(
        [*SMALLEST, *arguments],
        stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, timeout=50,
        env=environment(home), cwd=home, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_reader_that_leaves_is_quiet_and_a_full_disk_is_told(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    fails = arguments[0] == "login"
    reader, writer = os.pipe()
    os.close(reader)
    gone = ended(tmp_path, arguments, writer)
    os.close(writer)
    full = os.open("/dev/full", os.O_WRONLY)
    unwritten = ended(tmp_path, arguments, full)
    os.close(full)
    if fails:
        assert (gone[0], unwritten[0]) == (2, 2)
    else:
        assert gone == (-signal.SIGPIPE, "")
        assert unwritten == (10, "smallest: cannot write stdout: No space left on device\n")


def test_what_is_printed_nowhere_is_no_success(tmp_path: Path) -> None:
    for arguments in ("voices", "voices --json", "speak Hello. -o out.wav --json"):
        done = subprocess.run(
            ["sh", "-c", f'"$@" {arguments} >&-', "sh", *SMALLEST],
            capture_output=True, text=True, timeout=50, env=environment(tmp_path), cwd=tmp_path, check=False,
        )  # fmt: skip
        code = 2 if "-o" in arguments else 10
        assert (done.returncode, done.stderr.count("\n"), "closed" in done.stderr) == (code, 1, True)


@pytest.mark.parametrize("arguments", [(), ("dict",), ("cache",)], ids=" ".join)
def test_no_command_is_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    ran = smallest(tmp_path, *arguments)
    assert (ran.code, ran.out, len(ran.lines)) == (2, b"", 2)
    assert ran.lines[0] == "smallest: Missing command"


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("--speeed", "smallest: No such option: --speeed; did you mean --speed?"),
        ("--louder", "smallest: No such option: --louder"),
        ("-z", "smallest: No such option: -z"),
    ],
)
def test_only_an_option_that_is_alike_is_offered(typed: str, line: str, tmp_path: Path) -> None:
    ran = smallest(tmp_path, "speak", "Hi.", typed)
    assert (ran.code, ran.lines[0]) == (2, line)


def test_a_dry_run_is_offered_where_there_is_one() -> None:
    offering = {page.name for page in PAGES for option in page.options if "--dry-run" in option.flags}
    assert offering == {"speak", "bench"}


HELP_PAGES = """
import json, os, sys
import rich.panel, rich.table, smallest_cli.cli.app
from smallest_cli.__main__ import main

for words in json.loads(sys.argv[1]):
    if (child := os.fork()) == 0:
        sys.argv = ["smallest", *words, "--help"]
        main()
    os.waitpid(child, 0)
    os.write(1, b"\\0")
"""
"""Prints pages of help: one process that imports and a fork for each page, as 84 starts take 10 s."""


@pytest.fixture(scope="module", params=[60, 80, BOXES_FROM])
def shown(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, dict[str, str]]:
    """The columns of a terminal, and every page of help on it without its styles."""
    columns: int = request.param
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("4H", 50, columns, 0, 0))
    pages = json.dumps([page.path.split()[1:] for page in PAGES])
    env = environment(tmp_path_factory.mktemp("home"), TERM="xterm")
    text = b""
    with (
        os.fdopen(parent, "rb", buffering=0) as screen,
        subprocess.Popen(
            [sys.executable, "-c", HELP_PAGES, pages], env=env, stdin=child, stdout=child, stderr=child
        ),
        suppress(OSError),  # the other side is closed
    ):
        os.close(child)
        while more := screen.read(65_536):
            text += more
    texts = STYLE.sub("", text.decode()).split("\0")
    return columns, {page.path: each for page, each in zip(PAGES, texts, strict=False)}


@pytest.mark.parametrize("page", PAGES, ids=[page.path for page in PAGES])
def test_no_name_is_cut_in_help_on_a_terminal(page: Command, shown: tuple[int, dict[str, str]]) -> None:
    columns, texts = shown
    told = texts[page.path]
    names = {name for option in page.options for name in (*option.flags, *option.off)}
    missing = names - set(re.findall(r"(?<![\w-])--?\w[\w-]*", told))
    assert (missing, "…" in told, max(map(len, told.splitlines())) <= columns) == (set(), False, True)
    assert ("╭" in told) == (columns >= BOXES_FROM)
