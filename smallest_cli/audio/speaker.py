"""The loudspeaker, by PortAudio: a queue of its own, written out by a thread of its own, to the last sample.

The thread writes what the device has room for and never waits inside PortAudio, where nothing could stop
it. A callback would play what comes after a stall only behind a buffer full of silence. No resampling here:
what the sound server does not convert, the device takes or it is an error.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from smallest_cli.errors import DeviceError
from smallest_cli.models import AudioFormat
from smallest_cli.security import printable

LATENCY_S = 0.2
"""The device's buffer: it bridges a busy machine. The first sound waits for a quarter of it at most."""
LOOK_EVERY_S = 0.01
TAIL_S = 0.05
"""Silence that has left the buffer before we stop: what is below the buffer still plays the last sample."""
LOST_AFTER_S = 5.0
"""A loudspeaker that wakes up (Bluetooth, HDMI) may take two or three seconds."""
SILENT_WITHIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Device:
    """A loudspeaker: its name, its own rate in Hz, and whether it is used when none is named."""

    name: str
    default: bool
    rate: int


def list_devices() -> list[Device]:
    """Every loudspeaker. Raises DeviceError where PortAudio is missing."""
    with _hushed():
        library = _load_library()
        default = library.default.device[1]
        return [
            Device(printable(each["name"]), each["index"] == default, round(each["default_samplerate"]))
            for each in library.query_devices()
            if each["max_output_channels"] > 0
        ]


class _Look(NamedTuple):
    """What the thread saw: frames handed over, how many of them the device held, and when."""

    handed: int
    held: int
    at: float


