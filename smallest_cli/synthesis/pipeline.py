"""The pump: audio out of events into a sink, in whole frames, and no silence taken for success."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from smallest_cli.audio.sink import Sink
from smallest_cli.errors import Incomplete, ProtocolError, RemoteError, ServerError, SettingsError
from smallest_cli.models import AudioChunk, AudioFormat, Completed, Event, Sent, Silence, SpeechRequest
from smallest_cli.stdio import shortage_told

AHEAD_S = 30.0
LOOK_EVERY_S = 0.05

Ask = Callable[[SpeechRequest], Iterable[Event]]
Again = Callable[["Segment"], None]


@dataclass(slots=True)
class Spoken:
    """What was poured: bytes of audio, segments that were proven whole, the service's names for them."""

    format: AudioFormat
    byte_count: int = 0
    segments: int = 0
    characters: int = 0
    request_ids: list[str] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """Length of the audio in frames."""
        return self.byte_count // self.format.frame_size

    @property
    def seconds(self) -> float:
        """Length of the audio."""
        return self.format.duration(self.byte_count)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment on its way into a sink, for whoever decides how often it is tried."""

    characters: int
    _pump: Pump
    _ask: Callable[[], Iterable[Event]]
    _frames: int

    @property
    def begun(self) -> bool:
        """Whether the sink has audio of this run."""
        return self._pump.spoken.byte_count > 0

    def attempt(self) -> None:
        """Ask for it and pour it. Raises RemoteError."""
        self._pump.attempt(self._ask())

    def take_back(self) -> bool:
        """Have the sink as it was before this segment; False where it cannot."""
        return self._pump.take_back(self._frames)


def once(segment: Segment) -> None:
    """Try a segment, and be done with it."""
    segment.attempt()


def play(
    script: Iterable[SpeechRequest | Silence],
    ask: Ask,
    sink: Sink,
    spoken: Spoken,
    *,
    ahead_s: float = AHEAD_S,
    begin: Callable[[SpeechRequest, int], None] = lambda request, frame: None,
    again: Again = once,
) -> None:
    """Ask for each segment in its turn and pour its audio into a sink, gapless; `spoken` keeps count.

    A segment is asked for when less than `ahead_s` seconds are still to be heard; 0 is no limit.
    `begin` hears of each segment and of the frame at which it will be heard. `again` attempts each, as often
    as it sees fit. Raises what `ask` and `script` raise while no audio has come, Incomplete after that.
    """
    pump = Pump(sink, spoken)
    with pump.incomplete():
        for item in script:
            match item:
                case Silence(seconds=seconds):
                    pump.rest(seconds)
                case SpeechRequest(text=text):
                    pump.wait(ahead_s)
                    begin(item, spoken.frames)
                    again(Segment(len(text), pump, partial(ask, item), spoken.frames))
                    spoken.characters += len(text)


def drain(sink: Sink, frames: int) -> None:
    """Until the slowest sink has played so many frames."""
    pause = threading.Event()
    while sink.frames_played() < frames:
        pause.wait(LOOK_EVERY_S)


class Pump:
    """Pours one segment after the other into one sink, and keeps count in `spoken`."""

    def __init__(self, sink: Sink, spoken: Spoken) -> None:
        self._sink = sink
        self._format = spoken.format
        self.spoken = spoken

    def wait(self, ahead_s: float) -> None:
        """Until less than `ahead_s` seconds are still to be heard at the slowest sink; 0 is no wait."""
        if not ahead_s:
            return
        pause = threading.Event()
        while (self.spoken.frames - self._sink.frames_played()) / self._format.sample_rate >= ahead_s:
            pause.wait(LOOK_EVERY_S)

    def rest(self, seconds: float) -> None:
        """Pour silence."""
        self._write(bytes(round(seconds * self._format.sample_rate) * self._format.frame_size))

    def pour(self, events: Iterable[Event]) -> None:
        """Pour one segment or more, each to the event that proves it whole.

        Raises what the transport raises while no audio of the run has come, Incomplete after that.
        """
        with self.incomplete():
            self.attempt(events)

    @contextmanager
    def incomplete(self) -> Iterator[None]:
        """A failure of the other side or of this machine, after audio of the run, as Incomplete.

        Before it, SettingsError says what the machine has no more of.
        """
        try:
            with shortage_told():
                yield
        except (RemoteError, SettingsError) as error:
            if not self.spoken.byte_count:
                raise
            raise Incomplete(
                f"{error}, after {self.spoken.seconds:.1f} s of audio",
                hint=error.hint,
                request_id=error.request_id,
            ) from error

    def take_back(self, frames: int) -> bool:
        """Go back to where the first `frames` had been poured; False where the sink cannot."""
        if not self._sink.can_rewind:
            return False
        self._sink.rewind(frames)
        self.spoken.byte_count = frames * self._format.frame_size
        return True

    def attempt(self, events: Iterable[Event]) -> None:
        """As `pour`, but raises RemoteError after audio, too."""
        proven = self.spoken.byte_count
        rest, whole = b"", True
        for event in events:
            match event:
                case Sent():
                    whole = False
                case AudioChunk(pcm=pcm):
                    pcm = rest + pcm
                    cut = len(pcm) - len(pcm) % self._format.frame_size
                    rest, whole = pcm[cut:], False
                    self._write(pcm[:cut])
                case Completed(request_id=request_id):
                    if rest:
                        raise ProtocolError("the audio ended in half a sample")
                    if self.spoken.byte_count == proven:
                        raise ServerError("the service sent no audio", request_id=request_id)
                    proven, whole = self.spoken.byte_count, True
                    self.spoken.segments += 1
                    if request_id:
                        self.spoken.request_ids.append(request_id)
        if not whole:
            raise ProtocolError("the audio ended before its end was announced")

    def _write(self, pcm: bytes) -> None:
        if pcm:
            self._sink.write(pcm)
            self.spoken.byte_count += len(pcm)
