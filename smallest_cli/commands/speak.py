"""`smallest speak`: say a finished text."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from smallest_cli.casting import Cast, cast
from smallest_cli.connect import Dialer
from smallest_cli.console import Console, print_json
from smallest_cli.errors import DeviceError, UsageError
from smallest_cli.options import ReportOptions, ServiceOptions, VoiceOptions, grouped
from smallest_cli.pipeline import Spoken, play
from smallest_cli.reading import read_texts
from smallest_cli.service import open_service
from smallest_cli.settings import Settings, load_settings
from smallest_cli.sinks import choose_coding, open_sink, stdout_kind
from smallest_cli.speech import AudioFormat, Event, SpeechRequest, Transport
from smallest_cli.text import normalise, segments
from smallest_cli.timeline import MILLISECOND, Timeline
from smallest_cli.transports import open_transport

MAX_CHARS = 200_000


@grouped
def speak(
    words: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="The words.")] = None,
    file: Annotated[
        list[str] | None, typer.Option("-f", "--file", metavar="FILE", help="Read FILE; - is stdin.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", "--out", metavar="FILE", help="Write to FILE; - is stdout, raw PCM."),
    ] = None,
    max_chars: Annotated[
        int, typer.Option("--max-chars", metavar="N", help="Refuse a longer text; 0 for no bound.")
    ] = MAX_CHARS,
    force: Annotated[bool, typer.Option("--force", help="Send a voice and a model that clash.")] = False,
    *,
    who: VoiceOptions,
    where: ServiceOptions,
    report: ReportOptions,
) -> None:
    """Say a finished text: into a file or a pipe."""
    started = time.perf_counter_ns()
    console = Console(quiet=report.quiet, verbose=report.verbose)
    settings = load_settings(asdict(who) | asdict(where))
    chosen = cast(settings.voice, settings.model, settings.api, force=force)
    for warning in (*settings.warnings, *chosen.warnings):
        console.warn(warning)
    target, coding = _choose_target(output, json=report.json)
    texts = read_texts(words or [], file or [], max_chars)
    requests = _requests(texts, settings, chosen, console)
    format = AudioFormat(settings.sample_rate)
    dialer = Dialer(timeout=settings.timeout, ca_file=settings.ca_file, plain_http=settings.plain_http)
    timeline = Timeline()
    with (
        open_sink(target, format, coding) as sink,
        open_service(settings, where.api_key_file, console.warn) as service,
        open_transport(settings.via, service, dialer) as transport,
    ):
        events = timeline.watch(_synthesize(requests, transport))
        spoken = play(console.follow(events, format), sink, format)
    total_ms = (time.perf_counter_ns() - started) / MILLISECOND
    _report(console, report, target, spoken, timeline, requests, settings, total_ms)


def _choose_target(output: str | None, *, json: bool) -> tuple[str, str]:
    """Where sound goes when nothing says so, and in which format."""
    kind = stdout_kind()
    if output is None and kind == "terminal":
        raise DeviceError("the loudspeaker is not built yet", hint="use -o FILE, or pipe it")
    target = output or "-"
    if target == "-" and json:
        raise UsageError("--json prints on stdout, where the sound goes", hint="use -o FILE")
    coding = "wav" if output is None and kind == "file" else choose_coding(target)
    return target, coding


def _requests(texts: list[str], settings: Settings, chosen: Cast, console: Console) -> list[SpeechRequest]:
    normalised = normalise("\n\n".join(texts))
    if normalised.removed:
        console.warn(f"{normalised.removed} control characters were left out of the text")
    pieces = [piece for paragraph in normalised.paragraphs for piece in segments(paragraph)]
    if not pieces:
        raise UsageError("nothing to speak: the text is empty")
    return [
        SpeechRequest(
            text=piece,
            voice=chosen.voice,
            model=chosen.model,
            language=settings.language,
            speed=settings.speed,
            format=AudioFormat(settings.sample_rate),
            completion_wait_ms=settings.completion_wait,
        )
        for piece in pieces
    ]


def _synthesize(requests: list[SpeechRequest], transport: Transport) -> Iterator[Event]:
    for request in requests:
        yield from transport.synthesize(request)


def _report(
    console: Console,
    report: ReportOptions,
    target: str,
    spoken: Spoken,
    timeline: Timeline,
    requests: list[SpeechRequest],
    settings: Settings,
    total_ms: float,
) -> None:
    characters = sum(len(request.text) for request in requests)
    ttfb_ms = timeline.ttfb_ms or 0.0
    if phases := timeline.phases:
        console.detail(
            f"dns {phases.dns / MILLISECOND:.1f} ms  tcp {phases.tcp / MILLISECOND:.1f} ms  "
            f"tls {phases.tls / MILLISECOND:.1f} ms  upgrade {phases.upgrade / MILLISECOND:.1f} ms  "
            f"longest gap {timeline.longest_gap_ns / MILLISECOND:.1f} ms  "
            f"segments {spoken.segments}  via {settings.via}"
        )
    console.tell(
        f"{'stdout' if target == '-' else target}  {spoken.seconds:.1f} s  first audio {ttfb_ms:.0f} ms  "
        f"total {total_ms / 1000:.2f} s  {characters} characters"
    )
    if report.json:
        print_json(
            {
                "file": target,
                "seconds": round(spoken.seconds, 6),
                "sample_rate": settings.sample_rate,
                "ttfb_ms": round(ttfb_ms, 3),
                "total_ms": round(total_ms, 3),
                "characters": characters,
                "characters_resent": 0,
                "segments": spoken.segments,
                "request_ids": spoken.request_ids,
                "transport": settings.via,
                "voice": requests[0].voice,
                "model": requests[0].model,
            }
        )
