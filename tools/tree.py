"""The command line as data: all commands with their options and arguments, read from the Typer app.

An option's values are derived from its choices, or from its metavar FILE, DIR or CMD; others are in `VALUES`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Any

import typer

from smallest_cli.audio.formats import ALIASES, CODINGS
from smallest_cli.bench.schema import SAMPLED
from smallest_cli.cli import app as cli
from smallest_cli.cli.commands.voices import SORTS
from smallest_cli.cli.help import EXAMPLES, GROUPS, group_parameters
from smallest_cli.models import APIS, SAMPLE_RATES, VIAS

FILE, FOLDER, PROGRAM = "file", "folder", "program"
VOICES, MODELS, LANGUAGES, DEVICES = "voices", "models", "languages", "devices"
LISTS = (VOICES, MODELS, LANGUAGES, DEVICES)
"""The lists that `cli.completion_lists` saves in the cache folder."""
KINDS = {"FILE": FILE, "DIR": FOLDER, "CMD": PROGRAM}
VALUES: dict[str, tuple[str, ...] | str] = {
    "--voice": VOICES,
    "--extra-voice": VOICES,
    "--model": MODELS,
    "--language": LANGUAGES,
    "--number-language": LANGUAGES,
    "--device": DEVICES,
    "--via": ("auto", *VIAS),
    "--api": APIS,
    "--sample-rate": tuple(map(str, SAMPLE_RATES)),
    "--format": (*CODINGS, *ALIASES),
    "--enhancement": ("0", "1", "2"),
    "--transport": VIAS,
    "--conn": ("warm", "cold"),
    "--metric": SAMPLED,
    "--gender": ("female", "male"),
    "--sort": SORTS,
}
CONTEXT = cli.app.info.context_settings or {}
ARGUMENTS: dict[tuple[str, str], str] = {
    ("smallest bench compare", "A"): FILE,
    ("smallest bench compare", "B"): FILE,
    ("smallest voices play", "NAME..."): VOICES,
}


@dataclass(frozen=True)
class Option:
    """A flag, or an option with a value.

    `values` are the allowed values, the name of a list, or () for any value.
    """

    flags: tuple[str, ...]
    off: tuple[str, ...]
    """Flags that disable it."""
    metavar: str | None
    """None for a flag."""
    help: str
    bounds: str
    """The range of numbers as shown, "" for any."""
    repeatable: bool
    values: tuple[str, ...] | str
    group: str
    """The group in --help."""

    @property
    def notes(self) -> str:
        """The range in brackets, which --help does not show."""
        return f"[{self.bounds}]" if self.bounds else ""


@dataclass(frozen=True)
class Argument:
    metavar: str
    help: str
    required: bool
    many: bool
    values: tuple[str, ...] | str


@dataclass(frozen=True)
class Command:
    """A command: `path` as typed, `summary` its first line of help, `details` the paragraphs after it.

    `options` are in the order of --help, group by group.
    """

    path: str
    summary: str
    details: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    children: tuple[Command, ...]
    examples: tuple[str, ...]
    help: str
    """The text of --help at 80 columns."""

    @property
    def name(self) -> str:
        return self.path.rpartition(" ")[2]

    def groups(self) -> Iterator[tuple[str, list[Option]]]:
        """The options by group."""
        for name, members in groupby(self.options, attrgetter("group")):
            yield name, list(members)

    def walk(self) -> Iterator[Command]:
        """This command and all its subcommands."""
        yield self
        for child in self.children:
            yield from child.walk()


def read_tree() -> Command:
    """Return the complete command line."""
    cli.app.registered_commands.clear()  # of an earlier call
    cli.app.registered_groups.clear()
    cli.register_names()
    help = _help(typer.main.get_command(cli.app), cli.app.info.name or "")
    cli.app.registered_commands.clear()
    cli.register(cli.COMMANDS)
    tree = _command(typer.main.get_command(cli.app), cli.app.info.name or "")
    for name in cli.CHILDREN:  # registered separately: the app has either a command or its subcommands
        cli.register_children(name)
    with_children = _command(typer.main.get_command(cli.app), tree.path)
    children = {child.name: child.children for child in with_children.children}
    commands = {child.name: replace(child, children=children[child.name]) for child in tree.children}
    return replace(tree, children=tuple(commands[name] for name in cli.COMMANDS), help=help)


def _command(command: Any, path: str) -> Command:
    summary, _, details = (command.help or "").partition("\n")
    return Command(
        path=path,
        summary=summary.strip(),
        details=details.strip(),
        options=_options(command),
        arguments=tuple(_argument(each, path) for each in _of(command, "argument")),
        children=tuple(
            _command(child, f"{path} {name}") for name, child in getattr(command, "commands", {}).items()
        ),
        examples=EXAMPLES.get(path, ()),
        help=_help(command, path),
    )


def _help(command: Any, path: str) -> str:
    """Return the output of --help on a terminal of 80 columns, of which click uses 78."""
    context = typer.Context(command, info_name=path, terminal_width=78, **CONTEXT)
    return str(command.get_help(context)) + "\n"


def _of(command: Any, kind: str) -> list[Any]:
    return [
        each for each in command.params if each.param_type_name == kind and not getattr(each, "hidden", 0)
    ]


def _options(command: Any) -> tuple[Option, ...]:
    """Return the options in the order of --help."""
    groups = group_parameters(command.get_params(typer.Context(command, **CONTEXT)))
    return tuple(
        _option(each, name)
        for name in sorted(groups, key=GROUPS.index)
        for each in groups[name]
        if each.param_type_name == "option"
    )


def _option(option: Any, group: str) -> Option:
    choices = tuple(map(str, getattr(option.type, "choices", ())))
    metavar = None if option.is_flag else option.metavar or "|".join(choices) or option.type.name.upper()
    long = max(option.opts, key=len)
    return Option(
        flags=tuple(sorted(option.opts, key=lambda name: name.startswith("--"))),
        off=tuple(option.secondary_opts),
        metavar=metavar,
        help=option.help or "",
        bounds=_bounds(option.type),
        repeatable=bool(option.multiple),
        values=choices
        or next((VALUES[each] for each in (*option.opts, long) if each in VALUES), _kind(metavar)),
        group=group,
    )


def _bounds(kind: Any) -> str:
    minimum, maximum = getattr(kind, "min", None), getattr(kind, "max", None)
    if minimum is not None and maximum is not None:
        return f"{minimum:g}-{maximum:g}"
    return f"at least {minimum:g}" if minimum else ""


def _argument(argument: Any, path: str) -> Argument:
    metavar = argument.metavar or argument.name.upper()
    choices = tuple(map(str, getattr(argument.type, "choices", ())))
    return Argument(
        metavar=metavar,
        help=argument.help or "",
        required=argument.required,
        many=argument.nargs == -1,
        values=choices or ARGUMENTS.get((path, metavar)) or _kind(metavar),
    )


def _kind(metavar: str | None) -> tuple[str, ...] | str:
    kinds = (kind for word, kind in KINDS.items() if metavar and metavar.lstrip("[").startswith(word))
    return next(kinds, ())
