"""Playback on an output device by PortAudio, complete to the last sample.

A thread writes what fits into the device's buffer and never waits inside PortAudio, where nothing could
interrupt it. (With a callback, audio that comes after a stall would play only after a buffer of silence.)
There is no resampling: a rate that neither sound server nor device supports is an error.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

from smallest_cli.audio.audio_queue import AudioQueue
from smallest_cli.audio.sink import PlaybackSink
from smallest_cli.errors import DeviceError
from smallest_cli.extras import install_command
from smallest_cli.models import AudioFormat, Value
from smallest_cli.security import printable
from smallest_cli.signals import running_s, wait_running

LATENCY_S = 0.2
"""Buffer of the device, against delays of a busy machine. The first audio waits for up to a quarter of it."""
POLL_S = 0.01
TAIL_S = 0.05
"""Silence played after the audio, since hardware still plays what has left the buffer."""
LOST_AFTER_S = 5.0
"""A device that wakes up (Bluetooth, HDMI) may take two or three seconds."""
ABORT_S = 0.1


class LibraryMissing(DeviceError):
    """PortAudio, or the package for it, is not installed."""


class Device(Value):
    """An output device: its name, whether it is the default, and its own rate in Hz."""

    name: str
    default: bool
    rate: int


def list_devices() -> list[Device]:
    """Return all output devices. Raises DeviceError if PortAudio is missing."""
    with _library_stderr_discarded():
        library = _load_library()
        default = library.default.device[1]
        return [
            Device(printable(each["name"]), each["index"] == default, round(each["default_samplerate"]))
            for each in library.query_devices()
            if each["max_output_channels"] > 0
        ]


class _Position(NamedTuple):
    """Frames written to the device, how many of them it had not played, and when that was."""

    written: int
    buffered: int
    at: float


class SpeakerSink(PlaybackSink):
    """Plays PCM. `underruns` counts how often the buffer ran empty between two writes."""

    def __init__(self, format: AudioFormat, device: str | None = None) -> None:
        """Raises DeviceError: no PortAudio, no such device, or unsupported format."""
        self.underruns = 0
        self._format = format
        self._queued = 0
        self._position = _Position(0, 0, 0.0)
        self._progress_at = running_s()
        self._aborted_at: float | None = None
        self._failure: DeviceError | None = None
        self._complete = False
        self._opened = threading.Event()
        self._cancelled = threading.Event()
        self._queue: AudioQueue[bytes | None] = AudioQueue(lambda: not self._thread.is_alive())
        # A daemon that also opens the device: a sound server that hangs would block us indefinitely.
        self._thread = threading.Thread(target=self._run, args=(device,), daemon=True)
        self._thread.start()
        if not wait_running(self._opened.wait, LOST_AFTER_S):
            self._cancelled.set()
            raise DeviceError("the sound server does not respond", hint="use -o FILE")
        self._check()

    def write(self, pcm: bytes) -> None:
        """Queue whole frames; waits only if very many are queued. Raises DeviceError if the device failed."""
        self._watch()
        self._check()
        if self._queued == self._position.written:
            self._progress_at = running_s()
        self._queued += len(pcm) // self._format.frame_size
        self._queue.put(pcm)

    def frames_played(self) -> int:
        """Return the frames played. Raises DeviceError if the device failed."""
        self._watch()
        self._check()
        written, buffered, at = self._position
        now = self._aborted_at or time.monotonic()
        since = round(max(0.0, now - at) * self._format.sample_rate)
        return min(self._queued, written - max(0, buffered - since))

    def close(self) -> None:
        """Wait until the last sample was played. Raises DeviceError if the device failed."""
        self._progress_at = running_s()
        self._queue.put(None)
        while self._thread.is_alive() and not self._failure:
            self._thread.join(LOST_AFTER_S / 10)
            self._watch(ending=True)
        self._check()

    def abort(self) -> None:
        """Stop at once; queued audio is not played."""
        self._aborted_at = self._aborted_at or time.monotonic()
        self._cancelled.set()
        self._queue.put(None)
        self._thread.join(ABORT_S)

    def _check(self) -> None:
        if self._failure:
            raise self._failure
        if not self._complete and not self._thread.is_alive():
            raise DeviceError("device error: playback ended early")

    def _watch(self, *, ending: bool = False) -> None:
        """Set the failure if the device has audio to play and makes no progress, whatever it reports."""
        owing = self._thread.is_alive() and (ending or self._queued > self._position.written)
        if owing and running_s() - self._progress_at > LOST_AFTER_S and not self._failure:
            self._failure = DeviceError("the output device stopped playing", hint="use -o FILE")
            self._cancelled.set()

    # The methods below run on the thread: PortAudio streams must not be shared.

    def _run(self, device: str | None) -> None:
        with _library_stderr_discarded():
            try:
                library = _load_library()
                stream = _open_stream(library, self._format, device)
                self._opened.set()
                try:
                    self._play(stream)
                except library.PortAudioError as error:
                    raise DeviceError(f"device error: {printable(error)}", hint="use -o FILE") from None
            except DeviceError as error:
                self._failure = self._failure or error
            finally:
                self._opened.set()

    def _play(self, stream: Any) -> None:
        try:
            size = stream.write_available or round(stream.latency * self._format.sample_rate)
            while not self._cancelled.is_set() and (pcm := self._queue.get()) is not None:
                self._write_frames(stream, size, pcm)
            if not self._cancelled.is_set():
                self._drain(stream, size)
            if self._cancelled.is_set():
                stream.abort()
            else:
                stream.stop()
            self._complete = True
        finally:
            stream.close()

    def _write_frames(self, stream: Any, size: int, pcm: bytes) -> None:
        """Write whenever a third of the buffer is free: with less, PortAudio itself might block.

        In pieces, because ALSA's PulseAudio plugin reports a buffer that one write filled as empty.
        """
        left = memoryview(pcm)
        while left and not self._cancelled.is_set():
            free = stream.write_available
            if not free or free < size // 3:
                self._update(self._position.written, size - free)
                self._cancelled.wait(POLL_S)
                continue
            piece = left[: min(free, size // 4) * self._format.frame_size]
            left = left[len(piece) :]
            if stream.write(piece) and self._position.written:
                self.underruns += 1
            frames = len(piece) // self._format.frame_size
            self._update(self._position.written + frames, size - free + frames)
            self._progress_at = running_s()

    def _update(self, written: int, buffered: int) -> None:
        self._position = _Position(written, max(0, min(buffered, written)), time.monotonic())

    def _drain(self, stream: Any, size: int) -> None:
        """Write silence until the last sample was played: on ALSA, PortAudio's `stop` drops the buffer."""
        if not self._position.written:
            return
        underruns = self.underruns
        tail = round(TAIL_S * self._format.sample_rate)
        self._write_frames(stream, size, bytes((size + tail) * self._format.frame_size))
        self.underruns = underruns  # underruns of the silence do not count
        self._update(self._position.written, 0)


