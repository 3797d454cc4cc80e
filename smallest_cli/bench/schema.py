"""The types of results (`--save`) and of run records (`--jsonl`), as msgspec decodes and encodes them.

Decoding validates files, so that other code can rely on every field: msgspec rejects values of the wrong
type or out of range, and ignores unknown fields. A field that is UNSET is left
out of the JSON. Cross-field rules are in `storage`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field, to_builtins

from smallest_cli.models import Api, Via

SCHEMA: Literal["smallest.bench/2"] = "smallest.bench/2"
RAW_SCHEMA = "smallest.bench.raw/2"
Conn = Literal["warm", "cold"]
VERDICTS = ("ok", "suspect", "invalid")
Verdict = Literal["ok", "suspect", "invalid"]
Unit = Literal["ms", "s", "x", "count", "dBFS"]
ONSET = {"db": -40.0, "win_ms": 10, "hop_ms": 1, "min_ms": 50}  # when audio is audible, see `onset`
MAX = 10**18  # larger than any number that bench writes; as nanoseconds, 31 years

Integer = Annotated[int, Meta(ge=-MAX, le=MAX)]
Count = Annotated[int, Meta(ge=0, le=MAX)]
Positive = Annotated[int, Meta(ge=1, le=MAX)]
Number = Annotated[float, Meta(ge=-1e18, le=1e18)]
NonNegative = Annotated[float, Meta(ge=0, le=1e18)]
Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]{1,40}\Z")]

ArmId = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)*\Z", max_length=400)]
"""The id of an arm, e.g. `ws/warm/c1/meher`. It is built by `plan.make_arms`, and never parsed."""


class Arm(Struct, kw_only=True, frozen=True):
    """One of the variants that a run compares.

    `concurrency` is the number of trials in flight, `rate` that of trials per second in an open loop. A field
    that is UNSET is the same for all arms: it is in `request` or `target` of the run.
    """

    id: ArmId
    via: Via
    conn: Conn
    concurrency: Count
    rate: NonNegative | None = None
    voice: str | UnsetType = UNSET
    model: str | UnsetType | None = UNSET
    api: Api | UnsetType = UNSET
    base_url: str | UnsetType = UNSET

    @property
    def labels(self) -> set[str]:
        """The words that select this arm."""
        named = (self.voice, self.model, self.api)
        return {*self.id.split("/"), *(each for each in named if isinstance(each, str))}


class Metric(Struct, frozen=True):
    """A metric's unit, and its start and stop events."""

    unit: Unit
    starts: str
    stops: str


class Waveform(Struct, frozen=True):
    """The audio of a trial up to its cancellation. Levels in dBFS: a square wave of full scale has 0."""

    end: Count  # number of the frame after the last audible one
    clipped: Count  # samples at full scale: -32768, -32767 and 32767
    dc: Number  # level of the DC offset, at least -100
    rms: Number  # level between the first and the last audible sample, without DC offset


class Cancellation(Struct, frozen=True):
    """How a trial was cancelled. Times in nanoseconds since the request was sent."""

    at_ns: Count
    last_byte_ns: Count  # the last byte received; `at_ns` if none came after it
    frames: Count  # received after it


class Load(Struct):
    """How trials were started. `rate` is in trials per second; None in a closed loop.

    `concurrency` is the highest of `levels`, which a sweep has.
    """

    model: Literal["open", "closed"]
    concurrency: Count
    rate: NonNegative | None = None
    arrival: str | None = None
    count: Count | None = None
    seconds: NonNegative | None = None
    warmups: Count = 0
    engine: str | UnsetType = UNSET  # load generator, if not bench itself
    levels: list[Count] | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.model == "open" and (self.rate is None or self.arrival is None):
            raise ValueError("Expected an open loop to have a rate and an arrival")


class Target(Struct):
    """The service. What differs between arms is a list of all values in one string."""

    base_url: str
    api: str


class Delays(Struct):
    """Summary of `n` delays, in ms."""

    p50: Number
    p99: Number
    max: Number
    n: Count


