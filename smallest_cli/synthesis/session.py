"""The playback loop: request segments, write their audio in order, retry what failed.

segments -> Session.run -> Transport.send / receive -> events -> Pipeline -> Sink
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from smallest_cli.client.retry import Attempt, Budget, RetryPolicy
from smallest_cli.errors import (
    ConnectionClosed,
    NetworkError,
    RateLimited,
    RemoteError,
    SmallestError,
    UsageError,
)
from smallest_cli.models import (
    AudioChunk,
    AudioEnded,
    Completed,
    Conversation,
    Event,
    Fragments,
    Refused,
    Segments,
    Silence,
    SpeechRequest,
    Transport,
    WordTiming,
)
from smallest_cli.synthesis.pipeline import POLL_S, Pipeline, Totals
from smallest_cli.synthesis.timeline import Timeline

if TYPE_CHECKING:
    from smallest_cli.audio.playback_lock import PlaybackLock
    from smallest_cli.client.cache import AudioCache, CachedAudio
    from smallest_cli.synthesis.captions import Captions
    from smallest_cli.synthesis.subtitles import SpokenSegment


MAX_REWINDS = 2
"""Maximum retries of a run that rewind the sinks."""
KEEP_ALIVE_S = 20.0
"""Interval of keep-alives while no text arrives."""
MAX_QUEUE = 8
NORMAL_CLOSURES = (1000, 1001, 1005)
"""Close codes of a connection that is closed without an error (RFC 6455, 7.4.1)."""
HELD_BACK_S = 1.0
"""A `complete` later than this after the last audio is reported if it delays the next request."""


class Cancelled(SmallestError):
    """`is_cancelled` returned True."""


class _Segment:
    """An item of the run that was taken and is not complete."""

    def __init__(self, item: SpeechRequest | Silence) -> None:
        self.item = item
        self.cached: CachedAudio | None = None
        self.number: int | None = None
        """The transport's number of the request; None while it is not sent."""
        self.last_audio_ns = 0
        self.started = False
        """Whether audio or words of it came."""
        self.first_frame = 0
        self.spoken: SpokenSegment | None = None
        self.pcm = bytearray()
        self.words: list[WordTiming] = []

    @property
    def characters(self) -> int:
        return 0 if isinstance(self.item, Silence) else len(self.item.text)

    @property
    def is_unsent(self) -> bool:
        """Whether it must still be requested."""
        return self.number is None and self.cached is None and not isinstance(self.item, Silence)


def ignore(_: object) -> None:
    """Do nothing; the default callback."""


