"""Audio destinations (-o, -p): chosen from options, and opened as one sink.

A sink takes whole frames of PCM. The module of each kind of sink is imported when one is opened.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from smallest_cli.audio.formats import EXTENSIONS, check_rate, choose_coding
from smallest_cli.audio.sink import PlaybackSink, Sink
from smallest_cli.errors import DeviceError, Interrupted, SmallestError, UsageError
from smallest_cli.models import AudioFormat
from smallest_cli.security import printable
from smallest_cli.signals import uninterrupted
from smallest_cli.stdio import output_errors, stdout_kind

if TYPE_CHECKING:
    from smallest_cli.audio.encoders import Encoder
    from smallest_cli.audio.playback_lock import PlaybackLock

Overlap = Literal["wait", "interrupt", "mix"]


class Destination(NamedTuple):
    """One destination: `output` is a path, `-` for stdout, or None for the output device.

    `keep`: keep a file that was not finished. `clobber`: replace an existing file. `player`: a command that
    plays instead of PortAudio. `lead_s`: seconds of silence before the audio. `overlap`: see PlaybackLock.
    """

    output: str | None
    coding: str = "pcm"
    device: str | None = None
    keep: bool = True
    clobber: bool = True
    player: str | None = None
    lead_s: float = 0.0
    overlap: Overlap = "wait"

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file, or will be one."""
        return self.output not in (None, "-") and (
            os.path.isfile(self.output) or not os.path.exists(self.output)
        )

    @property
    def name(self) -> str:
        """The name for messages."""
        return {None: "speaker", "-": "stdout"}.get(self.output, self.output or "")


def choose_destinations(
    outputs: Sequence[str],
    audio: AudioFormat,
    *,
    play: bool = False,
    implies_play: bool = False,
    format: str | None = None,
    device: str | None = None,
    player: str | None = None,
    lead_s: float = 0.0,
    overlap: Overlap | None = None,
    keep: bool = True,
    clobber: bool = True,
) -> list[Destination]:
    """Return the destinations of the options; without any, the kind of stdout decides. Raises UsageError.

    `implies_play`: an option was given that is about playback; it plays unless there is another destination.
    """
    kind = stdout_kind()
    play = play or (implies_play and not outputs and kind != "pipe")
    codings = dict(_choose_output(output, format) for output in outputs)
    if not outputs and not play and kind in ("pipe", "file"):
        codings = {"-": choose_coding("-", format or ("wav" if kind == "file" else "pcm"))}
    elif not outputs and format:
        raise UsageError("--format requires a file or a pipe", hint="add -o FILE")
    check_distinct(outputs)
    for coding in codings.values():
        check_rate(coding, audio.sample_rate)
    found = [Destination(path, coding, keep=keep, clobber=clobber) for path, coding in codings.items()]
    if play or not found:
        overlap = overlap or "wait"
        found.append(Destination(None, device=device, player=player, lead_s=lead_s, overlap=overlap))
    elif device is not None or lead_s > 0 or overlap:
        unused = "--device" if device is not None else "--overlap" if overlap else "--lead-silence"
        raise UsageError(f"{unused} requires playback", hint="add --play")
    return found


def _choose_output(output: str, format: str | None) -> tuple[str, str]:
    """Return the output, `-` for any name of stdout, and its format. Raises UsageError."""
    from smallest_cli.files import descriptor_of

    number = descriptor_of(output)
    is_named = number is None or os.path.splitext(output)[1].lower() in EXTENSIONS  # as a link to it may be
    return "-" if number == 1 else output, choose_coding(output if is_named else "-", format)


def check_distinct(outputs: Sequence[str]) -> None:
    """Raise UsageError if two outputs, paths or `-` for stdout, are the same file or pipe."""
    places = set()
    for output in outputs:
        place = _identity(output)
        if place in places:
            raise UsageError(f"{printable(output)} is named twice")
        places.add(place)


def _identity(output: str) -> object:
    """Return an object that is equal for all names of one file or pipe; a device may be named repeatedly."""
    try:
        status = os.fstat(sys.stdout.fileno()) if output == "-" else os.stat(output)
    except OSError:
        with suppress(FileNotFoundError):  # the working directory was removed: opening the file reports it
            return os.path.realpath(output)
        return output
    return object() if stat.S_ISCHR(status.st_mode) else (status.st_dev, status.st_ino)


