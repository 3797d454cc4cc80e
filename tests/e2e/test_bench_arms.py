"""`smallest bench` with several voices, services and concurrencies, and with failed warm-ups."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Ran, smallest
from tests.support.fault_server import start_fault_server
from tests.support.fault_server.steps import Status
from tests.support.offline import KEY as OFFLINE_KEY
from tests.support.offline import Offline, start_offline
from tests.support.trials import KEY, result

WS = ("--transport", "ws", "--conn", "warm", "--text", "One.")


@pytest.fixture(scope="module")
def server() -> Iterator[Offline]:
    with start_offline(concurrency=8) as offline:
        yield offline


@contextmanager
def fresh(server: Offline) -> Iterator[list[dict[str, Any]]]:
    """Yield a list that has the server's log entries of the context at its end."""
    before, entries = len(server.log()), []
    yield entries
    entries += server.log()[before:]


def measure(home: Path, server: Offline, *options: str) -> Ran:
    env = {"SMALLEST_API_KEY": OFFLINE_KEY, "SMALLEST_BASE_URL": server.base_url}
    return smallest(home, "bench", "--yes", "--no-calibrate", "--json", *options, env=env)


def arm_ids(ran: Ran) -> list[str]:
    return [arm["id"] for arm in result(ran)["arms"]]


@pytest.mark.parametrize("voices", [("-v", "meher,magnus"), ("-v", "meher", "--voice", "magnus")])
def test_each_voice_is_an_arm_with_its_own_model(
    voices: tuple[str, ...], tmp_path: Path, server: Offline
) -> None:
    ran = measure(tmp_path, server, *WS, "-n", "2", *voices, "--slo", "magnus:ttfb.p50<9s")
    found = result(ran)
    assert arm_ids(ran) == ["ws/warm/c1/meher", "ws/warm/c1/magnus"]
    assert [(arm["ok"], arm["voice"], arm["model"]) for arm in found["arms"]] == [
        (2, "meher", "lightning_v3.1_pro"),
        (2, "magnus", "lightning_v3.1"),
    ]
    assert found["run"]["request"]["voice"] == "meher, magnus"
    assert [each["arm"] for each in found["slo"]] == ["ws/warm/c1/magnus"]


def test_requests_have_the_voice_of_their_arm(tmp_path: Path) -> None:
    with start_offline() as offline:
        options = (
            "-n",
            "2",
            "-v",
            "meher,magnus",
            "--transport",
            "ws,sse",
            "--text",
            "One.",
            "--warmup",
            "0",
        )
        ran = measure(tmp_path, offline, *options, "--jsonl", "raw.jsonl")
        voices = {entry["request_id"]: entry["voice"] for entry in offline.log()}
    assert len(arm_ids(ran)) == 8
    trials = [json.loads(line)["trial"] for line in (tmp_path / "raw.jsonl").read_text().splitlines()[1:]]
    assert Counter(each["arm"] for each in trials) == dict.fromkeys(arm_ids(ran), 2)
    logged = [each for each in trials if each["request_id"] in voices]
    assert len(logged) >= 8  # the server logs a little later
    for each in logged:
        assert each["arm"].endswith(f"/{voices[each['request_id']]}")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-v", "meher,magnus", "-m", "lightning_v3.1"), "meher is a voice of lightning_v3.1_pro, not of"),
        (("-v", "magnus", "-m", "lightning_v3.1,lightning_v3.1_pro"), "magnus is a voice of lightning_v3.1,"),
        (("-v", "magnus,lightning"), "unknown voice 'lightning'"),
        (("-v", "meher,,magnus"), "--voice: 'meher,,magnus' is not a list"),
        (("-m", ","), "--model: ',' is not a list"),
        (("--api", "unified,v4"), "--api: v4 is not one of unified, v3.1, v2"),
        (("-c", "1,2", "--rate", "5"), "--rate cannot be combined with several --concurrency"),
        (("-c", "0,1"), "is not a list of numbers from 1 to 1000"),
        (("-v", "meher,magnus", "--slo", "liam:ttfb.p50<1s"), "no arm of this run has such a figure"),
        (("--api", "unified,v2", "--consistency", "0.5"), "--consistency requires --api v2"),
    ],
)
def test_invalid_combination_is_refused_before_any_request(
    options: tuple[str, ...], words: str, tmp_path: Path, server: Offline
) -> None:
    with fresh(server) as entries:
        ran = measure(tmp_path, server, "-n", "2", *options)
    assert (ran.code, ran.out != b"") == (2, True)
    assert words in ran.err + ran.out.decode()
    assert entries == []


