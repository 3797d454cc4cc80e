"""Resources of the account: dictionaries, clones, balance and voices (waves/api.md, 7 and 8)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from smallest_cli.errors import ProtocolError
from smallest_cli.models import Clone, Dictionary, Voice
from smallest_cli.protocol.json import decode_json, decode_object, finite_or_none, text_or_none

DICTIONARIES_PATH = "/waves/v1/pronunciation-dicts"
CLONES_PATH = "/waves/v1/voice-cloning"
BALANCE_PATH = "/payment/v1/credits/balance"
SUBSCRIPTION_PATH = "/atoms/v1/user/subscription"
VOICES_LIMIT = 4 * 1024 * 1024  # bytes of a get_voices reply that the client accepts
CLONE_MAX_BYTES = 5 * 1024 * 1024
CLONE_SECONDS = (5.0, 15.0)
CLONE_TYPES = {
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".webm": "audio/webm",
    ".mp4": "audio/mp4",
    ".m4a": "audio/mp4",
}


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
    listed = decode_json(data)
    if not isinstance(listed, list):
        raise ProtocolError("malformed list of dictionaries")
    return [_dictionary(item) for item in listed]


def _dictionary(fields: object) -> Dictionary:
    match fields:
        case {"id": str(id), "items": list(items), **rest}:
            return Dictionary(id, tuple(map(_item, items)), text_or_none(rest.get("createdAt")))
    raise ProtocolError("malformed dictionary")


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
    if model is None and isinstance(models := fields.get("modelIds"), list) and models:
        model = models[0]
    return Clone(
        id=fields["voiceId"],
        name=text_or_none(fields.get("displayName")) or fields["voiceId"],
        model=text_or_none(model),
        status=text_or_none(fields.get("status")) or "unknown",
        language=text_or_none(fields.get("language")),
        created=text_or_none(fields.get("createdAt")),
    )


def decode_balance(data: bytes) -> float:
    """Decode the credit balance in US dollars; it may be negative. Raises ProtocolError."""
    balance = finite_or_none(_object(decode_object(data).get("data")).get("creditBalance"))
    if balance is None:
        raise ProtocolError("malformed balance")
    return balance


def decode_concurrency(data: bytes) -> int | None:
    """Decode the concurrency limit of the account, None if not stated. Raises ProtocolError."""
    limits = _object(_object(decode_object(data).get("data")).get("limits"))
    calls = finite_or_none(limits.get("concurrentCalls"))
    return None if calls is None else round(calls)


def encode_voices(voices: Iterable[Voice]) -> bytes:
    """Encode a list of voices as the get_voices reply, which does not name the pool."""
    listed = []
    for voice in voices:
        stated = {"accent": voice.accent, "gender": voice.gender, "age": voice.age}
        tags: dict[str, Any] = {name: tag for name, tag in stated.items() if tag}
        tags |= {"language": voice.languages, "emotions": [], "usecases": voice.use_cases}
        listed.append({"voiceId": voice.id, "displayName": voice.name, "tags": tags})
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
    tags = _object(fields.get("tags"))
    return Voice(
        id=name,
        name=text_or_none(fields.get("displayName")) or name,
        model=model,
        gender=text_or_none(tags.get("gender")),
        accent=text_or_none(tags.get("accent")),
        languages=_texts(tags.get("language")),
        age=text_or_none(tags.get("age")),
        use_cases=_texts(tags.get("usecases")),
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(item for item in values if isinstance(item, str) and item)
