"""Arms: their ids and order, sweeps over concurrencies, thresholds and comparisons of them, older files."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET, structs

from smallest_cli.bench.compare import compare_runs
from smallest_cli.bench.merge import merge_runs
from smallest_cli.bench.plan import CONNS, Plan, Text, Variant, make_arms, parse_levels, split_list
from smallest_cli.bench.report.advice import advice
from smallest_cli.bench.report.export import to_markdown
from smallest_cli.bench.report.html import to_html
from smallest_cli.bench.report.terminal import render
from smallest_cli.bench.results import summarise
from smallest_cli.bench.schema import Arm, Result, Sweep, as_json
from smallest_cli.bench.storage import as_text, raw_lines, read_raw, read_result
from smallest_cli.bench.thresholds import check_thresholds, evaluate
from smallest_cli.bench.trial import Trial
from smallest_cli.errors import UsageError
from smallest_cli.models import VIAS, SpeechRequest
from tests.support.trials import LOAD, MS, run, trial
from tests.support.trials import arm as arm_named

TEXTS = tuple(Text(f"t{n}", "word " * (n + 1)) for n in range(4))
PLAN = Plan(arms=make_arms(VIAS, CONNS), texts=TEXTS, template=SpeechRequest("", "magnus"), count=2, seed=3)
MEHER, MAGNUS = Variant("meher", "pro"), Variant("magnus", "standard")


def ids(*variants: Variant, levels: tuple[int, ...] = (1,)) -> list[str]:
    return [arm.id for arm in make_arms(["ws"], ["warm"], levels, None, variants)]


@pytest.mark.parametrize(
    ("variants", "expected"),
    [
        ([], ["c1"]),
        ([MEHER], ["c1"]),
        ([MEHER, MEHER], ["c1"]),
        ([MEHER, MAGNUS], ["c1/meher", "c1/magnus"]),
        ([Variant("a", "x"), Variant("a", "y")], ["c1/x", "c1/y"]),
        (
            [Variant(voice, model) for voice in "ab" for model in "xy"],
            ["c1/a/x", "c1/a/y", "c1/b/x", "c1/b/y"],
        ),
        ([Variant("a", "x"), Variant("b", None, "v2")], ["c1/a/unified", "c1/b/v2"]),
        (
            [Variant("a", base_url="http://h:1"), Variant("a", base_url="https://h/eu")],
            ["c1/h-1", "c1/h-eu"],
        ),
        (
            [Variant("a", base_url="http://h"), Variant("a", base_url="https://h")],
            ["c1/h", "c1/h-2"],
        ),
        ([Variant("a/b"), Variant("a b"), Variant("\x1b[2J")], ["c1/a-b", "c1/a-b-2", "c1/2J"]),
        ([Variant("é"), Variant("/")], ["c1/other", "c1/other-2"]),
    ],
)
def test_id_has_what_differs(variants: list[Variant], expected: list[str]) -> None:
    assert ids(*variants) == [f"ws/warm/{each}" for each in expected]


def test_arm_holds_only_what_differs() -> None:
    (plain,), (meher, _) = make_arms(["ws"], ["cold"]), make_arms(["ws"], ["cold"], variants=[MEHER, MAGNUS])
    assert as_json(plain) == {
        "id": "ws/cold/c1", "via": "ws", "conn": "cold", "concurrency": 1, "rate": None,
    }  # fmt: skip
    assert (meher.voice, meher.model, meher.api, meher.base_url) == ("meher", "pro", UNSET, UNSET)


def test_trial_sends_the_voice_of_its_arm() -> None:
    plan = replace(PLAN, arms=make_arms(["ws"], ["warm"], variants=[MEHER, MAGNUS]))
    sent = {(job.arm.id, plan.request(job).voice, plan.request(job).model) for job in plan.jobs()}
    assert sent == {("ws/warm/c1/meher", "meher", "pro"), ("ws/warm/c1/magnus", "magnus", "standard")}


@pytest.mark.parametrize("text", ["", ",", "a,,b", " , "])
def test_list_with_an_empty_item_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--voice: '.*' is not a list"):
        split_list(text, "--voice")


@pytest.mark.parametrize("given", [["8,1", "2"], "1,2,8", ["1", "2", "8", "8"]])
def test_levels_are_distinct_and_ascending(given: Any) -> None:
    assert parse_levels(given) == [1, 2, 8]


@pytest.mark.parametrize("given", ["0", "1001", "-1", "1.5", "two", "1-4", "1e2"])
def test_invalid_level_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="--concurrency: .* is not a list of numbers from 1 to 1000"):
        parse_levels(given)


def test_order_of_a_seed_is_that_of_earlier_versions() -> None:
    first = ["http/warm", "sse/cold", "ws/warm", "sse/warm", "http/cold", "ws/cold"]
    then = ["sse/warm", "http/warm", "ws/cold", "ws/warm", "sse/cold", "http/cold"]
    expected = [(f"{each}/c1", "t3") for each in first] + [(f"{each}/c1", "t0") for each in then]
    assert [(job.arm.id, job.text.name) for job in PLAN.jobs()] == expected
    due = replace(PLAN, arms=make_arms(VIAS, CONNS, rate=50.0), count=1)
    assert [job.due_ns for job in due.jobs()][:3] == [5385009, 7562699, 17648250]


def sweep_plan(**changes: Any) -> Plan:
    return replace(PLAN, arms=make_arms(["ws"], CONNS, [1, 2, 8]), count=30, **changes)


def test_levels_of_a_sweep_take_turns() -> None:
    rounds = [(level, list(jobs)) for level, jobs in sweep_plan().rounds()]
    assert Counter(level for level, _ in rounds) == {1: 2, 2: 2, 8: 2}
    assert {level for level, _ in rounds[:3]} == {1, 2, 8}
    for level, jobs in rounds:
        assert {job.arm.concurrency for job in jobs} == {level}
    everything = [job for _, jobs in rounds for job in jobs]
    assert [job.index for job in everything] == list(range(180))
    assert set(Counter(job.arm.id for job in everything).values()) == {30}
    texts = {
        level: [job.text.name for job in everything if job.arm.concurrency == level] for level in (1, 2, 8)
    }
    assert texts[1] == texts[2] == texts[8]
    assert [job.arm.id for job in sweep_plan().jobs()] == [job.arm.id for job in everything]
    assert everything != list(sweep_plan(seed=4).jobs())


def test_rounds_of_a_timed_sweep_have_trials_for_each_in_flight() -> None:
    plan = replace(sweep_plan(), arms=make_arms(["ws"], ["warm"], [1, 4]), count=None, seconds=9.0)
    rounds = plan.rounds()
    sizes = {level: len(list(jobs)) for level, jobs in (next(rounds), next(rounds))}
    assert sizes == {1: 4, 4: 16}


def test_few_trials_are_still_shared_by_two_rounds() -> None:
    plan = replace(sweep_plan(), count=3)
    sizes = [(level, len(list(jobs))) for level, jobs in plan.rounds()]
    assert sorted(sizes) == [(1, 2), (1, 4), (2, 2), (2, 4), (8, 2), (8, 4)]
    single = replace(sweep_plan(), count=1)
    assert sorted(len(list(jobs)) for _, jobs in single.rounds()) == [2, 2, 2]


def test_warm_ups_of_a_sweep_use_each_connection_once() -> None:
    warm_ups = [job.arm.id for worker in range(3) for job in sweep_plan().warm_up(worker)]
    assert warm_ups == ["ws/warm/c8", "ws/cold/c8", "ws/warm/c8", "ws/warm/c8"]
    assert sweep_plan().concurrency == 8


VOICES = [
    structs.replace(arm, id=f"{arm.id}/{voice}", voice=voice, model=model)
    for arm in map(arm_named, ("ws/warm/c1", "sse/warm/c1"))
    for voice, model in (("meher", "pro"), ("magnus", "standard"))
]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("meher", [0, 2]),
        ("ws/meher", [0]),
        ("meher/ws", [0]),
        ("warm", [0, 1, 2, 3]),
        ("standard", [1, 3]),
        ("sse/warm/c1/magnus", [3]),
        ("/ws/", [0, 1]),
    ],
)
def test_threshold_selects_arms_by_any_parts(selector: str, expected: list[int]) -> None:
    names = [arm.id for arm in VOICES]
    found = summarise(run(arms=VOICES), [trial(n, arm=name) for n, name in enumerate(names)])
    results = evaluate(f"{selector}:ttfb.p50<300ms", found.arms)
    assert [each.arm for each in results] == [names[n] for n in expected]
    assert all(each.passed for each in results)


@pytest.mark.parametrize("selector", ["mehe", "ws/http", "c2", "MEHER"])
def test_threshold_without_an_arm_is_refused(selector: str) -> None:
    with pytest.raises(UsageError, match="no arm of this run has such a figure"):
        check_thresholds([f"{selector}:ttfb.p50<300ms"], VOICES, [0.0])


def at_level(level: int, taken_ms: int, n: int = 20, ttfb_ms: float = 50, **fields: Any) -> list[Trial]:
    """Trials of one arm of a sweep that take about `taken_ms` each."""
    return [
        trial(
            index,
            ttfb_ms + index % 3,
            arm=f"ws/warm/c{level}",
            **{"ended_ns": index * 1000 * MS + (taken_ms + index % 5) * MS} | fields,
        )
        for index in range(n)
    ]


def swept(*groups: list[Trial]) -> Result:
    names = [group[0].arm for group in groups]
    levels = [arm_named(name).concurrency for name in names]
    load = LOAD | {"concurrency": levels[-1], "levels": levels}
    return summarise(run(arms=names, load=load), [each for group in groups for each in group])


def sweep_of(*groups: list[Trial]) -> Sweep:
    (found,) = swept(*groups).sweep or ()
    return found


def test_throughput_is_concurrency_per_mean_time() -> None:
    found = sweep_of(at_level(1, 100), at_level(4, 200))
    first, second = found.levels
    assert first.trials_per_s.v == pytest.approx(1 / 0.102)
    assert second.trials_per_s.v == pytest.approx(4 / 0.202)
    assert second.audio_s_per_s == pytest.approx(4 / 0.202 / 2)
    assert first.trials_per_s.lo < first.trials_per_s.v < first.trials_per_s.hi
    assert second.ttfb_p95
    assert second.ttfb_p95.v == 52


def test_failed_trials_take_time_and_are_no_throughput() -> None:
    half = [structs.replace(each, error="http_429") for each in at_level(2, 100)[:10]]
    found = sweep_of(at_level(1, 100), half + at_level(2, 100)[10:])
    assert found.levels[1].trials_per_s.v == pytest.approx(1 / 0.102)
    assert found.knee == 1


@pytest.mark.parametrize(
    ("taken_ms", "ttfb_ms", "knee", "why"),
    [
        ((100, 100, 100), (50, 50, 50), None, "throughput still grows at 4"),
        ((100, 100, 200), (50, 50, 50), 2, "no higher level has significantly more than 19.6 trials/s"),
        ((100, 200, 400), (50, 50, 50), 1, "no higher level"),
        ((100, 100, 100), (50, 50, 150), 2, "ttfb p95 at 4 is 152 ms, over twice that of the lowest"),
        ((100, 100, 100), (50, 150, 50), 1, "ttfb p95 at 2 is 152 ms"),
        ((100, 190, 100), (50, 50, 50), None, "throughput still grows at 4"),
    ],
)
def test_knee_is_the_last_level_before_saturation(
    taken_ms: tuple[int, ...], ttfb_ms: tuple[int, ...], knee: int | None, why: str
) -> None:
    groups = [
        at_level(level, taken, ttfb_ms=ttfb)
        for level, taken, ttfb in zip((1, 2, 4), taken_ms, ttfb_ms, strict=True)
    ]
    found = sweep_of(*groups)
    assert (found.knee, found.why[: len(why)]) == (knee, why)


def test_noise_is_no_growth() -> None:
    """The mean of 2 in flight is 10 % higher per trial in flight, each trial is off by 80 ms."""

    def noisy(level: int, taken_ms: int) -> list[Trial]:
        group = at_level(level, taken_ms)
        return [structs.replace(each, ended_ns=each.ended_ns + each.index % 2 * 160 * MS) for each in group]

    assert sweep_of(noisy(1, 20), noisy(2, 100)).knee == 1


def test_run_at_one_level_is_no_sweep() -> None:
    assert summarise(run(), [trial()]).sweep is UNSET
    both = run(arms=["ws/warm/c1", "sse/warm/c2"])
    assert summarise(both, [trial(), trial(1, arm="sse/warm/c2")]).sweep is UNSET


def test_every_report_shows_a_sweep() -> None:
    found = swept(at_level(1, 100), at_level(2, 100), at_level(4, 200))
    screen = [line for _, line in render(found, 80)]
    start = next(number for number, line in enumerate(screen) if line.startswith("in flight"))
    assert screen[start - 1].startswith("sweep of ws/warm/c1: no higher level")
    assert max(map(len, screen)) <= 80
    rows = [line.split() for line in screen[start + 1 : start + 4]]
    assert [row[0] for row in rows] == ["1", "2", "4"]
    assert [row[1] for row in rows] == ["9.804", "(knee)", "19.8"]
    assert "closed loop, 1, 2, 4 in flight: " in " ".join(screen)
    assert "| 2 (knee) | 19.6 | [19." in to_markdown(found)
    page = to_html(found)
    assert 'aria-label="throughput and ttfb p95 by concurrency, no higher level' in page
    assert page.count(">knee</text>") == 1


def test_advice_compares_the_lowest_level_only_and_names_the_voice() -> None:
    assert "Use ws with" not in advice(swept(at_level(1, 100), at_level(2, 100)))
    arms = [arm_named(f"ws/warm/c1/{voice}") for voice in ("meher", "magnus")]
    trials = [trial(n, ttfb, arm=arm.id) for arm, ttfb in zip(arms, (50, 90), strict=True) for n in range(30)]
    assert advice(summarise(run(arms=arms), trials)).startswith("Use ws/warm/c1/meher: median first byte 50")


def test_raw_file_of_a_sweep_recomputes_the_same_bytes(tmp_path: Path) -> None:
    found = swept(at_level(1, 100), at_level(2, 100))
    trials = [*at_level(1, 100), *at_level(2, 100)]
    (tmp_path / "raw.jsonl").write_text("".join(raw_lines(found.run, trials)))
    (tmp_path / "saved.json").write_text(as_text(found))
    assert as_text(summarise(*read_raw(tmp_path / "raw.jsonl"))) == as_text(found)
    assert read_result(tmp_path / "saved.json") == found


def test_sweeps_are_merged_and_compared_by_level() -> None:
    found = swept(at_level(1, 100), at_level(2, 100))
    trials = [*at_level(1, 100), *at_level(2, 100)]
    pooled = summarise(*merge_runs([(found.run, trials), (structs.replace(found.run, id="18"), trials)]))
    assert [(arm.id, arm.n) for arm in pooled.arms] == [("ws/warm/c1", 40), ("ws/warm/c2", 40)]
    compared = compare_runs(found, swept(at_level(1, 100), at_level(2, 100, ttfb_ms=90)), [], 0.05)
    assert [(row.arm, row.verdict) for row in compared.comparisons] == [
        ("ws/warm/c1", "equivalent"),
        ("ws/warm/c2", "slower"),
    ]
    other = swept(at_level(1, 100), at_level(4, 100))
    with pytest.raises(UsageError, match=r"load\.levels"):
        merge_runs([(found.run, trials), (other.run, [])])
    with pytest.raises(UsageError, match=r"load\.levels"):
        compare_runs(found, other, [], 0.05)


def test_same_id_of_other_voices_is_not_merged() -> None:
    one = run(arms=[structs.replace(arm_named("ws/warm/c1/x"), model="a")])
    two = run(id="18", arms=[structs.replace(arm_named("ws/warm/c1/x"), model="b")])
    with pytest.raises(UsageError, match="whose arm ws/warm/c1/x differs"):
        merge_runs([(one, []), (two, [])])


@pytest.mark.parametrize("schema", ["smallest.bench/1", "smallest.bench.raw/1"])
def test_older_schema_is_refused_with_the_reason(schema: str, tmp_path: Path) -> None:
    (tmp_path / "old").write_text(json.dumps({"schema": schema}))
    for read in (read_result, read_raw):
        with pytest.raises(UsageError, match=f"has schema {schema}, not smallest") as refused:
            read(tmp_path / "old")
        assert "which did not record the parts of arms: measure again" in refused.value.hint


def test_newer_schema_is_refused_with_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "new").write_text('{"schema": "smallest.bench/3"}')
    with pytest.raises(UsageError, match="has schema smallest.bench/3, not smallest.bench/2 or"):
        read_result(tmp_path / "new")


@pytest.mark.parametrize(
    "changes", [{"via": "ftp"}, {"via": "sse"}, {"conn": "hot"}, {"id": ""}, {"id": "a//b"}, {"id": "\x1b"}]
)
def test_trial_and_arm_must_agree(changes: dict[str, str], tmp_path: Path) -> None:
    arms = [{"id": "ws/warm/c1", "via": "ws", "conn": "warm", "concurrency": 1} | changes]
    lines = list(raw_lines(run(), [trial()]))
    head = json.loads(lines[0])
    head["run"]["arms"] = arms
    (tmp_path / "raw.jsonl").write_text("\n".join([json.dumps(head), *lines[1:]]))
    with pytest.raises(UsageError, match="is damaged"):
        read_raw(tmp_path / "raw.jsonl")


def test_arm_named_has_the_parts_of_its_id() -> None:
    assert arm_named("ws/warm/r2.5") == Arm(id="ws/warm/r2.5", via="ws", conn="warm", concurrency=5, rate=2.5)
