"""The end of a test run names what was skipped, and the package that would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.long

MODULE = "tests/unit/audio/test_formats.py"


@pytest.mark.parametrize("more", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_summary_counts_skipped_tests_by_package(more: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *more, MODULE]
    env = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=50, check=False)
    lines = [line for line in done.stdout.splitlines() if line.lower().startswith("skipped")]
    assert done.returncode == 0, done.stdout
    assert any(line.endswith("sox (apt install sox)") for line in lines), lines
    assert all(line.startswith("skipped: ") for line in lines)
