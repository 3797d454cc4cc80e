"""Option groups of `smallest bench`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from smallest_cli.bench.plan import BUFFERS
from smallest_cli.cli.option_groups import Options
from smallest_cli.cli.options import ServiceOptions


class LoadOptions(Options):
    """How many trials, over what, how many at once, and when."""

    count: Annotated[
        int | None,
        typer.Option("-n", "--count", metavar="N", min=1, help="Trials per arm. [default: 30]"),
    ] = None
    duration: Annotated[
        float | None,
        typer.Option("-d", "--duration", metavar="SECONDS", min=0.1, help="Measure for SECONDS instead."),
    ] = None
    concurrency: Annotated[
        int | None,
        typer.Option(
            "-c",
            "--concurrency",
            metavar="N",
            min=1,
            max=1000,
            help="Maximum trials in flight. [default: 1; 5 with --rate]",
        ),
    ] = None
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            metavar="N",
            min=0.001,
            help="Start N per second regardless of completions; excess queues.",
        ),
    ] = None
    arrival: Annotated[
        Literal["poisson", "constant"], typer.Option("--arrival", help="Arrival process of --rate.")
    ] = "poisson"
    transport: Annotated[
        str | None,
        typer.Option("--transport", metavar="LIST", help="List of ws, sse, http. [default: all]"),
    ] = None
    conn: Annotated[str, typer.Option("--conn", metavar="LIST", help="List of warm, cold.")] = "warm,cold"
    warmup: Annotated[
        int, typer.Option("--warmup", metavar="N", min=0, help="Uncounted uses of each connection.")
    ] = 1
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Seed of order and arrivals.")
    ] = None


class CorpusOptions(Options):
    """The texts to speak."""

    text: Annotated[
        list[str] | None, typer.Option("--text", metavar="TEXT", help="Speak TEXT (repeatable).")
    ] = None
    file: Annotated[
        list[str] | None,
        typer.Option("-f", "--file", metavar="FILE", help="Read FILE (repeatable); - is stdin."),
    ] = None
    corpus: Annotated[
        Literal["short", "mixed", "long"],
        typer.Option("--corpus", help="Built-in texts, if none is given."),
    ] = "short"


class OutcomeOptions(Options):
    """Thresholds, files and limits."""

    buffer: Annotated[
        str,
        typer.Option(
            "--buffer", metavar="LIST", help="Prebuffers of the simulated player, in ms; ttfa uses the first."
        ),
    ] = BUFFERS
    slo: Annotated[
        list[str] | None,
        typer.Option(
            "--slo",
            metavar="EXPR",
            help="Threshold (repeatable); exit 20 if missed. [ARM:]METRIC.STATISTIC<LIMIT, e.g. "
            "ttfb.p95<300ms, ws/warm:ttfa.mean<0.5s; error_rate<1%; smooth@100>=99% (100 ms of --buffer). "
            "Statistics: p50, p90, p95, p99, p99.9, mean, min, max. Units: ms, s, %.",
        ),
    ] = None
    save: Annotated[str | None, typer.Option("--save", metavar="FILE", help="Write the result as JSON.")] = (
        None
    )
    jsonl: Annotated[str | None, typer.Option("--jsonl", metavar="FILE", help="Write every raw trial.")] = (
        None
    )
    save_audio: Annotated[
        str | None, typer.Option("--save-audio", metavar="DIR", help="Write the audio of every trial.")
    ] = None
    max_chars: Annotated[
        int | None,
        typer.Option(
            "--max-chars",
            metavar="N",
            min=0,
            help="Maximum characters to send, warm-ups included; 0 = unlimited. [default: 20000]",
        ),
    ] = None
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate/--no-calibrate", help="Self-test on the offline server first."),
    ] = True


class MeasuredServiceOptions(ServiceOptions):
    """The service. A trial may use any transport and is never retried."""

    via: Annotated[
        str | None,
        typer.Option("--via", metavar="TRANSPORT", help="Same as --transport with one entry; auto: all."),
    ] = None
    retries: Annotated[
        int | None,
        typer.Option("--retries", metavar="N", help="Only 0: a failed trial is a result."),
    ] = None
