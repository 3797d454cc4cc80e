"""One trial: a single request without retries. Events are timestamped on arrival, evaluated afterwards.

A failure is a result like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from smallest_cli.bench.onset import find_onset
from smallest_cli.bench.playback import Chunk
from smallest_cli.bench.schema import ArmId, Count, Integer, Name, Positive
from smallest_cli.errors import (
    CertificateError,
    ConnectError,
    DeadlineExceeded,
    IncompleteResponse,
    NetworkError,
    ProtocolError,
    RateLimited,
    RemoteError,
    SecurityError,
)
from smallest_cli.models import AudioChunk, Completed, Event, Opened, Phases, Sent, SpeechRequest, Transport

ERROR_CLASSES = (
    "dns", "connect", "tls", "http_4xx", "http_429", "http_5xx", "ws_close", "app_error", "timeout_first",
    "timeout_stall", "truncated", "inaudible", "empty", "protocol", "reset", "refused",
)  # fmt: skip
"""Every class of a failed trial. http_429 is the account's limit, whichever transport reports it."""


class Trial(Struct, frozen=True, kw_only=True):
    """One measured request, or a warm-up, as `--jsonl` keeps it. Times are in nanoseconds.

    Those of `chunks` and `completed_ns` count from the moment the request was sent, all others from the start
    of the run.
    """

    index: Annotated[int, Meta(ge=-1)]
    arm: ArmId
    phase: Literal["warmup", "measure"]
    block: Annotated[int, Meta(ge=-1)]
    text: str  # the text's name in the run, never the text itself
    characters: Count
    rate: Positive
    started_ns: Integer
    scheduled_ns: Integer | None = None
    opened_ns: Integer | None = None
    phases: Phases | None = None
    reused: bool | None = None
    sent_ns: Integer | None = None
    chunks: tuple[tuple[Count, Positive], ...] = ()
    onset: Count | None = None  # number of the first audible frame
    completed_ns: Count | None = None
    ended_ns: Integer
    error: Name | None = None
    message: str | None = None
    request_id: str | None = None

    @property
    def frames(self) -> int:
        """Frames of audio received."""
        return sum(frames for _, frames in self.chunks)

    @property
    def first_audio_ns(self) -> int:
        """When the first audio arrived, from the moment the request was sent."""
        return self.chunks[0][0]


def classify(error: RemoteError, *, opened: bool, audio_began: bool) -> str:
    """Return the class of a failure, one of `ERROR_CLASSES`, by its type and how far the trial had come."""
    match error:
        case RateLimited():
            return "http_429"
        case RemoteError(close_code=int()):
            return "ws_close"
        case RemoteError(status=int(status)):
            return "http_5xx" if status >= 500 else "http_4xx"
        case CertificateError():
            return "tls"
        case SecurityError():
            return "refused"
        case ConnectError():
            return error.step
        case DeadlineExceeded() if not opened:
            return "connect"
        case DeadlineExceeded():
            return "timeout_stall" if audio_began else "timeout_first"
        case IncompleteResponse():
            return "truncated"
        case NetworkError():
            return "reset"
        case ProtocolError():
            return "protocol"
    return "app_error"


@dataclass(slots=True)
class _Events:
    """The events of one request as they came; audio is not inspected before the request is over."""

    opened: Opened | None = None
    sent: Sent | None = None
    completed: Completed | None = None
    audio: list[AudioChunk] = field(default_factory=list)

    def note(self, event: Event) -> None:
        match event:
            case AudioChunk():
                self.audio.append(event)
            case Opened():
                self.opened = event
            case Sent():
                self.sent = event
            case Completed():
                self.completed = event

    def request_id(self) -> str | None:
        ids = [event.request_id for event in (*self.audio[:1], self.completed) if event is not None]
        return next((each for each in ids if each), None)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A trial, with what its record does not keep: the audio, and the error itself."""

    trial: Trial
    pcm: bytes
    failure: RemoteError | None


def attempt(
    blank: Trial, request: SpeechRequest, transport: Transport, clock: Callable[[], int], origin_ns: int
) -> Attempt:
    """Send one request. `blank` is the trial before it began; times count from `origin_ns` of `clock`."""
    events, failure = _Events(), None
    started = clock()
    try:
        for event in transport.synthesize(request):
            events.note(event)
    except RemoteError as error:
        failure = error
    ended = clock()
    timed = replace(blank, started_ns=started - origin_ns, ended_ns=ended - origin_ns)
    pcm = b"".join(chunk.pcm for chunk in events.audio)
    return Attempt(_record(timed, events, pcm, failure, origin_ns), pcm, failure)


def _record(timed: Trial, events: _Events, pcm: bytes, failure: RemoteError | None, origin_ns: int) -> Trial:
    opened, sent, completed = events.opened, events.sent, events.completed
    sent_ns = sent.at_ns if sent else None
    trial = replace(
        timed,
        opened_ns=opened.at_ns - origin_ns if opened else None,
        phases=opened.phases if opened else None,
        reused=opened.reused if opened else None,
        sent_ns=None if sent_ns is None else sent_ns - origin_ns,
        chunks=() if sent_ns is None else tuple(_chunks(events.audio, sent_ns)),
        onset=find_onset(pcm, timed.rate),
        completed_ns=completed.at_ns - sent_ns if completed and sent_ns is not None else None,
        request_id=events.request_id() or (failure.request_id if failure else None),
    )
    error, message = _failure_of(trial, pcm, failure)
    return replace(trial, error=error, message=message)


def _chunks(audio: list[AudioChunk], sent_ns: int) -> Iterator[Chunk]:
    """Yield arrivals in whole frames; one read is one arrival, however many messages it held."""
    # A sample may be split between two reads: only the frames complete so far are counted.
    at, received, yielded = None, 0, 0
    for chunk in audio:
        if at is not None and chunk.at_ns != at and received // 2 > yielded:
            yield at - sent_ns, received // 2 - yielded
            yielded = received // 2
        at, received = chunk.at_ns, received + len(chunk.pcm)
    if at is not None and received // 2 > yielded:
        yield at - sent_ns, received // 2 - yielded


def _failure_of(trial: Trial, pcm: bytes, failure: RemoteError | None) -> tuple[str | None, str | None]:
    """Return the class and message of a trial that failed. Silence is never a success."""
    if failure is not None:
        name = classify(failure, opened=trial.opened_ns is not None, audio_began=bool(pcm))
        return name, str(failure)
    if not pcm:
        return "empty", "the service said complete and sent no audio"
    if len(pcm) % 2:
        return "truncated", "the audio ends within a sample"
    if trial.onset is None:
        return "inaudible", "the audio is silent"
    return None, None
