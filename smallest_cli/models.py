"""Values that everything here shares: requests, events, voices, the service. No I/O.

Named tuples, because each dataclass adds 0.5 ms to the start of every command.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from smallest_cli.errors import RemoteError
from smallest_cli.security import Secret

Via = Literal["ws", "sse", "http"]
Api = Literal["unified", "v3.1", "v2"]
VIAS: tuple[Via, ...] = ("ws", "sse", "http")
APIS: tuple[Api, ...] = ("unified", "v3.1", "v2")
STANDARD_MODEL, PRO_MODEL = "lightning_v3.1", "lightning_v3.1_pro"
MODELS = (STANDARD_MODEL, PRO_MODEL)
"""The models of the unified API, as requests spell them; paths use hyphens (waves/api.md, 1)."""
SAMPLE_RATES = (8_000, 16_000, 24_000, 44_100)
MAX_REQUEST_CHARS = 8000
"""The service's limit on the text of a request, after trimming (waves/api.md, 0.4)."""
SEGMENT_CHARS = 250
"""Maximum characters of a segment: the vendor's advice, and where its server cuts (waves/api.md, 4c)."""


class AudioFormat(NamedTuple):
    """PCM as everything here carries it: signed 16-bit little-endian (s16le), mono."""

    sample_rate: int = 24_000
    channels: int = 1
    sample_width: int = 2

    @property
    def frame_size(self) -> int:
        """Bytes of one frame: one sample for each channel."""
        return self.channels * self.sample_width

    @property
    def byte_rate(self) -> int:
        """Bytes of one second."""
        return self.sample_rate * self.frame_size

    def duration(self, byte_count: int) -> float:
        """Seconds of sound in `byte_count` bytes."""
        return byte_count / self.byte_rate


class SpeechRequest(NamedTuple):
    """One segment of text, one plain message on the wire (waves/api.md, 2a).

    `speed` is a factor from 0.5 to 2.0. `language` None leaves the choice to the service. `encoding`
    is how the reply's bytes are coded: pcm, wav, mp3, ulaw or alaw; streams carry PCM whatever it is.
    `completion_wait_ms` is sent only when it is given; the service's own default is 4000.
    `consistency`, `similarity` (0 to 1) and `enhancement` (0 to 2) are of the v2 API alone (2b).
    """

    text: str
    voice: str
    model: str | None = None
    language: str | None = None
    speed: float = 1.0
    format: AudioFormat = AudioFormat()
    encoding: str = "pcm"
    number_language: str | None = None
    math_notation: bool = False
    dictionaries: tuple[str, ...] = ()
    word_timings: bool = False
    completion_wait_ms: int | None = None
    consistency: float | None = None
    similarity: float | None = None
    enhancement: int | None = None
    session_id: str | None = None
    request_id: str | None = None


class Silence(NamedTuple):
    """A pause between two segments: nothing is asked for, and this much silence is heard."""

    seconds: float


class Buffering(NamedTuple):
    """How the service is to hold a message's text back until enough has come (waves/api.md, 4c).

    With a `context` it is a continuation; without one it is the older buffer, where `more` holds
    the text and `flush` speaks what was held. `close` and `cancel` belong to contexts only.
    """

    more: bool = False
    flush: bool = False
    max_flush_ms: int | None = None
    context: str | None = None
    max_delay_ms: int | None = None
    close: bool = False
    cancel: bool = False


class Voice(NamedTuple):
    """A voice of the catalogue. `model` names its pool; None means not stated, never guessed."""

    id: str
    name: str
    model: str
    gender: str | None = None
    accent: str | None = None
    languages: tuple[str, ...] = ()
    age: str | None = None
    use_cases: tuple[str, ...] = ()


class Dictionary(NamedTuple):
    """Words, each with what is said for it."""

    id: str
    items: tuple[tuple[str, str], ...]
    created: str | None = None


class Clone(NamedTuple):
    """A voice of one's own. `status` is pending, processing, completed or failed."""

    id: str
    name: str
    model: str | None
    status: str
    language: str | None = None
    created: str | None = None


class Service(NamedTuple):
    """Where the speech comes from: an origin with an optional path prefix, its key, its API."""

    base_url: str
    key: Secret
    api: Api = "unified"


@dataclass(frozen=True, slots=True)
class Phases:
    """Nanoseconds that each step of opening a connection took; 0 where there was no such step."""

    dns: int = 0
    tcp: int = 0
    tls: int = 0
    upgrade: int = 0


