"""One run of speech, which `speak`, `stream` and auditions share: open, play, sum up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smallest_cli.audio.destinations import open_sinks
from smallest_cli.audio.sink import Sink
from smallest_cli.cli.progress import Progress
from smallest_cli.client.cache import Source, find_store, head_start, open_source
from smallest_cli.client.retry import WAITING_BUDGET_S, Retries
from smallest_cli.client.service import open_service
from smallest_cli.errors import Interrupted, RemoteError, SmallestError
from smallest_cli.models import Event, Silence, SpeechRequest, Transport
from smallest_cli.network.dialer import Dialer
from smallest_cli.synthesis.pipeline import Spoken, play
from smallest_cli.synthesis.request import Run
from smallest_cli.synthesis.timeline import MILLISECOND, Timeline

if TYPE_CHECKING:
    from smallest_cli.synthesis.captions import Captions


def make_dialer(run: Run) -> Dialer:
    """What opens the connections of a run; its --max-time begins here."""
    return Dialer.from_settings(run.settings, max_time=run.where.max_time)


def make_retries(run: Run) -> Retries:
    """What one file or pipe may be asked for again."""
    longest_s = run.where.max_time or WAITING_BUDGET_S
    return Retries(run.settings.retries, tell=run.console.warn, max_wait_s=longest_s)


@dataclass(frozen=True)
class Stage:
    """All that is open during a run."""

    sink: Sink
    spoken: Spoken
    source: Source
    timeline: Timeline
    retries: Retries
    captions: Captions | None
    _progress: Progress

    @property
    def transport(self) -> Transport:
        """The way to the service, past the cache."""
        return self.source.transport

    def stay_connected(self) -> None:
        """Connect before it is needed, or stay so. Raises RemoteError where another attempt would not help.

        What may pass is left to the next segment, which connects again, under the retries.
        """
        try:
            self.transport.connect()
        except RemoteError as error:
            if not error.retryable:
                raise

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
def open_stage(run: Run, *, shown: bool = True) -> Iterator[Stage]:
    """Connecting while the sinks and the transport are made ready; a bad path costs no request.

    Closed in the other order. Whatever ends it early carries how much sound had come.
    `shown`: whether the terminal is free for the line that shows the progress.
    """
    settings, console = run.settings, run.console
    dialer = make_dialer(run)
    spoken = Spoken(run.template.format)
    with (
        _counted(spoken),
        open_service(settings, run.where.api_key_file, console.warn) as service,
        head_start(settings, service, dialer),
        _captioned(run) as (captions, listen),
        open_sinks(run.destinations, run.template.format, listen) as sink,
        open_source(settings, service, dialer, find_store(settings, console.warn)) as source,
        console.progress(run.template.format, shown=shown and not (run.plan and run.plan.follow)) as progress,
    ):
        yield Stage(sink, spoken, source, Timeline(), make_retries(run), captions, progress)
        if captions:
            captions.ended = True


@contextmanager
def _counted(spoken: Spoken) -> Iterator[None]:
    try:
        yield
    except (SmallestError, Interrupted) as error:
        error.audio_seconds = spoken.seconds
        raise


@contextmanager
def _captioned(run: Run) -> Iterator[tuple[Captions | None, Callable[[Sink], None]]]:
    """What is said and when, if anybody wants it, and who listens to the loudspeaker."""
    if not run.plan:
        yield None, lambda sink: None
        return
    from smallest_cli.cli.live_text import Follower
    from smallest_cli.synthesis.captions import Captions, open_subtitles

    sound, format = run.sound, run.template.format
    captions = Captions(format)
    follower = Follower(captions.passages, format.sample_rate, wanted=run.plan.follow)
    keep = sound.partial == "keep"
    with (
        open_subtitles(run.plan, captions, format, clobber=sound.clobber, keep=keep, warn=run.console.warn),
        follower,
    ):
        yield captions, follower.start


def run_session(run: Run, script: Iterable[SpeechRequest | Silence]) -> RunResult:
    """Say a whole script."""
    with open_stage(run) as stage:
        play(
            script, stage.ask, stage.sink, stage.spoken,
            ahead_s=run.ahead_s, begin=stage.begin, again=stage.retries.over,
        )  # fmt: skip
    return result(run, stage)


def result(run: Run, stage: Stage) -> RunResult:
    """What a run came to, when all is closed."""
    total_ms = (time.perf_counter_ns() - run.started_ns) / MILLISECOND
    return RunResult(stage.spoken, stage.timeline, stage.retries.resent, total_ms, stage.source.hits)


@dataclass(frozen=True)
class RunResult:
    """What a run came to."""

    spoken: Spoken
    timeline: Timeline
    resent: int
    total_ms: float
    cached: int = 0
