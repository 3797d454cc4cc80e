"""The command list, usage errors, help on terminals, and output to a closed or full stdout."""

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

from smallest_cli.cli.app import COMMANDS
from tests.support.command import SMALLEST, environment, smallest
from tools.tree import Command, read_tree

STYLE = re.compile(r"\x1b\[[0-9;]*m")
PAGES = [*read_tree().walk()]


@pytest.mark.parametrize("name", COMMANDS)
def test_command_list_shows_the_first_line_of_each_help(name: str) -> None:
    target, line = COMMANDS[name]
    file, _, attribute = target.rpartition(".")
    command = getattr(import_module(f"smallest_cli.cli.commands.{file}"), attribute)
    help = inspect.getdoc(command)
    if isinstance(command, typer.Typer):
        callback = command.registered_callback
        help = inspect.getdoc(callback.callback) if callback else command.info.help
    assert (help or "").splitlines()[0] == line


def test_help_lists_every_command(tmp_path: Path) -> None:
    ran = smallest(tmp_path, "--help")
    assert (ran.code, ran.err) == (0, "")
    for name in COMMANDS:
        assert f"  {name} " in ran.out.decode()


@pytest.mark.parametrize("arguments", [(), ("speek", "hello"), ("--loud", "speak"), ("hello world",)])
def test_unknown_command_is_a_usage_error(arguments: tuple[str, ...], tmp_path: Path) -> None:
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
def test_nan_and_inf_are_refused(option: str, number: str, tmp_path: Path) -> None:
    ran = smallest(tmp_path, *option.split(), number)
    assert (ran.code, ran.out) == (2, b"")
    assert number in ran.lines[0]


def test_help_imports_no_command(tmp_path: Path) -> None:
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
    ("login", "--json"),  # fails: no key on stdin
]


def run_with_stdout(home: Path, arguments: tuple[str, ...], stdout: int) -> tuple[int, str]:
    """Exit code and stderr of a command."""
    done = subprocess.run(
        [*SMALLEST, *arguments],
        stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, timeout=50,
        env=environment(home), cwd=home, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_broken_pipe_ends_silently_and_full_disk_is_reported(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    fails = arguments[0] == "login"
    reader, writer = os.pipe()
    os.close(reader)
    broken_pipe = run_with_stdout(tmp_path, arguments, writer)
    os.close(writer)
    full = os.open("/dev/full", os.O_WRONLY)
    full_disk = run_with_stdout(tmp_path, arguments, full)
    os.close(full)
    if fails:
        assert (broken_pipe[0], full_disk[0]) == (3, 3)
    else:
        assert broken_pipe == (-signal.SIGPIPE, "")
        assert full_disk == (10, "smallest: cannot write stdout: No space left on device\n")


def test_closed_stdout_is_an_error(tmp_path: Path) -> None:
    for arguments in ("voices", "voices --json", "speak Hello. -o out.wav --json"):
        done = subprocess.run(
            ["sh", "-c", f'"$@" {arguments} >&-', "sh", *SMALLEST],
            capture_output=True, text=True, timeout=50, env=environment(tmp_path), cwd=tmp_path, check=False,
        )  # fmt: skip
        code = 2 if "-o" in arguments else 10
        assert (done.returncode, done.stderr.count("\n"), "closed" in done.stderr) == (code, 1, True)


@pytest.mark.parametrize("arguments", [(), ("dict",), ("cache",)], ids=" ".join)
def test_missing_command_is_reported_in_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    ran = smallest(tmp_path, *arguments)
    assert (ran.code, ran.out, len(ran.lines)) == (2, b"", 2)
    assert ran.lines[0] == "smallest: Missing command"


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--speeed", "smallest: No such option: --speeed (did you mean --speed?)"),
        ("--louder", "smallest: No such option: --louder"),
        ("--rate", "smallest: No such option: --rate (did you mean --speed?)"),
        ("--transport", "smallest: No such option: --transport (did you mean --via?)"),
        ("-z", "smallest: No such option: -z"),
    ],
)
def test_only_a_similar_option_is_suggested(option: str, line: str, tmp_path: Path) -> None:
    ran = smallest(tmp_path, "speak", "Hi.", option)
    assert (ran.code, ran.lines[0]) == (2, line)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["Hello world"], '  did you mean: smallest speak "Hello world"'),
        (["hello", "world"], "  did you mean: smallest speak hello world"),
        (["$(reboot) `id`"], "  did you mean: smallest speak '$(reboot) `id`'"),
        (["say", "Good morning."], '  did you mean: smallest speak "Good morning."'),
        (["tts", "hi", "-o", "a.wav"], "  did you mean: smallest speak hi -o a.wav"),
        (["version"], "  did you mean: smallest --version"),
        (["voice", "--limit", "3"], "  did you mean: smallest voices --limit 3"),
        (["speek", "hi"], "  did you mean: smallest speak hi"),
        (["xyzzy"], "  see smallest --help"),
        (["help", "xyzzy"], "  see smallest --help"),
        (["help", "speek"], "  did you mean: smallest help speak"),
        (["--local", "speak", "hi"], "  put options after the command: smallest COMMAND [OPTIONS]"),
    ],
)
def test_what_an_unknown_command_was_meant_to_be(words: list[str], hint: str, tmp_path: Path) -> None:
    ran = smallest(tmp_path, *words)
    assert (ran.code, ran.out, ran.lines[1:]) == (2, b"", [hint])


