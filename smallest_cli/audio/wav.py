"""The 44 bytes before PCM, written and read. No I/O.

A reader that cannot see the end of a file needs a length that every program accepts; the figures
for a length not yet known are those that sox, ffmpeg, aplay, libsndfile and Python's `wave` all
read to the end of the input.
"""

from __future__ import annotations

import struct
import sys

from smallest_cli.errors import ProtocolError
from smallest_cli.models import AudioFormat

UNKNOWN_DATA_SIZE = 0x7FFF_F000
LARGEST_DATA_SIZE = 0xFFFF_FFFF - 36
PCM, EXTENSIBLE = 1, 0xFFFE
HEAD_LIMIT = 65_536


def header(format: AudioFormat, data_size: int = UNKNOWN_DATA_SIZE) -> bytes:
    """The RIFF header of s16le PCM: `data_size` in bytes, left out where it is not known yet."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", data_size + 36, b"WAVE",
        b"fmt ", 16, PCM, format.channels, format.sample_rate, format.byte_rate,
        format.frame_size, 8 * format.sample_width,
        b"data", data_size,
    )  # fmt: skip


class WavReader:
    """PCM out of a WAV that arrives in pieces, cut anywhere; unknown chunks are passed over."""

    def __init__(self, expected: AudioFormat) -> None:
        self._expected = expected
        self._head = bytearray()
        self._format: AudioFormat | None = None
        self._in_body = False
        self._left = 0
        self.states_length = False

    @property
    def whole(self) -> bool:
        """Whether the header stated a length and every byte of it has come."""
        return self.states_length and self._left == 0

    def feed(self, data: bytes) -> bytes:
        """The PCM in `data`. Raises ProtocolError for anything but a WAV of the expected format."""
        if not self._in_body:
            self._head += data
            body_at = self._parse_head()
            if body_at is None:
                return b""
            data = bytes(self._head[body_at:])
            self._head.clear()
            self._in_body = True
        pcm = data[: self._left]
        self._left -= len(pcm)
        return pcm

    def _parse_head(self) -> int | None:
        head = self._head
        if not (b"RIFF".startswith(head[:4]) and b"WAVE".startswith(head[8:12])):
            raise ProtocolError("the service sent something that is not a WAV file")
        at = 12
        while len(head) >= at + 8:
            name, size = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
            if at > HEAD_LIMIT:
                break
            if name == b"data":
                self._check_format()
                self.states_length = 0 < size < UNKNOWN_DATA_SIZE
                self._left = size if self.states_length else sys.maxsize
                return at + 8
            if len(head) < at + 8 + size:
                break
            if name == b"fmt ":
                self._read_format(bytes(head[at + 8 : at + 8 + size]))
            at += 8 + size + size % 2
        if len(head) > HEAD_LIMIT:
            raise ProtocolError("the service sent a WAV header without end")
        return None

    def _read_format(self, chunk: bytes) -> None:
        if len(chunk) < 16:
            raise ProtocolError("the service sent a WAV header that is cut short")
        coding, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
        if coding not in (PCM, EXTENSIBLE):
            raise ProtocolError(f"the service sent a WAV file of coding {coding}, not PCM")
        self._format = AudioFormat(rate, channels, bits // 8)

    def _check_format(self) -> None:
        if self._format is None:
            raise ProtocolError("the service sent a WAV header without a format")
        if self._format != self._expected:
            raise ProtocolError(
                f"the service sent {_words(self._format)}, asked for was {_words(self._expected)}"
            )


def _words(format: AudioFormat) -> str:
    return f"{format.sample_rate} Hz, {format.channels} x {8 * format.sample_width} bit"
