"""The command line as data: all commands with their options and arguments, read from the Typer app.

An option's values are derived from its choices, or from its metavar FILE, DIR or CMD; others are in `VALUES`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import typer

from smallest_cli.audio.formats import ALIASES, CODINGS
from smallest_cli.bench.schema import SAMPLED
from smallest_cli.cli import app as cli
from smallest_cli.cli.commands.voices import SORTS
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
    default: str
    """The default as shown, "" for none."""
    bounds: str
    """The range of numbers as shown, "" for any."""
    repeatable: bool
    values: tuple[str, ...] | str
    required: bool
    variable: str | None
    """The environment variable that sets it too."""

    @property
    def notes(self) -> str:
        """Default, range, variable and "required" in brackets, as appended to the help text."""
        notes = (
            f"default: {self.default}" if self.default else "",
            self.bounds,
            f"env: {self.variable}" if self.variable else "",
            "required" if self.required else "",
        )
        return f"[{'; '.join(filter(None, notes))}]" if any(notes) else ""


@dataclass(frozen=True)
class Argument:
    metavar: str
    help: str
    required: bool
    many: bool
    values: tuple[str, ...] | str


@dataclass(frozen=True)
class Command:
    """A command: `path` as typed, `summary` its first line of help, `details` the paragraphs after it."""

    path: str
    summary: str
    details: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    children: tuple[Command, ...]
    help: str
    """The text of --help at 80 columns."""

    @property
    def name(self) -> str:
        return self.path.rpartition(" ")[2]

    def walk(self) -> Iterator[Command]:
        """This command and all its subcommands."""
        yield self
        for child in self.children:
            yield from child.walk()


def read_tree() -> Command:
    """Return the complete command line."""
    cli.app.rich_markup_mode = None  # so that the output does not depend on the terminal width
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
        options=(*map(_option, _of(command, "option")), HELP),
        arguments=tuple(_argument(each, path) for each in _of(command, "argument")),
        children=tuple(
            _command(child, f"{path} {name}") for name, child in getattr(command, "commands", {}).items()
        ),
        help=_help(command, path),
    )


def _help(command: Any, path: str) -> str:
    """Return the output of --help on a terminal of 80 columns, of which click uses 78."""
    context = typer.Context(
        command, info_name=path, terminal_width=78, **(cli.app.info.context_settings or {})
    )
    return str(command.get_help(context)) + "\n"


HELP = Option(("-h", "--help"), (), None, "Show this message and exit.", "", "", False, (), False, None)


def _of(command: Any, kind: str) -> list[Any]:
    return [
        each for each in command.params if each.param_type_name == kind and not getattr(each, "hidden", 0)
    ]


def _option(option: Any) -> Option:
    choices = tuple(map(str, getattr(option.type, "choices", ())))
    metavar = None if option.is_flag else option.metavar or "|".join(choices) or option.type.name.upper()
    long = max(option.opts, key=len)
    return Option(
        flags=tuple(option.opts),
        off=tuple(option.secondary_opts),
        metavar=metavar,
        help=option.help or "",
        default=_default(option),
        bounds=_bounds(option.type),
        repeatable=bool(option.multiple),
        values=choices
        or next((VALUES[each] for each in (*option.opts, long) if each in VALUES), _kind(metavar)),
        required=bool(option.required),
        variable=option.envvar,
    )


def _default(option: Any) -> str:
    """Return the default to show: of an option with a value, or of a flag that is enabled."""
    if option.default in (None, False, [], ()) or callable(option.default):
        return ""
    if option.default is True:
        return str(option.opts[-1]).lstrip("-") if option.secondary_opts else ""
    return f"{option.default:g}" if isinstance(option.default, float) else str(option.default)


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
