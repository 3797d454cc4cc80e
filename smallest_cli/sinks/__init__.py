"""Where sound goes. Sinks take whole frames of PCM and know no network."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from smallest_cli.errors import Interrupted, SmallestError, UsageError
from smallest_cli.safety import safe
from smallest_cli.sinks.codings import check_rate, choose_coding
from smallest_cli.speech import AudioFormat

if TYPE_CHECKING:
    from smallest_cli.sinks.encoders import Encoder


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


@dataclass(frozen=True, slots=True)
class Destination:
    """A place for sound: `output` is a path, `-` for stdout, or None for the loudspeaker.

    `keep` says what becomes of a file that was not finished, `clobber` whether one that exists is replaced.
    """

    output: str | None
    coding: str = "pcm"
    device: str | None = None
    keep: bool = True
    clobber: bool = True

    @property
    def name(self) -> str:
        """Words for a message."""
        return {None: "loudspeaker", "-": "stdout"}.get(self.output, self.output or "")


StdoutKind = Literal["terminal", "file", "pipe", "closed"]


def choose_destinations(
    outputs: Sequence[str],
    audio: AudioFormat,
    *,
    play: bool = False,
    format: str | None = None,
    device: str | None = None,
    keep: bool = True,
    clobber: bool = True,
) -> list[Destination]:
    """Every place that was asked for; where none was, what stdout is decides. Raises UsageError."""
    kind = stdout_kind()
    codings = {output: choose_coding(output, format) for output in outputs}
    if not outputs and not play and kind in ("pipe", "file"):
        codings = {"-": format or ("wav" if kind == "file" else "pcm")}
        codings["-"] = choose_coding("-", codings["-"])
    elif not outputs and format:
        raise UsageError("--format is for files and pipes", hint="name one with -o")
    _refuse_twice(list(outputs), kind)
    for coding in codings.values():
        check_rate(coding, audio.sample_rate)
    found = [Destination(path, coding, keep=keep, clobber=clobber) for path, coding in codings.items()]
    if play or not found:
        found.append(Destination(None, device=device))
    elif device is not None:
        raise UsageError("--device is for the loudspeaker", hint="add --play")
    return found


def _refuse_twice(outputs: list[str], kind: StdoutKind) -> None:
    places = set()
    for output in outputs:
        if output == "-":
            place = os.fstat(1) if kind == "file" else None
        else:
            place = os.stat(output) if os.path.isfile(output) else None
        key = (place.st_dev, place.st_ino) if place else os.path.realpath(output)
        if key in places:
            raise UsageError(f"{safe(output)} is named twice")
        places.add(key)


@contextmanager
def open_sinks(destinations: Sequence[Destination], audio: AudioFormat) -> Iterator[Sink]:
    """One sink for one or more places.

    Closed at the end; aborted on the way of an error, which then carries the file that keeps
    what had come.
    """
    sink = _open_all(destinations, audio)
    try:
        yield sink
        sink.close()
    except BaseException as error:
        kept = sink.abort()
        if isinstance(error, SmallestError | Interrupted):
            error.partial = kept
        raise


def _open_all(destinations: Sequence[Destination], audio: AudioFormat) -> Sink:
    sinks: list[Sink] = []
    try:
        for destination in destinations:
            sinks.append(_open(destination, audio))
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise
    if len(sinks) == 1:
        return sinks[0]
    from smallest_cli.sinks.tee import TeeSink

    return TeeSink(sinks)


def _open(destination: Destination, audio: AudioFormat) -> Sink:
    if destination.output is None:
        from smallest_cli.sinks.speaker import SpeakerSink

        return SpeakerSink(audio, destination.device)
    from smallest_cli.sinks.encoded import EncodedSink, Target, translated

    target: Target
    if destination.output == "-":
        from smallest_cli.sinks.pipe import StdoutTarget

        target = StdoutTarget()
    else:
        from smallest_cli.sinks.file import FileTarget

        target = FileTarget(destination.output, clobber=destination.clobber)
    try:
        with translated(destination.name):
            encoder = _encoder(destination.coding, target.descriptor, audio)
    except BaseException:
        target.abandon(False)
        raise
    return EncodedSink(destination.name, target, encoder, audio, keep=destination.keep)


def _encoder(coding: str, descriptor: int, audio: AudioFormat) -> Encoder:
    from smallest_cli.sinks.encoders import PcmEncoder, WavEncoder

    if coding == "pcm":
        return PcmEncoder(descriptor)
    if coding == "wav":
        return WavEncoder(descriptor, audio)
    from smallest_cli.sinks.compressed import CompressedEncoder

    return CompressedEncoder(coding, descriptor, audio)


def stdout_kind() -> StdoutKind:
    """What stdout is: terminal (or another character device), file (a regular one), pipe, or closed."""
    if sys.stdout is None:
        return "closed"
    mode = os.fstat(sys.stdout.fileno()).st_mode
    if stat.S_ISCHR(mode):
        return "terminal"
    return "file" if stat.S_ISREG(mode) else "pipe"
