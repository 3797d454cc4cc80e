"""The loudspeaker, by PortAudio: a queue of its own, written out by a thread of its own, to the last sample.

Blocking writes, because a callback plays new audio only behind a buffer full of silence.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from smallest_cli.errors import DeviceError
from smallest_cli.safety import safe
from smallest_cli.speech import AudioFormat

LATENCY_S = 0.1
"""The device's buffer. A blocking write sounds at once whatever its size; a large one bridges a busy CPU."""
PIECE_S = 0.02
PAD_S = 0.02
"""Silence beyond the device's latency that is written before it stops: stopping drops what it holds."""
LOST_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class Device:
    """A loudspeaker by its name; `default` is the one that is used when none is named."""

    name: str
    default: bool


def list_devices() -> list[Device]:
    """Every loudspeaker. Raises DeviceError where PortAudio is missing."""
    with _quietly():
        library = _library()
        default = library.default.device[1]
        return [
            Device(safe(each["name"]), each["index"] == default)
            for each in library.query_devices()
            if each["max_output_channels"] > 0
        ]


def _library() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise DeviceError(
            "the sounddevice package is not installed", hint="pip install sounddevice"
        ) from None
    except OSError:
        raise DeviceError(
            "the PortAudio library is not installed",
            hint="apt install libportaudio2, or use -o FILE",
        ) from None
    return sounddevice


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what ALSA and PortAudio print about absent hardware off stderr, which is ours."""
    if sys.stderr is None:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class SpeakerSink:
    """Plays PCM. `underruns` counts how often the device had nothing to play between two writes."""

    def __init__(self, format: AudioFormat, device: str | None = None) -> None:
        """Raises DeviceError: no PortAudio, no such device, or one that does not take the format."""
        self._format = format
        self._piece_size = round(PIECE_S * format.sample_rate) * format.frame_size
        with _quietly():
            library = _library()
            self._foreign: type[Exception] = library.PortAudioError
            try:
                self._stream = library.RawOutputStream(
                    format.sample_rate,
                    channels=format.channels,
                    dtype="int16",
                    latency=LATENCY_S,
                    device=device,
                )
            except (library.PortAudioError, ValueError) as error:
                raise self._no_device(device, error) from None
        self.underruns = 0
        self._failure: DeviceError | None = None
        self._cancelled = False
        self._handed = 0
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _no_device(self, device: str | None, error: Exception) -> DeviceError:
        if "sample rate" in str(error).lower():
            return DeviceError(
                f"the loudspeaker does not take {self._format.sample_rate} Hz", hint="try -r 44100"
            )
        if device is not None:
            return DeviceError(f"no loudspeaker is called {safe(device)}", hint="--device ? lists them")
        return DeviceError("no loudspeaker was found", hint="use -o FILE")

    def write(self, pcm: bytes) -> None:
        """Queue whole frames; does not wait. Raises DeviceError where the device was lost."""
        if self._failure:
            raise self._failure
        self._queue.put(pcm)

    def heard(self) -> int:
        """Frames that have been played: handed to the device, less what it holds."""
        held = round(float(self._stream.latency) * self._format.sample_rate)
        return max(0, self._handed - held)

    def close(self) -> None:
        """Return when the last sample has been heard. Raises DeviceError where the device was lost."""
        self._queue.put(None)
        before = -1
        while self._thread.is_alive():
            if before == self._handed:
                raise DeviceError("the loudspeaker stopped taking sound")
            before = self._handed
            self._thread.join(LOST_AFTER_S)
        if self._failure:
            raise self._failure

    def abort(self) -> None:
        """Silence at once; what is queued is not heard."""
        self._cancelled = True
        self._queue.put(None)
        self._thread.join(LATENCY_S)

    def _run(self) -> None:
        try:
            self._play()
        except self._foreign as error:
            self._failure = DeviceError(f"the loudspeaker was lost: {safe(error)}")

    def _play(self) -> None:
        """All of it on this thread: PortAudio's streams are not to be shared."""
        try:
            while not self._cancelled and (pcm := self._queue.get()) is not None:
                if not self._stream.active:
                    self._stream.start()
                self._hand_over(pcm)
            if self._cancelled:
                self._stream.abort()
            elif self._handed:
                pad = round((self._stream.latency + PAD_S) * self._format.sample_rate)
                self._stream.write(bytes(pad * self._format.frame_size))
                self._stream.stop()
        finally:
            self._stream.close()

    def _hand_over(self, pcm: bytes) -> None:
        """In small pieces, so that `abort` need not wait for a long one."""
        for at in range(0, len(pcm), self._piece_size):
            if self._cancelled:
                return
            piece = pcm[at : at + self._piece_size]
            if self._stream.write(piece) and self._handed:
                self.underruns += 1
            self._handed += len(piece) // self._format.frame_size
