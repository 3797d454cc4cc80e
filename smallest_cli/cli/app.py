"""The Typer app, and the one place where an error becomes an exit code."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import copy
from functools import partial
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer

from smallest_cli import __version__
from smallest_cli.cli.console import error_as_json, print_error, print_interruption, print_json, print_line
from smallest_cli.errors import BrokenPipe, Interrupted, MissingKeyError, SmallestError, UsageError
from smallest_cli.security import printable
from smallest_cli.signals import SIGPIPE, catch_signals, reraise_signal, restore_signals, unwatch
from smallest_cli.stdio import find_shortage, guard_stdout

ALIKE = 0.75
"""How much an option must be like what was typed, to be offered for it."""
BUG = "this is a bug; please report it with the command and the version"
BOXES_FROM = 110
"""Columns that a terminal needs for help in boxes: on a narrower one rich cuts the names of options."""


def _rich_help_wanted() -> bool:
    return (
        sys.stdout is not None
        and sys.stdout.isatty()
        and not os.environ.get("NO_COLOR")
        and shutil.get_terminal_size().columns >= BOXES_FROM
    )


app = typer.Typer(
    name="smallest",
    help="Text to sound in a terminal, through the Waves speech service.",
    epilog="Exit codes 6, 7 and 8 may be retried; 9 left partial audio; the rest needs a person.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if _rich_help_wanted() else None,
)

COMMANDS = {
    "speak": ("speak.speak", "Speak text: play it, save it, or pipe it."),
    "stream": ("stream.stream", "Speak text as it arrives (e.g. from an LLM)."),
    "batch": ("batch.batch", "Speak each row of a table into a file of its own."),
    "voices": ("voices.voices", "List and search voices; hear them; clone one."),
    "bench": ("bench.run.bench", "Measure latency; bench compare | merge | replay | report | locustfile."),
    "dict": ("dict.dictionaries", "Pronunciation dictionaries."),
    "cache": ("cache.cache", "What `--cache` keeps on this machine; cache info | clear."),
    "serve": ("serve.serve", "Serve the Waves API from this machine, offline."),
    "login": ("auth.login", "Keep a key for one service."),
    "logout": ("auth.logout", "Forget the keys that `login` kept."),
    "doctor": ("doctor.doctor", "Say what works here and what does not."),
    "completion": ("completion.completion", "Print what a shell needs to complete our commands on TAB."),
}
"""Each command, where it is, and its line in the list. Only the one that is run is imported."""
CHILDREN = {"bench": ("bench.results", ("compare", "merge", "replay", "report", "locustfile"))}
"""Commands that have some of their own: the file that those are in, and their names."""


def register(names: Iterable[str]) -> None:
    """Put commands on the command line, each by its own file."""
    for name in names:
        file, _, attribute = COMMANDS[name][0].rpartition(".")
        command = getattr(import_module(f"smallest_cli.cli.commands.{file}"), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)


def register_children(name: str) -> None:
    """Put the commands of a command on the command line, in its place."""
    file, children = CHILDREN[name]
    module = import_module(f"smallest_cli.cli.commands.{file}")
    group = typer.Typer(name=name, help=COMMANDS[name][1])
    for child in children:
        group.command(child)(getattr(module, child))
    app.add_typer(group)


def _list_commands() -> None:
    """Names and lines of all commands, for the list and for what is misspelt."""
    for name, (_, line) in COMMANDS.items():
        app.command(name, help=line)(lambda: None)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"smallest {__version__}")
        raise typer.Exit()


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("-V", "--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Text to sound in a terminal, through the Waves speech service."""


def run() -> NoReturn:
    """Run the command line and leave with its exit code; a signal's is told to the shell as a signal."""
    catch_signals()
    guard_stdout()
    try:
        code = _attempt()
        restore_signals()
    except Interrupted as interruption:
        # Whatever was entered just then and not yet left, is left as its frame goes.
        interruption.__traceback__ = None
        _print_failure(interruption)
        print_interruption(interruption)
        reraise_signal(interruption.signal_number)
    unwatch()
    sys.exit(code)


