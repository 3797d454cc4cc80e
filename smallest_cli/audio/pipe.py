"""Our own stdout, as a place for sound."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from smallest_cli.errors import UsageError
from smallest_cli.files import sync
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
