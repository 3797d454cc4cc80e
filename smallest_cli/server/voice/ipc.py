"""Messages between the server and the voice process: one request in, frames of audio and words back."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass

FRAME = struct.Struct(">cI")
"""Header of each reply frame: its kind and the number of payload bytes."""
AUDIO, WORD, END, FAILED = b"a", b"w", b"e", b"x"
SIZE = struct.Struct(">I")
"""Header of a request: the number of body bytes."""


@dataclass(frozen=True, slots=True)
class VoiceRequest:
    """One utterance, fully resolved: the voice process does not know the voice catalogue."""

    text: str
    espeak_voice: str
    pitch: int
    speed: float
    sample_rate: int
    block_bytes: int
    pad: bool
    """Whether the last block is padded with silence."""
    word_timings: bool
    encoding: str

    def encode(self) -> bytes:
        """The request with its header."""
        body = json.dumps(asdict(self)).encode()
        return SIZE.pack(len(body)) + body

    @classmethod
    def decode(cls, body: bytes) -> VoiceRequest:
        return cls(**json.loads(body))
