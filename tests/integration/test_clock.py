"""Time: the wall clock may jump, and no wait, time-out or figure of ours notices."""

from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path

import pytest

from tests.faults.test_signals import LAUNCH, ROOT
from tests.support.command import environment
from tests.support.faults.invariants import KEY, OLD, Run, assert_invariants
from tests.support.faults.server import SEGMENT, fault_server
from tests.support.faults.steps import GOOD, Reply, Stall, Status
from tests.test_floors import TREES

pytestmark = pytest.mark.long

STAMPS = {
    ("catalogue", "cached"),  # how old a file is: the file system knows no other clock
    ("cache", "_shrink"),  # so here
    ("measure.probe", "probing"),  # bench asks itself whether the clock was set meanwhile
    ("measure.share", "__post_init__"),  # and so does each worker of a run on several machines
    ("measure.share", "drift"),
    ("measure.run", "measure"),  # when a run began, for whoever reads its file
    ("measure.pool", "__init__"),
    ("load.making", "write_raw"),
}


def speak(folder: Path, url: str, *arguments: str) -> Run:
    (folder / "out.wav").write_bytes(OLD)
    home = folder / "home"
    home.mkdir()
    done = subprocess.run(
        [*LAUNCH, "clock", "speak", "Hello.", "--base-url", url, "-o", "out.wav", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(home, SMALLEST_API_KEY=KEY, PYTHONPATH=str(ROOT)),
        cwd=folder,
        timeout=30,
        check=False,
    )
    return Run(folder, done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("via", ["ws", "sse", "http"])
def test_a_day_more_or_less_changes_nothing(via: str, tmp_path: Path) -> None:
    with fault_server((Status(503, headers=b"Retry-After: 0\r\n"),), GOOD) as server:
        run = speak(tmp_path, server.base_url, "--via", via, "--retries", "1", "--json")
    figures = json.loads(run.out)
    run.out = b""
    assert assert_invariants(run) == SEGMENT
    assert 0 <= figures["ttfb_ms"] <= figures["total_ms"] < 3_600_000


@pytest.mark.parametrize("via", ["ws", "sse", "http"])
def test_a_time_out_is_as_long_as_ever(via: str, tmp_path: Path) -> None:
    with fault_server((Reply(), Stall())) as server:
        run = speak(tmp_path, server.base_url, "--via", via, "--retries", "0", "--timeout", "0.5")
    assert assert_invariants(run) == 0
    assert run.code == 7
    assert b"within 0.5 s" in run.err


def wall_clock_users(trees: dict[str, ast.Module]) -> set[tuple[str, str]]:
    """Functions that look at the wall clock: module and name."""
    found = set()
    for module, tree in trees.items():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
                name = getattr(function, "name", "")
                found |= {(module, name) for node in ast.walk(function) if _is_wall_clock(node)}
    return {(module, name) for module, name in found if name}


def _is_wall_clock(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "time" and any(each.name in ("time", "time_ns") for each in node.names)
    return (
        isinstance(node, ast.Attribute)
        and node.attr in ("time", "time_ns")
        and isinstance(node.value, ast.Name)
        and node.value.id == "time"
    )


def test_the_wall_clock_measures_nothing() -> None:
    assert wall_clock_users(TREES) <= STAMPS


def test_the_walk_sees_a_wall_clock() -> None:
    source = "import time\ndef late():\n    return time.time() - began"
    assert wall_clock_users({"a": ast.parse(source)}) == {("a", "late")}
