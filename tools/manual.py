"""Man pages: smallest(1), and one per command that includes its subcommands."""

from __future__ import annotations

from collections.abc import Iterable

from smallest_cli import __version__
from tools.prose import ENVIRONMENT, EXAMPLES, FILES, RETRY, exit_codes
from tools.tree import Command, Option

ABOUT = (
    "smallest converts text to speech with Smallest AI's Waves service over WebSocket, server-sent events or "
    "HTTP. Audio goes to files, to the output device or to a pipe; text can be spoken as it arrives. stdout "
    "carries the result and nothing else; messages go to stderr."
)
PRECEDENCE = "A flag overrides a variable, and a variable overrides config.toml."


def write_manual(tree: Command) -> dict[str, str]:
    """Return all pages, by file name."""
    pages = {"smallest.1": _main_page(tree)}
    for command in tree.children:
        pages[f"smallest-{command.name}.1"] = _command_page(command, tree)
    return pages


def _main_page(tree: Command) -> str:
    commands = {f"smallest-{each.name}(1)": each.summary for each in tree.children}
    return _page(
        "smallest",
        tree.summary,
        [
            *_section("SYNOPSIS", [r"\fBsmallest\fR \fICOMMAND\fR [\fIOPTION\fR]... [\fIARGUMENT\fR]..."]),
            *_section("DESCRIPTION", [_plain(ABOUT)]),
            *_section("COMMANDS", _terms(commands)),
            *_section("OPTIONS", _options(tree)),
            *_section("EXIT STATUS", [*_terms(dict(exit_codes())), ".PP", _plain(RETRY)]),
            *_section("ENVIRONMENT", [_plain(PRECEDENCE), *_terms(ENVIRONMENT)]),
            *_section("FILES", [_plain("Locations on Linux:"), *_terms(FILES)]),
            *_section("EXAMPLES", _examples()),
            *_section("SEE ALSO", [_plain(", ".join(commands))]),
        ],
    )  # fmt: skip


def _command_page(command: Command, tree: Command) -> str:
    lines = [
        *_section("SYNOPSIS", _synopses(command)),
        *_section("DESCRIPTION", [_plain(command.summary), *_paragraphs(command.details)]),
        *_section("OPTIONS", [*_arguments(command), *_options(command)]),
    ]
    if command.examples:
        lines += _section("EXAMPLES", _verbatim(command.examples))
    if command.children:
        lines.append(".SH COMMANDS")
    for child in command.children:
        lines += [f".SS {_plain(child.path)}", _plain(child.summary), *_paragraphs(child.details)]
        lines += [*_arguments(child), *_options(child), *_verbatim(child.examples)]
    names = ("smallest", *(f"smallest-{each.name}" for each in tree.children if each != command))
    note = "Exit status, environment and files: see smallest(1)."
    lines += _section("SEE ALSO", [_plain(note), ".PP", _plain(", ".join(f"{name}(1)" for name in names))])
    return _page(f"smallest-{command.name}", command.summary, lines)


def _page(name: str, summary: str, lines: Iterable[str]) -> str:
    # No date, so that the output is reproducible.
    head = f'.TH {name.upper()} 1 "" "smallest {__version__}" "User Commands"'
    title = rf"{_plain(name)} \- {_plain(summary.rstrip('.'))}"
    note = r".\" Generated from the command line by `make docs`."
    # Left-aligned and without hyphenation, so that no flag is broken.
    return "\n".join([note, head, ".nh", ".ad l", ".SH NAME", title, *lines]) + "\n"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return [f".SH {title}", *lines]


def _synopses(command: Command) -> list[str]:
    lines: list[str] = []
    for each in command.walk():
        if each.children and not each.arguments and len(each.options) == 1:
            continue  # a group without its own action
        words = "".join(rf" \fI{_plain(argument.metavar)}\fR" for argument in each.arguments)
        lines += [".br"] * bool(lines) + [rf"\fB{_plain(each.path)}\fR [\fIOPTION\fR]...{words}"]
    return lines


def _arguments(command: Command) -> list[str]:
    lines: list[str] = []
    for each in command.arguments:
        if each.help:
            lines += [".TP", rf"\fI{_plain(each.metavar)}\fR", _plain(each.help)]
    return lines


def _options(command: Command) -> list[str]:
    lines: list[str] = []
    groups = list(command.groups())
    for name, members in groups:
        if len(groups) > 1:
            lines += [".PP", rf"\fB{_plain(name)}\fR"]
        for each in members:
            lines += [".TP", _flags(each), _plain(" ".join(filter(None, (each.help, each.notes))))]
    return lines


def _flags(option: Option) -> str:
    value = rf" \fI{_plain(option.metavar)}\fR" if option.metavar else ""
    return ", ".join(rf"\fB{_plain(flag)}\fR" for flag in (*option.flags, *option.off)) + value


def _terms(terms: dict[str, str]) -> list[str]:
    lines: list[str] = []
    for term, meaning in terms.items():
        lines += [".TP", rf"\fB{_plain(term)}\fR", _plain(meaning)]
    return lines


def _examples() -> list[str]:
    lines: list[str] = []
    for line, purpose in EXAMPLES.items():
        lines += [".PP", _plain(purpose), ".PP", ".nf", f"    {_plain(line)}", ".fi"]
    return lines


def _verbatim(examples: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for line in examples:
        lines += [".PP", ".nf", f"    {_plain(line)}", ".fi"]
    return lines


def _paragraphs(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        if paragraph.strip():
            lines += [".PP", _plain(" ".join(paragraph.split()))]
    return lines


def _plain(text: str) -> str:
    """Escape text for roff: backslashes, hyphens, quotes and leading dots."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace("`", r"\(ga").replace("'", r"\(aq")
    text = text.replace("~", r"\(ti").replace("^", r"\(ha")
    return rf"\&{text}" if text.startswith(".") else text
