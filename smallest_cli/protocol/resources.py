"""What is not speech: pronunciation dictionaries, clones, the balance (waves/api.md, 7 and 8)."""

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
CLONE_LARGEST = 5 * 1024 * 1024
CLONE_SECONDS = (5.0, 15.0)
CLONE_TYPES = {
    ".mp3": "audio/mpeg", ".wav": "audio/wav", ".webm": "audio/webm", ".mp4": "audio/mp4",
    ".m4a": "audio/mp4",
}  # fmt: skip


def encode_dictionary(items: Iterable[tuple[str, str]], id: str | None = None) -> bytes:
    """What makes a dictionary, or with an `id` replaces the items of one."""
    fields: dict[str, Any] = {} if id is None else {"id": id}
    fields["items"] = [{"word": word, "pronunciation": said} for word, said in items]
    return json.dumps(fields).encode()


def encode_dictionary_id(id: str) -> bytes:
    """The body of a DELETE, which has one here."""
    return json.dumps({"id": id}).encode()


def decode_dictionary(data: bytes) -> Dictionary:
    """The dictionary in a reply. Raises ProtocolError."""
    return _dictionary(decode_object(data))


def decode_dictionaries(data: bytes) -> list[Dictionary]:
    """The dictionaries in the reply to a list, which is a bare array. Raises ProtocolError."""
    try:
        listed = json.loads(data)
    except (ValueError, RecursionError):
        raise ProtocolError(f"not a JSON message: {excerpt(data)}") from None
    if not isinstance(listed, list):
        raise ProtocolError("the service's list of dictionaries cannot be read")
    return [_dictionary(each) for each in listed]


def _dictionary(fields: object) -> Dictionary:
    items = fields.get("items") if isinstance(fields, dict) else None
    if not isinstance(fields, dict) or not isinstance(fields.get("id"), str) or not isinstance(items, list):
        raise ProtocolError("the service's dictionary cannot be read")
    return Dictionary(fields["id"], tuple(map(_item, items)), _text(fields.get("createdAt")))


def _item(fields: object) -> tuple[str, str]:
    match fields:
        case {"word": str(word), "pronunciation": str(said)}:
            return word, said
    raise ProtocolError("the service's dictionary has an item that cannot be read")


def decode_deleted(data: bytes) -> None:
    """Make sure that a reply says so. Raises ProtocolError."""
    if decode_object(data).get("deleted") is not True:
        raise ProtocolError("the service does not say that it was deleted")


def decode_clone(data: bytes) -> Clone:
    """The clone in the reply to a new one. Raises ProtocolError."""
    return _clone(decode_object(data).get("data"))


def decode_clones(data: bytes) -> list[Clone]:
    """The clones in the reply to a list. Raises ProtocolError."""
    listed = decode_object(data).get("data")
    if not isinstance(listed, list):
        raise ProtocolError("the service's list of clones cannot be read")
    return [_clone(each) for each in listed]


def _clone(fields: object) -> Clone:
    if not isinstance(fields, dict) or not isinstance(fields.get("voiceId"), str):
        raise ProtocolError("the service's clone cannot be read")
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
    """US dollars of credit; may be below zero. Raises ProtocolError."""
    fields = decode_object(data).get("data")
    balance = fields.get("creditBalance") if isinstance(fields, dict) else None
    if isinstance(balance, bool) or not isinstance(balance, int | float):
        raise ProtocolError("the service's balance cannot be read")
    return float(balance)


def decode_concurrency(data: bytes) -> int | None:
    """Requests at a time that the account may have, None where it does not tell. Raises ProtocolError."""
    fields = decode_object(data).get("data")
    limits = fields.get("limits") if isinstance(fields, dict) else None
    calls = limits.get("concurrentCalls") if isinstance(limits, dict) else None
    return calls if isinstance(calls, int) else None


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
