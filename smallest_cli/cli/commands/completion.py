"""`smallest completion`: print or install the completion scripts."""

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
from smallest_cli.files import write_whole
from smallest_cli.security import os_error_text, printable

SCRIPT_FOLDERS = (Path(__file__).parents[2] / "completions", Path(__file__).parents[3] / "completions")
"""Where the scripts are in an installed package, and in the repository."""
FILES = {"bash": "smallest.bash", "zsh": "_smallest", "fish": "smallest.fish", "powershell": "smallest.ps1"}
"""The script's file name for each shell."""

MAX_PATH = 4096

Shell = Literal["bash", "zsh", "fish", "powershell"]


def completion(
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.")],
    install: Annotated[
        bool, typer.Option("--install", help="Install the script where the shell loads it.")
    ] = False,
) -> None:
    """Generate shell completions.

    Voices, models, languages and output devices are completed from lists in the cache, which
    `smallest voices` and `smallest doctor` update: pressing TAB does not start Python.
    """
    script = _read(FILES[shell])
    if not install:
        sys.stdout.write(script)
        return
    target, hint = INSTALLERS[shell]()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {printable(target)}: {os_error_text(error)}") from None
    write_whole(str(target), script.encode())
    print_line(f"wrote {printable(target)}")
    print_line(f"  {hint}")


def _read(name: str) -> str:
    for folder in SCRIPT_FOLDERS:
        try:
            return (folder / name).read_text("utf-8")
        except FileNotFoundError:
            continue
    raise SettingsError(f"the completion script {name} is missing", hint="reinstall smallest-cli")


def _folder(variable: str, *default: str) -> Path:
    """The folder that a variable names, else the default one below the home directory."""
    return Path(os.environ.get(variable) or Path.home().joinpath(*default))


def _quoted(path: Path) -> str:
    """A path for bash and zsh, never shortened, since the line is to be pasted."""
    return shlex.quote(printable(path, MAX_PATH))


def _bash() -> tuple[Path, str]:
    user_folder = os.environ.get("BASH_COMPLETION_USER_DIR", "").split(":")[0]
    folder = (
        Path(user_folder) if user_folder else _folder("XDG_DATA_HOME", ".local", "share") / "bash-completion"
    )
    target = folder / "completions" / "smallest"
    return (
        target,
        f"bash-completion loads it in new shells; without it, add to ~/.bashrc: . {_quoted(target)}",
    )


def _zsh() -> tuple[Path, str]:
    folder = _folder("XDG_DATA_HOME", ".local", "share") / "zsh" / "site-functions"
    line = f"fpath=({_quoted(folder)} $fpath); autoload -Uz compinit && compinit"
    return folder / "_smallest", f"add to ~/.zshrc, once: {line}"


def _fish() -> tuple[Path, str]:
    folder = _folder("XDG_CONFIG_HOME", ".config") / "fish" / "completions"
    return folder / "smallest.fish", "fish loads it automatically"


def _powershell() -> tuple[Path, str]:
    from platformdirs import user_data_path

    target = user_data_path("smallest") / "smallest.ps1"
    quoted = printable(target, MAX_PATH).replace("'", "''")
    return target, f"add to the file that $PROFILE names: . '{quoted}'"


INSTALLERS: dict[str, Callable[[], tuple[Path, str]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
    "powershell": _powershell,
}
"""For each shell: where its script goes, and what the user has to do."""
