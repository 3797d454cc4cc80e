"""The command line as data: every command with its options and arguments, read from the app.

What a value may be is told by the option itself where it is a choice or where its metavar is FILE, DIR or
CMD; `VALUES` names the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import typer

from smallest_cli.audio.formats import ALIASES, CODINGS
from smallest_cli.bench.results import SAMPLED
from smallest_cli.cli import app as cli
from smallest_cli.cli.commands.voices import SORTS
from smallest_cli.models import APIS, SAMPLE_RATES, VIAS

FILE, FOLDER, PROGRAM = "file", "folder", "program"
VOICES, MODELS, LANGUAGES, DEVICES = "voices", "models", "languages", "devices"
LISTS = (VOICES, MODELS, LANGUAGES, DEVICES)
"""The lists that `shells` keeps beside the cache."""
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
    """A flag, or an option with a value. `values`: all there are, or a list's name, or ()."""

    flags: tuple[str, ...]
    off: tuple[str, ...]
    """The flags that say no."""
    metavar: str | None
    """None for a flag."""
    help: str
    default: str
    """As it is told, "" for none."""
    bounds: str
    """The numbers that it takes, as they are told, "" for any."""
    repeatable: bool
    values: tuple[str, ...] | str
    required: bool
    variable: str | None
    """The environment variable that gives it too."""

    @property
    def notes(self) -> str:
        """What is to be said behind the help, in brackets; "" for nothing."""
        told = (
            "required" if self.required else "",
            self.bounds,
            self.default,
            f"or {self.variable}" if self.variable else "",
        )
        return f"({'; '.join(filter(None, told))})" if any(told) else ""


@dataclass(frozen=True)
class Argument:
    metavar: str
    help: str
    required: bool
    many: bool
    values: tuple[str, ...] | str


@dataclass(frozen=True)
class Command:
    """A command; `path` is what is typed, `summary` its line in a list, `details` the paragraphs after it."""

    path: str
    summary: str
    details: str
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...]
    children: tuple[Command, ...]

    @property
    def name(self) -> str:
        return self.path.rpartition(" ")[2]

    def walk(self) -> Iterator[Command]:
        """This one and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def read_tree() -> Command:
    """The whole command line, as it runs."""
    cli.register(cli.COMMANDS)
    tree = _command(typer.main.get_command(cli.app), cli.app.info.name or "")
    for name in cli.CHILDREN:  # which take their command's place when they are what is run
        cli.register_children(name)
    with_children = _command(typer.main.get_command(cli.app), tree.path)
    below = {child.name: child.children for child in with_children.children}
    own = {child.name: replace(child, children=below[child.name]) for child in tree.children}
    return replace(tree, children=tuple(own[name] for name in cli.COMMANDS))


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
    )


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
        default=_told(option),
        bounds=_bounds(option.type),
        repeatable=bool(option.multiple),
        values=choices
        or next((VALUES[each] for each in (*option.opts, long) if each in VALUES), _kind(metavar)),
        required=bool(option.required),
        variable=option.envvar,
    )


def _told(option: Any) -> str:
    """A default worth telling: that of an option with a value, and of a flag that is on."""
    if option.default in (None, False, [], ()) or callable(option.default):
        return ""
    if option.default is True:
        return f"the default is {option.opts[-1]}" if option.secondary_opts else ""
    told = f"{option.default:g}" if isinstance(option.default, float) else str(option.default)
    return f"the default is {told}"


def _bounds(kind: Any) -> str:
    least, most = getattr(kind, "min", None), getattr(kind, "max", None)
    if least is not None and most is not None:
        return f"{least:g} to {most:g}"
    return f"at least {least:g}" if least else ""


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
    begins = (kind for word, kind in KINDS.items() if metavar and metavar.lstrip("[").startswith(word))
    return next(begins, ())
