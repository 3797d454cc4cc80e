"""One trial: asked once, stamped as it comes, looked at when it is over. A failure is its result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from smallest_cli.bench.onset import find_onset
from smallest_cli.bench.playback import Chunk
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
"""Every name that a failed trial can have. http_429 is the account's limit, by whatever transport it is
told."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One measured run, or a warm-up. Times are nanoseconds.

    Those of chunks and `completed_ns` count from the moment at which the request was sent, all others from
    the run's beginning.
    """

    index: int
    arm: str
    phase: Literal["warmup", "measure"]
    block: int
    text: str
    """The text's name in the run, never the text itself."""
    characters: int
    rate: int
    started_ns: int
    scheduled_ns: int | None = None
    opened_ns: int | None = None
    phases: Phases | None = None
    reused: bool | None = None
    sent_ns: int | None = None
    chunks: tuple[Chunk, ...] = ()
    onset: int | None = None
    """Number of the first audible frame."""
    completed_ns: int | None = None
    ended_ns: int = 0
    error: str | None = None
    message: str | None = None
    request_id: str | None = field(default=None)

    @property
    def frames(self) -> int:
        """Frames of sound that came."""
        return sum(frames for _, frames in self.chunks)

    def as_json(self) -> dict[str, Any]:
        """The trial as an object for JSON."""
        return asdict(self) | {"chunks": [list(chunk) for chunk in self.chunks]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Trial:
        """The trial that `as_json` made, or that `expected.check_raw` has seen."""
        known = {each.name for each in fields(cls)}
        phases = values.get("phases")
        return cls(
            **{name: value for name, value in values.items() if name in known}
            | {
                "chunks": tuple((at, frames) for at, frames in values["chunks"]),
                "phases": None
                if phases is None
                else Phases(*(phases.get(name, 0) for name in ("dns", "tcp", "tls", "upgrade"))),
            }
        )


def classify(error: RemoteError, *, opened: bool, heard: bool) -> str:
    """The name of a failure, one of `ERROR_CLASSES`, by what it is and by how far the trial had come."""
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
            return "timeout_stall" if heard else "timeout_first"
        case IncompleteResponse():
            return "truncated"
        case NetworkError():
            return "reset"
        case ProtocolError():
            return "protocol"
    return "app_error"


@dataclass(slots=True)
class _Stamps:
    """What one request's events told, kept as it came: bytes are not looked at before it is over."""

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
    """A trial, with what a record does not keep: its sound, and the failure itself."""

    trial: Trial
    pcm: bytes
    failure: RemoteError | None


def attempt(
    blank: Trial, request: SpeechRequest, transport: Transport, clock: Callable[[], int], origin_ns: int
) -> Attempt:
    """Ask once. `blank` is the trial before it began; times in the result count from `origin_ns` of
    `clock`."""
    stamps, failure = _Stamps(), None
    started = clock()
    try:
        for event in transport.synthesize(request):
            stamps.note(event)
    except RemoteError as error:
        failure = error
    ended = clock()
    timed = replace(blank, started_ns=started - origin_ns, ended_ns=ended - origin_ns)
    pcm = b"".join(chunk.pcm for chunk in stamps.audio)
    return Attempt(_record(timed, stamps, pcm, failure, origin_ns), pcm, failure)


def _record(timed: Trial, stamps: _Stamps, pcm: bytes, failure: RemoteError | None, origin_ns: int) -> Trial:
    opened, sent, completed = stamps.opened, stamps.sent, stamps.completed
    sent_ns = sent.at_ns if sent else None
    trial = replace(
        timed,
        opened_ns=opened.at_ns - origin_ns if opened else None,
        phases=opened.phases if opened else None,
        reused=opened.reused if opened else None,
        sent_ns=None if sent_ns is None else sent_ns - origin_ns,
        chunks=() if sent_ns is None else tuple(_chunks(stamps.audio, sent_ns)),
        onset=find_onset(pcm, timed.rate),
        completed_ns=completed.at_ns - sent_ns if completed and sent_ns is not None else None,
        request_id=stamps.request_id() or (failure.request_id if failure else None),
    )
    error, message = _judge(trial, pcm, failure)
    return replace(trial, error=error, message=message)


def _chunks(audio: list[AudioChunk], sent_ns: int) -> Iterator[Chunk]:
    """Arrivals in whole frames; what one read brought is one arrival, however many messages it held."""
    at, total, given = None, 0, 0
    for chunk in audio:
        if at is not None and chunk.at_ns != at and total // 2 > given:
            yield at - sent_ns, total // 2 - given
            given = total // 2
        at, total = chunk.at_ns, total + len(chunk.pcm)
    if at is not None and total // 2 > given:
        yield at - sent_ns, total // 2 - given


def _judge(trial: Trial, pcm: bytes, failure: RemoteError | None) -> tuple[str | None, str | None]:
    """Why it is no success, if it is none. Silence is never one."""
    if failure is not None:
        named = classify(failure, opened=trial.opened_ns is not None, heard=bool(pcm))
        return named, str(failure)
    if not pcm:
        return "empty", "the service said complete and sent no audio"
    if len(pcm) % 2:
        return "truncated", "the audio ends within a sample"
    if trial.onset is None:
        return "inaudible", "the audio is silent"
    return None, None
