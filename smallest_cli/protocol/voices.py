"""The list of voices (waves/api.md, 7)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from smallest_cli.errors import ProtocolError
from smallest_cli.models import Voice
from smallest_cli.protocol.json import decode_object

VOICES_LIMIT = 4 * 1024 * 1024


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


def decode_voices(data: bytes, model: str) -> list[Voice]:
    """The voices in a reply of get_voices for the pool of `model`. Raises ProtocolError.

    Any tag may be missing, and the live reply has some that no page names; only the id must be there.
    """
    listed = decode_object(data).get("voices")
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise ProtocolError("the service's list of voices cannot be read")
    return [_decode_voice(each, model) for each in listed]


def _decode_voice(fields: dict[str, Any], model: str) -> Voice:
    name = fields.get("voiceId")
    if not isinstance(name, str) or not name:
        raise ProtocolError("the service lists a voice without an id")
    tags = fields.get("tags")
    tags = tags if isinstance(tags, dict) else {}
    return Voice(
        id=name,
        name=_text(fields.get("displayName")) or name,
        model=model,
        gender=_text(tags.get("gender")),
        accent=_text(tags.get("accent")),
        languages=_texts(tags.get("language")),
        age=_text(tags.get("age")),
        use_cases=_texts(tags.get("usecases")),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(each for each in values if isinstance(each, str) and each)
