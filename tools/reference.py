"""docs/cli.md: every command with its options; and the golden copies of every --help."""

from __future__ import annotations

from tools.prose import ENVIRONMENT, FILES, RETRY, exit_codes
from tools.tree import Argument, Command, Option

HEAD = """\
<!-- Generated from the command line by `make docs`: do not edit. -->

# Command line reference

The same text as `man smallest`. Flags of other tools and their equivalents: [flags.md](flags.md).
"""


def write_reference(tree: Command) -> str:
    """Return the text of docs/cli.md."""
    parts = [HEAD]
    for command in tree.walk():
        parts.append(_section(command))
    parts.append("## Exit codes\n\n" + _table(("code", "meaning"), exit_codes()) + f"\n{RETRY}\n")
    variables = [(_code(name), text) for name, text in ENVIRONMENT.items()]
    parts.append("## Environment\n\n" + _table(("variable", "meaning"), variables))
    files = [(_code(name), text) for name, text in FILES.items()]
    parts.append("## Files\n\n" + _table(("file", "content"), files))
    return "\n".join(parts)


def write_help(tree: Command) -> dict[str, str]:
    """Return the --help text of every command at 80 columns, by file name."""
    return {f"{command.path.replace(' ', '-')}.txt": command.help for command in tree.walk()}


def _section(command: Command) -> str:
    words = " ".join(each.metavar for each in command.arguments)
    usage = (
        f"{command.path} [OPTION]... {words}".rstrip() if command.path != "smallest" else "smallest COMMAND"
    )
    paragraphs = [" ".join(each.split()) for each in command.details.split("\n\n") if each.strip()]
    parts = [
        f"{'#' * (command.path.count(' ') + 2)} {command.path}",
        f"    {usage}",
        command.summary,
        *paragraphs,
    ]
    if command.examples:
        parts.append("Examples:\n\n" + "\n".join(f"    {line}" for line in command.examples))
    rows = [_argument(each) for each in command.arguments if each.help]
    if rows:
        parts.append(_table(("argument", "meaning"), rows).rstrip())
    for name, members in command.groups():
        parts.append(_table((name, "meaning"), [_option(each) for each in members]).rstrip())
    return "\n\n".join(parts) + "\n"


def _argument(argument: Argument) -> tuple[str, str]:
    return _code(argument.metavar), argument.help


def _option(option: Option) -> tuple[str, str]:
    flags = ", ".join((*option.flags, *option.off))
    text = f"{option.help} {option.notes}".strip()
    return _code(f"{flags} {option.metavar}" if option.metavar else flags), text


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [
        f"| {left} | {right} |" for left, right in (head, ("---", "---"), *((a, _cell(b)) for a, b in rows))
    ]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
