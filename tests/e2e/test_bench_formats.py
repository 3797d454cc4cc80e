"""`bench report --format`: each format as its reader parses it, with texts that try to break out of it."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import pytest
import xmlschema
from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from smallest_cli.bench.report import ci
from smallest_cli.bench.report.advice import advice
from smallest_cli.bench.report.export import to_csv, to_markdown
from smallest_cli.bench.report.html import to_html
from smallest_cli.bench.results import summarise
from smallest_cli.bench.schema import Result
from smallest_cli.bench.storage import as_text, read_result
from tests.support import ROOT
from tests.support.command import smallest
from tests.support.trials import CALIBRATION, REQUEST, TARGET, run, trial

ARMS = ["ws/warm/c1", "ws/cold/c1", "sse/warm/c1"]
SLO = ["ttfb.p50<60ms", "error_rate<1%", "ttfa.p50<9s"]
SCHEMA = xmlschema.XMLSchema(ROOT / "tests" / "data" / "junit.xsd")
HOSTILE = [
    "]]></failure><testcase name='x'/>",
    '" onload="alert(1)" x="',
    "100 % done, a:b\r\n::error title=x::taken over",
    "\n::stop-commands::x\n%0A::set-output name=y::z",
    'a" } 1\n# EOF\nsmallest_bench_valid 1',
    "a\\",
    "control \x00\x01\x08\x0b\x1b[31m \x7f\x85 \ufffe\uffff \u202e\u2028 \U000e0001 end",
    "日本語 🎉 é & < > ' \"",
    "| cell | `code` **bold** [link](http://x) <b>",
    '=HYPERLINK("http://x")',
    "x" * 5000,
]


def measured(message: str = "it is down", *, verdict: str = "ok", **fields: Any) -> Result:
    """Three arms of ten trials; the second misses a threshold, the third has a failed trial."""
    calibration = CALIBRATION | {
        "verdict": verdict,
        "reasons": ["the machine was busy"] if verdict != "ok" else [],
    }
    trials = [trial(n, 50 + 20 * at, arm=arm) for at, arm in enumerate(ARMS) for n in range(10)]
    failed = trial(11, arm=ARMS[2], error="http_5xx", message=message)
    warmups = [trial(-1, phase="warmup", arm=ARMS[0], error="dns" if n else None) for n in range(3)]
    return summarise(
        run(arms=ARMS, calibration=calibration, **{"slo": SLO} | fields), [*trials, failed, *warmups]
    )


def junit(found: Result) -> ElementTree.Element:
    """The suite of a JUnit file, checked against the schema and its own counts."""
    text = ci.to_junit(found)
    SCHEMA.validate(text)
    suite = ElementTree.fromstring(text)[0]
    cases = suite.findall("testcase")
    assert int(suite.attrib["tests"]) == len(cases)
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.attrib[count]) == sum(case.find(tag) is not None for case in cases)
    return suite


def outcomes(suite: ElementTree.Element) -> dict[tuple[str, str], str | None]:
    """The outcome of each test case: an element, or None for passed."""
    return {
        (case.attrib["classname"], case.attrib["name"]): case[0].tag if len(case) else None
        for case in suite.findall("testcase")
    }


def test_junit_has_a_case_for_the_run_and_each_threshold_of_each_arm() -> None:
    suite = junit(measured())
    expected = {(arm, expr): None for expr in SLO for arm in ARMS} | {("run", "valid"): None}
    expected |= {(arm, SLO[0]): "failure" for arm in ARMS[1:]} | {(ARMS[2], SLO[1]): "failure"}
    assert outcomes(suite) == expected
    failure = suite.find(f"testcase[@classname='{ARMS[1]}']/failure")
    assert failure is not None
    assert failure.attrib["message"] == "70.0 ms [70.0, 70.0]: FAIL"
    assert suite.attrib["timestamp"] == "2026-11-21T00:00:00"
    properties = {each.attrib["name"]: each.attrib["value"] for each in suite.iter("property")}
    assert (properties["run"], properties["voice"]) == ("17", "meher")
    assert "warm-ups: 2 of 3 failed (2 dns)\n1 http_5xx in sse/warm/c1: it is down" in (
        suite.findtext("system-out") or ""
    )


def test_junit_of_an_invalid_run_is_an_error_and_skips_thresholds() -> None:
    found = outcomes(junit(measured(verdict="invalid")))
    assert found.pop(("run", "valid")) == "error"
    assert set(found.values()) == {"skipped"}


def test_threshold_of_too_few_trials_is_skipped_and_a_warning() -> None:
    found = measured(slo=["ttfb.p95<900ms"])
    assert found.exit == 23
    suite = outcomes(junit(found))
    assert suite.pop(("run", "valid")) is None
    assert set(suite.values()) == {"skipped"}
    kind, title, message = annotations(found)[0]
    assert (kind, title) == ("warning", "too few trials")
    assert "INCONCLUSIVE in 3 of 3 arms" in message
    met = next(each for each in parse_openmetrics(ci.to_openmetrics(found)) if each.name.endswith("_met"))
    assert met.samples == []


COMMAND = re.compile(r"::(error|warning|notice) title=([^:,\r\n]+)::([^\r\n]*)")


def annotations(found: Result) -> list[tuple[str, str, str]]:
    """The annotations that GitHub's runner shows: kind, title and message."""
    lines = ci.to_github(found).split("\n")
    assert lines.pop() == ""
    shown = []
    for line in lines:
        match = COMMAND.fullmatch(line)
        assert match, line
        assert not re.search(r"%(?!25|3A|2C|0D|0A)", line)
        decoded = (
            re.sub("%(3A|2C|25)", lambda code: chr(int(code[1], 16)), text) for text in match.groups()[1:]
        )
        title, message = decoded
        shown.append((match[1], title, message))
    return shown


