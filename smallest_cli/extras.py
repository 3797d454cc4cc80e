"""Optional dependencies: whether an extra is installed, and the command that installs what is missing."""

from __future__ import annotations

import shlex
import shutil
import sys
from importlib.util import find_spec

LOCAL = {"espeakng_loader": "espeakng-loader", "aiohttp": "aiohttp", "soxr": "soxr"}
LOCUST = {"locust": "locust"}
"""The modules of an extra and the packages that provide them, as in pyproject.toml."""


def is_installed(extra: dict[str, str]) -> bool:
    """Whether all modules of an extra are installed."""
    return all(find_spec(module) for module in extra)


def install_command(*packages: str) -> str:
    """Return a command that installs packages for the Python that runs this program.

    It works in any virtual environment: those of pipx and uv, too, which have no pip of their own.
    """
    python = shlex.quote(sys.executable or "python3")
    if find_spec("pip"):
        command = f"{python} -m pip install"
    elif shutil.which("uv"):
        command = f"uv pip install --python {python}"
    else:
        command = f"pip --python {python} install"
    return f"{command} {' '.join(packages)}"
