"""External programs that the tests run."""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {
    "aplay": "alsa-utils", "ffplay": "ffmpeg", "ffprobe": "ffmpeg", "man": "man-db",
    "paplay": "pulseaudio-utils", "play": "sox", "script": "bsdutils",
}  # fmt: skip
"""Debian packages of programs that have another name."""
OPENSSL = "needs openssl (apt install openssl)"


def need(program: str) -> str:
    """Return the path of a program. Without it the test is skipped; on CI it fails."""
    found = shutil.which(program)
    if found is None:
        reason = f"needs {program} (apt install {PACKAGES.get(program, program)})"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
        raise AssertionError
    return found
