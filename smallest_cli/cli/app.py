"""The Typer app, and the only place where an error becomes an exit code."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import Annotated, NoReturn

import typer

from smallest_cli import __version__
from smallest_cli.cli.console import DIM, LINE_LIMIT, RED, error_as_json, print_error, print_json, print_line
from smallest_cli.cli.help import HelpTyper
from smallest_cli.errors import BrokenPipe, Interrupted, MissingKeyError, SmallestError, UsageError
from smallest_cli.extras import LOCAL, is_installed
from smallest_cli.security import hide_typed_keys, printable
from smallest_cli.signals import SIGPIPE, catch_signals, reraise_signal, restore_signals, unwatch
from smallest_cli.stdio import exhaustion_error, guard_stdout

SIMILARITY = 0.75
"""Minimum similarity (0 to 1) of an option suggested for a mistyped one."""
BUG = "this is a bug; please report it with the command and the version"

app = HelpTyper(
    name="smallest",
    epilog="Exit codes 6, 7 and 8 may be retried; 9 left partial audio; everything else needs manual action.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)

COMMANDS = {
    "speak": ("speak.speak", "Speak text: play it, save it, or pipe it."),
    "stream": ("stream.stream", "Speak text as it arrives, for example from an LLM."),
    "batch": ("batch.batch", "Speak each row of a table into a file of its own."),
    "voices": ("voices.voices", "List and search voices; voices play | clone | clones | delete."),
    "bench": ("bench.run.bench", "Measure latency; bench compare | merge | report | locustfile."),
    "dict": ("dict.dictionaries", "Manage pronunciation dictionaries."),
    "config": ("config.configuration", "Show and change settings; config path | list | get | set | unset."),
    "cache": ("cache.cache", "Manage the audio cache; cache info | clear."),
    "serve": ("serve.serve", "Run the offline Waves-compatible server."),
    "login": ("auth.login", "Save an API key."),
    "logout": ("auth.logout", "Remove saved API keys."),
    "doctor": ("doctor.doctor", "Check your setup."),
    "completion": ("completion.completion", "Generate shell completions."),
    "help": ("help.show_help", "Show the help of a command."),
}
"""Command name -> (module and attribute, help line). Only the command that runs is imported."""
OTHER_NAMES = {
    "say": "speak", "tts": "speak", "synthesize": "speak", "play": "speak",
    "pipe": "stream", "voice": "voices",
    "benchmark": "bench", "server": "serve", "dictionary": "dict", "auth": "login", "check": "doctor",
    "completions": "completion", "version": "--version",
}  # fmt: skip
"""Commands as other tools call them."""
OTHER_OPTIONS = {
    "--rate": "--speed", "--lang": "--language", "--output-file": "--output", "--file-format": "--format",
    "--output-format": "--format", "--encoding": "--format", "--audio-format": "--format",
    "--input": "--file", "--text": "--file", "--text-file": "--file", "--transport": "--via",
    "--protocol": "--via", "--url": "--base-url", "--host": "--base-url", "--endpoint": "--base-url",
    "--offline": "--local", "--overwrite": "--clobber", "--silent": "--quiet", "--srt": "--subtitles",
    "--vtt": "--subtitles", "--dictionary": "--dict", "--speaker-id": "--voice",
}  # fmt: skip
"""Options as other tools call them."""
CHILDREN = {"bench": ("bench.results", ("compare", "merge", "report", "locustfile"))}
"""Command name -> (module, subcommand names), for commands whose subcommands have their own module."""


def register(names: Iterable[str]) -> None:
    """Import commands and add them to the app."""
    for name in names:
        file, _, attribute = COMMANDS[name][0].rpartition(".")
        command = getattr(import_module(f"smallest_cli.cli.commands.{file}"), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)


def register_children(name: str) -> None:
    """Add a group with the subcommands of `name` to the app, in place of the command itself."""
    file, children = CHILDREN[name]
    module = import_module(f"smallest_cli.cli.commands.{file}")
    group = HelpTyper(name=name, help=COMMANDS[name][1])
    for child in children:
        group.command(child)(getattr(module, child))
    app.add_typer(group)


def register_names() -> None:
    """Add all commands without importing them, for the command list and for suggestions after a typo."""
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
    """Text-to-speech on the command line, with Smallest AI's Waves service."""


def run() -> NoReturn:
    """Run the command line and exit with its code; after a signal, re-raise that signal."""
    try:
        catch_signals()
        guard_stdout()
        code = _run_command()
        restore_signals()
    except Interrupted as interruption:
        # Drop the frames, so that generators they hold are closed and clean up.
        interruption.__traceback__ = None
        _print_failure(interruption)
        reraise_signal(interruption.signal_number)
    unwatch()
    sys.exit(code)


