"""`smallest completion`: the scripts that came with us, printed or put where a shell finds them."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from smallest_cli.cli.console import print_line
from smallest_cli.errors import OutputError, SettingsError
from smallest_cli.security import os_error_text, printable

PACKAGED = Path(__file__).parents[2] / "completions"
IN_THE_REPOSITORY = Path(__file__).parents[3] / "completions"
FILES = {"bash": "smallest.bash", "zsh": "_smallest", "fish": "smallest.fish", "powershell": "smallest.ps1"}
"""Each shell, and its file's name."""

LONGEST_PATH = 4096

Shell = Literal["bash", "zsh", "fish", "powershell"]


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.")],
    install: Annotated[
        bool, typer.Option("--install", help="Put it where that shell loads it, and say where.")
    ] = False,
) -> None:
    """Print what a shell needs to complete our commands on TAB.

    Voices, models, languages and loudspeakers come from lists in the cache, which `smallest voices` and
    `smallest doctor` renew: no TAB starts the tool.
    """
    script = _read(FILES[shell])
    if not install:
        sys.stdout.write(script)
        return
    target, hint = PLACES[shell]()
    _write(target, script)
    print_line(f"{printable(target)} is written")
    print_line(f"  {hint}")


def _read(name: str) -> str:
    for folder in (PACKAGED, IN_THE_REPOSITORY):
        try:
            return (folder / name).read_text("utf-8")
        except FileNotFoundError:
            continue
    raise SettingsError(f"{name} is not where it was installed", hint="install smallest-cli again")


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"cannot write {printable(path)}: {os_error_text(error)}") from None


def _folder(variable: str, *usual: str) -> Path:
    """What a variable names, else a folder of the person's own."""
    return Path(os.environ.get(variable) or Path.home().joinpath(*usual))


def _quoted(path: Path) -> str:
    """For bash and zsh to read; whole, since it is to be pasted."""
    return shlex.quote(printable(path, LONGEST_PATH))


def _for_bash() -> tuple[Path, str]:
    named = os.environ.get("BASH_COMPLETION_USER_DIR", "").split(":")[0]
    folder = Path(named) if named else _folder("XDG_DATA_HOME", ".local", "share") / "bash-completion"
    target = folder / "completions" / "smallest"
    return (
        target,
        f"new shells load it if they have bash-completion; else add to ~/.bashrc: . {_quoted(target)}",
    )


def _for_zsh() -> tuple[Path, str]:
    folder = _folder("XDG_DATA_HOME", ".local", "share") / "zsh" / "site-functions"
    return (
        folder / "_smallest",
        f"add to ~/.zshrc, once: fpath=({_quoted(folder)} $fpath); autoload -Uz compinit && compinit",
    )


def _for_fish() -> tuple[Path, str]:
    folder = _folder("XDG_CONFIG_HOME", ".config") / "fish" / "completions"
    return folder / "smallest.fish", "fish loads it by itself"


def _for_powershell() -> tuple[Path, str]:
    from platformdirs import user_data_path

    target = user_data_path("smallest") / "smallest.ps1"
    quoted = printable(target, LONGEST_PATH).replace("'", "''")
    return target, f"add to the file that $PROFILE names: . '{quoted}'"


PLACES: dict[str, Callable[[], tuple[Path, str]]] = {
    "bash": _for_bash,
    "zsh": _for_zsh,
    "fish": _for_fish,
    "powershell": _for_powershell,
}
"""For each shell: where its script goes, and what is left to do."""
