"""Where sound goes. Sinks take whole frames of PCM and know no network."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from smallest_cli.audio.formats import check_rate, choose_coding
from smallest_cli.audio.sink import Sink
from smallest_cli.errors import Interrupted, SmallestError, UsageError
from smallest_cli.models import AudioFormat
from smallest_cli.security import printable
from smallest_cli.signals import uninterrupted
from smallest_cli.stdio import stdout_kind, translated

if TYPE_CHECKING:
    from smallest_cli.audio.encoders import Encoder


STDOUT_NAMES = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""`-` by other names. As a file's name, each would replace what stdout was redirected to."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A place for sound: `output` is a path, `-` for stdout, or None for the loudspeaker.

    `keep` says what becomes of a file that was not finished, `clobber` whether one that exists is replaced.
    `player` is a command that plays instead of PortAudio; `lead_s` seconds of silence
    are played before the sound.
    """

    output: str | None
    coding: str = "pcm"
    device: str | None = None
    keep: bool = True
    clobber: bool = True
    player: str | None = None
    lead_s: float = 0.0

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file, or will be one."""
        return self.output not in (None, "-") and (
            os.path.isfile(self.output) or not os.path.exists(self.output)
        )

    @property
    def name(self) -> str:
        """Words for a message."""
        return {None: "loudspeaker", "-": "stdout"}.get(self.output, self.output or "")


def choose_destinations(
    outputs: Sequence[str],
    audio: AudioFormat,
    *,
    play: bool = False,
    format: str | None = None,
    device: str | None = None,
    player: str | None = None,
    lead_s: float = 0.0,
    keep: bool = True,
    clobber: bool = True,
) -> list[Destination]:
    """Every place that was asked for; where none was, what stdout is decides. Raises UsageError."""
    kind = stdout_kind()
    outputs = ["-" if output in STDOUT_NAMES else output for output in outputs]
    codings = {output: choose_coding(output, format) for output in outputs}
    if not outputs and not play and kind in ("pipe", "file"):
        codings = {"-": choose_coding("-", format or ("wav" if kind == "file" else "pcm"))}
    elif not outputs and format:
        raise UsageError("--format is for files and pipes", hint="name one with -o")
    check_distinct(outputs)
    for coding in codings.values():
        check_rate(coding, audio.sample_rate)
    found = [Destination(path, coding, keep=keep, clobber=clobber) for path, coding in codings.items()]
    if play or not found:
        found.append(Destination(None, device=device, player=player, lead_s=lead_s))
    else:
        _refuse_unused({"--device": device is not None, "--lead-silence": lead_s > 0})
    return found


def _refuse_unused(given: dict[str, bool]) -> None:
    for name, is_given in given.items():
        if is_given:
            raise UsageError(f"{name} is for the loudspeaker", hint="add --play")


def check_distinct(outputs: Sequence[str]) -> None:
    """Raises UsageError where two names, of files or `-` for stdout, are one place."""
    places = set()
    for output in outputs:
        place = _place(output)
        if place in places:
            raise UsageError(f"{printable(output)} is named twice")
        places.add(place)


def _place(output: str) -> object:
    """The same for every name of one file or pipe, by link or as stdout; a device may be named often."""
    try:
        status = os.fstat(sys.stdout.fileno()) if output == "-" else os.stat(output)
    except OSError:
        with suppress(FileNotFoundError):  # we stand in a folder that is gone: the file will tell of it
            return os.path.realpath(output)
        return output
    return object() if stat.S_ISCHR(status.st_mode) else (status.st_dev, status.st_ino)


def _nobody(sink: Sink) -> None:
    """Does not care what is heard."""


@contextmanager
def open_sinks(
    destinations: Sequence[Destination], audio: AudioFormat, listen: Callable[[Sink], None] = _nobody
) -> Iterator[Sink]:
    """One sink for one or more places. `listen` gets the loudspeaker's own, if there is one.

    Closed at the end; aborted on the way of an error, which then carries the file that keeps what had come.
    """
    opened: list[Sink] = []
    try:
        _open_all(destinations, audio, opened, listen)
        (sink,) = opened
        yield sink
        sink.close()
    except BaseException as error:
        kept = [part for each in opened if (part := each.abort())]
        if isinstance(error, SmallestError | Interrupted):
            error.partial = kept[0] if kept else None
        raise


def _open_all(
    destinations: Sequence[Destination],
    audio: AudioFormat,
    opened: list[Sink],
    listen: Callable[[Sink], None],
) -> None:
    """Into `opened`, one by one, so that whatever is open when it fails is known."""
    for destination in destinations:
        # What is no file may wait for its other end, and must be left by a signal. A player never waits.
        with uninterrupted() if destination.is_file or destination.player else nullcontext():
            opened.append(_open(destination, audio))
        if destination.output is None:
            listen(opened[-1])
    if len(opened) > 1 or destinations[0].coding not in ("pcm", "wav"):
        # Alone, too, what a library encodes needs a thread: in its callbacks a signal would be lost.
        from smallest_cli.audio.tee import TeeSink

        opened[:] = [TeeSink(opened)]


def _open(destination: Destination, audio: AudioFormat) -> Sink:
    if destination.output is None:
        return _open_loudspeaker(destination, audio)
    from smallest_cli.audio.file import EncodedSink, Target

    target: Target
    if destination.output == "-":
        from smallest_cli.audio.file import StdoutTarget

        target = StdoutTarget()
    else:
        from smallest_cli.files import FileTarget

        target = FileTarget(destination.output, clobber=destination.clobber)
    try:
        with translated(destination.name):
            encoder = _encoder(destination.coding, target.descriptor, audio)
    except BaseException:
        target.abandon(False)
        raise
    return EncodedSink(destination.name, target, encoder, audio, keep=destination.keep)


def _open_loudspeaker(destination: Destination, audio: AudioFormat) -> Sink:
    sink: Sink
    if destination.player:
        from smallest_cli.audio.player import PlayerSink

        sink = PlayerSink(audio, destination.player)
    else:
        from smallest_cli.audio.speaker import SpeakerSink

        sink = SpeakerSink(audio, destination.device)
    if not destination.lead_s:
        return sink
    from smallest_cli.audio.lead import LeadSink

    return LeadSink(sink, audio, destination.lead_s)


def _encoder(coding: str, descriptor: int, audio: AudioFormat) -> Encoder:
    from smallest_cli.audio.encoders import PcmEncoder, WavEncoder
    from smallest_cli.audio.wav import header

    if coding == "pcm":
        return PcmEncoder(descriptor)
    if coding == "wav":
        return WavEncoder(descriptor, partial(header, audio), audio.byte_rate)
    from smallest_cli.audio.libsndfile import CompressedEncoder, G711WavEncoder

    if coding.startswith("wav-"):
        return G711WavEncoder(coding, descriptor, audio)
    return CompressedEncoder(coding, descriptor, audio)
