"""PCM as the bytes of a format, written to a descriptor. Here is what needs no library: raw PCM and WAV."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from smallest_cli.audio import wav
from smallest_cli.errors import OutputError
from smallest_cli.files import write_all

SAMPLE = 2


class Encoder(Protocol):
    """Turns PCM into one format. Raises OSError as the descriptor does. It ends by `finish` or `drop`."""

    def write(self, pcm: bytes) -> None:
        """Encode whole frames."""
        ...

    def finish(self) -> None:
        """Write what the format needs at its end; the descriptor stays open."""
        ...

    def drop(self) -> None:
        """Let go, and write nothing more: the descriptor may be a pipe that nobody reads."""
        ...


@runtime_checkable
class Rewindable(Protocol):
    """An encoder whose file can be cut off behind any frame."""

    def rewind(self, byte_count: int) -> None:
        """Leave the first `byte_count` bytes of PCM, in a file that can seek. Raises OSError."""
        ...


class PcmEncoder:
    """The samples as they are."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._start = position(descriptor)

    def write(self, pcm: bytes) -> None:
        """Write the frames."""
        write_all(self._descriptor, pcm)

    def rewind(self, byte_count: int) -> None:
        """Cut the file off."""
        _cut_off(self._descriptor, (self._start or 0) + byte_count)

    def finish(self) -> None:
        """Nothing is owed."""

    def drop(self) -> None:
        """Nothing is held."""


class WavEncoder:
    """Samples behind a header. Where the descriptor can seek, it is true at least to the last whole second.

    `header` makes one for a number of bytes; `byte_rate` is that of the samples.
    """

    def __init__(self, descriptor: int, header: Callable[[int], bytes], byte_rate: int) -> None:
        self._descriptor = descriptor
        self._header = header
        self._byte_rate = byte_rate
        self._start = position(descriptor)
        self._data_size = 0
        self._stated_size = 0
        write_all(descriptor, header(wav.UNKNOWN_DATA_SIZE if self._start is None else 0))

    def write(self, samples: bytes) -> None:
        """Write the frames. Raises OutputError where WAV can hold no more."""
        if self._data_size + len(samples) > wav.LARGEST_DATA_SIZE:
            raise OutputError("a WAV holds 4 GiB and no more", hint="use --format flac, or several files")
        try:
            write_all(self._descriptor, samples)
        except OSError:
            self._count_what_went()
            raise
        self._data_size += len(samples)
        if self._data_size - self._stated_size >= self._byte_rate:
            self.finish()

    def rewind(self, byte_count: int) -> None:
        """Cut the file off; the header is told first, so that it never promises what is gone."""
        self._data_size = byte_count
        self.finish()
        _cut_off(self._descriptor, (self._start or 0) + len(self._header(byte_count)) + byte_count)

    def _count_what_went(self) -> None:
        """A disk that fills up takes a part of what it is given; of that, half a sample is cut off again."""
        if self._start is None:
            return
        data_at = self._start + len(self._header(0))
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        self._data_size = max(0, end - data_at) // SAMPLE * SAMPLE
        if data_at + self._data_size < end == os.fstat(self._descriptor).st_size:
            _cut_off(self._descriptor, data_at + self._data_size)

    def finish(self) -> None:
        """State the length so far."""
        if self._start is not None:
            os.pwrite(self._descriptor, self._header(self._data_size), self._start)
            self._stated_size = self._data_size

    def drop(self) -> None:
        """Nothing is held."""


def _cut_off(descriptor: int, size: int) -> None:
    os.ftruncate(descriptor, size)
    os.lseek(descriptor, size, os.SEEK_SET)


def position(descriptor: int) -> int | None:
    """Where a descriptor stands, None where it cannot go back: a pipe, or a file opened to append."""
    try:
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
    except OSError:
        return None
    if os.name == "posix":
        import fcntl

        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND:
            return None
    return position
