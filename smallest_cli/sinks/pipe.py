"""Our own stdout, as a place for sound."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from smallest_cli.errors import OutputFailed, UsageError
from smallest_cli.files import sync
from smallest_cli.safety import reason


class StdoutTarget:
    """Descriptor 1. It is written to at once and never closed. Raises UsageError for a terminal.

    What is in it may have been read, of a regular file too: others have it open.
    """

    is_ours = False

    def __init__(self) -> None:
        if sys.stdout is None:
            raise UsageError("stdout is closed", hint="use -o FILE")
        self.descriptor = sys.stdout.fileno()
        if os.isatty(self.descriptor):
            raise UsageError("sound is not written to a terminal", hint="use -o FILE, or pipe it")
        self.is_file = stat.S_ISREG(os.fstat(self.descriptor).st_mode)

    def commit(self) -> None:
        """A regular file is synced, as any other file of ours; a pipe has all there is."""
        try:
            sync(self.descriptor)
        except OSError as error:
            raise OutputFailed(f"cannot write stdout: {reason(error)}") from None

    def abandon(self, keep: bool) -> Path | None:
        """What was written stays; there is nothing to take back."""
        return None
