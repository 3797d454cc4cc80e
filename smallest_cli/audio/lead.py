"""Silence before the first sound, for loudspeakers that swallow the beginning (Bluetooth, HDMI)."""

from __future__ import annotations

from pathlib import Path

from smallest_cli.audio.sink import Sink
from smallest_cli.models import AudioFormat


class LeadSink:
    """A sink that plays `seconds` of silence when the first sound comes, and counts none of it as heard."""

    def __init__(self, sink: Sink, format: AudioFormat, seconds: float) -> None:
        self._sink = sink
        self._lead = round(seconds * format.sample_rate)
        self._silence = bytes(self._lead * format.frame_size)

    def write(self, pcm: bytes) -> None:
        """As the sink within."""
        if self._silence:
            silence, self._silence = self._silence, b""
            self._sink.write(silence)
        self._sink.write(pcm)

    def frames_played(self) -> int:
        """Frames of sound that have been played."""
        return max(0, self._sink.frames_played() - self._lead)

    @property
    def can_rewind(self) -> bool:
        """Never: what was played was heard."""
        return False

    def rewind(self, frames: int) -> None:
        """Never asked for."""
        raise NotImplementedError

    def close(self) -> None:
        """As the sink within."""
        self._sink.close()

    def abort(self) -> Path | None:
        """As the sink within."""
        return self._sink.abort()