class Calibration(Struct, kw_only=True):
    """Validity of a run: the verdict and the measurements behind it."""

    verdict: Verdict
    reasons: list[str]
    lag_ms: Delays | None  # scheduler delay: how late a thread was woken
    floor_ms: Delays | None  # measurement error against the timestamps of the offline server
    tolerated_ms: Number = 0.0
    clock_drift_s: Number = 0.0
    begun_late_ms: Delays | UnsetType = UNSET
    stamped_ms: Delays | UnsetType = UNSET  # scheduler delay around the trials' own timestamps


class Definitions(Struct, kw_only=True):
    """How the figures are computed."""

    metrics: dict[Name, Metric]
    onset: dict[str, int | float] = {}
    quantile: str = "nearest-rank"
    ci: str = "order-statistic"
    confidence: float = 0.95
    version: int = 1


class Conditions(Struct, kw_only=True):
    """What was requested, from which service and client. Contains neither key nor text.

    `request`, `texts` and `client` are plain mappings: they are only compared and shown, and unknown fields
    of a newer file must take part in a comparison.
    """

    seed: Integer
    arms: list[Arm]
    load: Load
    target: Target
    request: dict[str, Any]
    texts: dict[str, Any]
    client: dict[str, Any] = {}
    defs: Definitions
    buffers_ms: Annotated[list[NonNegative], Meta(min_length=1)]
    slo: list[str]

    def __post_init__(self) -> None:
        for name in ("voice", "model"):
            if not isinstance(self.request.get(name, 0), str | None):
                raise ValueError(f"Expected `str | null` in `request.{name}`")
        rate = self.request.get("sample_rate")
        if type(rate) is not int or not 1 <= rate <= MAX:
            raise ValueError("Expected `int` >= 1 in `request.sample_rate`")


class Window(Struct, kw_only=True):
    """The measured window, from the first start to the last end."""

    seconds: NonNegative
    trials: Count
    characters: Count
    trials_per_s: NonNegative | UnsetType = UNSET
    audio_s_per_s: NonNegative | UnsetType = UNSET
    characters_per_s: NonNegative | UnsetType = UNSET


class WorkerSummary(Struct):
    """Summary of one process of a distributed run."""

    id: str
    state: str
    trials: Count
    ok: Count
    calibration: Calibration


class Run(Conditions, kw_only=True):
    """A run without its trials."""

    id: str
    started_utc: str
    interrupted: bool
    complete: bool
    calibration: Calibration
    cut_short: str | None = None  # the option that ended the run early
    origin_ns: Integer = 0
    window: Window | UnsetType = UNSET
    merged: list[str] | UnsetType = UNSET  # ids of the runs that were merged into this one
    part_of: str | UnsetType = UNSET
    workers: list[WorkerSummary] | UnsetType = UNSET


class Estimate(Struct):
    """A figure with its confidence interval; an open bound is None."""

    v: Number
    lo: Number | None
    hi: Number | None
    why: str | UnsetType = UNSET  # why a bound is open


class MetricSummary(Struct, kw_only=True):
    """A metric over the trials of an arm, in its own unit."""

    unit: Unit
    n: Positive
    mean: Number
    min: Number
    max: Number
    mad: Number
    outliers: Count
    mean_without_outliers: Number
    p50: Estimate
    p90: Estimate
    p95: Estimate
    p99: Estimate
    p99_9: Estimate = field(name="p99.9")
    at_least: list[str] | UnsetType = UNSET
    """Statistics that are lower bounds, because some trials timed out."""
    digits: int | UnsetType = UNSET  # significant digits, if the values are from a histogram

    def quantile(self, name: str) -> Estimate:
        """Return the quantile p50, p90, p95, p99 or p99.9."""
        found: Estimate = getattr(self, name.replace(".", "_"))
        return found

    def is_bound(self, statistic: str) -> bool:
        """Whether the statistic is a lower bound."""
        return statistic in (self.at_least or ())


class PlayerSummary(Struct):
    """Results of a simulated player with one prebuffer."""

    buffer_ms: NonNegative
    smooth: NonNegative  # share of trials without a stall
    ttfa_p50: Number | None
    stalls_mean: NonNegative
    stall_total_p95: NonNegative
    stall_max: NonNegative


