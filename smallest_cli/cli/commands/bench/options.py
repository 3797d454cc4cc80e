"""The options of `smallest bench`, in groups as in `options`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from smallest_cli.cli.option_groups import Options
from smallest_cli.cli.options import ServiceOptions


class LoadOptions(Options):
    """How many trials, of what, how many at once, and when."""

    count: Annotated[
        int | None,
        typer.Option("-n", "--count", metavar="N", min=1, help="Trials for each arm; the default is 30."),
    ] = None
    duration: Annotated[
        float | None,
        typer.Option("-d", "--duration", metavar="SECONDS", min=0.1, help="Measure for so long instead."),
    ] = None
    concurrency: Annotated[
        int | None,
        typer.Option(
            "-c",
            "--concurrency",
            metavar="N",
            min=1,
            max=1000,
            help="So many at once, at most; the default is 1, with --rate 5.",
        ),
    ] = None
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            metavar="PER_SECOND",
            min=0.001,
            help="An open loop: so many are due, whatever ends; what -c has no room for waits.",
        ),
    ] = None
    arrival: Annotated[
        Literal["poisson", "constant"], typer.Option("--arrival", help="How an open loop's trials come.")
    ] = "poisson"
    transport: Annotated[
        str | None,
        typer.Option("--transport", metavar="LIST", help="Of ws, sse and http; the default is all three."),
    ] = None
    conn: Annotated[str, typer.Option("--conn", metavar="LIST", help="Of warm and cold.")] = "warm,cold"
    warmup: Annotated[
        int, typer.Option("--warmup", metavar="N", min=0, help="Uncounted uses of each connection.")
    ] = 1
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Fixes order and arrivals.")
    ] = None


class CorpusOptions(Options):
    """What is spoken."""

    text: Annotated[
        list[str] | None, typer.Option("--text", metavar="TEXT", help="Speak TEXT (repeatable).")
    ] = None
    file: Annotated[
        list[str] | None,
        typer.Option("-f", "--file", metavar="FILE", help="Read FILE (repeatable); - is stdin."),
    ] = None
    corpus: Annotated[
        Literal["short", "mixed", "long"],
        typer.Option("--corpus", help="Texts of our own, if none is given."),
    ] = "short"


class OutcomeOptions(Options):
    """What becomes of it."""

    buffer: Annotated[
        str,
        typer.Option(
            "--buffer", metavar="LIST", help="Prebuffers of the simulated player, ms; ttfa is of the first."
        ),
    ] = "0,50,100,200"
    slo: Annotated[
        list[str] | None,
        typer.Option(
            "--slo",
            metavar="EXPR",
            help="A threshold (repeatable), missed: exit 20. [ARM:]METRIC.STATISTIC<LIMIT, as ttfb.p95<300ms "
            "or ws/warm:ttfa.mean<0.5s; error_rate<1%; smooth@100>=99% (at 100 ms of --buffer). "
            "Statistics: p50, p90, p95, p99, p99.9, mean, min, max. Units: ms, s, %.",
        ),
    ] = None
    save: Annotated[str | None, typer.Option("--save", metavar="FILE", help="Write what --json prints.")] = (
        None
    )
    jsonl: Annotated[str | None, typer.Option("--jsonl", metavar="FILE", help="Write every trial, raw.")] = (
        None
    )
    save_audio: Annotated[
        str | None, typer.Option("--save-audio", metavar="DIR", help="Write every trial's sound.")
    ] = None
    max_chars: Annotated[
        int | None,
        typer.Option(
            "--max-chars",
            metavar="N",
            min=0,
            help="Never send more, warm-ups too; the default is 20,000, 0 for no bound.",
        ),
    ] = None
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before characters are paid for.")] = False
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate/--no-calibrate", help="Measure this machine first, on the offline server."),
    ] = True


class MeasuredServiceOptions(ServiceOptions):
    """Where the speech comes from. A trial may go over any transport, and is made once."""

    via: Annotated[
        str | None,
        typer.Option("--via", metavar="TRANSPORT", help="As --transport, for one of them; auto is all."),
    ] = None
    retries: Annotated[
        int | None,
        typer.Option("--retries", metavar="N", help="0 alone: a failed trial is a result."),
    ] = None
