"""`smallest bench` as a person meets it: a result on stdout, a verdict, and codes that a gate can use."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command import SMALLEST, Ran, environment, smallest
from tests.offline import KEY, Offline, start_offline

ARMS = [f"{via}/{conn}/c1" for via in ("ws", "sse", "http") for conn in ("warm", "cold")]


@pytest.fixture(scope="module")
def server() -> Iterator[Offline]:
    with start_offline(concurrency=4) as offline:
        yield offline


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def bench(home: Path, server: Offline, *arguments: str) -> Ran:
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": server.base_url}
    return smallest(home, "bench", "--yes", *arguments, env=env)


def result(ran: Ran) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(ran.out)
    return told


def test_every_arm_is_measured_and_said(home: Path, server: Offline) -> None:
    ran = bench(home, server, "-n", "3", "--text", "Hello there.", "--json", "--warmup", "1")
    assert ran.code == 0
    told = result(ran)
    assert sorted(arm["id"] for arm in told["arms"]) == sorted(ARMS)
    for arm in told["arms"]:
        assert arm["ok"] == 3
        assert arm["metrics"]["ttfb"]["p50"]["v"] > 0
        if "/cold/" in arm["id"]:
            assert arm["metrics"]["tcp"]["p50"]["v"] > 0
    assert KEY not in ran.out.decode() + ran.err


def test_a_table_is_the_result_and_the_rest_is_on_stderr(home: Path, server: Offline) -> None:
    ran = bench(home, server, "-n", "2", "--transport", "ws", "--text", "Hello.")
    assert ran.code == 0
    for part in ("ws/warm/c1", "ws/cold/c1", "ttfb", "p50"):
        assert part in ran.out.decode()


def test_what_was_measured_can_be_computed_again_bit_for_bit(home: Path, server: Offline) -> None:
    files = ("--save", "run.json", "--jsonl", "raw.jsonl")
    ran = bench(home, server, "-n", "3", "--transport", "ws", "--text", "Hello.", "--json", *files)
    assert ran.code == 0
    assert (home / "run.json").read_bytes() == ran.out
    again = smallest(home, "bench", "replay", "raw.jsonl", "--json")
    assert (again.code, again.out) == (0, ran.out)
    raw = (home / "raw.jsonl").read_text()
    assert KEY not in raw
    head, *trials = raw.splitlines(keepends=True)
    (home / "a.jsonl").write_text("".join([head, *trials[: len(trials) // 2]]))
    (home / "b.jsonl").write_text("".join([head, *trials[len(trials) // 2 :]]))
    merged = smallest(home, "bench", "merge", "a.jsonl", "b.jsonl", "--json")
    assert merged.code == 0
    whole, parts = result(ran), result(merged)
    assert [arm["metrics"] for arm in parts["arms"]] == [arm["metrics"] for arm in whole["arms"]]


@pytest.mark.parametrize(("promise", "code"), [("ttfb.p50<60000ms", 0), ("ttfb.p50<0.0001ms", 20)])
def test_a_threshold_is_a_gate(promise: str, code: int, home: Path, server: Offline) -> None:
    ran = bench(
        home, server, "-n", "3", "--transport", "ws", "--conn", "warm", "--text", "Hi.", "--slo", promise
    )
    assert ran.code == code
    assert ("threshold" in ran.err) == bool(code)


def test_a_run_of_failures_alone_is_not_valid(home: Path) -> None:
    with start_offline(fail=["status:503"]) as server:
        ran = bench(home, server, "-n", "2", "--transport", "sse", "--text", "Hi.", "--json")
        assert ran.code == 22
        assert "every trial failed" in ran.err
        errors = [arm["errors"] for arm in result(ran)["arms"]]
        assert all("503" in json.dumps(each) or each for each in errors)
        asked = len(server.log())
    assert asked <= 2 * (2 + 3)  # a failed trial is a datum: nothing is asked for again


def test_two_runs_are_compared(home: Path, server: Offline) -> None:
    with start_offline(first_byte_ms=200) as slow:
        options = ("-n", "12", "--transport", "ws", "--conn", "warm", "--text", "Hi.", "--warmup", "1")
        assert bench(home, slow, *options, "--save", "slow.json").code in (0, 22)
        assert bench(home, server, *options, "--save", "fast.json").code in (0, 22)
    assert smallest(home, "bench", "compare", "fast.json", "slow.json").code == 21
    faster = smallest(home, "bench", "compare", "slow.json", "fast.json")
    assert (faster.code, b"faster" in faster.out) == (0, True)
    assert smallest(home, "bench", "compare", "fast.json", "fast.json").code in (0, 23)


def test_a_report_is_one_page_that_needs_nothing_else(home: Path, server: Offline) -> None:
    bench(home, server, "-n", "3", "--transport", "ws,http", "--text", "Hi.", "--save", "run.json")
    ran = smallest(
        home, "bench", "report", "run.json", "--html", "run.html", "--md", "run.md", "--csv", "run.csv"
    )
    assert (ran.code, ran.out, ran.err) == (0, b"", "")
    page = (home / "run.html").read_text()
    assert "<svg" in page
    assert not re.search(r"(src|href)=[\"']?https?:", page)
    assert "ws/warm/c1" in page
    assert "ws/warm/c1" in (home / "run.md").read_text()
    assert "ws/warm/c1" in (home / "run.csv").read_text()


def test_the_cost_is_said_before_it_is_paid(home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = bench(home, server, "--dry-run", "--json", "-n", "10", "--text", "Ten chars.")
    assert (ran.code, result(ran)["characters"] >= 600) == (0, True)
    ran = bench(home, server, "-n", "10", "--text", "Ten chars.", "--max-chars", "50")
    assert (ran.code, "--max-chars" in ran.err) == (2, True)
    assert len(server.log()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--transport", "carrier-pigeon"], ["--conn", "hot"], ["--slo", "ttfb<"], ["-n", "0"], ["--text", ""],
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_a_usage_error(arguments: list[str], home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = bench(home, server, *arguments)
    assert (ran.code, ran.out) == (2, b"")
    assert ran.lines[0].startswith("smallest: ")
    assert len(server.log()) == before


def test_ctrl_c_leaves_what_was_measured(home: Path) -> None:
    with start_offline(first_byte_ms=20) as server:
        command = [
            *SMALLEST,
            "bench",
            "--yes",
            "-n",
            "5000",
            "--transport",
            "ws",
            "--conn",
            "warm",
            "--text",
            "Hi.",
        ]
        env = environment(home, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url)
        files = ["--save", "run.json", "--jsonl", "raw.jsonl"]
        with subprocess.Popen(
            [*command, *files], env=env, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            while server.log_path.read_text().count("\n") < 20:
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    told = json.loads((home / "run.json").read_text())
    assert 0 < told["arms"][0]["ok"] < 5000