@pytest.mark.parametrize("page", PAGES, ids=[page.path for page in PAGES])
def test_help_command_prints_the_same_page(page: Command, tmp_path: Path) -> None:
    shown = smallest(tmp_path, "help", *page.path.split()[1:])
    assert (shown.code, shown.err, shown.out.decode().split()) == (0, "", page.help.split())


@pytest.mark.parametrize("page", PAGES, ids=[page.path for page in PAGES])
def test_help_without_advanced_options_fits_two_screens(page: Command) -> None:
    assert len(page.help.partition("\nAdvanced:")[0].splitlines()) <= 80


@pytest.mark.parametrize("page", PAGES, ids=[page.path for page in PAGES])
def test_examples_are_accepted(page: Command, tmp_path: Path) -> None:
    """Each option of an example exists in the command that it runs."""
    by_path = {each.path: each for each in PAGES}
    for example in page.examples:
        words = example.partition("smallest ")[2].partition(" |")[0].partition(" >")[0].split()
        paths = ["smallest", f"smallest {words[0]}", f"smallest {' '.join(words[:2])}"]
        command = [by_path[path] for path in paths if path in by_path][-1]
        flags = {name for option in command.options for name in (*option.flags, *option.off)}
        assert {word for word in words if re.match("--?[a-z]", word)} <= flags, example


def test_help_has_colours_on_a_terminal_only(tmp_path: Path) -> None:
    assert b"\x1b" not in smallest(tmp_path, "speak", "--help").out


def test_end_of_input_at_a_question_is_no(tmp_path: Path) -> None:
    parent, child = pty.openpty()
    os.write(parent, b"\x04")
    done = subprocess.run(
        [*SMALLEST, "speak", "Hi.", "--local", "-v", "mehar", "-o", "a.wav"],
        stdin=child, stderr=child, stdout=subprocess.DEVNULL, env=environment(tmp_path, TERM="xterm"),
        cwd=tmp_path, timeout=50, check=False,
    )  # fmt: skip
    shown = os.read(parent, 65_536).decode()
    os.close(parent)
    os.close(child)
    assert (done.returncode, "Send it anyway?" in shown, "bug" in shown) == (2, True, False)


def test_only_speak_batch_and_bench_have_dry_run() -> None:
    commands = {page.name for page in PAGES for option in page.options if "--dry-run" in option.flags}
    assert commands == {"speak", "batch", "bench"}


HELP_PAGES = """
import json, os, sys
import smallest_cli.cli.app
from smallest_cli.__main__ import main

for words in json.loads(sys.argv[1]):
    if (child := os.fork()) == 0:
        sys.argv = ["smallest", *words, "--help"]
        main()
    os.waitpid(child, 0)
    os.write(1, b"\\0")
"""
"""Prints pages of help, each in a fork of one process: 84 starts would take 10 s."""


@pytest.fixture(scope="module", params=[60, 80])
def help_on_terminal(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, dict[str, str]]:
    """The columns of a terminal, and every help page on it without styles."""
    columns: int = request.param
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("4H", 50, columns, 0, 0))
    pages = json.dumps([page.path.split()[1:] for page in PAGES])
    env = environment(tmp_path_factory.mktemp("home"), TERM="xterm")
    output = b""
    with (
        os.fdopen(parent, "rb", buffering=0) as screen,
        subprocess.Popen(
            [sys.executable, "-c", HELP_PAGES, pages], env=env, stdin=child, stdout=child, stderr=child
        ),
        suppress(OSError),  # the other side is closed
    ):
        os.close(child)
        while more := screen.read(65_536):
            output += more
    texts = STYLE.sub("", output.decode()).split("\0")
    return columns, {page.path: each for page, each in zip(PAGES, texts, strict=False)}


@pytest.mark.parametrize("page", PAGES, ids=[page.path for page in PAGES])
def test_help_on_a_terminal_truncates_no_option(
    page: Command, help_on_terminal: tuple[int, dict[str, str]]
) -> None:
    columns, texts = help_on_terminal
    text = texts[page.path]
    names = {name for option in page.options for name in (*option.flags, *option.off)}
    missing = names - set(re.findall(r"(?<![\w-])--?\w[\w-]*", text))
    too_long = {line.strip() for line in text.splitlines() if len(line) > columns} - set(page.examples)
    assert (missing, "…" in text, too_long) == (set(), False, set())
    if columns >= 80:
        # tests/data/golden/help holds copies of page.help; the usage line may break elsewhere.
        assert text.split() == page.help.split()