def test_github_annotates_missed_thresholds_failures_and_advice() -> None:
    found = measured(verdict="suspect")
    shown = annotations(found)
    assert [(kind, title) for kind, title, _ in shown] == [
        ("error", "threshold missed"), ("error", "threshold missed"), ("warning", "suspect run"),
        ("warning", "failed trials"), ("warning", "failed trials"), ("notice", "smallest bench"),
    ]  # fmt: skip
    slowest = "sse/warm/c1 90.0 ms [90.0, 90.0], ws/cold/c1 70.0 ms [70.0, 70.0]"
    assert shown[0][2] == f"ttfb.p50<60ms  FAIL in 2 of 3 arms: {slowest}"
    assert shown[1][2].startswith("error_rate<1%  FAIL in 1 of 3 arms: sse/warm/c1 9.091 %")
    assert shown[2][2].endswith("the machine was busy")
    assert shown[3][2] == "warm-ups: 2 of 3 failed (2 dns)"
    assert shown[4][2] == "1 http_5xx in sse/warm/c1: it is down"
    assert shown[5][2] == advice(found)
    assert [kind for kind, *_ in annotations(measured(verdict="invalid"))].count("error") == 3


def test_openmetrics_has_every_figure_under_stable_names() -> None:
    found = measured()
    text = ci.to_openmetrics(found)
    families = {family.name: family for family in parse_openmetrics(text)}
    assert {name.removeprefix("smallest_bench_") for name in families} == {
        "trials", "threshold_met", "seconds", "ratio", "count", "dbfs", "valid",
    }  # fmt: skip
    figures = {
        tuple(sample.labels.values()): sample.value for sample in families["smallest_bench_seconds"].samples
    }
    for arm in found.arms:
        summary = arm.metrics["ttfb"]
        expected = {"0": summary.min, "0.5": summary.p50.v, "0.9": summary.p90.v, "1": summary.max}
        shown = {
            name: value for (of, metric, name), value in figures.items() if (of, metric) == (arm.id, "ttfb")
        }
        assert shown == {name: pytest.approx(value / 1000) for name, value in expected.items()}
        assert figures[arm.id, "audio", "0.5"] == pytest.approx(arm.metrics["audio"].p50.v)
    counts = {
        tuple(sample.labels.values()): sample.value for sample in families["smallest_bench_trials"].samples
    }
    assert counts == {("ws/warm/c1", "ok"): 10, ("ws/cold/c1", "ok"): 10, ("sse/warm/c1", "ok"): 10,
                      ("sse/warm/c1", "http_5xx"): 1}  # fmt: skip
    met = {
        tuple(sample.labels.values()): sample.value
        for sample in families["smallest_bench_threshold_met"].samples
    }
    assert met["ws/warm/c1", SLO[0]] == 1
    assert met["ws/cold/c1", SLO[0]] == 0
    # The textfile collector of Prometheus's node exporter reads the older format.
    older = {family.name: len(family.samples) for family in parse_prometheus(text)}
    assert older == {name: len(family.samples) for name, family in families.items()}