@contextmanager
def open_sinks(
    destinations: Sequence[Destination],
    audio: AudioFormat,
    on_playback: Callable[[Sink], None] = lambda sink: None,
    warn: Callable[[str], None] = lambda line: None,
    lock: PlaybackLock | None = None,
) -> Iterator[Sink]:
    """Open all destinations as one sink; `on_playback` gets the sink of the output device, if there is one.

    It plays under `lock`. Without PortAudio the first player that works plays, and `warn` gets a line that
    names it. The sink is closed at the end, or aborted; `partial` of the error is then the file kept.
    """
    opened: list[Sink] = []  # those to abort, also when the next one cannot be opened
    try:
        for destination in destinations:
            # Opening a FIFO may wait for its other end, so a signal must interrupt it. A player never waits.
            with uninterrupted() if destination.is_file or destination.player else nullcontext():
                if destination.output is None:
                    sink = _open_playback(destination, audio, warn)
                    opened.append(lock.guard(sink) if lock else sink)
                else:
                    opened.append(_open_output(destination, audio))
            if destination.output is None:
                on_playback(opened[-1])
        if len(opened) > 1 or destinations[0].coding not in ("pcm", "wav"):
            # A library's encoder needs a thread even alone: its callbacks would lose a signal.
            from smallest_cli.audio.tee import TeeSink

            opened[:] = [TeeSink(opened)]
        yield opened[0]
        opened[0].close()
    except BaseException as error:
        kept = [part for each in opened if (part := each.abort())]
        if isinstance(error, SmallestError | Interrupted):
            error.partial = kept[0] if kept else None
        if isinstance(error, DeviceError) and len(destinations) > 1:
            error.hint = error.hint.replace("use -o FILE", "drop --play")
        raise


def _open_output(destination: Destination, audio: AudioFormat) -> Sink:
    from smallest_cli.audio.file import EncodedSink, StdoutTarget, Target
    from smallest_cli.files import FileTarget

    to_stdout = destination.output == "-"
    target: Target = (
        StdoutTarget() if to_stdout else FileTarget(destination.name, clobber=destination.clobber)
    )
    try:
        with output_errors(destination.name):
            encoder = _open_encoder(destination.coding, target.descriptor, audio)
    except BaseException:
        target.abandon(False)
        raise
    return EncodedSink(destination.name, target, encoder, audio, keep=destination.keep)


def _open_encoder(coding: str, descriptor: int, audio: AudioFormat) -> Encoder:
    from smallest_cli.audio import encoders, wav

    if coding == "pcm":
        return encoders.PcmEncoder(descriptor)
    if coding == "wav":
        return encoders.WavEncoder(descriptor, partial(wav.header, audio), audio.byte_rate)
    from smallest_cli.audio.libsndfile import CompressedEncoder, G711WavEncoder

    if coding.startswith("wav-"):
        return G711WavEncoder(coding, descriptor, audio)
    return CompressedEncoder(coding, descriptor, audio)


def _open_playback(destination: Destination, audio: AudioFormat, warn: Callable[[str], None]) -> Sink:
    sink: Sink
    if destination.player:
        from smallest_cli.audio.player import PlayerSink

        sink = PlayerSink(audio, destination.player)
    else:
        from smallest_cli.audio.speaker import LibraryMissing, SpeakerSink

        try:
            sink = SpeakerSink(audio, destination.device)
        except LibraryMissing as error:
            from smallest_cli.audio.player import PlayerSink, working_players

            player = None if destination.device else next(working_players(), None)
            if player is None:
                raise
            warn(f"{error}: {player} plays instead ({error.hint.partition(', or')[0]})")
            sink = PlayerSink(audio, player)
    return LeadSink(sink, audio, destination.lead_s) if destination.lead_s else sink


class LeadSink(PlaybackSink):
    """Plays silence before the first audio, and does not count it as played.

    For devices that drop the first audio (Bluetooth, HDMI).
    """

    def __init__(self, sink: Sink, format: AudioFormat, seconds: float) -> None:
        self._sink = sink
        self._lead = round(seconds * format.sample_rate)
        self._silence = bytes(self._lead * format.frame_size)
        self.close = sink.close
        self.abort: Callable[[], Path | None] = sink.abort

    def write(self, pcm: bytes) -> None:
        """Write the silence before the first frames."""
        if self._silence:
            silence, self._silence = self._silence, b""
            self._sink.write(silence)
        self._sink.write(pcm)

    def frames_played(self) -> int:
        """Return the frames of audio played, without the silence."""
        return max(0, self._sink.frames_played() - self._lead)
