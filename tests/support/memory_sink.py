"""A sink that keeps what is written to it."""

from __future__ import annotations

from pathlib import Path


class MemorySink:
    """A sink that keeps each write. `frames_played` returns the given figures in turn, then all frames."""

    def __init__(self, *played: int) -> None:
        self.writes: list[bytes] = []
        self.looks = 0
        self._played = list(played)

    @property
    def pcm(self) -> bytes:
        return b"".join(self.writes)

    def write(self, pcm: bytes) -> None:
        self.writes.append(pcm)

    def frames_played(self) -> int:
        self.looks += 1
        return self._played.pop(0) if self._played else len(self.pcm) // 2

    @property
    def can_rewind(self) -> bool:
        return True

    def rewind(self, frames: int) -> None:
        self.writes = [self.pcm[: 2 * frames]]

    def close(self) -> None:
        pass

    def abort(self) -> Path | None:
        return None