class SpeakerSink:
    """Plays PCM. `underruns` counts how often the device had nothing to play between two writes."""

    def __init__(self, format: AudioFormat, device: str | None = None) -> None:
        """Raises DeviceError: no PortAudio, no such device, or one that does not take the format."""
        self.underruns = 0
        self._format = format
        self._taken = 0
        self._look = _Look(0, 0, 0.0)
        self._moved = time.monotonic()
        self._silenced: float | None = None
        self._failure: DeviceError | None = None
        self._whole = False
        self._opened = threading.Event()
        self._cancelled = threading.Event()
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        # A daemon, and opening is its work too: a sound server that hangs would hold us for ever.
        self._thread = threading.Thread(target=self._run, args=(device,), daemon=True)
        self._thread.start()
        if not self._opened.wait(LOST_AFTER_S):
            self._cancelled.set()
            raise DeviceError("the sound server does not answer", hint="use -o FILE")
        self._check()

    def write(self, pcm: bytes) -> None:
        """Queue whole frames; does not wait. Raises DeviceError where the device was lost."""
        self._watch()
        self._check()
        if self._taken == self._look.handed:
            self._moved = time.monotonic()
        self._taken += len(pcm) // self._format.frame_size
        self._queue.put(pcm)

    def frames_played(self) -> int:
        """Frames that have been played. Raises DeviceError where the device was lost."""
        self._watch()
        self._check()
        handed, held, at = self._look
        now = self._silenced or time.monotonic()
        since = round(max(0.0, now - at) * self._format.sample_rate)
        return min(self._taken, handed - max(0, held - since))

    @property
    def can_rewind(self) -> bool:
        """Never: what was played was heard."""
        return False

    def rewind(self, frames: int) -> None:
        """Never asked for."""
        raise NotImplementedError

    def close(self) -> None:
        """Return when the last sample has been heard. Raises DeviceError where the device was lost."""
        self._moved = time.monotonic()
        self._queue.put(None)
        while self._thread.is_alive() and not self._failure:
            self._thread.join(LOST_AFTER_S / 10)
            self._watch(ending=True)
        self._check()

    def abort(self) -> None:
        """Silence at once; what is queued is not heard."""
        self._silenced = self._silenced or time.monotonic()
        self._cancelled.set()
        self._queue.put(None)
        self._thread.join(SILENT_WITHIN_S)

    def _check(self) -> None:
        if self._failure:
            raise self._failure
        if not self._whole and not self._thread.is_alive():
            raise DeviceError("the loudspeaker broke off")

    def _watch(self, *, ending: bool = False) -> None:
        """A device that owes us sound and has not moved for long is lost, whatever it says."""
        owing = self._thread.is_alive() and (ending or self._taken > self._look.handed)
        if owing and time.monotonic() - self._moved > LOST_AFTER_S and not self._failure:
            self._failure = DeviceError("the loudspeaker stopped taking sound", hint="use -o FILE")
            self._cancelled.set()

    # From here on everything runs on the thread: PortAudio's streams are not to be shared.

    def _run(self, device: str | None) -> None:
        with _hushed():
            try:
                library = _load_library()
                stream = _open_stream(library, self._format, device)
                self._opened.set()
                with _translated(library):
                    self._play(stream)
            except DeviceError as error:
                self._failure = self._failure or error
            finally:
                self._opened.set()

    def _play(self, stream: Any) -> None:
        try:
            size = stream.write_available or round(stream.latency * self._format.sample_rate)
            while not self._cancelled.is_set() and (pcm := self._queue.get()) is not None:
                self._hand_over(stream, size, pcm)
            if not self._cancelled.is_set():
                self._drain(stream, size)
            if self._cancelled.is_set():
                stream.abort()
            else:
                stream.stop()
            self._whole = True
        finally:
            stream.close()

    def _hand_over(self, stream: Any, size: int, pcm: bytes) -> None:
        """Write whenever a third of the buffer is free: with less, PortAudio itself might wait for more.

        In pieces, because ALSA's plugin for PulseAudio takes a buffer that one write fills for an empty one.
        """
        left = memoryview(pcm)
        while left and not self._cancelled.is_set():
            room = stream.write_available
            if not room or room < size // 3:
                self._see(self._look.handed, size - room)
                self._cancelled.wait(LOOK_EVERY_S)
                continue
            piece = left[: min(room, size // 4) * self._format.frame_size]
            left = left[len(piece) :]
            if stream.write(piece) and self._look.handed:
                self.underruns += 1
            frames = len(piece) // self._format.frame_size
            self._see(self._look.handed + frames, size - room + frames)
            self._moved = time.monotonic()

    def _see(self, handed: int, held: int) -> None:
        self._look = _Look(handed, max(0, min(held, handed)), time.monotonic())

    def _drain(self, stream: Any, size: int) -> None:
        """Push the last sample out by silence: on ALSA, PortAudio's `stop` drops what the device holds."""
        if not self._look.handed:
            return
        underruns = self.underruns
        tail = round(TAIL_S * self._format.sample_rate)
        self._hand_over(stream, size, bytes((size + tail) * self._format.frame_size))
        self.underruns = underruns  # what starved here was not sound
        self._see(self._look.handed, 0)


def _load_library() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise DeviceError(
            "the sounddevice package is missing",
            hint="pip install sounddevice, or use --player aplay or -o FILE",
        ) from None
    except OSError:
        raise DeviceError(
            "the PortAudio library is missing",
            hint="apt install libportaudio2, or use --player aplay or -o FILE",
        ) from None
    # It ends PortAudio when we exit, which waits for a sound server that hangs, and corrupts memory
    # where a thread is inside. What we opened we close, and the process ends anyway.
    if handler := getattr(sounddevice, "_exit_handler", None):
        atexit.unregister(handler)
    return sounddevice


def _open_stream(library: Any, format: AudioFormat, device: str | None) -> Any:
    """A stream that runs. Raises DeviceError."""
    found = _find_device(library, device)
    try:
        stream = library.RawOutputStream(
            format.sample_rate,
            device=found["index"],
            channels=format.channels,
            dtype="int16",
            latency=LATENCY_S,
        )
        stream.start()
    except library.PortAudioError as error:
        if "sample rate" in str(error):
            raise DeviceError(
                f"the loudspeaker {printable(found['name'])} does not take {format.sample_rate} Hz",
                hint=f"its own is {found['default_samplerate']:.0f} Hz; try another --device, or use -o FILE",
            ) from None
        raise DeviceError(
            f"the loudspeaker {printable(found['name'])} cannot be opened: {printable(error)}",
            hint="--device ? lists others, -o FILE needs none",
        ) from None
    return stream


def _find_device(library: Any, device: str | None) -> Any:
    try:
        return library.query_devices(device, "output")
    except ValueError as error:
        hint = "--device ? lists them, -o FILE needs none"
        if str(error).startswith("Multiple"):
            raise DeviceError(f"several loudspeakers match {printable(device)}", hint=hint) from None
        raise DeviceError(f"no loudspeaker is called {printable(device)}", hint=hint) from None
    except library.PortAudioError:
        raise DeviceError("no loudspeaker was found", hint="use -o FILE") from None


@contextmanager
def _translated(library: Any) -> Iterator[None]:
    try:
        yield
    except library.PortAudioError as error:
        raise DeviceError(f"the loudspeaker was lost: {printable(error)}", hint="use -o FILE") from None


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep what PortAudio and ALSA print, about absent hardware or an underrun, off stderr, which is ours.

    In glibc `stderr` is a variable that may be set (its manual, "Standard Streams"). Ours is the descriptor
    below it, so that no line of our own is lost meanwhile, from whichever thread. Elsewhere nothing is done.
    """
    nowhere = _nowhere()
    if nowhere is None:
        yield
        return
    stderr = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stderr")
    kept = stderr.value
    stderr.value = nowhere
    try:
        yield
    finally:
        stderr.value = kept


@cache
def _nowhere() -> int | None:
    """A FILE of C that takes everything, None where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return None
    program = ctypes.CDLL(None)
    if not hasattr(program, "gnu_get_libc_version"):
        return None
    program.fopen.restype = ctypes.c_void_p
    opened: int | None = program.fopen(os.devnull.encode(), b"w")
    return opened