def test_mismatched_pairs_are_sent_with_force(tmp_path: Path) -> None:
    models = "lightning_v3.1,lightning_v3.1_pro"
    ran = smallest(
        tmp_path, "bench", "--dry-run", "--json", *WS, "-v", "meher,magnus", "-m", models, "--force"
    )
    voices = [f"ws/warm/c1/{voice}/{model}" for voice in ("meher", "magnus") for model in models.split(",")]
    assert result(ran)["arms"] == voices


REPEATED = [
    (("--transport", "ws", "--transport", "sse", "--conn", "warm"), ["ws/warm/c1", "sse/warm/c1"]),
    (("--transport", "ws", "--conn", "cold", "--conn", "warm"), ["ws/warm/c1", "ws/cold/c1"]),
    (("--transport", "ws", "--conn", "warm", "-c", "4", "-c", "1,2"), [f"ws/warm/c{n}" for n in (1, 2, 4)]),
    (("--via", "ws", "--conn", "warm", "-m", "a", "-m", "b"), ["ws/warm/c1/a", "ws/warm/c1/b"]),
    (
        ("--via", "ws", "--conn", "warm", "--api", "v3.1", "--api", "v2"),
        ["ws/warm/c1/v3.1", "ws/warm/c1/v2"],
    ),
    (
        (*WS, "--base-url", "http://127.0.0.1:1", "--base-url", "http://127.0.0.1:2"),
        ["ws/warm/c1/127.0.0.1-1", "ws/warm/c1/127.0.0.1-2"],
    ),
    ((*WS, "--base-url", "http://127.0.0.1:1", "--base-url", "http://127.0.0.1:1/"), ["ws/warm/c1"]),
    ((*WS, "-v", "meher", "-v", "MEHER"), ["ws/warm/c1"]),
]


@pytest.mark.parametrize(("options", "arms"), REPEATED, ids=[" ".join(options) for options, _ in REPEATED])
def test_repeated_list_option_adds_to_the_list(
    options: tuple[str, ...], arms: list[str], tmp_path: Path
) -> None:
    assert result(smallest(tmp_path, "bench", "--dry-run", "--json", *options))["arms"] == arms


def test_repeated_buffer_adds_prebuffers(tmp_path: Path, server: Offline) -> None:
    found = result(measure(tmp_path, server, *WS, "-n", "1", "--buffer", "0", "--buffer", "30,60"))
    assert found["run"]["buffers_ms"] == [0, 30, 60]


def save_keys(home: Path, keys: dict[str, str]) -> None:
    (home / "config").mkdir(mode=0o700)
    path = home / "config" / "credentials.json"
    path.touch(0o600)
    path.write_text(json.dumps(keys))


def test_each_base_url_gets_the_key_saved_for_it(tmp_path: Path) -> None:
    with ExitStack() as opened:
        servers = [opened.enter_context(start_offline(token=f"sk_number_{n}_0123456789abc")) for n in (1, 2)]
        save_keys(tmp_path, {server.base_url: server.key for server in servers})
        urls = [word for server in servers for word in ("--base-url", server.base_url)]
        ran = smallest(tmp_path, "bench", "--yes", "--no-calibrate", "--json", *WS, "-n", "2", *urls)
        seen = [len(server.log()) for server in servers]
    assert ran.code in (0, 22), ran.err
    found = result(ran)
    assert [(arm["base_url"], arm["ok"]) for arm in found["arms"]] == [(each.base_url, 2) for each in servers]
    assert found["run"]["target"]["base_url"] == ", ".join(each.base_url for each in servers)
    assert all(2 <= count <= 3 for count in seen)
    assert not [server.key for server in servers if server.key in ran.out.decode() + ran.err]


def test_base_url_without_a_saved_key_sends_nothing_to_any(tmp_path: Path, server: Offline) -> None:
    save_keys(tmp_path, {server.base_url: OFFLINE_KEY})
    urls = ("--base-url", server.base_url, "--base-url", "http://127.0.0.1:9")
    with fresh(server) as entries:
        ran = smallest(tmp_path, "bench", "--yes", "--no-calibrate", "--json", *WS, "-n", "2", *urls)
    assert ran.code == 3
    assert "no API key for http://127.0.0.1:9" in ran.out.decode() + ran.err
    assert entries == []


