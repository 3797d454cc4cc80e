"""The list of commands, and that only the one that is run is imported."""

from __future__ import annotations

import inspect
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
import typer

from smallest_cli.cli import COMMANDS
from tests.command import SMALLEST, environment, smallest


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_by_the_first_line_of_its_help(name: str) -> None:
    place, line = COMMANDS[name]
    file, _, attribute = place.partition(".")
    command = getattr(import_module(f"smallest_cli.commands.{file}"), attribute)
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
    assert "smallest_cli.commands" not in done.stderr
    assert "smallest_cli.connect" not in done.stderr
