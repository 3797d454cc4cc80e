"""Random runs against a random service that once failed. `make soak` draws thousands of new ones."""

from __future__ import annotations

import subprocess
import sys

from tests.support import ROOT

SEEDS = (9, 19, 20, 26, 30, 33, 68, 74, 87, 89, 94, 126, 155, 276, 509, 533, 588, 1007, 1194, 2153, 2442)
"""Each fails with a fault that the code once had. A change of the grammar gives them other runs."""


def test_seeds_that_once_failed() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::ResourceWarning",
            "-m",
            "tests.faults.soak",
            "--seed",
            *map(str, SEEDS),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Plan(") == len(SEEDS)