def _run_command() -> int:
    """Run the command, print its failure if any, and return its exit code. Raises Interrupted."""
    try:
        _refuse_key_in_argv()
        bare = len(sys.argv) == 1 and sys.stdout.isatty()
        return invoke(["--help"] if bare else sys.argv[1:])
    except SmallestError as error:
        return _fail(error)
    except typer.TyperException as error:
        return _fail(_usage_error(error))
    except typer.Abort:  # the end of input at a question
        return _fail(UsageError("aborted"))
    except Exception as error:
        if shortage := exhaustion_error(error):
            return _fail(shortage)
        print_line(f"smallest: {type(error).__name__}: {printable(error)}", RED)
        print_line(f"  {BUG}", DIM)
        return SmallestError.exit_code


def invoke(arguments: list[str]) -> int:
    """Run a command and return its exit code. Raises SmallestError and errors of Typer."""
    app.registered_commands.clear()  # `help` runs a second one
    match arguments:
        case [name, child, *_] if child in CHILDREN.get(name, ("", ()))[1]:
            register_children(name)
        case [name, *_] if name in COMMANDS:
            register([name])
        case _:
            register_names()
    command = typer.main.get_command(app)
    code: int | None = command(arguments, prog_name="smallest", standalone_mode=False)
    sys.stdout.flush()
    return code or 0


def _usage_error(error: typer.TyperException) -> UsageError:
    """Convert a Typer error to one line, with a suggestion or a pointer to --help."""
    from difflib import get_close_matches

    line = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    if context and context.info_name == "login" and "extra argument" in line:
        return _key_in_argv()
    hint = f"see {context.command_path} --help" if context else ""
    if mistyped := getattr(error, "option_name", None):
        line = line.partition(" (Possible options")[0]
        similar = get_close_matches(mistyped, getattr(error, "possibilities", None) or (), 1, SIMILARITY)
        known = {name for each in context.command.params for name in each.opts} if context else ()
        if (other := OTHER_OPTIONS.get(mistyped)) in known:
            similar = [other]
        if similar:
            line += f" (did you mean {similar[0]}?)"
        if context and context.parent is None and set(sys.argv[1:]) & set(COMMANDS):
            hint = "put options after the command: smallest COMMAND [OPTIONS]"
    elif line.startswith("No such command") and context and context.info_name == "voices":
        hint = f"to find a voice: smallest voices --search {shlex.join(sys.argv[2:3])}"
    elif line.startswith("No such command") and context and context.parent is None:
        line = line.partition(". Did you mean")[0]
        hint = _suggest_command(sys.argv[1:]) or hint
    return UsageError(line, hint=printable(hint, LINE_LIMIT))


def _suggest_command(arguments: list[str]) -> str:
    """Return a hint for an unknown command: text is never spoken, and billed, without `speak`."""
    from difflib import get_close_matches

    word, *rest = arguments
    similar = [OTHER_NAMES.get(word, ""), *get_close_matches(word, COMMANDS, 1, SIMILARITY)]
    name = next(filter(None, similar), "")
    if word == "help":
        similar = get_close_matches(rest[0], COMMANDS, 1, SIMILARITY) if rest else []
        return f"did you mean: smallest help {similar[0]}" if similar else ""
    if not (name or rest or " " in word):
        return ""
    words = [name, *rest] if name else ["speak", word, *rest]
    return f"did you mean: smallest {' '.join(map(_quoted, words))}"


def _quoted(word: str) -> str:
    """Quote a word for a shell as people do."""
    is_plain = " " in word and not set(word) & set('"$`\\!\n')
    return f'"{word}"' if is_plain else shlex.quote(word)


def _refuse_key_in_argv() -> None:
    """Reject options that pass a key, since other users can read arguments; print none that is given."""
    settings = (value for name, value in os.environ.items() if name.startswith("SMALLEST_"))
    hide_typed_keys([*sys.argv[1:], *settings])
    options = sys.argv[1 : sys.argv.index("--") if "--" in sys.argv else None]
    if any(each.partition("=")[0] in ("--api-key", "--apikey", "--key") for each in options):
        raise _key_in_argv()


def _key_in_argv() -> UsageError:
    return UsageError(
        "API keys are not accepted on the command line, where other users can read them",
        hint="set SMALLEST_API_KEY, or use --api-key-file FILE, or smallest login",
    )


def _offline_command(arguments: list[str]) -> list[str]:
    """Return the same command for the offline server: --local instead of --base-url, before any `--`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [word for word in arguments[:end] if not word.startswith("--base-url=")]
    if "--base-url" in options:
        at = options.index("--base-url")
        del options[at : at + 2]
    return ["smallest", *options, "--local", *arguments[end:]]


def _fail(error: SmallestError) -> int:
    if isinstance(error, BrokenPipe):
        reraise_signal(SIGPIPE)
    if isinstance(error, MissingKeyError) and is_installed(LOCAL):
        command = printable(shlex.join(_offline_command(sys.argv[1:])), LINE_LIMIT)
        error.hint += f"\nor, without a key: {command}"
    _print_failure(error)
    return error.exit_code


def _print_failure(error: SmallestError | Interrupted) -> None:
    """Print the failure on stderr and, if --json was given, as an object on stdout."""
    if "--json" in sys.argv[1:]:
        with suppress(SmallestError):  # a closed stdout must not hide the original failure
            print_json(error_as_json(error))
    print_error(error)
