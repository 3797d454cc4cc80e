"""Resources of the account: dictionaries, clones, balance and voices (waves/api.md, 7 and 8)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from smallest_cli.errors import ProtocolError
from smallest_cli.models import Clone, Dictionary, Voice
from smallest_cli.protocol.json import decode_object, excerpt

DICTIONARIES_PATH = "/waves/v1/pronunciation-dicts"
CLONES_PATH = "/waves/v1/voice-cloning"
BALANCE_PATH = "/payment/v1/credits/balance"
SUBSCRIPTION_PATH = "/atoms/v1/user/subscription"
VOICES_LIMIT = 4 * 1024 * 1024
"""Maximum bytes of a get_voices reply that the client accepts."""
CLONE_MAX_BYTES = 5 * 1024 * 1024
CLONE_SECONDS = (5.0, 15.0)
CLONE_TYPES = {
    ".mp3": "audio/mpeg", ".wav": "audio/wav", ".webm": "audio/webm", ".mp4": "audio/mp4",
    ".m4a": "audio/mp4",
}  # fmt: skip


def encode_dictionary(items: Iterable[tuple[str, str]], id: str | None = None) -> bytes:
    """Encode a new dictionary or, with an `id`, the replacement of its items."""
    fields: dict[str, Any] = {} if id is None else {"id": id}
    fields["items"] = [{"word": word, "pronunciation": pronunciation} for word, pronunciation in items]
    return json.dumps(fields).encode()


def encode_dictionary_id(id: str) -> bytes:
    """Encode the body of a DELETE request."""
    return json.dumps({"id": id}).encode()


def decode_dictionary(data: bytes) -> Dictionary:
    """Decode a dictionary. Raises ProtocolError."""
    return _dictionary(decode_object(data))


def decode_dictionaries(data: bytes) -> list[Dictionary]:
    """Decode the list of dictionaries, a bare array. Raises ProtocolError."""
    try:
        listed = json.loads(data)
    except (ValueError, RecursionError):
        raise ProtocolError(f"not a JSON message: {excerpt(data)}") from None
    if not isinstance(listed, list):
        raise ProtocolError("malformed list of dictionaries")
    return [_dictionary(item) for item in listed]


def _dictionary(fields: object) -> Dictionary:
    items = fields.get("items") if isinstance(fields, dict) else None
    if not isinstance(fields, dict) or not isinstance(fields.get("id"), str) or not isinstance(items, list):
        raise ProtocolError("malformed dictionary")
    return Dictionary(fields["id"], tuple(map(_item, items)), _text(fields.get("createdAt")))


def _item(fields: object) -> tuple[str, str]:
    match fields:
        case {"word": str(word), "pronunciation": str(pronunciation)}:
            return word, pronunciation
    raise ProtocolError("malformed dictionary item")


def decode_deleted(data: bytes) -> None:
    """Check that a reply confirms the deletion. Raises ProtocolError."""
    if decode_object(data).get("deleted") is not True:
        raise ProtocolError("the service did not confirm the deletion")


def decode_clone(data: bytes) -> Clone:
    """Decode the reply to a new clone. Raises ProtocolError."""
    return _clone(decode_object(data).get("data"))


def decode_clones(data: bytes) -> list[Clone]:
    """Decode the list of clones. Raises ProtocolError."""
    listed = decode_object(data).get("data")
    if not isinstance(listed, list):
        raise ProtocolError("malformed list of clones")
    return [_clone(item) for item in listed]


def _clone(fields: object) -> Clone:
    if not isinstance(fields, dict) or not isinstance(fields.get("voiceId"), str):
        raise ProtocolError("malformed clone")
    model = fields.get("model")  # an object in the guide, a string in the specification
    model = model.get("modelName") if isinstance(model, dict) else model
    models = fields.get("modelIds")
    if model is None and isinstance(models, list) and models:
        model = models[0]
    return Clone(
        id=fields["voiceId"],
        name=_text(fields.get("displayName")) or fields["voiceId"],
        model=_text(model),
        status=_text(fields.get("status")) or "unknown",
        language=_text(fields.get("language")),
        created=_text(fields.get("createdAt")),
    )


def decode_balance(data: bytes) -> float:
    """Decode the credit balance in US dollars; it may be negative. Raises ProtocolError."""
    fields = decode_object(data).get("data")
    balance = fields.get("creditBalance") if isinstance(fields, dict) else None
    if isinstance(balance, bool) or not isinstance(balance, int | float):
        raise ProtocolError("malformed balance")
    return float(balance)


def decode_concurrency(data: bytes) -> int | None:
    """Decode the concurrency limit of the account, None if not stated. Raises ProtocolError."""
    fields = decode_object(data).get("data")
    limits = fields.get("limits") if isinstance(fields, dict) else None
    calls = limits.get("concurrentCalls") if isinstance(limits, dict) else None
    return calls if isinstance(calls, int) else None


def encode_voices(voices: Iterable[Voice]) -> bytes:
    """Encode a list of voices as the get_voices reply, which does not name the pool."""
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
    """Decode the get_voices reply for the pool of `model`. Raises ProtocolError.

    Any tag may be missing or undocumented (waves/api.md, 7); only the id is required.
    """
    listed = decode_object(data).get("voices")
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise ProtocolError("malformed list of voices")
    return [_decode_voice(item, model) for item in listed]


def _decode_voice(fields: dict[str, Any], model: str) -> Voice:
    name = fields.get("voiceId")
    if not isinstance(name, str) or not name:
        raise ProtocolError("a listed voice has no id")
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
    return tuple(item for item in values if isinstance(item, str) and item)
