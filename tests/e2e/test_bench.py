"""`smallest bench` end to end: results, files, exit codes and messages."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smallest_cli.audio import wav
from smallest_cli.bench.results import summarise
from smallest_cli.bench.storage import as_text, raw_lines
from smallest_cli.bench.trial import Attempt, Trial
from smallest_cli.cli.commands.bench.outputs import spool_audio
from smallest_cli.errors import OutputError
from smallest_cli.models import AudioFormat
from tests.support.command import SMALLEST, environment, smallest
from tests.support.fault_server import start_fault_server
from tests.support.fault_server.steps import End, Reply, Status, Tone, Wait
from tests.support.offline import KEY as OFFLINE_KEY
from tests.support.offline import Offline, start_offline
from tests.support.trials import CALIBRATION, KEY, bench, result, run, trial

HEAD = Reply("chunked", wav=wav.header(AudioFormat(24_000)))
QUICK = ("-n", "3", "--transport", "ws", "--conn", "warm")


@pytest.fixture(scope="module")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """One run of every arm with every output option: its folder, result and stderr."""
    home = tmp_path_factory.mktemp("full_run")
    ran = smallest(
        home, "bench", "--local", "-n", "3", "--seed", "7", "--json", "--save", "saved.json",
        "--jsonl", "raw.jsonl", "--save-audio", "sounds", "--slo", "error_rate<1%",
        env={"SMALLEST_API_KEY": KEY},
    )  # fmt: skip
    assert ran.code in (0, 22), ran.err  # 22: a host too noisy to measure on
    return home, result(ran), ran.err


def test_result_has_every_arm_and_metric(full_run: tuple[Path, dict[str, Any], str]) -> None:
    _, found, _ = full_run
    arms = {arm["id"]: arm for arm in found["arms"]}
    assert set(arms) == {f"{via}/{conn}/c1" for via in ("ws", "sse", "http") for conn in ("warm", "cold")}
    for name, arm in arms.items():
        assert (arm["n"], arm["ok"], arm["errors"]) == (3, 3, {}), name
        assert arm["metrics"]["ttfb"]["unit"] == "ms"
        assert arm["metrics"]["ttfb"]["p50"]["v"] > 0
        assert arm["metrics"]["ttfa"]["p50"]["v"] >= arm["metrics"]["ttfb"]["min"]
        assert ("ttfb_cold" in arm["metrics"]) is ("cold" in name)
        assert [row["buffer_ms"] for row in arm["player"]] == ([0, 50, 100, 200] if arm["streaming"] else [])
    assert {"dns", "tcp", "upgrade"} <= set(arms["ws/cold/c1"]["metrics"])
    assert found["schema"] == "smallest.bench/2"
    assert found["run"]["seed"] == 7
    assert found["run"]["calibration"]["floor_ms"]["n"] >= 12  # the server logs a little later
    assert found["slo"][0]["pass"] is True


def test_every_metric_defines_its_clock(full_run: tuple[Path, dict[str, Any], str]) -> None:
    _, found, _ = full_run
    definitions = found["run"]["defs"]["metrics"]
    assert {name for arm in found["arms"] for name in arm["metrics"]} <= set(definitions)
    assert all(each["stops"] for each in definitions.values())


def test_saved_result_equals_printed_result(full_run: tuple[Path, dict[str, Any], str]) -> None:
    home, found, _ = full_run
    assert json.loads((home / "saved.json").read_text()) == found


def test_merge_of_one_raw_file_recomputes_the_same_bytes(full_run: tuple[Path, dict[str, Any], str]) -> None:
    home, found, _ = full_run
    ran = smallest(home, "bench", "merge", "raw.jsonl", "--json")
    assert ran.code == found["exit"]
    assert ran.out == (home / "saved.json").read_bytes()


def test_audio_of_every_trial_is_saved(full_run: tuple[Path, dict[str, Any], str]) -> None:
    home, _, _ = full_run
    files = sorted((home / "sounds").iterdir())
    assert len(files) == 18
    assert all(each.read_bytes()[:4] == b"RIFF" and each.stat().st_size > 20_000 for each in files)


def test_files_contain_neither_key_nor_text(full_run: tuple[Path, dict[str, Any], str]) -> None:
    home, _, stderr = full_run
    for path in home.glob("*.json*"):
        assert KEY not in path.read_text()
        assert "Thanks for calling" not in path.read_text()
    assert KEY not in stderr


def test_default_output_is_tables_and_advice(tmp_path: Path) -> None:
    with start_offline() as offline:
        ran = smallest(
            tmp_path, "bench", "--yes", "--no-calibrate", *QUICK,
            env={"SMALLEST_API_KEY": OFFLINE_KEY, "SMALLEST_BASE_URL": offline.base_url},
        )  # fmt: skip
    shown = ran.out.decode()
    assert re.search(r"^ws/warm/c1 +3/3 ", shown, re.MULTILINE)
    assert len(shown.splitlines()) <= 40
    if "verdict: invalid" not in shown:
        assert "With ws and a warm connection" in shown
    assert "verdict: " in shown
    assert "not shown: p95 from 20 trials, p99 from 100 trials" in " ".join(shown.split())
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "3 trials over 1 arm," in ran.err


def measure(home: Path, server: Offline, *options: str) -> Any:
    env = {"SMALLEST_API_KEY": OFFLINE_KEY, "SMALLEST_BASE_URL": server.base_url}
    return smallest(home, "bench", "--yes", "--no-calibrate", "--json", *options, env=env)


@pytest.fixture(scope="module")
def server() -> Iterator[Offline]:
    with start_offline(concurrency=8) as offline:
        yield offline


def test_missed_threshold_exits_with_20_and_is_named(tmp_path: Path, server: Offline) -> None:
    ran = measure(tmp_path, server, *QUICK, "--slo", "ttfb.p50<0.001ms")
    if result(ran)["run"]["calibration"]["verdict"] != "invalid":
        assert ran.code == 20
    assert "ttfb.p50<0.001ms" in ran.err
    assert "FAIL" in ran.err


def test_all_trials_failed_exits_with_22(tmp_path: Path) -> None:
    with start_fault_server(tmp_path, Status(503)) as faulty:
        ran = bench(tmp_path, faulty.base_url, "-n", "2", "--transport", "sse,http", "--json")
    assert ran.code == 22
    assert result(ran)["arms"][0]["errors"] == {"http_5xx": 2}
    assert "every trial failed" in ran.err


@pytest.mark.parametrize("warmup", ["1", "0"])
def test_rejected_key_ends_the_run_at_once(warmup: str, tmp_path: Path, server: Offline) -> None:
    ran = bench(tmp_path, server.base_url, *QUICK, "--warmup", warmup)
    assert ran.code == 4
    assert KEY not in ran.err


def test_failures_are_counted_and_not_retried(tmp_path: Path) -> None:
    with start_offline(fail=["status:503", "close:1011:1"], fail_times=2) as offline:
        ran = measure(tmp_path, offline, "-n", "5", "--transport", "ws", "--conn", "warm", "--warmup", "0")
        seen = offline.log()
    arm = result(ran)["arms"][0]
    assert arm["n"] == 5
    assert sum(arm["errors"].values()) == 2
    assert arm["metrics"]["ttfb"]["n"] == 3
    assert len(seen) <= 5


def test_open_loop_prints_ttfb_and_ttfb_e2e(tmp_path: Path, server: Offline) -> None:
    options = ("-n", "6", "--transport", "ws", "--conn", "warm", "--rate", "30", "--arrival", "constant")
    metrics = result(measure(tmp_path, server, *options))["arms"][0]["metrics"]
    assert metrics["ttfb_e2e"]["p50"]["v"] >= metrics["ttfb"]["min"]
    assert metrics["sched_delay"]["n"] == 6


def test_rate_not_reached_makes_the_run_suspect(tmp_path: Path) -> None:
    with start_offline(first_byte_ms=200) as offline:
        found = result(measure(tmp_path, offline, *QUICK[2:], "-n", "6", "--rate", "100", "-c", "1"))
    calibration = found["run"]["calibration"]
    assert calibration["verdict"] != "ok"
    assert [why for why in calibration["reasons"] if why.startswith("rate not reached: ")]
    assert calibration["begun_late_ms"]["max"] > 800


def test_duration_ends_the_run(tmp_path: Path, server: Offline) -> None:
    found = result(measure(tmp_path, server, "-d", "0.5", "-c", "2", "--transport", "ws", "--text", "One."))
    assert {arm["id"] for arm in found["arms"]} == {"ws/warm/c2", "ws/cold/c2"}
    assert found["run"]["window"]["trials"] > 4
    assert set(found["run"]["texts"]) == {"text00"}


def test_max_time_ends_the_run_without_failed_trials(tmp_path: Path) -> None:
    slow = (HEAD, Wait(100), Tone(100), End())
    with start_fault_server(tmp_path, *slow) as faulty:
        ran = bench(
            tmp_path, faulty.base_url, "-n", "2000", "--max-time", "1.5", "--max-chars", "0", "--json"
        )
    found = result(ran)
    assert sum(arm["n"] for arm in found["arms"]) < 2000
    assert [arm["errors"] for arm in found["arms"]] == [{}] * 6
    assert found["warmups"]["errors"] == {}
    assert (found["run"]["complete"], found["run"]["cut_short"]) == (False, "--max-time")
    assert (
        f"--max-time ended the run early after {found['run']['window']['trials']} of 12000 trials" in ran.err
    )


def test_max_chars_ends_the_run_with_a_warning(tmp_path: Path, server: Offline) -> None:
    options = (*QUICK[2:], "-d", "20", "--text", "Hello there.", "--max-chars", "50")
    ran = measure(tmp_path, server, *options)
    found = result(ran)
    assert found["run"]["window"]["trials"] == 3
    assert (found["run"]["complete"], found["run"]["cut_short"]) == (False, "--max-chars")
    assert "--max-chars ended the run early after 3 trials" in ran.err


def test_run_without_trials_is_not_reported_as_failed(tmp_path: Path) -> None:
    (tmp_path / "raw.jsonl").write_text("".join(raw_lines(run(), [])))
    ran = smallest(tmp_path, "bench", "merge", "raw.jsonl")
    assert (ran.code, ran.lines) == (22, ["smallest: no trial was made"])


def test_dry_run_prints_the_plan(tmp_path: Path) -> None:
    ran = smallest(tmp_path, "bench", "--dry-run", "--json", "-n", "10", "--corpus", "short")
    printed = result(ran)
    assert printed["trials"] == 60
    assert printed["characters"] > 2000
    assert printed["voice"] == "meher"


def test_dry_run_of_a_duration_shows_max_chars(tmp_path: Path) -> None:
    options = ("--dry-run", "-d", "5", "--via", "ws", "--retries", "0")
    printed = result(smallest(tmp_path, "bench", *options, "--json"))
    assert (printed["characters"], printed["max_characters"], printed["seconds"]) == (None, 20_000, 5)
    assert printed["arms"] == ["ws/warm/c1", "ws/cold/c1"]
    lines = smallest(tmp_path, "bench", *options).out.decode().splitlines()
    assert lines[:3] == ["max_characters\t20000", "seconds\t5.0", "arms\tws/warm/c1,ws/cold/c1"]


def test_concurrency_is_at_most_the_number_of_trials(tmp_path: Path) -> None:
    few, many = (
        result(smallest(tmp_path, "bench", "--dry-run", "--json", *QUICK, "--seed", "1", "-c", lanes))
        for lanes in ("3", "50")
    )
    assert few == many
    assert few["arms"] == ["ws/warm/c3"]


def test_quoted_text_is_not_a_misspelt_subcommand(tmp_path: Path) -> None:
    for words in (("Compare a",), ("--", "comparee")):
        assert smallest(tmp_path, "bench", "--dry-run", *words).code == 0


def test_quiet_prints_errors_only(tmp_path: Path, server: Offline) -> None:
    """On a busy machine, that is the reason why the run is invalid."""
    lines = measure(tmp_path, server, *QUICK, "-q").lines
    assert [line for line in lines if not line.startswith("smallest: invalid run: ")] == []


def test_cost_is_printed_and_requires_confirmation(tmp_path: Path) -> None:
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": "http://127.0.0.1:9"}
    ran = smallest(tmp_path, "bench", *QUICK, env=env)
    assert ran.code == 2
    assert "characters (about $" in ran.err
    assert "--yes" in ran.err


USAGE = [
    (("-n", "3", "-d", "2"), "cannot be combined"),
    (("--transport", "ftp"), "--transport"),
    (("--conn", "lukewarm"), "--conn"),
    (("--buffer", "x"), "--buffer"),
    (("--slo", "fast"), "threshold"),
    (("--slo", "nosuch:ttfb.p95<300ms", "--yes"), "no arm of this run"),
    (("--slo", "smooth@75>=0.9", "--yes"), "75 is not among the prebuffers"),
    (("--slo", "error_rate<5"), "error_rate<5%?"),
    (("--retries", "2"), "never retries"),
    (("--via", "ws", "--transport", "sse,http"), "cannot be combined"),
    (("comparee", "a", "b"), "did you mean 'compare'?"),
    (("--local", "Mergee"), "did you mean 'merge'?"),
    (("--max-chars", "10"), "the limit is 10"),
    (("--max-chars", "10", "-d", "2"), "the warm-ups and the first trial are"),
    (("-n", "3", "compare", "a", "b"), "takes no options of bench"),
    (("--local", "report", "a"), "takes no options of bench"),
    (("compare", "a"), "Missing argument"),
    (("compare", "a", "b", "--metric", "speed"), "--metric"),
    (("merge", "no-such-file"), "cannot read"),
]


@pytest.mark.parametrize(("options", "words"), USAGE, ids=[" ".join(options) for options, _ in USAGE])
def test_invalid_usage_is_refused(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    ran = smallest(tmp_path, "bench", *options)
    assert ran.code == 2, ran.err
    assert words in ran.err
    assert ran.out == b""


def test_interrupted_run_prints_and_saves_what_was_measured(tmp_path: Path) -> None:
    """The signal comes when the server has answered two trials and is holding the third."""
    with start_fault_server(tmp_path, Wait(150), HEAD, Tone(100), End()) as faulty:
        command = [*SMALLEST, "bench", "--yes", "--no-calibrate", "--max-chars", "0", "-n", "500", *QUICK[2:]]
        with subprocess.Popen(
            [*command, "--jsonl", "raw.jsonl", "--json"],
            cwd=tmp_path,
            env=environment(tmp_path, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=faulty.base_url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            while not faulty.log_path.exists() or len(faulty.log()) < 4:
                assert process.poll() is None
            os.kill(process.pid, signal.SIGINT)
            out, _ = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    found = json.loads(out)
    assert found["run"]["interrupted"] is True
    assert found["arms"][0]["ok"] >= 2
    again = smallest(tmp_path, "bench", "merge", "raw.jsonl", "--json")
    assert again.out == out


BAD_OUTPUTS = [
    (("--save", "nowhere/x"), 10, "no such directory"),
    (("--jsonl", "nowhere/x"), 10, "no such directory"),
    (("--save", "folder"), 10, "it is a directory"),
    (("--save-audio", "/proc/sounds"), 10, "/proc"),
    (("--save-audio", "text"), 10, "Not a directory"),
    (("--save-audio", "x" * 300), 10, "File name too long"),
    (("--save", "-"), 2, "stdout is used for the result"),
    (("--jsonl", "-"), 2, "stdout is used for the result"),
    (("--save", "x", "--jsonl", "./x"), 2, "named twice"),
    (("-f", "text", "--save", "text"), 2, "the text is read from it"),
    (("--save", "config/config.toml"), 2, "the settings or a key are read from it"),
]


@pytest.mark.parametrize(("outputs", "code", "words"), BAD_OUTPUTS, ids=[" ".join(b[0]) for b in BAD_OUTPUTS])
@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["real", "dry"])
def test_bad_output_path_is_refused_before_any_request(
    outputs: tuple[str, ...], code: int, words: str, dry: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "config").mkdir(mode=0o700)
    (tmp_path / "config" / "config.toml").touch(0o600)
    (tmp_path / "text").write_text("One.")
    there = sorted(tmp_path.rglob("*"))
    with start_fault_server(tmp_path, Status(503)) as faulty:
        ran = bench(tmp_path, faulty.base_url, *QUICK, *outputs, *dry)
        assert not faulty.log_path.exists()
    assert (ran.code, ran.out) == (code, b"")
    assert words in ran.lines[0]
    assert sorted(tmp_path.rglob("*")) == there


def test_save_audio_in_deleted_working_directory_fails(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    plan = ["bench", *QUICK, "--local", "--dry-run", "--save-audio", "sounds"]
    ran = smallest(tmp_path, *plan, cwd=gone, preexec_fn=gone.rmdir)
    assert (ran.code, ran.out) == (10, b"")
    assert ran.lines == ["smallest: cannot create sounds: No such file or directory"]


def test_closed_stderr_is_no_failure(tmp_path: Path, server: Offline) -> None:
    asked = ["bench", "--yes", "--no-calibrate", "--json", *QUICK, "--base-url", server.base_url]
    env = {"SMALLEST_API_KEY": OFFLINE_KEY}
    ran = smallest(tmp_path, *asked, env=env, preexec_fn=lambda: os.close(2))
    assert ran.code in (0, 22), "22 on a busy machine"
    assert ran.err == ""
    assert result(ran)["arms"][0]["n"] == 3


def test_failed_output_does_not_affect_other_outputs(tmp_path: Path, server: Offline) -> None:
    (tmp_path / "full").symlink_to("/dev/full")  # a link, so that a bug cannot replace the device itself
    ran = measure(tmp_path, server, *QUICK, "--jsonl", "raw.jsonl", "--save", "full", "--save-audio", "s")
    assert ran.code == 10
    assert result(ran)["arms"][0]["n"] == 3
    assert smallest(tmp_path, "bench", "merge", "raw.jsonl", "--json").out == ran.out
    assert len(list((tmp_path / "s").iterdir())) == 3
    assert ran.lines[-1] == "smallest: cannot write full: No space left on device"


def test_audio_is_spooled_on_disk_and_unwritten_audio_released(tmp_path: Path) -> None:
    pcm = os.urandom(9600)
    held = sys.getrefcount(pcm)
    with spool_audio(str(tmp_path)) as spool:
        assert spool is not None
        for made in (
            Attempt(trial(0, phase="warmup"), pcm, None),
            Attempt(trial(1), pcm, None),
            Attempt(trial(2), b"", None),
            Attempt(trial(3), pcm[:4800], None),
        ):
            spool.add(made)
        del made
        assert sys.getrefcount(pcm) == held
        spool.write(tmp_path)
    written = {path.name: path.read_bytes()[44:] for path in tmp_path.iterdir()}
    assert written == {"000001-ws-warm-c1-t1.wav": pcm, "000003-ws-warm-c1-t0.wav": pcm[:4800]}


def test_spool_write_error_is_reported_after_the_run(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with spool_audio(str(tmp_path)) as spool:
        assert spool is not None
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            for n in range(3):
                spool.add(Attempt(trial(n), bytes([n]) * 4000, None))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        problem = "cannot spool the audio of more trials: File too large; that of 2 trials was kept"
        with pytest.raises(OutputError, match=problem):
            spool.write(tmp_path)
    written = {path.name: path.read_bytes()[44:] for path in tmp_path.iterdir()}
    assert written == {f"00000{n}-ws-warm-c1-t{n}.wav": bytes([n]) * 4000 for n in range(2)}


def save(path: Path, trials: list[Trial], **fields: object) -> str:
    path.write_text(as_text(summarise(run(**fields), trials)))
    return path.name


@pytest.mark.parametrize(
    ("factor", "n", "verdict", "code"),
    [
        (1.3, 40, "slower", 21),
        (0.7, 40, "faster", 0),
        (1.0, 200, "equivalent", 0),
        (1.0, 3, "inconclusive", 23),
    ],
)
def test_two_runs_are_compared(factor: float, n: int, verdict: str, code: int, tmp_path: Path) -> None:
    before = save(tmp_path / "a.json", [trial(i, 100 + 7 * i % 20) for i in range(n)])
    after = save(tmp_path / "b.json", [trial(i, factor * (100 + 7 * i % 20)) for i in range(n)])
    ran = smallest(tmp_path, "bench", "compare", before, after)
    assert ran.code == code, ran.err
    assert f"overall: {verdict}" in ran.out.decode()
    printed = result(smallest(tmp_path, "bench", "compare", before, after, "--json"))
    assert printed["comparisons"][0]["verdict"] == verdict


def test_comparing_an_invalid_run_exits_with_22(tmp_path: Path) -> None:
    calibration = CALIBRATION | {"verdict": "invalid"}
    before = save(tmp_path / "a.json", [trial(i) for i in range(40)])
    after = save(tmp_path / "b.json", [trial(i) for i in range(40)], calibration=calibration)
    assert smallest(tmp_path, "bench", "compare", before, after).code == 22


def test_raw_runs_are_merged(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lines = raw_lines(run(id=name), [trial(i, 50 + i) for i in range(10)])
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    ran = smallest(tmp_path, "bench", "merge", "a.jsonl", "b.jsonl", "--json", "--jsonl", "both.jsonl")
    assert ran.code == 0, ran.err
    assert result(ran)["arms"][0]["n"] == 20
    assert smallest(tmp_path, "bench", "merge", "both.jsonl", "--json").out == ran.out


OVERWRITING = [
    ("report", "a.json", "--format", "md", "-o", "a.json"),
    ("report", "a.json", "--format", "html", "-o", "there/../a.json"),
    ("report", "a.json", "-o", "page", "-o", "./page"),
    ("merge", "a.jsonl", "--save", "a.jsonl"),
    ("merge", "a.jsonl", "b.jsonl", "--jsonl", "b.jsonl"),
    ("merge", "a.jsonl", "b.jsonl", "--jsonl", "both", "--save", "both"),
]


@pytest.mark.parametrize("command", OVERWRITING, ids=" ".join)
def test_inputs_are_not_overwritten(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    save(tmp_path / "a.json", [trial()])
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text("".join(raw_lines(run(id=name), [trial()])))
    before = {path: path.read_bytes() for path in tmp_path.glob("*.json*")}
    ran = smallest(tmp_path, "bench", *command)
    assert ran.code == 2, ran.err
    assert {path: path.read_bytes() for path in before} == before
    assert not [path for path in tmp_path.iterdir() if path.name in ("page", "both")]
