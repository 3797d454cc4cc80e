"""The list of voices (waves/api.md, 7)."""

from __future__ import annotations

import json
from collections.abc import Iterable

from smallest_cli.speech import (
    Voice,
)


def encode_voices(voices: Iterable[Voice]) -> bytes:
    """The reply of get_voices; it names no pool."""
    listed = [
        {
            "voiceId": voice.id,
            "displayName": voice.name,
            "tags": {
                "language": list(voice.languages),
                **({"accent": voice.accent} if voice.accent else {}),
                **({"gender": voice.gender} if voice.gender else {}),
                **({"age": voice.age} if voice.age else {}),
                "emotions": [],
                "usecases": list(voice.use_cases),
            },
        }
        for voice in voices
    ]
    return json.dumps({"voices": listed}).encode()
