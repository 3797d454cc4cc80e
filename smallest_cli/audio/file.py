"""Sound written as bytes: an encoder on a target."""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from smallest_cli.audio.encoders import Encoder, Rewindable
from smallest_cli.errors import OutputError, SmallestError, UsageError
from smallest_cli.files import sync
from smallest_cli.models import AudioFormat
from smallest_cli.security import printable
from smallest_cli.stdio import stdout_kind, translated


class StdoutTarget:
    """Descriptor 1. It is written to at once and never closed. Raises UsageError for a terminal.

    What is in it may have been read, of a regular file too: others have it open.
    """

    is_ours = False

    def __init__(self) -> None:
        if stdout_kind() == "closed":
            raise UsageError("stdout is closed", hint="use -o FILE")
        self.descriptor = sys.stdout.fileno()
        if os.isatty(self.descriptor):
            raise UsageError("sound is not written to a terminal", hint="use -o FILE, or pipe it")
        self.is_file = stat.S_ISREG(os.fstat(self.descriptor).st_mode)

    def commit(self) -> None:
        """A regular file is synced, as any other file of ours; a pipe has all there is."""
        with translated("stdout"):
            sync(self.descriptor)

    def abandon(self, keep: bool) -> Path | None:
        """What was written stays; there is nothing to take back."""
        return None


class Target(Protocol):
    """Something with a descriptor that ends well by `commit` or badly by `abandon`.

    `is_file` tells a regular file, which takes what it is given, from a pipe, which may never do; `is_ours`
    one that nobody else reads before `commit`.
    A `commit` that a signal cut short can be called again.
    """

    descriptor: int
    is_file: bool
    is_ours: bool

    def commit(self) -> None:
        """Make what was written last."""
        ...

    def abandon(self, keep: bool) -> Path | None:
        """Stop; the file that keeps what was written, if one does."""
        ...


class EncodedSink:
    """A sink of bytes, at `name` (words for a message). What failed is kept unless `keep` is False.

    `abort` may be called while another thread is at work in here, and then leaves that work alone. Where it
    came first, that thread's next step raises OutputError: there is nothing left to write to.
    """

    def __init__(
        self, name: str, target: Target, encoder: Encoder, format: AudioFormat, *, keep: bool = True
    ) -> None:
        self._name = name
        self._target = target
        self._encoder = encoder
        self._rewindable = encoder if target.is_ours and isinstance(encoder, Rewindable) else None
        self._frame_size = format.frame_size
        self._keep = keep
        self._frames = 0
        self._busy = threading.Lock()
        self._encoded = self._last_byte_in = self._completed = self._aborted = False

    def write(self, pcm: bytes) -> None:
        """Encode and write the frames, before this returns."""
        with self._busy, translated(self._name):
            self._check()
            self._encoder.write(pcm)
        self._frames += len(pcm) // self._frame_size

    def frames_played(self) -> int:
        """Every frame that was written."""
        return self._frames

    @property
    def can_rewind(self) -> bool:
        """A file of ours, in a format that keeps nothing back."""
        return self._rewindable is not None

    def rewind(self, frames: int) -> None:
        """Cut the file off behind its first `frames`."""
        if self._rewindable is None:
            raise NotImplementedError
        with self._busy, translated(self._name):
            self._check()
            self._rewindable.rewind(frames * self._frame_size)
        self._frames = frames

    def close(self) -> None:
        """Finish the format and commit the target."""
        with self._busy:
            self._check()
            if not self._completed:
                self._last_byte_in = True
                self._complete()

    def _check(self) -> None:
        """Raise OutputError after an abort: the descriptor's number may be another file's by now."""
        if self._aborted:
            raise OutputError(f"{printable(self._name)} was not finished: the run was interrupted")

    def _complete(self) -> None:
        try:
            if not self._encoded:
                with translated(self._name):
                    self._encoder.finish()
                self._encoded = True
            self._target.commit()
        except SmallestError:
            self._last_byte_in = False
            raise
        self._completed = True

    def abort(self) -> Path | None:
        """Give a file a true end and leave it beside its name; a pipe gets nothing more.

        Once the last byte is in, only a signal can have come between, and the file is completed after all.
        """
        if not self._busy.acquire(blocking=False):
            return None
        try:
            if self._last_byte_in and not self._completed:
                with suppress(SmallestError):
                    self._complete()
            if self._completed or self._aborted:
                return None
            self._aborted = True
            self._end_early()
            return self._target.abandon(self._keep and self._frames > 0)
        finally:
            self._busy.release()

    def _end_early(self) -> None:
        with suppress(SmallestError), translated(self._name):
            if self._encoded:
                return
            self._encoded = True
            if self._target.is_file and self._frames:
                self._encoder.finish()
            else:
                self._encoder.drop()