class Session:
    """Speaks segments over one transport into one sink."""

    def __init__(
        self,
        transport: Transport,
        pipeline: Pipeline,
        policy: RetryPolicy,
        budget: Budget,
        *,
        ahead_s: float = 0.0,
        cache: AudioCache | None = None,
        captions: Captions | None = None,
        playback: PlaybackLock | None = None,
        on_event: Callable[[Event], None] = ignore,
        warn: Callable[[str], None] = ignore,
        wait: Callable[[float], object] | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """`ahead_s`: request the next segment when less than this is still to be played; 0 for at once."""
        self.transport = transport
        self.pipeline = pipeline
        self.timeline = Timeline()
        self.cache_hits = 0
        self.captions = captions
        self.by_line = False
        """Whether another process that waits may play between two requests."""
        self._playback = playback
        self._policy = policy
        self._budget = budget
        self._ahead_s = ahead_s
        self._cache = cache
        self._on_event = on_event
        self._warn = warn
        self._wait = wait or threading.Event().wait  # a signal ends it at once, unlike time.sleep in a lock
        self._queue: deque[_Segment] = deque()
        """Items that were taken and are not yet written, in order."""
        self._awaiting_complete: dict[int, _Segment] = {}
        """Segments whose audio has ended and whose `complete` has not come, by number."""
        self._one_at_a_time = self._converses = False
        self._one_per_connection = False
        self._cannot_send = False
        self._completed_on_connection = self._was_completed = False
        self._warned = False
        self._retries = self._ambiguous = self._rewinds = 0
        self._waited_s = 0.0
        self._is_cancelled = is_cancelled
        self.sent_characters = 0
        """Characters of all requests, including retries."""
        self.resent = 0
        """Characters sent by retries."""
        self.started_ns = 0
        """When the offline server was ready, which a user of the service need not start; else 0."""

    @property
    def totals(self) -> Totals:
        """What was written so far."""
        return self.pipeline.totals

    def run(self, segments: Segments) -> None:
        """Speak all segments, gapless and in order.

        Raises errors of the transport before the first audio, after the retries that the policy allows;
        Incomplete after audio; Cancelled.
        """
        with self.pipeline.incomplete_after_audio():
            while True:
                if self._is_cancelled():
                    raise Cancelled("cancelled")
                try:
                    self._request(segments)
                    if self._queue:
                        self._advance(segments)
                    elif segments.ended and not self._awaiting_complete:
                        return
                    elif self._awaiting_complete:
                        self._receive(segments)
                    else:
                        # While a sentence arrives, a connection that the service closed is replaced.
                        segments.wait(KEEP_ALIVE_S)
                        self.stay_connected()
                except RemoteError as error:
                    self._retry(error)

    def converse(self, request: SpeechRequest, fragments: Fragments, drain_s: float) -> None:
        """Send text as it arrives and let the service split it. Raises UsageError unless over ws."""
        if not isinstance(self.transport, Conversation):
            raise UsageError("--buffering server requires --via ws")
        self._converses = True
        self.pipeline.copy(self._observed(self.transport.converse(request, fragments, drain_s)))

    def take_playback(self) -> None:
        """Wait until no other process plays. Raises DeviceError if the playback of this run has failed."""
        if self._playback:
            while not self._playback.take(KEEP_ALIVE_S):
                if not self._awaiting_complete and not self._converses:  # which keep the connection in use
                    self.stay_connected()
            self.pipeline.sink.frames_played()

    def stay_connected(self) -> None:
        """Connect early, or keep the connection open. Raises RemoteError if it is not retryable.

        Other errors are ignored: the next segment connects again under the retry policy.
        """
        try:
            self.transport.connect()
        except RemoteError as error:
            if not error.retryable:
                raise

    def _request(self, segments: Segments) -> None:
        """Take the items that may be requested now, and send them.

        Over ws one request is sent early, once audio of the current one came. Not more, to limit what an
        interruption or a lost connection bills.
        """
        while self._may_request():
            unsent = next((each for each in self._queue if each.is_unsent), None)
            if unsent is None:
                if self.by_line and self._playback and not self._queue:
                    self._playback.give_way(self.totals.frames)
                item = segments.next()
                if item is None:
                    if self._playback and not self._queue:
                        self._playback.finish(self.totals.frames)
                    return
                self.take_playback()
                unsent = _Segment(item)
                self._queue.append(unsent)
                if not isinstance(item, SpeechRequest):
                    continue
                if len(self._queue) == 1:
                    self._wait_for_sink()
                unsent.cached = self._cache.get(item) if self._cache else None
                if unsent.cached is not None:
                    continue
                self._budget.add_sent(unsent.characters)
            self._send(unsent)

    def _may_request(self) -> bool:
        sent = self._sent
        if not sent:
            # Items ready to write come first; a refused request waits until the others are complete.
            head = self._queue[0] if self._queue else None
            return (head is None or head.is_unsent) and not (self._one_at_a_time and self._awaiting_complete)
        return (
            not self._one_at_a_time
            and not self._cannot_send
            and len(sent) < self.transport.capacity
            and sent[0].started
            and len(self._queue) < MAX_QUEUE
            and not self._is_far_ahead()
            and not (self.by_line and self._playback and self._playback.is_wanted())
        )

    def _is_far_ahead(self) -> bool:
        return bool(self._ahead_s) and self.pipeline.seconds_ahead() >= self._ahead_s

    def _wait_for_sink(self) -> None:
        pause = threading.Event()
        while self._is_far_ahead():
            pause.wait(POLL_S)

    @property
    def _sent(self) -> list[_Segment]:
        """Requests under way whose audio has not ended."""
        return [each for each in self._queue if each.number is not None]

    def _send(self, segment: _Segment) -> None:
        assert isinstance(segment.item, SpeechRequest)  # noqa: S101
        try:
            segment.number = self.transport.send(segment.item)
        except NetworkError:
            if not self._sent:
                raise
            self._cannot_send = True  # events received before are read first; then a read reports the failure
        else:
            self.sent_characters += segment.characters

    def _advance(self, segments: Segments) -> None:
        """One step with the first item of the queue."""
        segment = self._queue[0]
        if isinstance(segment.item, Silence) and not self.totals.byte_count and self._sent:
            self._receive(segments)  # a silence before the first audio is written with it
        elif isinstance(segment.item, Silence) or segment.cached is not None:
            self._write_ready(self._queue.popleft())
        else:
            self._receive(segments)

    def _receive(self, segments: Segments) -> None:
        """Receive one event; if another request could be sent meanwhile, wait for that, too."""
        wake, timeout_s = None, None
        sent = self._sent
        if self.transport.capacity > max(1, len(sent)) and not self._one_at_a_time and not segments.ended:
            if self._is_far_ahead():
                timeout_s = POLL_S
            elif not sent or sent[0].started:
                due_s = segments.due_s()
                timeout_s = KEEP_ALIVE_S if due_s is None else max(0.0, due_s)
                wake = segments if segments.fileno() >= 0 else None
        if event := self.transport.receive(wake, timeout_s):
            self._handle(event)

    def _write_ready(self, segment: _Segment) -> None:
        """Write silence, or audio from the cache."""
        if isinstance(segment.item, Silence):
            self.pipeline.write_silence(segment.item.seconds)
        elif segment.cached is not None:
            self._play_cached(segment, segment.cached)

    def _play_cached(self, segment: _Segment, cached: CachedAudio) -> None:
        self.cache_hits += 1
        now = time.perf_counter_ns()
        events: tuple[Event, ...] = (
            AudioChunk(cached.pcm, at_ns=now, cached=True),
            *cached.words,
            Completed(at_ns=now),
        )
        for event in events:
            self._write(segment, event)
            self._notify(event)
        self.pipeline.add_segment(segment.characters, None)

    def _handle(self, event: Event) -> None:
        segment = self._awaiting_complete.get(event.segment) or next(
            each for each in self._queue if each.number == event.segment
        )
        match event:
            case AudioChunk() | WordTiming():
                while self._queue[0] is not segment:
                    self._write_ready(self._queue.popleft())
                self._write(segment, event)
            case AudioEnded():
                self._queue.remove(segment)
                self._awaiting_complete[event.segment] = segment
            case Refused():
                segment.number = None
                self._one_at_a_time = True
                self._warn_once(f"the service takes one request at a time ({event.error})")
            case Completed():
                self._complete(segment, event)
        self._notify(event)

    def _complete(self, segment: _Segment, event: Completed) -> None:
        if self._awaiting_complete.pop(event.segment, None) is None:
            self._queue.remove(segment)
        self.pipeline.add_segment(segment.characters, event.request_id)
        if segment.spoken:
            segment.spoken.on_event(event)
        if self._cache and isinstance(segment.item, SpeechRequest):
            self._cache.put(segment.item, bytes(segment.pcm), segment.words)
        self._completed_on_connection = True
        late_s = (event.at_ns - segment.last_audio_ns) / 1e9
        if self._sent and not self._sent[0].started and late_s > HELD_BACK_S:
            self._warn_once(f"the service starts a request only {late_s:.1f} s after the last audio")
        if self._one_per_connection and not self._sent and not self._awaiting_complete:
            self.transport.close()

    def _warn_once(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            hint = "; --via sse needs no wait between requests" if self.transport.capacity > 1 else ""
            self._warn(f"{what}{hint}")

    def _write(self, segment: _Segment, event: Event) -> None:
        """Write an event: audio to the sink, audio and words to the captions."""
        if isinstance(event, AudioChunk | WordTiming) and not segment.started:
            self._start(segment)
        match event:
            case AudioChunk(pcm=pcm, at_ns=at_ns):
                self.pipeline.write(pcm)
                segment.last_audio_ns = at_ns
                if self._cache and segment.cached is None:
                    segment.pcm += pcm
            case WordTiming():
                segment.words.append(event)
        if segment.spoken:
            segment.spoken.on_event(event)

    def _start(self, segment: _Segment) -> None:
        segment.started = True
        segment.first_frame = self.totals.frames
        if self.captions and isinstance(segment.item, SpeechRequest):
            segment.spoken = self.captions.start(segment.item, segment.first_frame, segment.spoken)

    def _notify(self, event: Event) -> None:
        self.timeline.on_event(event)
        self._on_event(event)

    def _observed(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            self._notify(event)
            if isinstance(event, AudioChunk):
                self.take_playback()  # it may have been released: more than one `complete` comes
            yield event
            if self._playback and isinstance(event, Completed):
                self._playback.finish(self.totals.frames)

    def _retry(self, error: RemoteError) -> None:
        """Wait and prepare to resend the requests under way. Raises `error` if that is not allowed."""
        sent = self._sent
        self._forget_connection()
        segment = sent[0] if sent else next((each for each in self._queue if each.is_unsent), None)
        if segment is None:
            raise error  # all audio came, only `complete` is missing: nothing to resend
        characters = sum(each.characters for each in sent)
        if sent and self._closed_after_complete(error, segment):
            self._one_at_a_time = self._one_per_connection = True
            self._warn_once(
                "the service closed a connection that was kept open; its last request is sent again"
            )
            self._budget.charge(characters)
            self.resent += characters
            return
        self._one_at_a_time |= len(sent) > 1  # the request that was sent early may be the reason
        attempt = Attempt(error, characters, self._retries, self._ambiguous, self._waited_s)
        wait_s = self._policy.next_wait(attempt, self._budget)
        if wait_s is None or not self._rewind(segment) or not self._budget.take(characters):
            raise error
        self.resent += characters
        self._retries += 1
        self._ambiguous += attempt.is_ambiguous
        self._waited_s += wait_s
        segment.started = False
        segment.pcm.clear()
        segment.words.clear()
        self._warn(f"{error}; trying again in {wait_s:.1f} s")
        self._wait(wait_s)

    def _forget_connection(self) -> None:
        """Close the connection after a failure: no more events of its requests will come."""
        self._was_completed = self._completed_on_connection
        self._completed_on_connection = self._cannot_send = False
        self.transport.close()
        for segment in self._queue:
            segment.number = None
        for segment in self._awaiting_complete.values():  # proven by audio of a later request
            self.pipeline.add_segment(segment.characters, None)
            if segment.spoken:
                segment.spoken.complete = True
        self._awaiting_complete.clear()

    def _closed_after_complete(self, error: RemoteError, segment: _Segment) -> bool:
        """Whether the service closed a kept WebSocket before it answered, for the first time in this run.

        It may do so after each `complete` (waves/api.md, 0.2).
        """
        return (
            isinstance(self.transport, Conversation)
            and (
                isinstance(error, ConnectionClosed)
                or error.close_code in NORMAL_CLOSURES
                or (isinstance(error, RateLimited) and error.close_code is not None)
            )
            and self._was_completed
            and not segment.started
            and not self._one_per_connection
        )

    def _rewind(self, segment: _Segment) -> bool:
        """Remove the segment's audio from the sinks; False if it cannot be removed.

        After the first audio of the run, nothing is resent unless all sinks can be rewound.
        """
        if not self.totals.byte_count:
            self.pipeline.discard_remainder()
            return True
        frames = segment.first_frame if segment.started else self.totals.frames
        if self._rewinds >= MAX_REWINDS or not self.pipeline.rewind(frames):
            return False
        self._rewinds += 1
        return True
