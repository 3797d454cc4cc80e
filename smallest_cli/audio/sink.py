"""TODO."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Sink(Protocol):
    """One place that sound goes to. It ends by `close` or by `abort`, once."""

    def write(self, pcm: bytes) -> None:
        """Take whole frames of s16le. Raises OutputError or DeviceError."""
        ...

    def frames_played(self) -> int:
        """Frames that have left for good: on disk, written to the pipe, played by the device.

        Raises what the next `write` would, so that nobody waits for a sink that died.
        """
        ...

    @property
    def can_rewind(self) -> bool:
        """Whether what was written can still be taken back: nobody has heard or read it."""
        ...

    def rewind(self, frames: int) -> None:
        """Take back all but the first `frames`; only where `can_rewind`. Raises OutputError."""
        ...

    def close(self) -> None:
        """Finish: return when every frame is synced to disk, written out or played to its end.

        A file that another thread's `abort` kept from being finished raises OutputError.
        """
        ...

    def abort(self) -> Path | None:
        """Stop now: silence, nothing replaced. The file that keeps what had come, if there is one.

        After a `close` that a signal cut short, too; and from another thread, to cut it short.
        """
        ...
