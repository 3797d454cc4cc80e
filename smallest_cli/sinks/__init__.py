"""Where sound goes. Sinks take whole frames of PCM and know no network."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from smallest_cli.errors import Interrupted, SmallestError, UsageError
from smallest_cli.safety import safe
from smallest_cli.speech import AudioFormat


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


@contextmanager
def open_sink(output: str, audio: AudioFormat, coding: str) -> Iterator[Sink]:
    """A sink for a path, or for `-`, which is stdout; `coding` as `choose_coding` gives it.

    Closed at the end; aborted on the way of an error, which then carries the file that keeps
    what had come.
    """
    sink = _open(output, audio, coding)
    try:
        yield sink
        sink.close()
    except BaseException as error:
        kept = sink.abort()
        if isinstance(error, SmallestError | Interrupted):
            error.partial = kept
        raise


def _open(output: str, audio: AudioFormat, coding: str) -> Sink:
    from smallest_cli.sinks.encoded import EncodedSink, Target
    from smallest_cli.sinks.encoders import PcmEncoder, WavEncoder

    target: Target
    if output == "-":
        from smallest_cli.sinks.pipe import StdoutTarget

        name, target = "stdout", StdoutTarget()
    else:
        from smallest_cli.sinks.file import FileTarget

        name, target = output, FileTarget(output)
    encoder = WavEncoder(target.descriptor, audio) if coding == "wav" else PcmEncoder(target.descriptor)
    return EncodedSink(name, target, encoder, audio)


_EXTENSIONS = {".wav": "wav", ".pcm": "pcm", ".raw": "pcm"}


def choose_coding(output: str) -> str:
    """The format that a path's extension names; raw PCM on stdout, WAV in a file that it leads to."""
    if output == "-":
        return "pcm"
    extension = os.path.splitext(output)[1].lower()
    if extension not in _EXTENSIONS:
        named = f"the extension {safe(extension)}" if extension else "no extension"
        raise UsageError(
            f"no format is known for {named} of {safe(output)}", hint="use a name in .wav or .pcm"
        )
    return _EXTENSIONS[extension]


def stdout_kind() -> str:
    """What stdout is: terminal, file (a regular one), pipe, or closed."""
    if sys.stdout is None:
        return "closed"
    mode = os.fstat(sys.stdout.fileno()).st_mode
    if stat.S_ISCHR(mode):
        return "terminal"
    return "file" if stat.S_ISREG(mode) else "pipe"
