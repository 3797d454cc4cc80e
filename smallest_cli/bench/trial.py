"""One trial: a single request without retries. Events are timestamped on arrival, evaluated afterwards.

A failed request is a result, not an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from msgspec import Meta, Struct
from msgspec.structs import replace

from smallest_cli import errors
from smallest_cli.bench.playback import Chunk
from smallest_cli.bench.schema import ArmId, Cancellation, Count, Integer, Name, Number, Positive, Waveform
from smallest_cli.models import (
    LATE_WRITE_NS,
    AudioChunk,
    Completed,
    Event,
    Opened,
    Sent,
    SpeechRequest,
    Transport,
    Via,
)

Kind = TypeVar("Kind", bound=Event)
ERROR_CLASSES = (
    "dns", "connect", "tls", "http_4xx", "http_429", "http_5xx", "ws_close", "app_error", "timeout_connect",
    "timeout_first", "timeout_stall", "truncated", "overlong", "inaudible", "empty", "protocol", "reset",
    "refused",
)  # fmt: skip
"""All error classes of failed trials. http_429 is the account's concurrency limit, over any transport."""


class Phases(Struct, frozen=True):
    """`models.Phases`, as it is in a file."""

    dns: Count = 0
    tcp: Count = 0
    tls: Count = 0
    upgrade: Count = 0


class Trial(Struct, frozen=True, kw_only=True):
    """One measured request or warm-up, as `--jsonl` writes it. Times are in nanoseconds.

    `chunks` and `completed_ns` count from sending the request, all others from the start
    of the run.
    """

    index: Annotated[int, Meta(ge=-1)]
    arm: ArmId
    via: Via
    phase: Literal["warmup", "measure"]
    block: Annotated[int, Meta(ge=-1)]
    text: str  # name of the text in the run, never the text itself
    characters: Count
    rate: Positive
    started_ns: Integer
    scheduled_ns: Integer | None = None
    opened_ns: Integer | None = None
    phases: Phases | None = None
    reused: bool | None = None
    sent_ns: Integer | None = None
    late_write_ns: Count | None = None  # duration of a write that took so long that `sent_ns` is its start
    chunks: tuple[tuple[Count, Positive], ...] = ()
    onset: Count | None = None  # number of the first audible frame
    waveform: Waveform | None = None
    completed_ns: Count | None = None
    cancellation: Cancellation | None = None  # then `chunks` are those before it
    check: Number | None = None  # what the command of --check printed
    check_error: str | None = None
    ended_ns: Integer
    error: Name | None = None
    message: str | None = None
    request_id: str | None = None

    @property
    def frames(self) -> int:
        """Number of frames received."""
        return sum(frames for _, frames in self.chunks)

    @property
    def first_audio_ns(self) -> int:
        """Time from sending the request to the first audio."""
        return self.chunks[0][0]


