"""One run of speech, which `speak`, `stream` and auditions share: settle, open, play, tell.

Everything that can be wrong without asking the service is found in `settle` and in opening the sinks.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from smallest_cli.casting import cast
from smallest_cli.connect import Dialer, parse_base_url
from smallest_cli.console import Console, Progress, print_json
from smallest_cli.errors import UsageError
from smallest_cli.options import ReportOptions, ServiceOptions, SoundOptions, VoiceOptions
from smallest_cli.pipeline import Spoken, play
from smallest_cli.retry import Retries
from smallest_cli.service import open_service
from smallest_cli.settings import Settings, load_settings
from smallest_cli.sinks import Destination, Sink, choose_destinations, open_sinks
from smallest_cli.speech import AudioFormat, Event, Silence, SpeechRequest, Transport
from smallest_cli.timeline import MILLISECOND, Timeline
from smallest_cli.transports import open_transport

NOTABLE_WAIT_MS = 200


@dataclass(frozen=True)
class Run:
    """What is settled before anything is opened. `template` is every segment's request, but for its text."""

    settings: Settings
    template: SpeechRequest
    destinations: list[Destination]
    sound: SoundOptions
    where: ServiceOptions
    report: ReportOptions
    console: Console
    started_ns: int = field(default_factory=time.perf_counter_ns)


@dataclass(frozen=True)
class Told:
    """What a run came to."""

    spoken: Spoken
    timeline: Timeline
    resent: int
    total_ms: float


def settle(who: VoiceOptions, sound: SoundOptions, where: ServiceOptions, report: ReportOptions) -> Run:
    """Settle voice, service and destinations. Raises UsageError and SettingsError."""
    console, settings, template = settle_voice(who, where, report)
    destinations = choose_destinations(
        sound.output or [],
        template.format,
        play=sound.play,
        format=sound.format,
        device=sound.device,
        keep=sound.partial == "keep",
        clobber=sound.clobber,
    )
    if report.json and not report.dry_run and any(each.output == "-" for each in destinations):
        raise UsageError("--json prints on stdout, where the sound goes", hint="use -o FILE")
    return Run(settings, template, destinations, sound, where, report, console)


def settle_voice(
    who: VoiceOptions, where: ServiceOptions, report: ReportOptions
) -> tuple[Console, Settings, SpeechRequest]:
    """Settle who speaks and how; the request is without text. Raises UsageError and SettingsError."""
    console = Console(quiet=report.quiet, verbose=report.verbose, debug=report.debug)
    settings = load_settings(asdict(who) | asdict(where))
    chosen = cast(settings.voice, settings.model, settings.api, base_url=settings.base_url, force=who.force)
    for warning in (*settings.warnings, *chosen.warnings):
        console.warn(warning)
    for name, source in settings.sources.items():
        console.debug(f"{name} = {getattr(settings, name)} from {source}")
    template = SpeechRequest(
        text="",
        voice=chosen.voice,
        model=chosen.model,
        language=settings.language,
        speed=settings.speed,
        format=AudioFormat(settings.sample_rate),
        number_language=who.number_language,
        math_notation=who.math_notation,
        dictionaries=tuple(who.dictionary or ()),
        completion_wait_ms=settings.completion_wait,
        **_older(who, settings.api),
    )
    return console, settings, template


def _older(who: VoiceOptions, api: str) -> dict[str, Any]:
    """The fields that the v2 API alone has (waves/api.md, 2b)."""
    given = {name: getattr(who, name) for name in ("consistency", "similarity", "enhancement")}
    for name, value in given.items():
        most = 2 if name == "enhancement" else 1
        if value is not None and api != "v2":
            raise UsageError(f"--{name} is for --api v2 alone")
        if value is not None and not 0 <= value <= most:
            raise UsageError(f"--{name}: {value:g} is not from 0 to {most}")
    return given