def _load_library() -> Any:
    try:
        import sounddevice
    except ImportError:
        hint = f"{install_command('sounddevice')}, or use --player aplay or -o FILE"
        raise LibraryMissing("the sounddevice package is missing", hint=hint) from None
    except OSError:
        hint = "apt install libportaudio2, or use --player aplay or -o FILE"
        raise LibraryMissing("the PortAudio library is missing", hint=hint) from None
    # At exit it would terminate PortAudio, which blocks if the sound server hangs, and corrupts memory if
    # a thread is inside. We close the streams that we open.
    if handler := getattr(sounddevice, "_exit_handler", None):
        atexit.unregister(handler)
    return sounddevice


def _open_stream(library: Any, format: AudioFormat, device: str | None) -> Any:
    """Return a started stream. Raises DeviceError."""
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
        name = printable(found["name"])
        if "sample rate" in str(error):
            problem = f"the output device {name} does not support {format.sample_rate} Hz"
            hint = f"its rate is {found['default_samplerate']:.0f} Hz; try another --device or -o FILE"
        else:
            problem = f"cannot open the output device {name}: {printable(error)}"
            hint = "--device ? lists others, -o FILE needs none"
        raise DeviceError(problem, hint=hint) from None
    return stream


def _find_device(library: Any, device: str | None) -> Any:
    try:
        return library.query_devices(device, "output")
    except ValueError as error:
        hint = "--device ? lists them, -o FILE needs none"
        if str(error).startswith("Multiple"):
            raise DeviceError(f"several output devices match '{printable(device)}'", hint=hint) from None
        raise DeviceError(f"no output device named '{printable(device)}'", hint=hint) from None
    except library.PortAudioError:
        raise DeviceError("no output device found", hint="use -o FILE") from None


@contextmanager
def _library_stderr_discarded() -> Iterator[None]:
    """Discard what PortAudio and ALSA print to stderr about missing hardware or underruns.

    With glibc, C's `stderr` is a variable that may be assigned (glibc manual, "Standard Streams"). Python
    writes to descriptor 2, so our own lines are not lost. Does nothing with other C libraries.
    """
    null = _null_stream()
    if null is None:
        yield
        return
    stderr = ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stderr")
    saved = stderr.value
    stderr.value = null
    try:
        yield
    finally:
        stderr.value = saved


@cache
def _null_stream() -> int | None:
    """Return a C FILE that discards everything; None if the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return None
    program = ctypes.CDLL(None)
    if not hasattr(program, "gnu_get_libc_version"):
        return None
    program.fopen.restype = ctypes.c_void_p
    opened: int | None = program.fopen(os.devnull.encode(), b"w")
    return opened