_T = TypeVar("_T", bound=tuple[Any, ...])


def _event(cls: type[_T]) -> type[_T]:
    """Make events of one class equal without their timestamp and segment, and different from other tuples."""

    def content(event: Any) -> tuple[Any, ...]:
        return tuple(event._replace(at_ns=0, segment=0))

    methods = {
        "__eq__": lambda self, other: type(other) is cls and content(self) == content(other),
        "__ne__": lambda self, other: type(other) is not cls or content(self) != content(other),
        "__hash__": lambda self: hash(content(self)),
    }
    for name, method in methods.items():
        setattr(cls, name, method)
    return cls


@_event
class Opened(NamedTuple):
    """The connection that will carry the request is ready."""

    phases: Phases
    reused: bool = False
    at_ns: int = 0
    segment: int = 0


@_event
class Sent(NamedTuple):
    """The last byte of the request has been handed to the system."""

    at_ns: int = 0
    segment: int = 0


@_event
class AudioChunk(NamedTuple):
    """Audio bytes of one message: s16le, not necessarily whole frames. `cached` audio was not sent now."""

    pcm: bytes
    request_id: str | None = None
    at_ns: int = 0
    cached: bool = False
    segment: int = 0


@_event
class WordTiming(NamedTuple):
    """When a word is heard: seconds from the start of its segment. `number` counts the words."""

    word: str
    start: float
    end: float
    number: int = 0
    request_id: str | None = None
    at_ns: int = 0
    segment: int = 0


@_event
class AudioEnded(NamedTuple):
    """No more audio of the segment will come; that it is complete is not yet proven."""

    at_ns: int = 0
    segment: int = 0


@_event
class Completed(NamedTuple):
    """The segment is complete, by the service's end marker or by the length that it stated."""

    request_id: str | None = None
    at_ns: int = 0
    segment: int = 0


@_event
class Refused(NamedTuple):
    """The service refused a request that was sent while another was under way; `error` is its answer."""

    error: RemoteError
    at_ns: int = 0
    segment: int = 0


Event = Opened | Sent | AudioChunk | WordTiming | AudioEnded | Completed | Refused


class HasFileno(Protocol):
    """Something that can be waited for."""

    def fileno(self) -> int:
        """A descriptor that becomes readable."""


class Transport(Protocol):
    """One way to the service. It keeps its connection between calls."""

    def synthesize(self, request: SpeechRequest) -> Iterator[Event]:
        """Yield the events of one segment, `Completed` last. Raises RemoteError unless it is complete."""

    capacity: int
    """Requests that may be under way at the same time; with 1, `receive` always waits for an event."""

    def send(self, request: SpeechRequest) -> int:
        """Send a request; returns its number, the `segment` of its events. Raises RemoteError."""

    def receive(self, wake: HasFileno | None = None, timeout_s: float | None = None) -> Event | None:
        """Return the next event; None if `wake` is readable, or `timeout_s` passed. Raises RemoteError."""

    def connect(self) -> None:
        """Open the connection before it is needed, or keep it open while it is not. Raises RemoteError."""

    def close(self) -> None:
        """Let go of the connection, without waiting for the other side."""


@runtime_checkable
class Conversation(Protocol):
    """A transport that lets the service cut text as it comes: the WebSocket alone."""

    def converse(self, request: SpeechRequest, fragments: Fragments, drain_s: float) -> Iterator[Event]:
        """Send `fragments` as they come, with the options of `request`. Yield events. Raises RemoteError."""


class Fragments(HasFileno, Protocol):
    """Text as it comes. `fileno` is readable when `next` has something; `ended` when nothing will follow."""

    ended: bool

    def next(self, timeout_s: float | None = 0.0) -> str | None:
        """The next text, None where none came in that time or all has."""


class Segments(HasFileno, Protocol):
    """Where the items of a run come from: a finished text, or one that is still arriving."""

    ended: bool
    """Nothing more will come, and everything was taken."""

    def next(self) -> SpeechRequest | Silence | None:
        """The next item, None where none is ready."""

    def due_s(self) -> float | None:
        """Seconds until an item is ready even if nothing arrives; None where it depends on what arrives."""

    def wait(self, timeout_s: float) -> bool:
        """Wait until an item may be ready; False after `timeout_s` without any text."""
