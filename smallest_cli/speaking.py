"""One run of speech, which `speak`, `stream` and auditions share: settle, open, play, tell.

Everything that can be wrong without asking the service is found in `settle` and in opening the sinks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from smallest_cli.casting import cast
from smallest_cli.connect import Dialer
from smallest_cli.console import Console, Progress, print_json
from smallest_cli.errors import UsageError
from smallest_cli.options import CaptionOptions, ReportOptions, ServiceOptions, SoundOptions, VoiceOptions
from smallest_cli.pipeline import Spoken, play
from smallest_cli.retry import WAITING_BUDGET_S, Retries
from smallest_cli.safety import safe
from smallest_cli.service import open_service
from smallest_cli.settings import Settings, load_settings
from smallest_cli.sinks import Destination, Sink, choose_destinations, open_sinks, refuse_twice
from smallest_cli.source import Source, head_start, open_source
from smallest_cli.speech import AudioFormat, Event, Silence, SpeechRequest, Transport
from smallest_cli.timeline import MILLISECOND, Timeline

if TYPE_CHECKING:
    from smallest_cli.captions import CaptionPlan, Captions

NOTABLE_WAIT_MS = 200
LONGEST_LEAD_S = 10


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
    plan: CaptionPlan | None = None
    started_ns: int = field(default_factory=time.perf_counter_ns)


@dataclass(frozen=True)
class Told:
    """What a run came to."""

    spoken: Spoken
    timeline: Timeline
    resent: int
    total_ms: float
    cached: int = 0


def settle(
    who: VoiceOptions,
    sound: SoundOptions,
    where: ServiceOptions,
    report: ReportOptions,
    captions: CaptionOptions | None = None,
) -> Run:
    """Settle voice, service and destinations. Raises UsageError and SettingsError."""
    console, settings, template = settle_voice(who, where, report, sound.cache)
    destinations = choose_destinations(
        sound.output or [],
        template.format,
        play=sound.play,
        format=sound.format,
        device=sound.device,
        player=_player(sound, settings),
        lead_s=lead_seconds(sound.lead_silence),
        keep=sound.partial == "keep",
        clobber=sound.clobber,
    )
    if report.json and not report.dry_run and any(each.output == "-" for each in destinations):
        raise UsageError("--json prints on stdout, where the sound goes", hint="use -o FILE")
    if sound.player and all(each.output is not None for each in destinations):
        raise UsageError("--player is for the loudspeaker", hint="add --play")
    plan = _settle_captions(captions or CaptionOptions(), destinations, template, settings, force=who.force)
    template = replace(template, word_timings=plan is not None and plan.timed)
    return Run(settings, template, destinations, sound, where, report, console, plan)


def _player(sound: SoundOptions, settings: Settings) -> str | None:
    """The flag's, else the setting's, which a device that is named stands above."""
    if sound.player is not None and sound.device is not None:
        raise UsageError("--device and --player do not go together", hint="name the device in the command")
    player = sound.player or (None if sound.device else settings.player)
    if player or sound.player is not None:
        from smallest_cli.sinks.player import command_of

        command_of(player or "", settings.sample_rate)
    return player


def lead_seconds(text: str | None) -> float:
    """Seconds out of `0.5`, `0.5s` or `500ms`. Raises UsageError."""
    if text is None:
        return 0.0
    number, per_second = (text[:-2], 1000) if text.endswith("ms") else (text.removesuffix("s"), 1)
    try:
        seconds = float(number) / per_second
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_LEAD_S:
        raise UsageError(f"--lead-silence: {safe(text, 40)} is not a time up to {LONGEST_LEAD_S} s, as 500ms")
    return seconds


def _settle_captions(
    options: CaptionOptions,
    destinations: list[Destination],
    template: SpeechRequest,
    settings: Settings,
    *,
    force: bool,
) -> CaptionPlan | None:
    """What is wanted beside the sound, if anything."""
    if options.cue and not options.subtitles:
        raise UsageError("--cue is for subtitles", hint="add --subtitles FILE")
    if options.subtitles is not None:
        refuse_twice([*(each.output for each in destinations if each.output), options.subtitles])
    if options.follow and all(each.output is not None for each in destinations):
        raise UsageError("--follow shows what is heard", hint="add --play")
    if options.follow and not (sys.stderr and sys.stderr.isatty()):
        raise UsageError("--follow needs a terminal on stderr")
    if options.subtitles is None and not options.follow:
        return None
    from smallest_cli.captions import CaptionPlan, plan_captions  # for those who want any

    plan = CaptionPlan(options.subtitles, by_word=options.cue == "word", follow=options.follow)
    return plan_captions(plan, template, settings, force=force)


def settle_voice(
    who: VoiceOptions, where: ServiceOptions, report: ReportOptions, cache: bool | None = None
) -> tuple[Console, Settings, SpeechRequest]:
    """Settle who speaks and how; the request is without text. Raises UsageError and SettingsError."""
    console = Console(quiet=report.quiet, verbose=report.verbose, debug=report.debug)
    settings = load_settings(asdict(who) | asdict(where) | {"cache": cache})
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


def dial(run: Run) -> Dialer:
    """What opens the connections of a run; its --max-time begins here."""
    settings = run.settings
    return Dialer(
        timeout=settings.timeout,
        max_time=run.where.max_time,
        ca_file=settings.ca_file,
        plain_http=settings.plain_http,
    )


def make_retries(run: Run) -> Retries:
    """What one file or pipe may be asked for again."""
    longest_s = run.where.max_time or WAITING_BUDGET_S
    return Retries(run.settings.retries, tell=run.console.warn, max_wait_s=longest_s)


@dataclass(frozen=True)
class Stage:
    """All that is open during a run."""

    sink: Sink
    source: Source
    timeline: Timeline
    retries: Retries
    captions: Captions | None
    _progress: Progress

    @property
    def transport(self) -> Transport:
        """The way to the service, past the cache."""
        return self.source.transport

    def begin(self, request: SpeechRequest, frame: int) -> None:
        """A segment's sound begins at that frame."""
        if self.captions:
            self.captions.begin(request, frame)

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events; what they tell is kept and shown as they pass."""
        return self._progress.follow(self.timeline.watch(events))

    def ask(self, request: SpeechRequest) -> Iterator[Event]:
        """One segment, once."""
        events = self.watch(self.source.synthesize(request))
        return self.captions.watch(events) if self.captions else events


@contextmanager
def open_stage(run: Run) -> Iterator[Stage]:
    """Connecting while the sinks and the transport are made ready; a bad path costs no request.

    Closed in the other order.
    """
    settings, console = run.settings, run.console
    dialer = dial(run)
    with (
        open_service(settings, run.where.api_key_file, console.warn) as service,
        head_start(settings, service, dialer),
        _captioned(run) as (captions, follow),
        open_sinks(run.destinations, run.template.format) as sink,
        open_source(settings, service, dialer) as source,
        console.progress(run.template.format, shown=not (run.plan and run.plan.follow)) as progress,
    ):
        follow(sink)
        yield Stage(sink, source, Timeline(), make_retries(run), captions, progress)
        if captions:
            captions.ended = True


@contextmanager
def _captioned(run: Run) -> Iterator[tuple[Captions | None, Callable[[Sink], None]]]:
    """What is said and when, if anybody wants it, and who is to hear of the sink."""
    if not run.plan:
        yield None, lambda sink: None
        return
    from smallest_cli.captions import Captions, open_subtitles
    from smallest_cli.following import Follower

    sound, format = run.sound, run.template.format
    captions = Captions(format)
    follower = Follower(captions.passages, format.sample_rate, wanted=run.plan.follow)
    keep = sound.partial == "keep"
    with (
        open_subtitles(run.plan, captions, format, clobber=sound.clobber, keep=keep, warn=run.console.warn),
        follower,
    ):
        yield captions, follower.start


def perform(run: Run, script: Iterable[SpeechRequest | Silence]) -> Told:
    """Say a whole script."""
    with open_stage(run) as stage:
        spoken = play(
            script, stage.ask, stage.sink, run.template.format,
            ahead_s=run.sound.ahead, begin=stage.begin, again=stage.retries.over,
        )  # fmt: skip
    return sum_up(run, stage, spoken)


def sum_up(run: Run, stage: Stage, spoken: Spoken) -> Told:
    """What a run came to, when all is closed."""
    total_ms = (time.perf_counter_ns() - run.started_ns) / MILLISECOND
    return Told(spoken, stage.timeline, stage.retries.resent, total_ms, stage.source.hits)


def tell(run: Run, told: Told) -> None:
    """How it went: a line, more of them where --verbose asks, or the object of --json."""
    if run.report.json:
        print_json(_as_json(run, told))
    for line in _details(run, told):
        run.console.detail(line)
    spoken = told.spoken
    resent = f" ({told.resent} sent again)" if told.resent else ""
    cached = f"  {told.cached} cached" if told.cached else ""
    segments = f"  {spoken.segments} segments" if spoken.segments > 1 else ""
    run.console.tell(
        f"{', '.join(each.name for each in run.destinations)}  {spoken.seconds:.1f} s  "
        f"first audio {_first_audio(told)}  total {told.total_ms / 1000:.2f} s"
        f"{segments}{cached}  {spoken.characters} characters{resent}"
    )


def _first_audio(told: Told, digits: int = 0) -> str:
    if told.timeline.begins_cached:
        return "cached"
    return f"{told.timeline.ttfb_ms or 0:.{digits}f} ms"


def _details(run: Run, told: Told) -> Iterator[str]:
    timeline, spoken = told.timeline, told.spoken
    if phases := timeline.phases:
        steps = {"dns": phases.dns, "tcp": phases.tcp, "tls": phases.tls, "upgrade": phases.upgrade}
        yield "connection  " + "  ".join(f"{name} {ns / MILLISECOND:.1f} ms" for name, ns in steps.items())
    yield (
        f"audio  first {_first_audio(told, 1)}"
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
        "ttfb_ms": None if told.timeline.begins_cached else round(told.timeline.ttfb_ms or 0.0, 3),
        "total_ms": round(told.total_ms, 3),
        "characters": told.spoken.characters,
        "characters_resent": told.resent,
        "segments": told.spoken.segments,
        "cached": told.cached,
        "request_ids": told.spoken.request_ids,
        "transport": run.settings.via,
        "voice": run.template.voice,
        "model": run.template.model,
    }
