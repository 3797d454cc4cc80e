"""Other people's programs that the tests run."""

from __future__ import annotations

import os
import shutil

import pytest


def need(program: str) -> str:
    """The path of a program. A test without it is skipped by its name; on CI, which installs it, it fails."""
    found = shutil.which(program)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{program} is not installed")
        raise AssertionError  # neither of them returns
    return found
