"""Option groups of `smallest bench`."""

from typing import Literal

from smallest_cli.bench.plan import BUFFERS, Arrival
from smallest_cli.cli.option_groups import Options, option
from smallest_cli.cli.options import ReportOptions, ServiceOptions, VoiceOptions


class LoadOptions(Options, group="Measurement"):
    """Number of trials, transports, concurrency and rate."""

    count: int | None = option("-n, --count N", "Trials per arm. [default: 30]", min=1, max=1_000_000)
    duration: float | None = option("-d, --duration SECONDS", "Measure for SECONDS instead.", min=0.1)
    concurrency: list[str] | None = option(
        "-c, --concurrency LIST", "Maximum trials in flight; several: a sweep. [default: 1; 5 with --rate]"
    )
    rate: float | None = option("--rate N", "Start N per second regardless of completions.", min=0.001)
    arrival: Arrival = option("--arrival", "Arrival process of --rate.", "poisson", advanced=True)
    transport: list[str] | None = option("--transport LIST", "List of ws, sse, http. [default: all]")
    conn: list[str] | None = option("--conn LIST", "List of warm, cold. [default: both]")
    warmup: int = option("--warmup N", "Uncounted uses of each connection.", 1, min=0, max=1000)
    cancel_after: float | None = option(
        "--cancel-after MS", "Cancel each trial MS after its first audio (barge-in).", min=0, advanced=True
    )
    seed: int | None = option("--seed N", "Seed of order and arrivals.", min=0, advanced=True)


class CorpusOptions(Options, group="Text"):
    """The texts to speak."""

    text: list[str] | None = option("--text TEXT", "Speak TEXT (repeatable).")
    file: list[str] | None = option("-f, --file FILE", "Read FILE (repeatable); - is stdin.")
    corpus: Literal["short", "mixed", "long"] = option(
        "--corpus", "Built-in texts, if none is given.", "short"
    )


class OutcomeOptions(Options, group="Results"):
    """Thresholds, files and limits."""

    buffer: list[str] | None = option(
        "--buffer LIST",
        f"Prebuffers of the simulated player, in ms; ttfa uses the first. [default: {BUFFERS}]",
        advanced=True,
    )
    slo: list[str] | None = option(
        "--slo EXPR",
        "Threshold (repeatable); exit 20 if missed, 23 if too few trials: [ARM:]METRIC.STATISTIC<LIMIT, "
        "e.g. ttfb.p95<300ms, ws/warm:ttfa.mean<0.5s, error_rate<1%, smooth@100>=99%. Statistics: p50, p90, "
        "p95, p99, p99.9, mean, min, max. Units: ms, s, %.",
    )
    save: str | None = option("--save FILE", "Write the result as JSON.")
    jsonl: str | None = option("--jsonl FILE", "Write every raw trial.")
    save_audio: str | None = option("--save-audio DIR", "Write the audio of every trial.")
    check: str | None = option(
        "--check CMD",
        "Run CMD for the audio of every trial: the last number that it prints is the metric check. "
        "{wav} and {text_file} are replaced.",
    )
    max_chars: int | None = option(
        "--max-chars N",
        "Maximum characters to send; 0 = unlimited. [default: 20000]",
        min=0,
        group="Measurement",
    )
    yes: bool = option("--yes", "Do not ask for confirmation.", False, group="Output")
    calibrate: bool = option(
        "--calibrate/--no-calibrate", "Self-test on the offline server first.", True, advanced=True
    )


class ComparedVoiceOptions(VoiceOptions):
    """The voices and models to compare."""

    voice: list[str] | None = option(  # type: ignore[assignment]
        "-v, --voice, --voice-id LIST", "Voice ids or names to compare; ? lists the voices."
    )
    model: list[str] | None = option(  # type: ignore[assignment]
        "-m, --model LIST", "Models to compare. [default: each voice's model]"
    )


class MeasuredServiceOptions(ServiceOptions):
    """The services to compare. A trial may use any transport and is never retried."""

    base_url: list[str] | None = option(  # type: ignore[assignment]
        "--base-url URL", "Service URL (repeatable). [default: https://api.smallest.ai]", advanced=True
    )
    api: list[str] | None = option(  # type: ignore[assignment]
        "--api LIST", "APIs: unified, v3.1, v2. [default: unified]", advanced=True
    )
    via: str | None = option(
        "--via TRANSPORT", "Same as --transport with one entry; auto: all.", advanced=True
    )
    retries: int | None = option("--retries N", "Only 0: a failed trial is a result.", advanced=True)


class BenchReportOptions(ReportOptions):
    """Messages of a run."""

    verbose: bool = option("--verbose", "Print every metric of each arm.", False)
