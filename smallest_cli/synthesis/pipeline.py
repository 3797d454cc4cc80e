"""Copy audio from events to a sink in whole frames."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from smallest_cli.audio.sink import Sink
from smallest_cli.errors import Incomplete, ProtocolError, RemoteError, SettingsError
from smallest_cli.models import AudioChunk, AudioFormat, Completed, Event, Sent
from smallest_cli.stdio import translate_exhaustion

POLL_S = 0.05
"""Interval of polling a sink's position: sinks send no notifications."""


class Totals:
    """What was written to the sink: bytes of audio, complete segments, the service's request ids."""

    def __init__(self, format: AudioFormat) -> None:
        self.format = format
        self.byte_count = 0
        self.segments = 0
        self.characters = 0
        self.request_ids: list[str] = []

    @property
    def frames(self) -> int:
        """Length of the audio in frames."""
        return self.byte_count // self.format.frame_size

    @property
    def seconds(self) -> float:
        """Length of the audio in seconds."""
        return self.format.duration(self.byte_count)


class Pipeline:
    """One sink, what was written to it, and the segment that is being written."""

    def __init__(self, sink: Sink, format: AudioFormat) -> None:
        self.sink = sink
        self.totals = Totals(format)
        self._remainder = b""

    def write(self, pcm: bytes) -> None:
        """Write the whole frames of a chunk; the rest waits for the next chunk. Raises OutputError."""
        pcm = self._remainder + pcm
        end = len(pcm) - len(pcm) % self.totals.format.frame_size
        self._remainder = pcm[end:]
        self._write(pcm[:end])

    def write_silence(self, seconds: float) -> None:
        """Write silence, which belongs to no segment."""
        format = self.totals.format
        self._write(bytes(round(seconds * format.sample_rate) * format.frame_size))

    def add_segment(self, characters: int, request_id: str | None) -> None:
        """Count a complete segment."""
        self.totals.segments += 1
        self.totals.characters += characters
        if request_id:
            self.totals.request_ids.append(request_id)

    def rewind(self, frames: int) -> bool:
        """Drop all but the first `frames` from the sink; False if it cannot be rewound."""
        if not self.sink.can_rewind:
            return False
        self.sink.rewind(frames)
        self.totals.byte_count = frames * self.totals.format.frame_size
        self._remainder = b""
        return True

    def discard_remainder(self) -> None:
        """Discard half a frame of an attempt that failed before its first frame."""
        self._remainder = b""

    def copy(self, events: Iterable[Event]) -> None:
        """Write the audio of one or more segments, each up to its end marker.

        Errors of the events are raised unchanged before the first audio, after it as Incomplete.
        """
        complete = True
        with self.incomplete_after_audio():
            for event in events:
                match event:
                    case Sent():
                        complete = False
                    case AudioChunk(pcm=pcm):
                        complete = False
                        self.write(pcm)
                    case Completed(request_id=request_id):
                        self.add_segment(0, request_id)
                        complete = True
            if not complete:
                raise ProtocolError("the audio ended without an end marker")

    @contextmanager
    def incomplete_after_audio(self) -> Iterator[None]:
        """Raise Incomplete instead of a remote error, or exhausted resources, once audio was written."""
        try:
            with translate_exhaustion():
                yield
        except (RemoteError, SettingsError) as error:
            if not self.totals.byte_count:
                raise
            raise Incomplete(
                f"{error}, after {self.totals.seconds:.1f} s of audio",
                hint=error.hint,
                request_id=error.request_id,
            ) from error

    def seconds_ahead(self) -> float:
        """Return the seconds of audio that the slowest sink has still to play."""
        return (self.totals.frames - self.sink.frames_played()) / self.totals.format.sample_rate

    def drain(self) -> None:
        """Wait until the slowest sink has played everything."""
        pause = threading.Event()
        while self.sink.frames_played() < self.totals.frames:
            pause.wait(POLL_S)

    def _write(self, pcm: bytes) -> None:
        if pcm:
            self.sink.write(pcm)
            self.totals.byte_count += len(pcm)
