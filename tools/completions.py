"""Completion scripts for bash, zsh, fish and PowerShell, written by shtab from our tree.

shtab reads an argparse parser, so the tree is told to it as one. What it cannot know stands in `shell/`:
how a shell reads the lists beside the cache, and what it knows without them.
"""

from __future__ import annotations

from argparse import Action, ArgumentParser
from pathlib import Path
from shlex import quote
from typing import Any

import shtab

from smallest_cli.audio.player import PRESETS
from smallest_cli.cli.commands.completion import FILES
from smallest_cli.cli.completion_lists import Row, model_rows, voice_rows
from smallest_cli.voices import LANGUAGES, bundled_voices
from tools import tree
from tools.tree import FILE, FOLDER, PROGRAM, Argument, Command, Option

SNIPPETS = Path(__file__).parent / "shell"
ANYTHING = "anything"
"""Words that nobody can foresee."""
COMPLETERS: dict[str, dict[str, str]] = {
    FILE: {"bash": "_smallest_file", "zsh": "_files"},
    FOLDER: {"bash": "_smallest_dir", "zsh": "_files -/"},
    ANYTHING: {"zsh": "_smallest_nothing"},
    PROGRAM: {"bash": "_smallest_program", "zsh": "_smallest_program", "fish": "(_smallest_program)"},
}
"""What completes a kind of value, by shell; shtab's own where we have no better."""
SHTABS = {
    kind: {shell: str(made) for shell, made in made_by.items()}
    for kind, made_by in ((FILE, shtab.FILE), (FOLDER, shtab.DIR))
}


def known() -> dict[str, list[Row]]:
    """What each list holds until the cache has a newer one, and the players, of which it has none."""
    voices = bundled_voices()
    return {
        tree.VOICES: voice_rows(voices),
        tree.MODELS: model_rows(voices),
        tree.LANGUAGES: list(LANGUAGES.items()),
        tree.DEVICES: [],
        "players": [(name, "") for name in PRESETS],
    }


def write_completions(root: Command) -> dict[str, str]:
    """Every script: its file's name -> its text."""
    return {name: _script(root, shell) for shell, name in FILES.items()}


def _script(root: Command, shell: str) -> str:
    lists = "\n".join(_list(shell, name, rows) for name, rows in known().items())
    suffix = "pwsh" if shell == "powershell" else shell
    before = (SNIPPETS / f"before.{suffix}").read_text("utf-8")
    after = SNIPPETS / f"after.{suffix}"
    script = shtab.complete(_parser(root, shell), shell, preamble=f"{lists}\n{before}")
    if shell == "zsh":  # where shtab means "any number", zsh reads "one, and none after it"
        script = script.replace('"(*)::', '"*:')
    ending = "\n" + after.read_text("utf-8") if after.exists() else ""
    return "\n".join(line.rstrip() for line in (script + ending).strip().splitlines()) + "\n"


def _list(shell: str, name: str, rows: list[Row]) -> str:
    lines = [f"{value}\t{told}".rstrip() for value, told in rows]
    match shell:
        case "bash":
            return f"_smallest_known_{name}=" + quote("\n".join(value for value, _ in rows))
        case "zsh":
            return f"_smallest_known_{name}=({' '.join(map(quote, lines))})"
        case "fish":
            return f"set -g _smallest_known_{name} {' '.join(map(quote, lines))}"
    values = ", ".join(f"'{value}'" for value, _ in rows)
    return f"$global:_smallest_known_{name} = @({values})"


def _parser(command: Command, shell: str, parser: ArgumentParser | None = None) -> ArgumentParser:
    """A command and all below it, as an argparse parser."""
    parser = parser or ArgumentParser(prog=command.name, add_help=False)
    parser.description = _plain(command.summary)
    for option in command.options:
        _add_option(parser, option, shell)
    if command.children:
        below = parser.add_subparsers(metavar="COMMAND")
        for child in command.children:
            _parser(child, shell, below.add_parser(child.name, add_help=False, help=_plain(child.summary)))
    else:
        for place, argument in enumerate(command.arguments):
            _add_argument(parser, argument, place, shell)
    return parser


def _add_option(parser: ArgumentParser, option: Option, shell: str) -> None:
    told = _plain(option.help)
    if option.metavar is None:
        ends = {"--help", "--version"} & set(option.flags)
        parser.add_argument(*option.flags, action="help" if ends else "store_true", help=told)
        if option.off:
            parser.add_argument(*option.off, action="store_true", help=told)
        return
    flags = [_flag(each, shell) for each in option.flags]
    action = "append" if option.repeatable else "store"
    # The dest is zsh's heading over the values; a colon would end it.
    added = parser.add_argument(*flags, action=action, metavar=option.metavar.replace(":", ""), help=told)
    _add_values(added, option.values, shell)


def _flag(flag: str, shell: str) -> str:
    """zsh is told by a sign that the value may stand in the same word."""
    return flag if shell != "zsh" else f"{flag}=" if flag.startswith("--") else f"{flag}+"


def _add_argument(parser: ArgumentParser, argument: Argument, place: int, shell: str) -> None:
    nargs: dict[str, Any] = {"nargs": "*"} if argument.many else {} if argument.required else {"nargs": "?"}
    added = parser.add_argument(
        f"argument{place}", metavar=argument.metavar, help=_plain(argument.help), **nargs
    )
    # zsh would show what the words are, and insert no option because of that.
    _add_values(added, argument.values or ANYTHING, shell)


def _add_values(action: Action, values: tuple[str, ...] | str, shell: str) -> None:
    if isinstance(values, str):
        vars(action)["complete"] = {shell: _completer(values, shell)}
    elif values:
        action.choices = values


def _completer(kind: str, shell: str) -> str:
    """What a script calls for the values of a kind."""
    if kind in tree.LISTS:
        return f"(_smallest_list {kind})" if shell == "fish" else f"_smallest_{kind}"
    return COMPLETERS[kind].get(shell) or SHTABS.get(kind, {}).get(shell, "")


def _plain(text: str) -> str:
    """One line, as argparse takes it: its per cent signs doubled."""
    return " ".join(text.split()).replace("%", "%%")
