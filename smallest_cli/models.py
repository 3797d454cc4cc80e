"""Data types shared by all packages: requests, events, voices, the service. No I/O."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self, dataclass_transform, runtime_checkable

from smallest_cli.errors import RemoteError
from smallest_cli.security import Secret

Via = Literal["ws", "sse", "http"]
Api = Literal["unified", "v3.1", "v2"]
VIAS: tuple[Via, ...] = ("ws", "sse", "http")
APIS: tuple[Api, ...] = ("unified", "v3.1", "v2")
STANDARD_MODEL, PRO_MODEL = "lightning_v3.1", "lightning_v3.1_pro"
MODELS = (STANDARD_MODEL, PRO_MODEL)
"""The models of the unified API, as requests spell them; paths use hyphens (waves/api.md, 1)."""
PRICES = {STANDARD_MODEL: 0.175, PRO_MODEL: 0.195}
"""US dollars for 10,000 characters (waves/api.md, 0 and 6; the standard price by a third party)."""
SAMPLE_RATES = (8_000, 16_000, 24_000, 44_100)
MAX_REQUEST_CHARS = 8000
"""The service's limit on the text of a request, after trimming (waves/api.md, 0.4)."""
SEGMENT_CHARS = 250
"""Maximum characters of a segment, as the vendor recommends and its server splits (waves/api.md, 4c)."""
LATE_WRITE_NS = 1_000_000


@dataclass_transform(frozen_default=True)
class Value:
    """Base of small immutable objects: records, and groups of options. Annotated names are the fields.

    Construct with `Point(x=1, y=2)` or `Point(1, 2)`; a value in the class is the default of its field.
    Values are equal if their classes and fields are. `point.but(y=3)` is a copy with other values.

    Not a dataclass: the methods generated for one add 0.5 to 1 ms to the start of every command that imports
    it; these are shared. A NamedTuple serves as well where it may be equal to other tuples.
    """

    _fields: ClassVar[dict[str, None]] = {}
    """Names of the fields in order, those of base classes first. A dict, as an ordered set."""
    _required: ClassVar[frozenset[str]] = frozenset()
    _not_compared: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        own = (name for name, kind in cls.__annotations__.items() if "ClassVar" not in str(kind))
        cls._fields = cls._fields | dict.fromkeys(own)
        cls._required = frozenset(name for name in cls._fields if not hasattr(cls, name))

    def __init__(self, *values: Any, **named: Any) -> None:
        """Take the fields in order or by name. Raises TypeError if one is missing, unknown or given twice."""
        given = self.__dict__
        if values:
            given.update(zip(self._fields, values))  # noqa: B905  (their number is checked below)
        given.update(named)
        if len(given) < len(values) + len(named) or not self._required <= given.keys() <= self._fields.keys():
            raise TypeError(f"{type(self).__name__}({', '.join(self._fields)}): got {values} and {named}")

    def __setattr__(self, name: str, _: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    def as_dict(self) -> dict[str, Any]:
        """Return all fields by name."""
        return {name: getattr(self, name) for name in self._fields}

    def but(self, **changes: Any) -> Self:
        """Return a copy with some values changed."""
        if not changes.keys() <= self._fields.keys():
            raise TypeError(f"{type(self).__name__}({', '.join(self._fields)}): got {changes}")
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, **changes)
        return copy

    def _compared(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self._fields if name not in self._not_compared)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._compared() == other._compared()

    def __hash__(self) -> int:
        return hash((type(self), self._compared()))

    def __repr__(self) -> str:
        fields = (f"{name}={each!r}" for name, each in self.as_dict().items())
        return f"{type(self).__name__}({', '.join(fields)})"


class AudioFormat(NamedTuple):
    """The PCM format used internally: signed 16-bit little-endian (s16le), mono."""

    sample_rate: int = 24_000
    channels: int = 1
    sample_width: int = 2

    @property
    def frame_size(self) -> int:
        """Bytes per frame (one sample for each channel)."""
        return self.channels * self.sample_width

    @property
    def byte_rate(self) -> int:
        """Bytes per second."""
        return self.sample_rate * self.frame_size

    def duration(self, byte_count: int) -> float:
        """Return the seconds of audio in `byte_count` bytes."""
        return byte_count / self.byte_rate


