"""Encoders: PCM written to a descriptor in some format. Those here, raw PCM and WAV, need no library."""

from __future__ import annotations

import os
from collections.abc import Callable

from smallest_cli.audio import wav
from smallest_cli.errors import OutputError
from smallest_cli.files import rewrite_all, write_all

SAMPLE = 2


class Encoder:
    """Writes PCM in one format; end it with `finish` or `drop`. Raises OSError."""

    can_rewind = False
    """Whether a seekable file can be truncated after any frame."""

    def write(self, pcm: bytes) -> None:
        """Encode whole frames."""
        raise NotImplementedError

    def rewind(self, byte_count: int) -> None:
        """Keep the first `byte_count` bytes of PCM, if `can_rewind`. Raises OSError."""
        raise NotImplementedError

    def finish(self) -> None:
        """Write the end of the format, if it has one; the descriptor stays open."""

    def drop(self) -> None:
        """Free resources and write nothing more: the descriptor may be a pipe without a reader."""


class PcmEncoder(Encoder):
    """Writes raw PCM."""

    can_rewind = True

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._start = position(descriptor)

    def write(self, pcm: bytes) -> None:
        """Write the frames."""
        write_all(self._descriptor, pcm)

    def rewind(self, byte_count: int) -> None:
        """Truncate the file."""
        _truncate(self._descriptor, (self._start or 0) + byte_count)


class WavEncoder(Encoder):
    """Writes a WAV header and samples. In a seekable file the header is updated after every second of audio.

    `header` returns the header for a number of data bytes; `byte_rate` is in bytes per second.
    """

    can_rewind = True

    def __init__(self, descriptor: int, header: Callable[[int], bytes], byte_rate: int) -> None:
        self._descriptor = descriptor
        self._header = header
        self._byte_rate = byte_rate
        self._start = position(descriptor)
        self._data_size = 0
        self._stated_size = 0
        write_all(descriptor, header(wav.UNKNOWN_DATA_SIZE if self._start is None else 0))

    def write(self, pcm: bytes) -> None:
        """Write the frames. Raises OutputError at the size limit of WAV."""
        if self._data_size + len(pcm) > wav.LARGEST_DATA_SIZE:
            raise OutputError("a WAV file is limited to 4 GiB", hint="use --format flac, or several files")
        try:
            write_all(self._descriptor, pcm)
        except OSError:
            self._count_written()
            raise
        self._data_size += len(pcm)
        if self._data_size - self._stated_size >= self._byte_rate:
            self.finish()

    def rewind(self, byte_count: int) -> None:
        """Truncate the file; the header first, so that it never states more data than the file has."""
        self._data_size = byte_count
        self.finish()
        _truncate(self._descriptor, (self._start or 0) + len(self._header(byte_count)) + byte_count)

    def _count_written(self) -> None:
        """Update the length after a failed write: a full disk may take a part, even half a sample."""
        if self._start is None:
            return
        data_at = self._start + len(self._header(0))
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        self._data_size = max(0, end - data_at) // SAMPLE * SAMPLE
        if data_at + self._data_size < end == os.fstat(self._descriptor).st_size:
            _truncate(self._descriptor, data_at + self._data_size)

    def finish(self) -> None:
        """Write the length so far into the header."""
        if self._start is not None:
            rewrite_all(self._descriptor, self._header(self._data_size), self._start)
            self._stated_size = self._data_size


def _truncate(descriptor: int, size: int) -> None:
    os.ftruncate(descriptor, size)
    os.lseek(descriptor, size, os.SEEK_SET)


def position(descriptor: int) -> int | None:
    """Return a descriptor's position; None if it cannot seek back: a pipe, or a file opened to append."""
    try:
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
    except OSError:
        return None
    if os.name == "posix":
        import fcntl

        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND:
            return None
    return position
