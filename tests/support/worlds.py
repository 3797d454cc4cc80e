"""Run commands as another user, or with mounts of their own; skip the test where this is not possible."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

STRANGER = 4242
"""A user id without a passwd entry."""
NAMESPACES = [["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]]


def as_stranger() -> list[str]:
    """Return a command prefix that drops the rights of root."""
    prefix = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups"]
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    if not _works([*prefix, sys.executable, "-c", "import smallest_cli"]):
        pytest.skip("another user cannot run this Python")
    return prefix


def with_mounts(script: str) -> list[str]:
    """Return a command prefix that runs a shell script in a mount namespace of its own."""
    for words in NAMESPACES:
        if _works([*words, "sh", "-c", "mount -t tmpfs tmpfs /mnt"]):
            return [*words, "sh", "-c", f'set -e; {script}; exec "$@"', "sh"]
    pytest.skip("no mount namespaces here")


def _works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