class SpeechRequest(NamedTuple):
    """One segment of text, one plain message on the wire (waves/api.md, 2a).

    `speed` is a factor from 0.5 to 2.0. `language` None: the service chooses. `encoding` of the reply is
    pcm, wav, mp3, ulaw or alaw; streams always carry PCM. `completion_wait_ms` is sent only if given; the
    service's default is 4000. `consistency`, `similarity` (0 to 1) and `enhancement` (0 to 2) exist only
    in the v2 API (2b). `speaker` is the name of --speaker, which subtitles show; it is not sent.
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
    speaker: str | None = None


class Silence(NamedTuple):
    """A pause between two segments, written as silence without a request."""

    seconds: float


class Buffering(NamedTuple):
    """Server-side buffering of a message's text (waves/api.md, 4c).

    With a `context` it is a continuation; without one it is the older buffer, where `more` buffers
    the text and `flush` synthesizes the buffer. `close` and `cancel` apply to contexts only.
    """

    more: bool = False
    flush: bool = False
    max_flush_ms: int | None = None
    context: str | None = None
    max_delay_ms: int | None = None
    close: bool = False
    cancel: bool = False


class Voice(NamedTuple):
    """A voice of the catalogue. `model` names its pool. None: not stated by the service."""

    id: str
    name: str
    model: str
    gender: str | None = None
    accent: str | None = None
    languages: tuple[str, ...] = ()
    age: str | None = None
    use_cases: tuple[str, ...] = ()


class Dictionary(NamedTuple):
    """A pronunciation dictionary; `items` are (word, pronunciation) pairs."""

    id: str
    items: tuple[tuple[str, str], ...]
    created: str | None = None


class Clone(NamedTuple):
    """A cloned voice. `status` is pending, processing, completed or failed."""

    id: str
    name: str
    model: str | None
    status: str
    language: str | None = None
    created: str | None = None


class Service(NamedTuple):
    """A service: its base URL (origin and optional path prefix), API key and API."""

    base_url: str
    key: Secret
    api: Api = "unified"


class Phases(Value):
    """Duration of each step of opening a connection, in nanoseconds; 0 for a step that was skipped."""

    dns: int = 0
    tcp: int = 0
    tls: int = 0
    upgrade: int = 0


class _Timed(Value):
    """Base of the events: equal without their times in nanoseconds and the number of their request."""

    _not_compared = frozenset({"at_ns", "segment", "write_ns"})


class Opened(_Timed):
    """The connection that will carry the request is ready."""

    phases: Phases
    reused: bool = False
    at_ns: int = 0
    segment: int = 0


class Sent(_Timed):
    """The last byte of the request was written to the socket.

    `write_ns` is how long that write took. If it is more than `LATE_WRITE_NS`, the thread was not running or
    the socket was full, and the byte may have left at any time in it: `at_ns` is then its start.
    """

    at_ns: int = 0
    segment: int = 0
    write_ns: int = 0


class AudioChunk(_Timed):
    """Audio bytes of one message: s16le, not necessarily whole frames. `cached`: read from the cache."""

    pcm: bytes
    request_id: str | None = None
    at_ns: int = 0
    cached: bool = False
    segment: int = 0


class WordTiming(_Timed):
    """Start and end of a word, in seconds from the start of its segment. `number` is its position."""

    word: str
    start: float
    end: float
    number: int = 0
    request_id: str | None = None
    at_ns: int = 0
    segment: int = 0


class AudioEnded(_Timed):
    """No more audio of the segment will come; whether it is complete is not yet known."""

    at_ns: int = 0
    segment: int = 0


class Completed(_Timed):
    """The segment is complete, by the service's end marker or by the stated length."""

    request_id: str | None = None
    at_ns: int = 0
    segment: int = 0


class Refused(_Timed):
    """The service refused a request that was sent while another was under way; `error` is its answer."""

    error: RemoteError
    at_ns: int = 0
    segment: int = 0


Event = Opened | Sent | AudioChunk | WordTiming | AudioEnded | Completed | Refused


class HasFileno(Protocol):
    """An object to wait on, as with `select`."""

    def fileno(self) -> int:
        """Return the descriptor, which becomes readable."""


class Cancelling(Protocol):
    """A connection on which a request will be cancelled."""

    received_ns: int
    """When the last bytes were received."""

    def unschedule(self) -> int | None:
        """Return the time of the cancellation; None, and it will not happen, if it has not happened yet."""


class Transport(Protocol):
    """A transport to the service. It keeps its connection open between calls."""

    def synthesize(self, request: SpeechRequest) -> Generator[Event, None, None]:
        """Yield the events of one segment, `Completed` last. Raises RemoteError unless it is complete."""

    capacity: int
    """Requests that may be under way at the same time; with 1, `receive` always waits for an event."""

    def send(self, request: SpeechRequest) -> int:
        """Send a request; returns its number, the `segment` of its events. Raises RemoteError."""

    def receive(self, wake: HasFileno | None = None, timeout_s: float | None = None) -> Event | None:
        """Return the next event; None if `wake` is readable, or `timeout_s` passed. Raises RemoteError."""

    def cancel_at(self, at_ns: int) -> Cancelling:
        """Cancel the request under way at that time of the clock of its events.

        What the service still sends is received, until it ends the connection.
        """

    def connect(self) -> None:
        """Open the connection ahead of a request, or keep an idle one alive. Raises RemoteError."""

    def close(self) -> None:
        """Close the connection without waiting for the peer."""


@runtime_checkable
class Conversation(Protocol):
    """A transport over which the service splits arriving text: only WebSocket."""

    def converse(self, request: SpeechRequest, fragments: Fragments, drain_s: float) -> Iterator[Event]:
        """Send `fragments` as they arrive with the options of `request`. Yield events. Raises RemoteError."""


class Fragments(HasFileno, Protocol):
    """Arriving text. `fileno` is readable when `next` has text; `ended` is set when no more will come."""

    ended: bool

    def next(self, timeout_s: float | None = 0.0) -> str | None:
        """Return the next text; None after `timeout_s` (None: no timeout) or at the end."""


class Segments(HasFileno, Protocol):
    """The source of the items of a run: complete or arriving text."""

    ended: bool
    """Whether all items were taken and no more will come."""

    def next(self) -> SpeechRequest | Silence | None:
        """Return the next item; None if none is ready."""

    def due_s(self) -> float | None:
        """Return the seconds until an item is ready without more text; None if it needs more text."""

    def wait(self, timeout_s: float) -> bool:
        """Wait until an item may be ready; return False after `timeout_s` without any text."""