def test_refused_arm_is_named(tmp_path: Path, server: Offline) -> None:
    ran = measure(tmp_path, server, *WS, "-n", "2", "-v", "meher,voice_unknown")
    assert ran.code == 5
    assert "smallest: ws/warm/c1/voice_unknown: Invalid input data; Invalid Voice ID" in ran.lines


def test_key_of_stdin_is_read_once_for_all_base_urls(tmp_path: Path, server: Offline) -> None:
    with start_offline() as other:
        urls = ("--base-url", server.base_url, "--base-url", other.base_url, "--api-key-file", "-")
        options = ("--yes", "--no-calibrate", "--json", *WS, "-n", "1", *urls)
        ran = smallest(tmp_path, "bench", *options, stdin=f"{OFFLINE_KEY}\n".encode())
    assert [arm["ok"] for arm in result(ran)["arms"]] == [1, 1]


@pytest.mark.parametrize("source", ["--api-key-file", "SMALLEST_API_KEY_FILE"])
def test_key_of_a_pipe_is_read_once_for_all_base_urls(source: str, tmp_path: Path, server: Offline) -> None:
    """As with --api-key-file <(pass show key): a second read would find nothing."""
    reading, writing = os.pipe()
    os.write(writing, f"{OFFLINE_KEY}\n".encode())
    os.close(writing)
    given = f"/dev/fd/{reading}"
    options = ["--yes", "--no-calibrate", "--json", *WS, "-n", "1"]
    options += [source, given] if source.startswith("--") else []
    with start_offline() as other:
        urls = ("--base-url", server.base_url, "--base-url", other.base_url)
        env = {} if source.startswith("--") else {source: given}
        ran = smallest(tmp_path, "bench", *options, *urls, env=env, pass_fds=(reading,))
    os.close(reading)
    assert [arm["ok"] for arm in result(ran)["arms"]] == [1, 1], ran.err


def test_apis_are_arms_of_one_offline_server(tmp_path: Path) -> None:
    ran = smallest(tmp_path, "bench", "--local", "--json", *WS, "-n", "2", "--api", "unified,v3.1,v2")
    assert [(arm["api"], arm["ok"]) for arm in result(ran)["arms"]] == [
        ("unified", 2), ("v3.1", 2), ("v2", 2),
    ]  # fmt: skip
    assert result(ran)["run"]["target"]["api"] == "unified, v3.1, v2"


def overlap(trials: list[dict[str, Any]]) -> int:
    """The most trials in flight at any time."""
    events = [(each["started_ns"], 1) for each in trials] + [(each["ended_ns"], -1) for each in trials]
    at, most = 0, 0
    for _, change in sorted(events):
        at += change
        most = max(most, at)
    return most


def test_each_level_of_a_sweep_has_its_own_number_in_flight(tmp_path: Path) -> None:
    with start_offline(concurrency=4, first_byte_ms=20) as slow:
        options = (*WS, "-n", "16", "-c", "4,1,2", "--seed", "5", "--jsonl", "raw.jsonl")
        ran = measure(tmp_path, slow, *options)
    found = result(ran)
    assert [(arm["id"], arm["concurrency"], arm["ok"]) for arm in found["arms"]] == [
        ("ws/warm/c1", 1, 16),
        ("ws/warm/c2", 2, 16),
        ("ws/warm/c4", 4, 16),
    ]
    assert found["run"]["load"] | {"concurrency": 4, "levels": [1, 2, 4]} == found["run"]["load"]
    assert [each["concurrency"] for each in found["sweep"][0]["levels"]] == [1, 2, 4]
    lines = (tmp_path / "raw.jsonl").read_text().splitlines()[1:]
    trials = [trial for line in lines if (trial := json.loads(line)["trial"])["phase"] == "measure"]
    for level in (1, 2, 4):
        assert overlap([each for each in trials if each["arm"] == f"ws/warm/c{level}"]) <= level
    # Rounds do not overlap: trials of two levels are never in flight together.
    for before in trials:
        others = [each for each in trials if each["arm"] != before["arm"]]
        assert not [
            each
            for each in others
            if each["started_ns"] < before["ended_ns"] and before["started_ns"] < each["ended_ns"]
        ]
    order = [trial["arm"] for trial in sorted(trials, key=lambda each: each["started_ns"])]
    assert sum(a != b for a, b in pairwise(order)) >= 3
    again = smallest(tmp_path, "bench", "merge", "raw.jsonl", "--json")
    assert again.out == ran.out
    for target in ("report.html", "report.md", "report.csv"):
        (tmp_path / "run.json").write_bytes(ran.out)
        assert smallest(tmp_path, "bench", "report", "run.json", "-o", target).code == 0
    compared = smallest(tmp_path, "bench", "compare", "run.json", "run.json", "--json")
    assert {row["arm"] for row in json.loads(compared.out)["comparisons"]} == {
        each["id"] for each in found["arms"]
    }


