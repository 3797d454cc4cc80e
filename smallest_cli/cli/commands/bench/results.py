"""`smallest bench compare | merge | report | locustfile`: what was measured, looked at again; and
what Locust is given to measure with. No network."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from smallest_cli.audio.destinations import check_distinct
from smallest_cli.bench.compare import compare_runs
from smallest_cli.bench.merge import merge_runs
from smallest_cli.bench.report.export import to_csv, to_markdown
from smallest_cli.bench.report.format import CENSURE, promise_words
from smallest_cli.bench.report.html import to_html
from smallest_cli.bench.report.terminal import render, render_comparison
from smallest_cli.bench.results import INVALID, SAMPLED, summarise
from smallest_cli.bench.storage import as_text, raw_lines, read_raw, read_result, write_text
from smallest_cli.cli.commands.bench.display import print_lines, stdout_width
from smallest_cli.cli.console import print_json, say
from smallest_cli.cli.option_groups import grouped
from smallest_cli.cli.run_config import check_not_overwriting
from smallest_cli.errors import SettingsError, UsageError

JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
SAVE = Annotated[str | None, typer.Option("--save", metavar="FILE", help="Write what --json prints.")]


def print_result(result: Mapping[str, Any], *, json: bool, save: str | None) -> None:
    """A result on stdout, as a table or as JSON, and in a file if one is named; what was missed on stderr."""
    if save is not None:
        write_text(Path(save), as_text(result))
    if json:
        sys.stdout.write(as_text(result))
        sys.stdout.flush()
    else:
        print_lines(render(result, stdout_width()))
    for each in result["slo"]:
        if not each["pass"]:
            print_line(f"smallest: threshold: {promise_words(each)}")
    if result["exit"] == INVALID:
        print_line(f"smallest: {_why_invalid(result)}")


def _why_invalid(result: Mapping[str, Any]) -> str:
    if any(arm["ok"] for arm in result["arms"]):
        why = "; ".join(result["run"]["calibration"]["reasons"]) or CENSURE["invalid"]
        return f"the run is not valid: {why}"
    return "every trial failed" if any(arm["n"] for arm in result["arms"]) else "no trial was made"


@grouped
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A file of --save or --jsonl: before.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another: after.")],
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="LIST",
            help=f"Of {', '.join(SAMPLED)}; the default is ttfb, of an open loop ttfb_e2e.",
        ),
    ] = None,
    min_effect: Annotated[
        float,
        typer.Option(
            "--min-effect",
            metavar="PERCENT",
            min=0,
            help="A smaller change does not matter, nor one under 1 ms.",
        ),
    ] = 5.0,
    force: Annotated[
        bool, typer.Option("--force", help="Compare runs that did not ask for the same.")
    ] = False,
    json: JSON = False,
) -> None:
    """Say whether B is faster or slower than A, equivalent, or not to be told apart yet.

    Exit codes: 21 B is slower somewhere or fails more often, 22 one of them is an invalid run or had no trial
    that succeeded, 23 inconclusive.
    """
    metrics = [each.strip() for each in metric.split(",")] if metric else []
    if not set(metrics) <= set(SAMPLED):
        raise UsageError(f"--metric is a list of {', '.join(SAMPLED)}")
    runs = read_result(Path(first)), read_result(Path(second))
    compared = compare_runs(*runs, metrics, min_effect / 100, force=force)
    if json:
        print_json(compared)
    else:
        print_lines(render_comparison(compared, stdout_width()))
    if compared["exit"]:
        raise typer.Exit(compared["exit"])


@grouped
def merge(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files of --jsonl.")],
    jsonl: Annotated[
        str | None, typer.Option("--jsonl", metavar="FILE", help="Write all trials, raw.")
    ] = None,
    save: SAVE = None,
    json: JSON = False,
) -> None:
    """Make one result of several runs, from their raw trials: exactly, no average of percentiles.

    They must have asked for the same. Runs that were made at once count as one load.
    """
    _spare(files, jsonl, save)
    run, trials = merge_runs([read_raw(Path(each)) for each in files])
    if jsonl is not None:
        write_text(Path(jsonl), "".join(raw_lines(run, trials)))
    print_result(result := summarise(run, trials), json=json, save=save)
    if result["exit"]:
        raise typer.Exit(result["exit"])


@grouped
def report(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file of --save or --jsonl.")],
    html: Annotated[str | None, typer.Option("--html", metavar="FILE", help="A page; - is stdout.")] = None,
    md: Annotated[str | None, typer.Option("--md", metavar="FILE", help="Markdown; - is stdout.")] = None,
    csv: Annotated[str | None, typer.Option("--csv", metavar="FILE", help="CSV; - is stdout.")] = None,
) -> None:
    """Write a result as a page, as Markdown or as CSV; Markdown on stdout where none is named."""
    wanted = [(html, to_html), (md, to_markdown), (csv, to_csv)]
    if all(target is None for target, _ in wanted):
        wanted = [("-", to_markdown)]
    if sum(target == "-" for target, _ in wanted) > 1:
        raise UsageError("stdout takes one of them")
    _spare([file], html, md, csv)
    result = read_result(Path(file))
    for target, writer in wanted:
        if target == "-":
            sys.stdout.write(writer(result))
        elif target is not None:
            write_text(Path(target), writer(result))


def _spare(read: Sequence[str], *written: str | None) -> None:
    """Refuse to write over what is read, or to one place twice, before anything is. Raises UsageError."""
    names = [name for name in written if name and name != "-"]
    check_distinct(names)
    check_not_overwriting(read, names, "read here: it would be lost")


def locustfile() -> None:
    """Print where the file for Locust is: locust -f "$(smallest bench locustfile)" --host URL.

    For more streams than one machine makes: docs/load.md.
    """
    needed = {"locust": "locust", "hdrhistogram": "hdrh"}
    missing = [name for name, module in needed.items() if not find_spec(module)]
    if missing:
        raise SettingsError(
            f"{' and '.join(missing)} is not installed", hint="pip install 'smallest-cli[locust]'"
        )
    print(Path(__file__).parents[3] / "bench" / "locust" / "locustfile.py")