def _attempt() -> int:
    """The exit code of the command, its failure told; a signal passes through, whatever it comes upon."""
    try:
        return _invoke()
    except SmallestError as error:
        return _fail(error)
    except typer.TyperException as error:
        return _fail(_told(error))
    except Exception as error:
        if shortage := find_shortage(error):
            return _fail(shortage)
        print_line(f"smallest: {type(error).__name__}: {printable(error)}")
        print_line(f"  {BUG}")
        return SmallestError.exit_code


def _invoke() -> int:
    _refuse_key_in_argv()
    if sys.argv[1:2] and sys.argv[2:3] and sys.argv[2] in CHILDREN.get(sys.argv[1], ("", ()))[1]:
        register_children(sys.argv[1])
    elif sys.argv[1:2] and sys.argv[1] in COMMANDS:
        register([sys.argv[1]])
    else:
        _list_commands()
    command = typer.main.get_command(app)
    _refuse_what_is_no_number(command)
    bare = len(sys.argv) == 1 and sys.stdout.isatty()
    code: int | None = command(["--help"] if bare else None, standalone_mode=False)
    sys.stdout.flush()
    return code or 0


def _refuse_what_is_no_number(command: Any) -> None:
    """Have every option that takes a number refuse nan and inf, which pass any range."""
    for parameter in command.params:
        if parameter.type.name.startswith("float"):
            parameter.type = copy(parameter.type)  # options without a range share one
            parameter.type.convert = partial(_convert_finite, parameter.type.convert)
    for child in getattr(command, "commands", {}).values():
        _refuse_what_is_no_number(child)


def _convert_finite(convert: Callable[..., float], value: Any, parameter: Any, context: Any) -> float:
    number = convert(value, parameter, context)
    if not math.isfinite(number):
        raise typer.BadParameter(f"{printable(value, 40)} is no finite number", ctx=context, param=parameter)
    return number


def _told(error: typer.TyperException) -> UsageError:
    """What was typed wrong, in one line, and where to look."""
    from difflib import get_close_matches

    line = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    hint = f"see {context.command_path} --help" if context else ""
    if mistyped := getattr(error, "option_name", None):
        line = line.partition(" (Possible options")[0]
        if near := get_close_matches(mistyped, getattr(error, "possibilities", None) or (), 1, ALIKE):
            line += f"; did you mean {near[0]}?"
    elif line.startswith("No such command") and context and context.info_name == "voices":
        hint = f"to find a voice: smallest voices --search {shlex.join(sys.argv[2:3])}"
    return UsageError(line, hint=hint)


def _refuse_key_in_argv() -> None:
    """Every user of a machine can read what was typed, so there is no option that takes a key."""
    options = sys.argv[1 : sys.argv.index("--") if "--" in sys.argv else None]
    if any(each.partition("=")[0] in ("--api-key", "--apikey", "--key") for each in options):
        raise UsageError(
            "a key is not taken from the command line, which other users can read",
            hint="set SMALLEST_API_KEY, or use --api-key-file FILE, or smallest login",
        )


def _offline_command(typed: list[str]) -> list[str]:
    """What was typed, for the offline server: without the service that was named, and before any `--`."""
    end = typed.index("--") if "--" in typed else len(typed)
    options = [word for word in typed[:end] if not word.startswith("--base-url=")]
    if "--base-url" in options:
        at = options.index("--base-url")
        del options[at : at + 2]
    return ["smallest", *options, "--local", *typed[end:]]


def _fail(error: SmallestError) -> int:
    if isinstance(error, BrokenPipe):
        reraise_signal(SIGPIPE)
    if isinstance(error, MissingKeyError):
        error.hint += f"; or speak without one: {shlex.join(_offline_command(sys.argv[1:]))}"
    _print_failure(error)
    print_error(error)
    return error.exit_code


def _print_failure(error: SmallestError | Interrupted) -> None:
    """The object of --json, where it was asked for; that nobody can have it is not what went wrong."""
    if "--json" in sys.argv[1:]:
        with suppress(SmallestError):
            print_json(error_as_json(error))
