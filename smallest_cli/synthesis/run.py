"""Open everything that a run needs, and what the run came to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

from smallest_cli.audio.destinations import open_sinks
from smallest_cli.audio.sink import Sink
from smallest_cli.client.retry import MAX_TOTAL_WAIT_S, Budget, RetryPolicy
from smallest_cli.client.service import open_service
from smallest_cli.errors import Interrupted, SmallestError
from smallest_cli.models import Event
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import parse_base_url
from smallest_cli.synthesis.pipeline import Pipeline, Totals
from smallest_cli.synthesis.session import Session, ignore
from smallest_cli.synthesis.timeline import MILLISECOND, Timeline
from smallest_cli.transports import open_transport

if TYPE_CHECKING:
    from smallest_cli.client.cache import AudioCache
    from smallest_cli.synthesis.captions import Captions
    from smallest_cli.synthesis.request import RunConfig


class RunResult(NamedTuple):
    """What a run came to."""

    totals: Totals
    timeline: Timeline
    resent: int
    total_ms: float
    cached: int = 0


@contextmanager
def open_session(
    config: RunConfig,
    *,
    warn: Callable[[str], None],
    captions: Captions | None = None,
    on_event: Callable[[Event], None] = ignore,
    on_sink: Callable[[Sink], None] | None = None,
) -> Iterator[Session]:
    """Open everything that a run needs: service, subtitles, sinks, transport, in this order.

    The connection is made while the sinks and the transport are prepared; a path that cannot be written
    costs no request. An error on the way carries how many seconds of audio came. `on_sink` gets the sink
    that plays, or the slowest of all where none does.
    """
    settings, format = config.settings, config.template.format
    dialer = Dialer.from_settings(settings, max_time=config.max_time)
    cache = open_cache_for(config, warn)
    session: Session | None = None
    playing: list[Sink] = []
    try:
        with (
            open_service(settings, config.key_file, warn) as service,
            # A run that the cache may answer alone connects when it must.
            nullcontext() if cache else dialer.preconnect(parse_base_url(service.base_url)),
            _open_subtitles(config, captions, warn),
            open_sinks(config.destinations, format, playing.append) as sink,
            open_transport(settings.via, service, dialer) as transport,
        ):
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
                on_event=on_event,
                warn=warn,
            )
            yield session
            if captions:
                captions.ended = True
    except (SmallestError, Interrupted) as error:
        error.audio_seconds = session.totals.seconds if session else 0.0
        raise


def retry_policy(config: RunConfig) -> RetryPolicy:
    """How often a request of the run is sent again."""
    return RetryPolicy(config.settings.retries, max_total_wait_s=config.max_time or MAX_TOTAL_WAIT_S)


def open_cache_for(config: RunConfig, warn: Callable[[str], None]) -> AudioCache | None:
    """The audio cache of a run, if the settings want it. Raises SettingsError."""
    if not config.settings.cache:
        return None
    from smallest_cli.client.cache import open_cache

    return open_cache(config.settings, warn)


def _open_subtitles(
    config: RunConfig, captions: Captions | None, warn: Callable[[str], None]
) -> AbstractContextManager[None]:
    if config.captions is None or captions is None:
        return nullcontext()
    from smallest_cli.synthesis.captions import open_subtitles

    return open_subtitles(
        config.captions,
        captions,
        config.template.format,
        clobber=config.clobber,
        keep=config.keep_partial,
        warn=warn,
    )


def result(config: RunConfig, session: Session) -> RunResult:
    """What a run came to, when everything is closed."""
    total_ms = (time.perf_counter_ns() - config.started_ns) / MILLISECOND
    return RunResult(session.totals, session.timeline, session.resent, total_ms, session.cache_hits)
