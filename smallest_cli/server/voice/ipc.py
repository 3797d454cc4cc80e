"""Messages between the server and the voice process: one request in, frames of audio and words back."""

from __future__ import annotations

import json
import struct
from typing import NamedTuple

FRAME = struct.Struct(">cI")  # header of a reply frame: kind, and payload size in bytes
AUDIO, WORD, END, FAILED = b"a", b"w", b"e", b"x"


class VoiceRequest(NamedTuple):
    """One utterance, with the voice resolved: the voice process has no catalogue."""

    text: str
    espeak_voice: str
    pitch: int
    speed: float
    sample_rate: int
    block_bytes: int
    pad: bool  # whether the last block is padded with silence
    word_timings: bool
    encoding: str

    def encode(self) -> bytes:
        """Return the request as one line of JSON."""
        return json.dumps(self).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> VoiceRequest:
        return cls(*json.loads(line))
