"""The Sink protocol, implemented by all destinations of audio."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Sink(Protocol):
    """A destination of audio. It ends by `close` or by `abort`, once."""

    def write(self, pcm: bytes) -> None:
        """Take whole frames of s16le. Raises OutputError or DeviceError."""

    def frames_played(self) -> int:
        """Return the frames that are on disk, in the pipe or played. Raises what the next `write` would."""

    @property
    def can_rewind(self) -> bool:
        """Whether written frames can still be removed, since they were not yet played or read."""

    def rewind(self, frames: int) -> None:
        """Remove all but the first `frames`; only if `can_rewind`. Raises OutputError."""

    def close(self) -> None:
        """Return when every frame is synced, written out or played. Raises OutputError after `abort`."""

    def abort(self) -> Path | None:
        """Stop now, from any thread, also during `close`. Return the partial file that is kept, if any."""


class PlaybackSink:
    """Base of sinks that play: what was played cannot be removed."""

    can_rewind = False

    def rewind(self, frames: int) -> None:
        """Not supported."""
        raise NotImplementedError
