"""Where sound goes. Sinks take whole frames of PCM and know no network."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Sink(Protocol):
    """One place that sound goes to. It ends by `close` or by `abort`, once."""

    def write(self, pcm: bytes) -> None:
        """Take whole frames of s16le. Raises OutputFailed or DeviceError."""
        ...

    def heard(self) -> int:
        """Frames that have left for good: on disk, read from the pipe, played by the device."""
        ...

    def close(self) -> None:
        """Finish: return when every frame is synced to disk, written out or played to its end."""
        ...

    def abort(self) -> Path | None:
        """Stop now: silence, nothing replaced. The file that keeps what had come, if there is one."""
        ...
