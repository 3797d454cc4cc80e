"""`smallest bench compare | merge | report | locustfile`: evaluate saved runs. No network."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from smallest_cli.audio.destinations import check_distinct
from smallest_cli.bench.report.format import VERDICT_TEXTS, overall_text, thresholds
from smallest_cli.bench.report.terminal import render, render_comparison
from smallest_cli.bench.results import INVALID, summarise
from smallest_cli.bench.schema import SAMPLED, Result, as_json
from smallest_cli.bench.storage import as_text, raw_lines, read_raw, read_result, write_text
from smallest_cli.cli.commands.bench.display import PLAIN_WIDTH, print_lines, stdout_width
from smallest_cli.cli.console import RED, print_json, print_line
from smallest_cli.cli.option_groups import Options, grouped, option
from smallest_cli.cli.options import JSON_HELP
from smallest_cli.cli.run_config import check_not_overwriting
from smallest_cli.errors import SettingsError, UsageError
from smallest_cli.extras import LOCUST, install_command, is_installed
from smallest_cli.security import printable


def print_result(result: Result, *, json: bool, verbose: bool = False) -> None:
    """Print a result as tables or JSON on stdout, and failures on stderr."""
    if json:
        sys.stdout.write(as_text(result))
        sys.stdout.flush()
    else:
        print_lines(render(result, stdout_width(), verbose=verbose))
    for text, outcome in thresholds(result):
        if outcome != "pass":
            print_line(f"smallest: threshold: {text}", RED)
    if result.exit == INVALID and any(arm.ok for arm in result.arms):
        reasons = result.run.calibration.reasons or [VERDICT_TEXTS["invalid"]]
        print_line(f"smallest: invalid run: {'; '.join(reasons)}", RED)
    elif result.exit == INVALID:
        failed = any(arm.n for arm in result.arms)
        print_line(f"smallest: {'every trial failed' if failed else 'no trial was made'}", RED)


def exit_with(code: int) -> None:
    """Exit with a code other than 0."""
    if code:
        raise typer.Exit(code)


class CompareOptions(Options):
    """How two runs are compared."""

    metric: str | None = option(
        "--metric LIST", f"Metrics: {', '.join(SAMPLED)}. [default: ttfb; ttfb_e2e of an open loop]"
    )
    min_effect: float = option(
        "--min-effect PERCENT", "Smallest change that matters; never less than 1 ms.", 2.0, min=0
    )
    force: bool = option("--force", "Compare different conditions, and judge by suspect runs.", False)
    format: Literal["text", "html", "md"] = option("--format", "Format of the comparison.", "text")
    output: str | None = option("-o, --output FILE", "Write to FILE; - is stdout.")
    json: bool = option("--json", JSON_HELP, False)


@grouped
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="File of --save or --jsonl: before.")],
    second: Annotated[str, typer.Argument(metavar="B", help="File of --save or --jsonl: after.")],
    options: CompareOptions,
) -> None:
    """Compare two runs: is B faster, slower, equivalent, or inconclusive?

    Exit codes: 21 B is slower somewhere or fails more often, 22 a run is invalid or has no successful trial,
    23 inconclusive, e.g. too few trials or a suspect run.
    """
    from smallest_cli.bench.compare import compare_runs
    from smallest_cli.bench.report.export import comparison_to_markdown

    metrics = [each.strip() for each in options.metric.split(",")] if options.metric else []
    if not set(metrics) <= set(SAMPLED):
        raise UsageError(f"--metric takes a list of {', '.join(SAMPLED)}")
    file = None if options.output in (None, "-") else options.output
    if options.json and options.format != "text" and file is None:
        raise UsageError(
            "only one format can be written to stdout", hint=f"write {options.format} with -o FILE"
        )
    _check_outputs([first, second], file)
    a, b = read_result(Path(first)), read_result(Path(second))
    compared = compare_runs(a, b, metrics, options.min_effect / 100, force=options.force)
    text = ""
    if options.format == "html":
        from smallest_cli.bench.report.html import comparison_to_html  # imports Jinja2

        text = comparison_to_html(compared, a, b)
    elif options.format == "md":
        text = comparison_to_markdown(compared, a, b)
    elif file is not None:
        text = "".join(f"{printable(line)}\n" for _, line in render_comparison(compared, PLAIN_WIDTH))
    if file is not None:
        write_text(Path(file), text)
        if compared.exit:
            print_line(f"smallest: {overall_text(compared)}")
    if options.json:
        print_json(as_json(compared))
    elif file is None and text:
        sys.stdout.write(text)
    elif file is None:
        print_lines(render_comparison(compared, stdout_width()))
    exit_with(compared.exit)


class MergeOptions(Options):
    """Where a merged run is written."""

    jsonl: str | None = option("--jsonl FILE", "Write all raw trials.")
    save: str | None = option("--save FILE", "Write the result as JSON.")
    json: bool = option("--json", JSON_HELP, False)
    verbose: bool = option("--verbose", "Print every metric of each arm.", False)


@grouped
def merge(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files of --jsonl.")],
    options: MergeOptions,
) -> None:
    """Merge runs into one result, exactly, from their raw trials; of one file, recompute its result.

    The runs must have the same conditions. Concurrent runs count as one load.
    """
    from smallest_cli.bench.merge import merge_runs

    _check_outputs(files, options.jsonl, options.save)
    run, trials = merge_runs([read_raw(Path(each)) for each in files])
    result = summarise(run, trials)
    if options.jsonl is not None:
        write_text(Path(options.jsonl), "".join(raw_lines(run, trials)))
    if options.save is not None:
        write_text(Path(options.save), as_text(result))
    print_result(result, json=options.json, verbose=options.verbose)
    exit_with(result.exit)


Format = Literal["html", "md", "csv", "junit", "github", "openmetrics", "benchmark-action"]
SUFFIXES: dict[str, Format] = {".html": "html", ".csv": "csv", ".xml": "junit", ".prom": "openmetrics"}
SUFFIXES |= {"": "md", ".md": "md"}


class FormatOptions(Options):
    """In which formats a result is written."""

    format: Format | None = option(
        "--format FORMAT",
        "html, md, csv, junit, github, openmetrics or benchmark-action. [default: by -o, else md]",
    )
    output: list[str] | None = option("-o, --output FILE", "Write to FILE (repeatable). [default: stdout]")


@grouped
def report(
    file: Annotated[str, typer.Argument(metavar="FILE", help="File of --save or --jsonl.")],
    formats: FormatOptions,
) -> None:
    """Render a result for readers, CI services or monitoring.

    junit is XML for CI services, github are annotations of GitHub Actions, openmetrics is for Prometheus,
    benchmark-action for github-action-benchmark (customSmallerIsBetter).
    """
    names = formats.output or ["-"]
    if formats.format and len(names) > 1:
        raise UsageError("--format is for one file", hint="with several, their extensions decide")
    kinds = {name: formats.format or SUFFIXES.get(Path(name).suffix.lower()) for name in names}
    _check_outputs([file], *names)
    renderers = {name: _renderer(name, kind) for name, kind in kinds.items()}
    result = read_result(Path(file))
    rendered = {name: render(result) for name, render in renderers.items()}
    for name, text in rendered.items():
        if name == "-":
            sys.stdout.buffer.write(text.encode())  # as in a file: some formats declare UTF-8
            sys.stdout.flush()
        else:
            write_text(Path(name), text)


def _renderer(name: str, kind: Format | None) -> Callable[[Result], str]:
    """Import what renders the format of a file. Raises UsageError if it has none."""
    if kind is None:
        raise UsageError(f"unknown format: {printable(name)}", hint="add --format")
    if kind == "html":
        from smallest_cli.bench.report.html import to_html  # imports Jinja2

        return to_html
    from smallest_cli.bench.report import ci, export

    return {
        "md": export.to_markdown,
        "csv": export.to_csv,
        "junit": ci.to_junit,
        "github": ci.to_github,
        "openmetrics": ci.to_openmetrics,
        "benchmark-action": ci.to_benchmark_action,
    }[kind]


def _check_outputs(read: Sequence[str], *written: str | None) -> None:
    """Raise UsageError if an input would be overwritten, or two outputs are the same file."""
    names = [name for name in written if name and name != "-"]
    check_distinct(names)
    check_not_overwriting(read, names, "it is an input")


def locustfile() -> None:
    """Print the path of our locustfile: locust -f "$(smallest bench locustfile)" --host URL.

    For more streams than one process can run: docs/load.md.
    """
    if not is_installed(LOCUST):
        raise SettingsError("not installed: locust", hint=install_command(*LOCUST.values()))
    print(Path(__file__).parents[3] / "bench" / "locust" / "locustfile.py")
