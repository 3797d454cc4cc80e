"""The configuration, resources and result of a run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.audio.sink import Sink
from smallest_cli.client.retry import MAX_TOTAL_WAIT_S, Budget, RetryPolicy
from smallest_cli.client.service import open_service
from smallest_cli.errors import Interrupted, RemoteError, SmallestError, UsageError
from smallest_cli.models import AudioFormat, Event, Service, SpeechRequest, Value
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import parse_base_url
from smallest_cli.security import printable
from smallest_cli.settings import Settings
from smallest_cli.synthesis.pipeline import Pipeline, Totals
from smallest_cli.synthesis.session import Session, ignore
from smallest_cli.synthesis.timeline import MILLISECOND, Timeline
from smallest_cli.transports import open_transport
from smallest_cli.voices import check_language, resolve_voice

if TYPE_CHECKING:
    from smallest_cli.audio.playback_lock import PlaybackLock
    from smallest_cli.client.cache import AudioCache
    from smallest_cli.synthesis.captions import CaptionPlan, Captions

AHEAD_S = 30.0
MAX_NAME = 64
"""Maximum characters of a speaker's name."""


class RunConfig(Value):
    """Everything that a run needs, checked before any file, device or socket is opened."""

    settings: Settings
    template: SpeechRequest
    """The request of every segment, without its text."""
    destinations: Sequence[Destination] = ()
    captions: CaptionPlan | None = None
    key_file: str | None = None
    max_time: float | None = None
    """Overall time limit of the service's work in seconds."""
    ahead_s: float = AHEAD_S
    """The next segment is requested when less than this is still to be played; 0 for at once."""
    keep_partial: bool = True
    clobber: bool = True
    started_ns: int = 0
    """When the command started, by `time.perf_counter_ns`."""

    @property
    def written_files(self) -> list[str]:
        """The files that this run writes."""
        outputs = [each.output for each in self.destinations]
        subtitles = self.captions.path if self.captions else None
        return [name for name in (*outputs, subtitles) if name and name != "-"]


def build_request(
    settings: Settings,
    *,
    number_language: str | None = None,
    math_notation: bool = False,
    dictionaries: Sequence[str] = (),
    v2_fields: dict[str, Any] | None = None,
    force: bool = False,
    warn: Callable[[str], None],
) -> SpeechRequest:
    """Return the request template: voice and model resolved, no text.

    `v2_fields` may hold consistency, similarity and enhancement, which only the v2 API has (waves/api.md,
    2b). `force` sends a voice and a model that do not belong together. Raises UsageError.
    """
    if not force:
        check_language(settings.language)
        check_language(number_language)
    chosen = resolve_voice(
        settings.voice, settings.model, settings.api, base_url=settings.base_url, force=force
    )
    for warning in (*settings.warnings, *chosen.warnings):
        warn(warning)
    return SpeechRequest(
        text="",
        voice=chosen.voice,
        model=chosen.model,
        language=settings.language,
        speed=settings.speed,
        format=AudioFormat(settings.sample_rate),
        number_language=number_language,
        math_notation=math_notation,
        dictionaries=tuple(dictionaries),
        completion_wait_ms=settings.completion_wait,
        **_check_v2_fields(v2_fields or {}, settings.api),
    )


def resolve_speakers(
    given: Sequence[str],
    settings: Settings,
    template: SpeechRequest,
    *,
    force: bool,
    warn: Callable[[str], None],
) -> dict[str, SpeechRequest]:
    """Return the request template of each speaker from `NAME=VOICE`. Raises UsageError."""
    speakers: dict[str, SpeechRequest] = {}
    for each in given:
        name, equals, voice = (part.strip() for part in each.partition("="))
        if not (name and equals and voice) or ":" in name or len(name) > MAX_NAME:
            raise UsageError(f"--speaker: {printable(each, 40)} is not of the form NAME=VOICE")
        if name in speakers:
            raise UsageError(f"--speaker: {printable(name, 40)} is given twice")
        try:
            chosen = resolve_voice(
                voice, settings.model, settings.api, base_url=settings.base_url, force=force
            )
        except UsageError as error:
            raise UsageError(f"--speaker: {error}", hint=error.hint) from None
        for warning in chosen.warnings:
            warn(warning)
        speakers[name] = template._replace(voice=chosen.voice, model=chosen.model)
    return speakers


def describe_settings(settings: Settings, template: SpeechRequest) -> Iterator[str]:
    """Every setting and its source, for --debug."""
    resolved = settings._replace(voice=template.voice, model=template.model)
    for name in resolved._fields:
        if name in ("sources", "warnings"):
            continue
        value, source = getattr(resolved, name), resolved.sources.get(name, "default")
        yield f"{name} = {'not set' if value is None else value} from {source}"


