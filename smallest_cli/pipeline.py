"""The pump: audio out of events into a sink, in whole frames, and no silence taken for success."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from smallest_cli.errors import Incomplete, NetworkError, ProtocolError, RemoteError, ServiceFailed
from smallest_cli.sinks import Sink
from smallest_cli.speech import AudioChunk, AudioFormat, Completed, Event, Sent


@dataclass(slots=True)
class Spoken:
    """What was poured: bytes of audio, segments that were proven whole, the service's names for them."""

    format: AudioFormat
    byte_count: int = 0
    segments: int = 0
    request_ids: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Length of the audio."""
        return self.format.duration(self.byte_count)


def play(events: Iterable[Event], sink: Sink, format: AudioFormat) -> Spoken:
    """Pour the audio of one or more segments into a sink; each must end in Completed.

    Raises what the transport raises while no audio has come, Incomplete after that.
    """
    spoken = Spoken(format)
    try:
        _pour(events, sink, spoken)
    except RemoteError as error:
        if not spoken.byte_count:
            raise
        failed = Incomplete(
            f"{error}, after {spoken.seconds:.1f} s of audio", hint=error.hint, request_id=error.request_id
        )
        failed.audio_seconds = spoken.seconds
        raise failed from error
    return spoken


def _pour(events: Iterable[Event], sink: Sink, spoken: Spoken) -> None:
    frame_size = spoken.format.frame_size
    rest = b""
    before = spoken.byte_count
    whole = True
    for event in events:
        match event:
            case Sent():
                before, whole = spoken.byte_count, False
            case AudioChunk(pcm=pcm):
                pcm = rest + pcm
                cut = len(pcm) - len(pcm) % frame_size
                rest = pcm[cut:]
                if cut:
                    sink.write(pcm[:cut])
                    spoken.byte_count += cut
            case Completed(request_id=request_id):
                if rest:
                    raise ProtocolError("the audio ended in half a sample")
                if spoken.byte_count == before:
                    raise ServiceFailed("the service sent no audio", request_id=request_id)
                whole = True
                spoken.segments += 1
                if request_id:
                    spoken.request_ids.append(request_id)
    if not whole or not spoken.segments:
        raise NetworkError("the audio ended before its end was announced")
