"""docs/cli.md: every command with its options, for those who read it on a page."""

from __future__ import annotations

from tools.prose import ENVIRONMENT, FILES, RETRY, exit_codes
from tools.tree import Argument, Command, Option

HEAD = """\
<!-- Made from the command line by `make docs`: what is changed here is lost. -->

# The command line

The same as `man smallest`. What a flag of another tool is called here: [flags.md](flags.md).
"""


def write_reference(tree: Command) -> str:
    """The whole page."""
    parts = [HEAD]
    for command in tree.walk():
        parts.append(_section(command))
    parts.append("## Exit codes\n\n" + _table(("code", "meaning"), exit_codes()) + f"\n{RETRY}\n")
    variables = [(_code(name), told) for name, told in ENVIRONMENT.items()]
    parts.append("## Environment\n\n" + _table(("variable", "what it gives"), variables))
    files = [(_code(name), told) for name, told in FILES.items()]
    parts.append("## Files\n\n" + _table(("file", "what it holds"), files))
    return "\n".join(parts)


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
    rows = [_argument(each) for each in command.arguments if each.help]
    rows += [_option(each) for each in command.options]
    return "\n\n".join(parts) + "\n\n" + _table(("option", "what it does"), rows)


def _argument(argument: Argument) -> tuple[str, str]:
    return _code(argument.metavar), argument.help


def _option(option: Option) -> tuple[str, str]:
    flags = ", ".join((*option.flags, *option.off))
    told = f"{option.help} {option.notes}".strip()
    return _code(f"{flags} {option.metavar}" if option.metavar else flags), told


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [
        f"| {left} | {right} |" for left, right in (head, ("---", "---"), *((a, _cell(b)) for a, b in rows))
    ]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
