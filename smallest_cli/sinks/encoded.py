"""Sound written as bytes: an encoder on a target."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from smallest_cli.errors import OutputFailed, ReaderLeft, SmallestError
from smallest_cli.safety import reason, safe
from smallest_cli.sinks.encoders import Encoder
from smallest_cli.speech import AudioFormat


class Target(Protocol):
    """Something with a descriptor that ends well by `commit` or badly by `abandon`."""

    descriptor: int

    def commit(self) -> None:
        """Make what was written last."""
        ...

    def abandon(self, keep: bool) -> Path | None:
        """Stop; the file that keeps what was written, if one does."""
        ...


@contextmanager
def translated(name: str) -> Iterator[None]:
    """The system's errors about the place called `name`, as ours."""
    try:
        yield
    except BrokenPipeError:
        raise ReaderLeft("the reader left") from None
    except OSError as error:
        raise OutputFailed(f"cannot write {safe(name)}: {reason(error)}") from None


class EncodedSink:
    """A sink of bytes, at `name` (words for a message). What failed is kept unless `keep` is False."""

    def __init__(
        self, name: str, target: Target, encoder: Encoder, format: AudioFormat, *, keep: bool = True
    ) -> None:
        self._name = name
        self._target = target
        self._encoder = encoder
        self._frame_size = format.frame_size
        self._keep = keep
        self._frames = 0

    def write(self, pcm: bytes) -> None:
        """Encode and write the frames, before this returns."""
        with translated(self._name):
            self._encoder.write(pcm)
        self._frames += len(pcm) // self._frame_size

    def heard(self) -> int:
        """Every frame that was written."""
        return self._frames

    def close(self) -> None:
        """Finish the format and commit the target."""
        with translated(self._name):
            self._encoder.finish()
        self._target.commit()

    def abort(self) -> Path | None:
        """Give what was written a true end, where it can have one, and abandon the target."""
        keep = self._keep and self._frames > 0
        try:
            with translated(self._name):
                self._encoder.finish()
        except SmallestError:
            keep = False
        return self._target.abandon(keep)