def test_benchmark_action_plots_what_should_be_small() -> None:
    found = measured()
    entries = {entry["name"]: entry for entry in json.loads(ci.to_benchmark_action(found))}
    assert len(entries) == len(json.loads(ci.to_benchmark_action(found)))
    assert entries["ws/warm/c1 ttfb p50"] == {
        "name": "ws/warm/c1 ttfb p50", "unit": "ms", "value": 50.0, "range": "[50.0, 50.0]",
        "extra": "10 of 10 ok; errors: none",
    }  # fmt: skip
    assert "ws/warm/c1 ttfb p95" not in entries, "of ten trials it is the maximum"
    assert entries["sse/warm/c1 error_rate"]["value"] == pytest.approx(100 / 11)
    assert not [name for name in entries if "rtfx" in name or " audio " in name]
    for entry in entries.values():
        assert entry.keys() <= {"name", "unit", "value", "range", "extra"}
        assert isinstance(entry["value"], float | int)
        assert {type(entry[name]) for name in entry if name != "value"} == {str}


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_text_of_servers_and_files_breaks_out_of_no_format(text: str, tmp_path: Path) -> None:
    fields = {
        "target": TARGET | {"base_url": text}, "started_utc": text, "id": text,
        "client": {"tool": text, text: 1},
        "request": REQUEST | {"voice": text},
    }  # fmt: skip
    found = measured(text, verdict="suspect", **fields)
    reasons = [text, *found.run.calibration.reasons]
    found = replace(
        found, run=replace(found.run, calibration=replace(found.run.calibration, reasons=reasons))
    )
    path = tmp_path / "hostile.json"
    path.write_text(as_text(found))
    found, plain = read_result(path), measured(verdict="suspect")
    assert outcomes(junit(found)) == outcomes(junit(plain))
    assert [each[:2] for each in annotations(found)] == [each[:2] for each in annotations(plain)]
    samples = [
        [len(each.samples) for each in parse_openmetrics(ci.to_openmetrics(run))] for run in (found, plain)
    ]
    assert samples[0] == samples[1]
    assert len(json.loads(ci.to_benchmark_action(found))) == len(json.loads(ci.to_benchmark_action(plain)))
    assert len(list(csv.reader(io.StringIO(to_csv(found))))) == len(
        list(csv.reader(io.StringIO(to_csv(plain))))
    )
    assert len(re.findall("^#", to_markdown(found), re.MULTILINE)) == 4
    assert to_html(found).count("<script") == 1
    for rendered in (ci.to_junit(found), ci.to_github(found), ci.to_openmetrics(found)):
        assert "\x1b" not in rendered
        assert not re.search(r"^\s*::(?!error title|warning title|notice title)", rendered, re.MULTILINE)


