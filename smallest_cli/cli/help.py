"""The text of --help: examples first, options in groups, the same at any width and in pipes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

GROUPS = (
    *("Arguments", "Table", "Measurement", "Text", "Voice", "Search", "Server", "Audio output", "Playback"),
    *("Subtitles", "Results", "Network", "Timing", "Fault injection", "Options", "Output", "Advanced"),
)
"""The order of the groups in --help."""
Command = TypeVar("Command", bound=Callable[..., Any])
EXAMPLES = {
    "smallest": (
        'smallest speak "Hello, world." -o hello.wav',
        "smallest voices --accent british",
        "smallest speak --help",
    ),
    "smallest speak": (
        'smallest speak "Welcome to the show." -o welcome.mp3',
        "smallest speak -f chapter.txt --voice meher --play",
        'smallest speak "Hello." -o - | aplay -q -f S16_LE -r 24000',
    ),
    "smallest stream": (
        'llm "Tell me a story." | smallest stream --play',
        "tail -f app.log | smallest stream --lines --max-lag 5 --play",
        "smallest stream -o talk.wav < talk.md",
    ),
    "smallest batch": (
        "smallest batch prompts.csv --dir prompts --format mp3",
        "smallest batch prompts.csv --dir prompts --resume",
        "smallest batch prompts.csv --dir prompts --dry-run",
    ),
    "smallest voices": (
        "smallest voices --language hindi --gender female",
        "smallest voices play meher magnus",
        'smallest voices clone me.wav --name "My voice"',
    ),
    "smallest voices play": (
        "smallest voices play meher magnus",
        'smallest voices play meher --text "How do I sound?"',
        "smallest voices play meher magnus -o samples",
    ),
    "smallest voices clone": ('smallest voices clone me.wav --name "My voice" --wait',),
    "smallest bench": (
        "smallest bench --count 100 --transport ws,sse --save today.json",
        'smallest bench --slo "ttfb.p95<300ms"',
        "smallest bench compare yesterday.json today.json",
    ),
    "smallest bench compare": ("smallest bench compare yesterday.json today.json",),
    "smallest bench report": (
        "smallest bench report today.json -o today.html",
        "smallest bench report today.json --format junit -o bench.xml",
        "smallest bench report today.json --format github",
    ),
    "smallest dict": (
        "smallest dict create mysql=my-sequel nginx=engine-x",
        "smallest dict list",
        'smallest speak "Our mysql is up." --dict ID --play',
    ),
    "smallest dict create": (
        "smallest dict create mysql=my-sequel nginx=engine-x",
        "smallest dict create --file words.csv",
    ),
    "smallest serve": (
        "smallest serve --port 8080",
        "smallest serve --profile documented",
        "SMALLEST_API_KEY=x smallest speak Hi --base-url http://localhost:8080",
    ),
    "smallest config": (
        "smallest config set voice magnus",
        "smallest config list",
        "smallest config unset voice",
    ),
    "smallest cache": ("smallest cache info", "smallest cache clear"),
    "smallest login": ("smallest login", "pass show smallest | smallest login"),
    "smallest doctor": ("smallest doctor", "smallest doctor --json"),
    "smallest completion": (
        'eval "$(smallest completion bash)"',
        "smallest completion zsh > ~/.zfunc/_smallest",
        "smallest completion fish > ~/.config/fish/completions/smallest.fish",
    ),
}
"""Examples of each command, by its path."""


def _styled(text: str, **style: Any) -> str:
    """Return the text with a style on a terminal; colours are off with NO_COLOR (no-color.org)."""
    on_terminal = sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return typer.style(text, **style) if on_terminal and not os.environ.get("NO_COLOR") else text


class _Grouped:
    """Replaces Typer's formatting, which has no groups in a pipe and truncates at 80 columns with rich."""

    def format_help(self: Any, ctx: Any, formatter: Any) -> None:
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        if examples := EXAMPLES.get(ctx.command_path):
            with formatter.section(_styled("Examples", bold=True)):
                for line in examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        self.format_options(ctx, formatter)
        self.format_epilog(ctx, formatter)

    def format_options(self: Any, ctx: Any, formatter: Any) -> None:
        groups = group_parameters(self.get_params(ctx))
        for name in sorted(groups, key=GROUPS.index):
            rows = [_row(each, ctx) for each in groups[name]]
            with formatter.section(_styled(name, bold=True)):
                formatter.write_dl(rows, col_max=32)
        if isinstance(self, TyperGroup):
            self.format_commands(ctx, formatter)


def _row(parameter: Any, ctx: Any) -> tuple[str, str]:
    usage, text = parameter.get_help_record(ctx)
    return _styled(usage, fg="cyan"), parameter.help or text


def group_parameters(parameters: Iterable[Any]) -> dict[str, list[Any]]:
    """Return parameters of Typer by group; options with a letter, which are used most, first in each."""
    groups: dict[str, list[Any]] = {}
    for each in parameters:
        is_argument = each.param_type_name == "argument"
        group = "Arguments" if is_argument else getattr(each, "rich_help_panel", None)
        if "--help" in each.opts:
            group = "Output" if "Output" in groups else "Options"
        groups.setdefault(group or "Options", []).append(each)
    for members in groups.values():
        members.sort(key=lambda each: all(name.startswith("--") for name in each.opts))
    return {name: [each for each in members if not each.hidden] for name, members in groups.items()}


class HelpCommand(_Grouped, TyperCommand):
    """A command with grouped help."""


class HelpGroup(_Grouped, TyperGroup):
    """A group of commands with grouped help."""


class HelpTyper(typer.Typer):
    """An app, or a group of subcommands, whose --help is grouped."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__(cls=HelpGroup, rich_markup_mode=None, **parameters)

    def command(self, name: str | None = None, **parameters: Any) -> Callable[[Command], Command]:
        """Register a command, as `typer.Typer.command`."""
        return super().command(name, cls=HelpCommand, **parameters)
