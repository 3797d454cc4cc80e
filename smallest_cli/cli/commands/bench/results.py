"""`smallest bench compare | merge | report | locustfile`: evaluate saved runs. No network."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from smallest_cli.audio.destinations import check_distinct
from smallest_cli.bench.report.format import VERDICT_TEXTS, threshold_text
from smallest_cli.bench.report.terminal import render, render_comparison
from smallest_cli.bench.results import INVALID, summarise
from smallest_cli.bench.schema import SAMPLED, Result, as_json
from smallest_cli.bench.storage import as_text, raw_lines, read_raw, read_result, write_text
from smallest_cli.cli.commands.bench.display import print_lines, stdout_width
from smallest_cli.cli.console import print_json, print_line
from smallest_cli.cli.option_groups import grouped
from smallest_cli.cli.run_config import check_not_overwriting
from smallest_cli.errors import SettingsError, UsageError

JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
SAVE = Annotated[str | None, typer.Option("--save", metavar="FILE", help="Write the result as JSON.")]


def print_result(result: Result, *, json: bool, save: str | None = None) -> None:
    """Print a result as tables or JSON on stdout, and what failed on stderr; write it to `save` if given."""
    if save is not None:
        write_text(Path(save), as_text(result))
    if json:
        sys.stdout.write(as_text(result))
        sys.stdout.flush()
    else:
        print_lines(render(result, stdout_width()))
    for each in result.slo:
        if not each.passed:
            print_line(f"smallest: threshold: {threshold_text(each)}")
    if result.exit == INVALID:
        print_line(f"smallest: {_why_invalid(result)}")


def _why_invalid(result: Result) -> str:
    if any(arm.ok for arm in result.arms):
        reasons = result.run.calibration.reasons or [VERDICT_TEXTS["invalid"]]
        return f"invalid run: {'; '.join(reasons)}"
    return "every trial failed" if any(arm.n for arm in result.arms) else "no trial was made"


def exit_with(code: int) -> None:
    """Exit with a code other than 0."""
    if code:
        raise typer.Exit(code)


@grouped
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="File of --save or --jsonl: before.")],
    second: Annotated[str, typer.Argument(metavar="B", help="File of --save or --jsonl: after.")],
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="LIST",
            help=f"Metrics: {', '.join(SAMPLED)}. [default: ttfb; ttfb_e2e of an open loop]",
        ),
    ] = None,
    min_effect: Annotated[
        float,
        typer.Option(
            "--min-effect",
            metavar="PERCENT",
            min=0,
            help="Smallest significant change; never less than 1 ms.",
        ),
    ] = 5.0,
    force: Annotated[bool, typer.Option("--force", help="Compare runs with different conditions.")] = False,
    json: JSON = False,
) -> None:
    """Compare two runs: is B faster, slower, equivalent, or inconclusive?

    Exit codes: 21 B is slower somewhere or fails more often, 22 a run is invalid or has no successful trial,
    23 inconclusive.
    """
    from smallest_cli.bench.compare import compare_runs

    metrics = [each.strip() for each in metric.split(",")] if metric else []
    if not set(metrics) <= set(SAMPLED):
        raise UsageError(f"--metric takes a list of {', '.join(SAMPLED)}")
    runs = read_result(Path(first)), read_result(Path(second))
    compared = compare_runs(*runs, metrics, min_effect / 100, force=force)
    if json:
        print_json(as_json(compared))
    else:
        print_lines(render_comparison(compared, stdout_width()))
    exit_with(compared.exit)


@grouped
def merge(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files of --jsonl.")],
    jsonl: Annotated[
        str | None, typer.Option("--jsonl", metavar="FILE", help="Write all raw trials.")
    ] = None,
    save: SAVE = None,
    json: JSON = False,
) -> None:
    """Merge runs into one result, exactly, from their raw trials; of one file, recompute its result.

    The runs must have the same conditions. Concurrent runs count as one load.
    """
    from smallest_cli.bench.merge import merge_runs

    _check_outputs(files, jsonl, save)
    run, trials = merge_runs([read_raw(Path(each)) for each in files])
    if jsonl is not None:
        write_text(Path(jsonl), "".join(raw_lines(run, trials)))
    print_result(result := summarise(run, trials), json=json, save=save)
    exit_with(result.exit)


@grouped
def report(
    file: Annotated[str, typer.Argument(metavar="FILE", help="File of --save or --jsonl.")],
    html: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Write HTML; - is stdout.")
    ] = None,
    md: Annotated[
        str | None, typer.Option("--md", metavar="FILE", help="Write Markdown; - is stdout.")
    ] = None,
    csv: Annotated[str | None, typer.Option("--csv", metavar="FILE", help="Write CSV; - is stdout.")] = None,
) -> None:
    """Render a result as HTML, Markdown or CSV. [default: Markdown on stdout]"""
    from smallest_cli.bench.report.export import to_csv, to_markdown

    if html is md is csv is None:
        md = "-"
    if [html, md, csv].count("-") > 1:
        raise UsageError("only one format can be written to stdout")
    _check_outputs([file], html, md, csv)
    result = read_result(Path(file))
    texts = {md: to_markdown(result)} if md else {}
    texts |= {csv: to_csv(result)} if csv else {}
    if html:
        from smallest_cli.bench.report.html import to_html  # Jinja2 is only needed here

        texts[html] = to_html(result)
    for target, text in texts.items():
        if target == "-":
            sys.stdout.write(text)
        else:
            write_text(Path(target), text)


def _check_outputs(read: Sequence[str], *written: str | None) -> None:
    """Raise UsageError if an input would be overwritten, or two outputs are the same file."""
    names = [name for name in written if name and name != "-"]
    check_distinct(names)
    check_not_overwriting(read, names, "it is an input")


def locustfile() -> None:
    """Print the path of our locustfile: locust -f "$(smallest bench locustfile)" --host URL.

    For more streams than one process can run: docs/load.md.
    """
    if not find_spec("locust"):
        raise SettingsError("not installed: locust", hint="pip install 'smallest-cli[locust]'")
    print(Path(__file__).parents[3] / "bench" / "locust" / "locustfile.py")
