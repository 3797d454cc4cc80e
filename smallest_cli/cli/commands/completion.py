"""`smallest completion`: print or install the completion scripts."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer

from smallest_cli.cli.console import print_line
from smallest_cli.errors import SettingsError
from smallest_cli.files import atomic_write
from smallest_cli.security import printable
from smallest_cli.settings import package_data, user_folder, xdg_folder

SCRIPT_FOLDERS = ("completions", "../completions")
"""Directories of the scripts: in an installed package, and in the repository."""
FILES = {"bash": "smallest.bash", "zsh": "_smallest", "fish": "smallest.fish", "powershell": "smallest.ps1"}
"""The script's file name for each shell."""

MAX_PATH = 4096
"""Maximum length of a printed path: paths to copy and paste are not truncated."""

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
    script = _read_script(shell)
    if not install:
        sys.stdout.write(script)
        return
    target, hint = _installation(shell)
    atomic_write(target, script.encode(), durable=True)
    print_line(f"wrote {printable(target)}")
    print_line(f"  {hint}")


def _read_script(shell: Shell) -> str:
    for folder in SCRIPT_FOLDERS:
        with suppress(OSError):
            return package_data(f"{folder}/{FILES[shell]}")
    raise SettingsError(f"the completion script {FILES[shell]} is missing", hint="reinstall smallest-cli")


def _installation(shell: Shell) -> tuple[Path, str]:
    """Return where to install the script, and the step left to the user."""
    data = xdg_folder("data")
    config = xdg_folder("config")
    match shell:
        case "bash":
            named = os.environ.get("BASH_COMPLETION_USER_DIR", "").split(":")[0]
            target = Path(named or data / "bash-completion") / "completions" / "smallest"
            line = f". {shlex.quote(printable(target, MAX_PATH))}"
            return target, f"bash-completion loads it in new shells; without it, add to ~/.bashrc: {line}"
        case "zsh":
            folder = data / "zsh" / "site-functions"
            quoted = shlex.quote(printable(folder, MAX_PATH))
            line = f"fpath=({quoted} $fpath); autoload -Uz compinit && compinit"
            return folder / "_smallest", f"add to ~/.zshrc, once: {line}"
        case "fish":
            return config / "fish" / "completions" / "smallest.fish", "fish loads it automatically"
    target = user_folder("data") / "smallest.ps1"
    quoted = printable(target, MAX_PATH).replace("'", "''")
    return target, f"add to the file that $PROFILE names: . '{quoted}'"
