"""Where keys live, and which of them goes to which origin."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from smallest_cli.errors import NoKey, SettingsError
from smallest_cli.safety import KEY_LENGTH, Secret, reason, safe

_WAYS = "set SMALLEST_API_KEY, or SMALLEST_API_KEY_FILE, or use --api-key-file FILE"


def find_key(named_file: str | None, environ: Mapping[str, str] = os.environ) -> tuple[Secret, list[str]]:
    """The key, from the first place that has one, and warnings about that place.

    Order: --api-key-file, SMALLEST_API_KEY, SMALLEST_API_KEY_FILE. Raises SettingsError.
    """
    if named_file is not None:
        return _read_named(named_file, "--api-key-file")
    if value := environ.get("SMALLEST_API_KEY"):
        return Secret(value, "SMALLEST_API_KEY"), []
    if path := environ.get("SMALLEST_API_KEY_FILE"):
        return _read_named(path, "SMALLEST_API_KEY_FILE")
    raise NoKey("no API key", hint=_WAYS)


def _read_named(path: str, source: str) -> tuple[Secret, list[str]]:
    """A key file that the person names: a link, a FIFO, or open to others, but then with a warning."""
    if path == "-":
        return Secret(sys.stdin.readline(KEY_LENGTH + 2), "stdin"), []
    try:
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            text = file.read(2 * KEY_LENGTH).decode("utf-8", "replace")
    except OSError as error:
        raise SettingsError(f"cannot read the key file {safe(path)} ({source}): {reason(error)}") from None
    open_to_others = stat.S_ISREG(status.st_mode) and status.st_mode & 0o077
    warnings = [f"the key file {safe(path)} can be read by others"] if open_to_others else []
    return Secret(text, source), warnings