def _check_v2_fields(given: dict[str, Any], api: str) -> dict[str, Any]:
    for name, value in given.items():
        limit = 2 if name == "enhancement" else 1
        if value is not None and api != "v2":
            raise UsageError(f"--{name} requires --api v2")
        if value is not None and not 0 <= value <= limit:
            raise UsageError(f"--{name}: {value:g} is not between 0 and {limit}")
    return given


class RunResult(NamedTuple):
    """The result of a run."""

    totals: Totals
    timeline: Timeline
    resent: int
    total_ms: float
    cached: int = 0


@contextmanager
def open_session(
    config: RunConfig,
    at_once: bool,
    *,
    warn: Callable[[str], None],
    captions: Captions | None = None,
    on_event: Callable[[Event], None] = ignore,
    on_sink: Callable[[Sink], None] | None = None,
) -> Iterator[Session]:
    """Open everything that a run needs: service, subtitles, sinks, transport, in this order.

    The connection is made while the sinks and the transport are prepared; a path that cannot be written
    costs no request. `audio_seconds` of an error is the audio that came. `on_sink` gets the sink
    that plays, or the slowest of all if none does. `at_once`: there is text, so
    wait for other processes that play before a device or a connection is opened.
    """
    settings, format = config.settings, config.template.format
    dialer = Dialer.from_settings(settings, max_time=config.max_time)
    session: Session | None = None
    playing: list[Sink] = []
    try:
        with (
            open_service(settings, config.key_file, warn) as service,
            nullcontext(_open_playback_lock(config, dialer, warn, take=at_once)) as playback,
            nullcontext(open_cache_for(config, service, dialer, warn)) as cache,
            # The cache may have all segments, so connect only for one that it does not have.
            nullcontext() if cache else dialer.preconnect(parse_base_url(service.base_url)),
            _open_subtitles(config, captions, warn),
            open_sinks(config.destinations, format, playing.append, warn, playback) as sink,
            open_transport(settings.via, service, dialer) as transport,
        ):
            served_ns = time.perf_counter_ns() if settings.local else 0
            if on_sink:
                on_sink(playing[0] if playing else sink)
            session = Session(
                transport,
                Pipeline(sink, format),
                retry_policy(config),
                Budget(),
                ahead_s=config.ahead_s,
                cache=cache,
                captions=captions,
                playback=playback,
                on_event=on_event,
                warn=warn,
            )
            session.started_ns = served_ns
            yield session
            if captions:
                captions.ended = True
    except (SmallestError, Interrupted) as error:
        error.audio_seconds = session.totals.seconds if session else 0.0
        raise


def _open_playback_lock(
    config: RunConfig, dialer: Dialer, warn: Callable[[str], None], *, take: bool
) -> PlaybackLock | None:
    """Return the lock of a run that plays, None with --overlap mix. The sink that plays releases it."""
    overlap = next((each.overlap for each in config.destinations if each.output is None), "mix")
    if overlap == "mix" or os.name == "nt":  # no flock
        return None
    from smallest_cli.audio.playback_lock import PlaybackLock

    lock = PlaybackLock(config.template.format, warn, dialer.check_time, overlap)
    if take:
        lock.take()
    return lock


def retry_policy(config: RunConfig) -> RetryPolicy:
    """Return the retry policy of the run."""
    return RetryPolicy(config.settings.retries, max_total_wait_s=config.max_time or MAX_TOTAL_WAIT_S)


def open_cache_for(
    config: RunConfig, service: Service, dialer: Dialer, warn: Callable[[str], None]
) -> AudioCache | None:
    """Return the audio cache of a run, None if it is off. Raises SettingsError.

    It is off, with a warning, if the dictionaries cannot be read: their content is part of the keys.
    """
    if not config.settings.cache:
        return None
    from smallest_cli.client.cache import open_cache

    try:
        digest = dictionary_digest(config.template, service, dialer)
    except RemoteError as error:
        warn(f"nothing is cached, as the dictionaries cannot be read: {error}")
        return None
    return open_cache(config.settings, warn, dictionaries=digest)


def dictionary_digest(template: SpeechRequest, service: Service, dialer: Dialer) -> str:
    """Return a hash of the content of the request's dictionaries, "" without any. Raises RemoteError."""
    if not template.dictionaries:
        return ""
    from smallest_cli.client.api import AccountClient

    return AccountClient(service, dialer).dictionary_digest(template.dictionaries)


def _open_subtitles(
    config: RunConfig, captions: Captions | None, warn: Callable[[str], None]
) -> AbstractContextManager[None]:
    if config.captions is None or captions is None:
        return nullcontext()
    from smallest_cli.synthesis.captions import open_subtitles

    plan, keep = config.captions, config.keep_partial
    return open_subtitles(plan, captions, clobber=config.clobber, keep=keep, warn=warn)


def result(config: RunConfig, session: Session) -> RunResult:
    """Return the result of a run, after everything was closed."""
    total_ms = (time.perf_counter_ns() - (session.started_ns or config.started_ns)) / MILLISECOND
    return RunResult(session.totals, session.timeline, session.resent, total_ms, session.cache_hits)