class Samples(Struct):
    """Single values in the metric's unit, one per successful trial; UNSET for one that no trial has."""

    trial: list[Integer] = []
    text: list[str] = []
    ttfb: list[NonNegative | None] | UnsetType = UNSET
    ttfb_cold: list[NonNegative | None] | UnsetType = UNSET
    ttfb_e2e: list[NonNegative | None] | UnsetType = UNSET
    ttfa: list[NonNegative | None] | UnsetType = UNSET
    min_safe_buffer: list[NonNegative | None] | UnsetType = UNSET
    last_audio: list[NonNegative | None] | UnsetType = UNSET
    lead_silence: list[NonNegative | None] | UnsetType = UNSET
    trail_silence: list[NonNegative | None] | UnsetType = UNSET
    s_per_char: list[NonNegative | None] | UnsetType = UNSET
    clipped: list[NonNegative | None] | UnsetType = UNSET
    rms: list[Number | None] | UnsetType = UNSET
    dc: list[Number | None] | UnsetType = UNSET
    cancel: list[NonNegative | None] | UnsetType = UNSET
    audio_after_cancel: list[NonNegative | None] | UnsetType = UNSET
    check: list[Number | None] | UnsetType = UNSET

    def of(self, metric: str) -> list[float]:
        """Return the values of a metric in `SAMPLED`."""
        return [value for value in getattr(self, metric) or [] if value is not None]


SAMPLED = Samples.__struct_fields__[2:]  # the metrics whose single values are in a result


class Timeline(Struct, kw_only=True):
    """A trial as spans in ms: connecting, waiting, and each arrival with the length of its audio."""

    trial: Integer
    text: str = ""
    connect: dict[Literal["dns", "tcp", "tls", "upgrade"], NonNegative]
    ttfb: NonNegative
    last_audio: NonNegative
    complete: NonNegative | None
    arrivals: Annotated[list[tuple[NonNegative, NonNegative]], Meta(min_length=1)]


class ArmResult(Arm, kw_only=True, frozen=True):
    """An arm and its trials."""

    n: Count
    ok: Count
    errors: dict[Name, Positive]
    error_rate: NonNegative
    messages: dict[Name, str]
    streaming: bool
    reopened: Count
    slow_sends: Count = 0  # trials whose request took long to be written
    checks_failed: Count | UnsetType = UNSET
    check_message: str | UnsetType = UNSET  # why the first of them failed
    first_is_outlier: bool | UnsetType = UNSET
    metrics: dict[Name, MetricSummary]
    player: list[PlayerSummary]
    samples: Samples
    drawn: dict[str, Timeline]


class ThresholdResult(Struct, kw_only=True):
    """A threshold, evaluated on one arm. `value` is None if the arm has no such figure."""

    expr: str
    arm: str
    value: Number | None
    unit: Literal["share"] | Unit = "x"
    ci: tuple[Number | None, Number | None] | None
    passed: bool = field(name="pass")
    inconclusive: bool = False  # not passed, because the trials are too few to tell
    confident: bool  # whether the complete interval is on the same side of the limit
    at_least: bool = False
    why: str | None = None


class Warmups(Struct):
    n: Count
    errors: dict[str, Count]


class SweepLevel(Struct, kw_only=True):
    """An arm of a sweep. Throughput is that of its own trials, with `concurrency` of them in flight."""

    arm: ArmId
    concurrency: Positive
    trials_per_s: Estimate  # successful ones
    audio_s_per_s: NonNegative
    ttfb_p95: Estimate | None  # in ms; None without a successful trial


class Sweep(Struct, kw_only=True):
    """The arms that differ in concurrency only, and the last level before saturation, if that was reached.

    `why` explains `knee`.
    """

    levels: Annotated[list[SweepLevel], Meta(min_length=2)]
    knee: Positive | None
    why: str


class Result(Struct, kw_only=True):
    """The object that `--json` prints and that every report is rendered from."""

    schema: Literal["smallest.bench/2"] = SCHEMA
    run: Run
    arms: list[ArmResult]
    slo: list[ThresholdResult]
    warmups: Warmups
    exit: Annotated[int, Meta(ge=0, le=255)]
    sweep: list[Sweep] | UnsetType = UNSET


def as_json(value: object) -> Any:
    """Convert to plain dicts, lists, strings and numbers."""
    return to_builtins(value)
