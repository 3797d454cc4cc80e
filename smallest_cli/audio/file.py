"""Audio written to a file or pipe: an encoder on a target."""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path

from smallest_cli.audio.encoders import Encoder
from smallest_cli.errors import OutputError, SmallestError, UsageError
from smallest_cli.files import FileTarget, sync
from smallest_cli.models import AudioFormat
from smallest_cli.security import printable
from smallest_cli.stdio import output_errors, stdout_kind


class StdoutTarget:
    """Descriptor 1, written to directly and never closed.

    Not `is_ours`, even as a regular file: other processes have it open too.
    """

    is_ours = False

    def __init__(self) -> None:
        """Raises UsageError for a terminal or a closed stdout."""
        if stdout_kind() == "closed":
            raise UsageError("stdout is closed", hint="use -o FILE")
        self.descriptor = sys.stdout.fileno()
        if os.isatty(self.descriptor):
            raise UsageError("refusing to write audio to a terminal", hint="use -o FILE, or pipe it")
        self.is_file = stat.S_ISREG(os.fstat(self.descriptor).st_mode)

    def commit(self) -> None:
        """Sync a regular file; nothing to do for a pipe."""
        with output_errors("stdout"):
            sync(self.descriptor)

    def abandon(self, keep: bool) -> Path | None:
        """Nothing to do: what was written stays."""
        return None


Target = StdoutTarget | FileTarget
"""A descriptor to write to. It ends by `commit`, or by `abandon` after a failure.

`is_file`: a regular file, to which a write cannot block indefinitely. `is_ours`: a file that no other
process reads before `commit`. A `commit` that a signal interrupted can be called again.
"""


class EncodedSink:
    """A sink that encodes to a target. `name` is for messages; `keep` keeps a partial file after a failure.

    It can be rewound if its file is ours and the encoder does not buffer.
    `abort` may be called while another thread is in a method: it then does nothing. After `abort`,
    the other methods raise OutputError, since the target is closed.
    """

    def __init__(
        self, name: str, target: Target, encoder: Encoder, format: AudioFormat, *, keep: bool = True
    ) -> None:
        self._name = name
        self._target = target
        self._encoder = encoder
        self.can_rewind = target.is_ours and encoder.can_rewind
        self._frame_size = format.frame_size
        self._keep = keep
        self._frames = 0
        self._busy = threading.Lock()
        self._encoded = self._closing = self._completed = self._aborted = False

    def write(self, pcm: bytes) -> None:
        """Encode and write the frames before returning."""
        with self._busy, output_errors(self._name):
            self._check()
            self._encoder.write(pcm)
        self._frames += len(pcm) // self._frame_size

    def frames_played(self) -> int:
        """Return the frames written."""
        return self._frames

    def rewind(self, frames: int) -> None:
        """Truncate the file after its first `frames`."""
        if not self.can_rewind:
            raise NotImplementedError
        with self._busy, output_errors(self._name):
            self._check()
            self._encoder.rewind(frames * self._frame_size)
        self._frames = frames

    def close(self) -> None:
        """Finish the format and commit the target."""
        with self._busy:
            self._check()
            if not self._completed:
                self._closing = True
                self._complete()

    def _check(self) -> None:
        """Raise OutputError after `abort`: the descriptor number may be reused for another file."""
        if self._aborted:
            raise OutputError(f"{printable(self._name)} was not finished: the run was interrupted")

    def _complete(self) -> None:
        try:
            if not self._encoded:
                with output_errors(self._name):
                    self._encoder.finish()
                self._encoded = True
            self._target.commit()
        except SmallestError:
            self._closing = False
            raise
        self._completed = True

    def abort(self) -> Path | None:
        """End a file validly and keep it beside its name; write nothing more to a pipe.

        A file whose last byte was written is completed instead: a signal interrupted `close`.
        """
        if not self._busy.acquire(blocking=False):
            return None
        try:
            if self._closing and not self._completed:
                with suppress(SmallestError):
                    self._complete()
            if self._completed or self._aborted:
                return None
            self._aborted = True
            self._end_partial()
            return self._target.abandon(self._keep and self._frames > 0)
        finally:
            self._busy.release()

    def _end_partial(self) -> None:
        with suppress(SmallestError), output_errors(self._name):
            if self._encoded:
                return
            self._encoded = True
            if self._target.is_file and self._frames:
                self._encoder.finish()
            else:
                self._encoder.drop()