def test_timed_sweep_measures_every_level(tmp_path: Path, server: Offline) -> None:
    found = result(measure(tmp_path, server, *WS, "-d", "3", "-c", "1,4"))
    assert all(arm["n"] >= 4 for arm in found["arms"])
    assert found["run"]["load"]["levels"] == [1, 4]


def test_failed_warm_ups_are_shown_and_make_the_run_suspect(tmp_path: Path) -> None:
    with start_offline(fail=["status:503"], fail_times=2, concurrency=4) as offline:
        ran = measure(tmp_path, offline, *WS, "-n", "8", "-c", "4", "--save", "run.json")
    found = result(ran)
    assert found["warmups"] == {"n": 4, "errors": {"http_5xx": 2}}
    assert found["arms"][0]["ok"] == 8
    assert found["run"]["calibration"]["verdict"] in ("suspect", "invalid")
    assert "2 of 4 warm-ups failed: warm trials may be cold" in found["run"]["calibration"]["reasons"]
    assert found["exit"] == (22 if found["run"]["calibration"]["verdict"] == "invalid" else 0)
    shown = smallest(tmp_path, "bench", "report", "run.json").out.decode()
    assert "warm-ups: 2 of 4 failed (2 http\\_5xx)" in shown


def test_sweep_with_too_few_trials_is_refused(tmp_path: Path) -> None:
    """Else fewer would be in flight than the level says, and its throughput would be wrong."""
    command = ("bench", "--local", "--dry-run", *WS, "-c", "2,8", "-n")
    assert smallest(tmp_path, *command, "16").code == 0
    ran = smallest(tmp_path, *command, "15")
    assert (ran.code, ran.lines[0]) == (2, "smallest: -c 8 needs at least 16 trials per arm: raise -n")


def test_all_warm_ups_failing_is_not_hidden_by_good_trials(tmp_path: Path) -> None:
    with start_offline(fail=["status:503"], fail_times=1) as offline:
        found = result(measure(tmp_path, offline, *WS, "-n", "2"))
    assert found["warmups"] == {"n": 1, "errors": {"http_5xx": 1}}
    assert found["run"]["calibration"]["verdict"] in ("suspect", "invalid")


def test_failed_warm_ups_are_on_the_default_screen(tmp_path: Path) -> None:
    with start_offline(fail=["status:503"], fail_times=1) as offline:
        env = {"SMALLEST_API_KEY": OFFLINE_KEY, "SMALLEST_BASE_URL": offline.base_url}
        ran = smallest(tmp_path, "bench", "--yes", "--no-calibrate", *WS, "-n", "2", env=env)
    assert "warm-ups: 1 of 1 failed (1 http_5xx)" in ran.out.decode()


def test_max_time_cuts_the_self_test_short(tmp_path: Path) -> None:
    with start_fault_server(tmp_path, Status(503)) as faulty:
        env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": faulty.base_url}
        options = ("--yes", "--json", *WS, "-n", "2", "-c", "2", "--max-time", "0.01")
        ran = smallest(tmp_path, "bench", *options, env=env)
        assert not faulty.log_path.exists() or faulty.log() == []
    found = result(ran)
    assert "--max-time cut the self-test short" in found["run"]["calibration"]["reasons"]
    assert (found["run"]["cut_short"], found["run"]["calibration"]["floor_ms"]) == ("--max-time", None)
    assert ran.code == 22
