"""The Sink protocol: what a destination of audio can do."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Sink(Protocol):
    """A destination of audio. It ends by `close` or by `abort`, once."""

    def write(self, pcm: bytes) -> None:
        """Take whole frames of s16le. Raises OutputError or DeviceError."""

    def frames_played(self) -> int:
        """Return the frames that are final: on disk, written to the pipe, played by the device.

        Raises what the next `write` would, so that a caller does not wait for a failed sink.
        """

    @property
    def can_rewind(self) -> bool:
        """Whether written frames can still be removed, since they were not yet played or read."""

    def rewind(self, frames: int) -> None:
        """Remove all but the first `frames`; only if `can_rewind`. Raises OutputError."""

    def close(self) -> None:
        """Finish: return when every frame is synced to disk, written out or played.

        Raises OutputError for a file that `abort` on another thread kept from being finished.
        """

    def abort(self) -> Path | None:
        """Stop now: no more audio, no file replaced. Return the partial file that is kept, if any.

        May be called after a `close` that a signal interrupted, and from another thread to interrupt it.
        """


class PlaybackSink:
    """Base of sinks that play: what was played cannot be removed."""

    can_rewind = False

    def rewind(self, frames: int) -> None:
        """Not supported."""
        raise NotImplementedError
