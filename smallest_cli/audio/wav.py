"""The WAV header, written and read. No I/O.

A reader of a pipe needs a length that every program accepts: the values for an unknown length are those
that sox, ffmpeg, aplay, libsndfile and Python's `wave` read to the end of the input.
"""

from __future__ import annotations

import re
import struct
import sys

from smallest_cli.errors import ProtocolError
from smallest_cli.models import AudioFormat

UNKNOWN_DATA_SIZE = 0x7FFF_F000
MAX_SIZE = 0xFFFF_FFFF
LARGEST_DATA_SIZE = MAX_SIZE - 36
PCM, ALAW, ULAW, EXTENSIBLE = 1, 6, 7, 0xFFFE
SUBFORMAT_END = bytes.fromhex("000000001000800000aa00389b71")
"""What follows the coding in the GUID of an extensible format that stands for one."""
OTHER_CHUNK = rb"(?!RIFF|data)[ -~]{2,4}"
"""The name of a chunk that may follow the data, or its first characters."""
MAX_HEADER = 65_536
PLACEHOLDER_SIZE = 1_000_000_000
"""A stated size from here on is a placeholder for an unknown length: hours of audio for one request."""


def header(format: AudioFormat, data_size: int = UNKNOWN_DATA_SIZE, *, coding: int = PCM) -> bytes:
    """Return the header for `data_size` bytes of s16le, or of one byte a sample for ALAW and ULAW."""
    frame = format.channels * (format.sample_width if coding == PCM else 1)
    chunk = struct.pack(
        "<HHIIHH", coding, format.channels, format.sample_rate, format.sample_rate * frame, frame,
        8 * frame // format.channels,
    )  # fmt: skip
    riff_size, fact = data_size + 36, b""
    if coding != PCM:  # other codings have an extension size, here 0, and a chunk with the number of samples
        chunk += bytes(2)
        fact = struct.pack("<4sII", b"fact", 4, data_size // format.channels)
        riff_size = min(data_size + 50, MAX_SIZE)
    start = struct.pack("<4sI4s4sI", b"RIFF", riff_size, b"WAVE", b"fmt ", len(chunk))
    return start + chunk + fact + struct.pack("<4sI", b"data", data_size)


class WavReader:
    """Incremental parser of a WAV cut anywhere. Skips unknown chunks, also after the data.

    `states_length`: whether the header gives the length of the data.
    """

    def __init__(self, expected: AudioFormat) -> None:
        self._expected = expected
        self._header = bytearray()
        self._format: AudioFormat | None = None
        self._in_data = False
        self._left = 0
        self._trailer_size = self._padding = 0
        """Bytes of other chunks that may follow the data, and those of padding before them."""
        self._trailer = bytearray()
        self._last = b""
        self.states_length = False

    @property
    def complete(self) -> bool:
        """Whether the header gave a length and all of it has come."""
        return self.states_length and self._left == 0

    def feed(self, data: bytes) -> bytes:
        """Return the PCM in `data`. Raises ProtocolError for anything but a WAV of the expected format."""
        if not self._in_data:
            self._header += data
            data_at = self._parse_header()
            if data_at is None:
                return b""
            data = bytes(self._header[data_at:])
            self._header.clear()
            self._in_data = True
        if not self.states_length:  # then another file is not told from audio by the length
            if b"WAVEfmt " in self._last + data:
                raise ProtocolError("the service sent several WAV files of unknown length as one")
            self._last = (self._last + data)[-7:]
        pcm = data[: self._left]
        self._left -= len(pcm)
        if len(pcm) < len(data):
            self._skip(data[len(pcm) :])
        return pcm

    def _skip(self, data: bytes) -> None:
        """Skip the chunks after the data. Raises ProtocolError for anything else, which would be audio."""
        self._trailer += data
        at = self._padding
        while at < len(self._trailer) - 1:  # a single byte may be padding
            name, size = self._trailer[at : at + 4], int.from_bytes(self._trailer[at + 4 : at + 8], "little")
            if at + 8 + size > self._trailer_size or not re.fullmatch(OTHER_CHUNK, name):
                raise ProtocolError("the service sent more audio than its WAV header states")
            at += 8 + size + size % 2

    def _parse_header(self) -> int | None:
        """Return the offset of the data, None if the header is not complete yet. Raises ProtocolError."""
        head = self._header
        if not (b"RIFF".startswith(head[:4]) and b"WAVE".startswith(head[8:12])):
            raise ProtocolError("the service sent data that is not a WAV file")
        at = 12
        while len(head) >= at + 8:
            name, size = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
            if at > MAX_HEADER:
                break
            if name == b"data":
                self._check_format()
                self.states_length = 0 < size < PLACEHOLDER_SIZE
                self._left = size if self.states_length else sys.maxsize
                riff_size = int.from_bytes(head[4:8], "little")
                # One more for the padding of an odd length, which some writers do not count.
                self._trailer_size = min(max(0, riff_size - at - size) + 1, MAX_HEADER)
                self._padding = size % 2
                return at + 8
            if len(head) < at + 8 + size:
                break
            if name == b"fmt ":
                self._read_format(bytes(head[at + 8 : at + 8 + size]))
            at += 8 + size + size % 2
        if len(head) > MAX_HEADER:
            raise ProtocolError(f"the service sent a WAV header of more than {MAX_HEADER // 1024} KiB")
        return None

    def _read_format(self, chunk: bytes) -> None:
        if len(chunk) < 16:
            raise ProtocolError("the service sent a truncated WAV header")
        coding, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", chunk[:16])
        if coding == EXTENSIBLE and chunk[26:40] == SUBFORMAT_END:
            valid_bits, _, coding = struct.unpack("<HIH", chunk[18:26])
            bits = max(bits, valid_bits)
        if coding != PCM:
            raise ProtocolError(f"the service sent a WAV file of coding {coding}, not PCM")
        if bits % 8 or frame != channels * bits // 8:
            raise ProtocolError(f"the service sent WAV frames of {frame} bytes for {channels} x {bits} bit")
        self._format = AudioFormat(rate, channels, bits // 8)

    def _check_format(self) -> None:
        if self._format is None:
            raise ProtocolError("the service sent a WAV header without a format")
        if self._format != self._expected:
            raise ProtocolError(
                f"the service sent {_describe(self._format)} instead of {_describe(self._expected)}"
            )


def _describe(format: AudioFormat) -> str:
    return f"{format.sample_rate} Hz, {format.channels} x {8 * format.sample_width} bit"
