"""What passes between the server and the voice process: an order one way, frames the other."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass

FRAME = struct.Struct(">cI")
"""The head of each frame that answers an order: its kind, and the bytes that follow."""
AUDIO, WORD, END, FAILED = b"a", b"w", b"e", b"x"
SIZE = struct.Struct(">I")
"""The head of an order: its bytes."""


@dataclass(frozen=True, slots=True)
class Order:
    """One utterance, with nothing left to decide: the voice process knows no catalogue."""

    text: str
    espeak_voice: str
    pitch: int
    speed: float
    sample_rate: int
    block_bytes: int
    fill: bool
    """Whether the last block is filled up with silence."""
    timed: bool
    """Whether words are to be told of."""
    encoding: str

    def encode(self) -> bytes:
        """The order with its head."""
        body = json.dumps(asdict(self)).encode()
        return SIZE.pack(len(body)) + body

    @classmethod
    def decode(cls, body: bytes) -> Order:
        return cls(**json.loads(body))