def classify(error: errors.RemoteError, *, opened: bool, audio_began: bool) -> str:
    """Return the class of a failure, one of `ERROR_CLASSES`, by its type and the progress of the trial."""
    match error:
        case errors.RateLimited():
            return "http_429"
        case errors.RemoteError(close_code=int()):
            return "ws_close"
        case errors.RemoteError(status=int(status)):
            return "http_5xx" if status >= 500 else "http_4xx"
        case errors.CertificateError():
            return "tls"
        case errors.SecurityError():
            return "refused"
        case errors.ConnectTimeout():
            return "timeout_connect"
        case errors.ConnectError():
            return error.step
        case errors.DeadlineExceeded() if not opened:
            return "timeout_connect"
        case errors.DeadlineExceeded():
            return "timeout_stall" if audio_began else "timeout_first"
        case errors.IncompleteResponse():
            return "truncated"
        case errors.NetworkError():
            return "reset"
        case errors.ProtocolError():
            return "protocol"
    return "app_error"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A trial, with what `Trial` does not record: the audio and the exception."""

    trial: Trial
    pcm: bytes
    failure: errors.RemoteError | None


def attempt(
    blank: Trial,
    request: SpeechRequest,
    transport: Transport,
    clock: Callable[[], int],
    origin_ns: int,
    cancel_after_ns: int | None = None,
) -> Attempt:
    """Send one request. `blank` is the trial without results; times count from `origin_ns` of `clock`.

    The request is cancelled `cancel_after_ns` after its first audio, unless it has ended by then.
    """
    from smallest_cli.bench.waveform import measure_waveform  # imports NumPy

    events: list[Event] = []  # evaluated after the request: no work between arrivals
    failure = cancelling = None
    started = clock()
    try:
        for event in transport.synthesize(request):
            events.append(event)
            if cancel_after_ns is not None and not cancelling and isinstance(event, AudioChunk) and event.pcm:
                cancelling = transport.cancel_at(event.at_ns + cancel_after_ns)
    except errors.RemoteError as error:
        failure = error
    ended = clock()
    cancelled_ns = cancelling.unschedule() if cancelling else None
    if cancelled_ns is not None:
        transport.close()
    audio = [event for event in events if isinstance(event, AudioChunk)]
    opened, sent, completed = _last(events, Opened), _last(events, Sent), _last(events, Completed)
    # Over SSE only `Completed` and the failure have the id.
    ids = [event.request_id for event in (*audio[:1], completed, failure) if event is not None]
    pcm = played = b"".join(chunk.pcm for chunk in audio)
    cancellation = None
    if cancelling and cancelled_ns is not None and sent:
        audio = [chunk for chunk in audio if chunk.at_ns <= cancelled_ns]
        played = b"".join(chunk.pcm for chunk in audio)
        cancellation = Cancellation(
            at_ns=cancelled_ns - sent.at_ns,
            last_byte_ns=max(cancelled_ns, cancelling.received_ns) - sent.at_ns,
            frames=len(pcm) // 2 - len(played) // 2,
        )
    onset, waveform = measure_waveform(played, blank.rate)
    trial = replace(
        blank,
        started_ns=started - origin_ns,
        ended_ns=ended - origin_ns,
        opened_ns=opened.at_ns - origin_ns if opened else None,
        phases=Phases(**opened.phases.as_dict()) if opened else None,
        reused=opened.reused if opened else None,
        sent_ns=sent.at_ns - origin_ns if sent else None,
        late_write_ns=sent.write_ns if sent and sent.write_ns > LATE_WRITE_NS else None,
        chunks=tuple(_chunks(audio, sent.at_ns)) if sent else (),
        onset=onset,
        waveform=waveform,
        completed_ns=completed.at_ns - sent.at_ns if completed and sent and not cancellation else None,
        cancellation=cancellation,
        request_id=next(filter(None, ids), None),
    )
    if cancellation and trial.chunks:
        return Attempt(trial, pcm, None)  # the failure is the end of the connection
    error_class, message = _silent_failure(trial, pcm)
    if failure is not None and not (error_class and isinstance(failure, errors.UnusableAudio)):
        error_class = classify(failure, opened=opened is not None, audio_began=bool(pcm))
        message = str(failure)
    return Attempt(replace(trial, error=error_class, message=message), pcm, failure)


def _last(events: list[Event], kind: type[Kind]) -> Kind | None:
    return next((event for event in reversed(events) if isinstance(event, kind)), None)


def _chunks(audio: list[AudioChunk], sent_ns: int) -> Iterator[Chunk]:
    """Yield arrivals in whole frames; all messages of one read are one arrival."""
    # A sample may be split between two reads: count complete frames only.
    at, received, yielded = None, 0, 0
    for chunk in audio:
        if at is not None and chunk.at_ns != at and received // 2 > yielded:
            yield at - sent_ns, received // 2 - yielded
            yielded = received // 2
        at, received = chunk.at_ns, received + len(chunk.pcm)
    if at is not None and received // 2 > yielded:
        yield at - sent_ns, received // 2 - yielded


def _silent_failure(trial: Trial, pcm: bytes) -> tuple[str | None, str | None]:
    """Return error class and message if the audio is empty, truncated or inaudible, else (None, None)."""
    if not pcm:
        return "empty", "the service said complete and sent no audio"
    if len(pcm) % 2:
        return "truncated", "the audio ends within a sample"
    if trial.onset is None:
        return "inaudible", "the audio is silent"
    return None, None