def test_run_without_trials_has_every_format() -> None:
    empty = summarise(run(arms=ARMS, slo=SLO * 2), [])
    assert set(outcomes(junit(empty)).values()) == {"error", "skipped"}
    assert annotations(empty)[-1][2] == "No trial succeeded: no recommendation."
    names = [family.name for family in parse_openmetrics(ci.to_openmetrics(empty))]
    assert names == ["smallest_bench_trials", "smallest_bench_threshold_met", "smallest_bench_valid"]
    assert [entry["value"] for entry in json.loads(ci.to_benchmark_action(empty))] == [0, 0, 0]


def test_command_writes_the_format_of_the_option_or_the_extension(tmp_path: Path) -> None:
    found = measured()
    (tmp_path / "r.json").write_text(as_text(found))
    written = {
        ("--format", "junit"): ci.to_junit, ("--format", "github"): ci.to_github,
        ("--format", "openmetrics"): ci.to_openmetrics,
        ("--format", "benchmark-action"): ci.to_benchmark_action,
        ("--format", "md"): to_markdown, (): to_markdown,
    }  # fmt: skip
    for options, render in written.items():
        ran = smallest(tmp_path, "bench", "report", "r.json", *options)
        assert (ran.code, ran.out.decode()) == (0, render(found)), options
    for name, options, render in (
        ("x.xml", (), ci.to_junit), ("x.HTML", (), to_html), ("x.prom", (), ci.to_openmetrics),
        ("x.json", ("--format", "benchmark-action"), ci.to_benchmark_action),
        ("x.xml", ("--format", "md"), to_markdown),
    ):  # fmt: skip
        ran = smallest(tmp_path, "bench", "report", "r.json", "-o", name, *cast(tuple[str, ...], options))
        assert (ran.code, ran.out) == (0, b"")
        assert (tmp_path / name).read_text() == render(found)


@pytest.mark.parametrize("kind", ["html", "junit", "md"])
def test_format_on_stdout_is_utf_8_in_any_locale(kind: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(as_text(measured("नमस्ते → 🎉")))
    words = ("bench", "report", "r.json", "--format", kind)
    ran = smallest(tmp_path, *words, env={"PYTHONIOENCODING": "ascii"})
    assert (ran.code, ran.err) == (0, "")
    assert "नमस्ते → 🎉" in ran.out.decode()


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (("-o", "x.json"), ["smallest: unknown format: x.json", "  add --format"]),
        (
            ("--format", "csv", "-o", "a", "-o", "b"),
            ["smallest: --format is for one file", "  with several, their extensions decide"],
        ),
        (("-o", "x.html", "-o", "./x.html"), None),
        (("--format", "junit", "-o", "r.json"), None),
        (("--format", "tap"), None),
    ],
)
def test_unclear_or_clashing_outputs_are_refused(
    options: tuple[str, ...], lines: list[str] | None, tmp_path: Path
) -> None:
    (tmp_path / "r.json").write_text(as_text(measured()))
    ran = smallest(tmp_path, "bench", "report", "r.json", *options)
    assert (ran.code, ran.out) == (2, b"")
    assert lines is None or ran.lines == lines
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["r.json"]


class Named(str):
    """An arm's id of any characters."""

    via, conn, load = "ws", "warm", "c1"


@pytest.mark.parametrize("name", ['a"b\\', "a\nb", "<a>&b", "a,b=c{d}", "a::b%0A"])
def test_arm_of_any_name_is_escaped(name: str) -> None:
    found = measured()
    arm = replace(found.arms[0], id=cast(Any, Named(name)))
    slo = [replace(found.slo[0], arm=name)]
    found = replace(found, arms=[arm, *found.arms[1:]], slo=slo)
    shown = name.replace("\n", " ")
    for family in parse_openmetrics(ci.to_openmetrics(found)):
        assert {sample.labels.get("arm") for sample in family.samples} <= {None, shown, *ARMS}
    assert (shown, SLO[0]) in outcomes(junit(found))
    assert annotations(found)
    assert json.loads(ci.to_benchmark_action(found))[0]["name"] == f"{name} ttfb p50"