@dataclass(frozen=True)
class Stage:
    """All that is open during a run."""

    sink: Sink
    transport: Transport
    timeline: Timeline
    retries: Retries
    _progress: Progress

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events; what they tell is kept and shown as they pass."""
        return self._progress.follow(self.timeline.watch(events))

    def ask(self, request: SpeechRequest) -> Iterator[Event]:
        """One segment, asked for again where that may help."""
        return self.watch(self.retries.over(request, self.transport.synthesize))


@contextmanager
def open_stage(run: Run) -> Iterator[Stage]:
    """Connecting while the sinks and the transport are made ready; a bad path costs no request.

    Closed in the other order.
    """
    settings, console = run.settings, run.console
    dialer = Dialer(
        timeout=settings.timeout,
        max_time=run.where.max_time,
        ca_file=settings.ca_file,
        plain_http=settings.plain_http,
    )
    with (
        open_service(settings, run.where.api_key_file, console.warn) as service,
        dialer.head_start(parse_base_url(service.base_url)),
        open_sinks(run.destinations, run.template.format) as sink,
        open_transport(settings.via, service, dialer) as transport,
        console.progress(run.template.format) as progress,
    ):
        yield Stage(sink, transport, Timeline(), Retries(settings.retries, tell=console.warn), progress)


def perform(run: Run, script: Iterable[SpeechRequest | Silence]) -> Told:
    """Say a whole script."""
    with open_stage(run) as stage:
        spoken = play(script, stage.ask, stage.sink, run.template.format, ahead_s=run.sound.ahead)
    return sum_up(run, stage, spoken)


def sum_up(run: Run, stage: Stage, spoken: Spoken) -> Told:
    """What a run came to, when all is closed."""
    total_ms = (time.perf_counter_ns() - run.started_ns) / MILLISECOND
    return Told(spoken, stage.timeline, stage.retries.resent, total_ms)


def tell(run: Run, told: Told) -> None:
    """How it went: a line, more of them where --verbose asks, or the object of --json."""
    if run.report.json:
        print_json(_as_json(run, told))
    for line in _details(run, told):
        run.console.detail(line)
    spoken = told.spoken
    resent = f" ({told.resent} sent again)" if told.resent else ""
    segments = f"  {spoken.segments} segments" if spoken.segments > 1 else ""
    run.console.tell(
        f"{', '.join(each.name for each in run.destinations)}  {spoken.seconds:.1f} s  "
        f"first audio {told.timeline.ttfb_ms or 0:.0f} ms  total {told.total_ms / 1000:.2f} s"
        f"{segments}  {spoken.characters} characters{resent}"
    )


def _details(run: Run, told: Told) -> Iterator[str]:
    timeline, spoken = told.timeline, told.spoken
    if phases := timeline.phases:
        steps = {"dns": phases.dns, "tcp": phases.tcp, "tls": phases.tls, "upgrade": phases.upgrade}
        yield "connection  " + "  ".join(f"{name} {ns / MILLISECOND:.1f} ms" for name, ns in steps.items())
    yield (
        f"audio  first {timeline.ttfb_ms or 0:.1f} ms"
        f"  longest gap {timeline.longest_gap_ns / MILLISECOND:.1f} ms"
        f"  real-time factor {timeline.real_time_factor(spoken.seconds):.3f}"
    )
    if (wait_ms := timeline.longest_tail_ns / MILLISECOND) >= NOTABLE_WAIT_MS:
        yield (
            f"the service said complete up to {wait_ms / 1000:.1f} s after its last audio;"
            " --completion-wait MS asks for less"
        )
    yield f"voice {run.template.voice}  model {run.template.model}  via {run.settings.via}"


def _as_json(run: Run, told: Told) -> dict[str, Any]:
    names = [each.name for each in run.destinations]
    return {
        "file": names[0] if len(names) == 1 else names,
        "seconds": round(told.spoken.seconds, 6),
        "sample_rate": run.settings.sample_rate,
        "ttfb_ms": round(told.timeline.ttfb_ms or 0.0, 3),
        "total_ms": round(told.total_ms, 3),
        "characters": told.spoken.characters,
        "characters_resent": told.resent,
        "segments": told.spoken.segments,
        "request_ids": told.spoken.request_ids,
        "transport": run.settings.via,
        "voice": run.template.voice,
        "model": run.template.model,
    }
