"""HTTP error statuses and bodies of the offline server (waves/api.md, 5a)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.offline import HTTP, KEY, SSE, Offline, hello

TTS = HTTP["unified"]
JSON = "application/json; charset=utf-8"
INVALID = {"error": "Invalid input data"}
UNAUTHORIZED = {"error": "Unauthorized", "message": "Bearer token is missing or invalid."}


def custom(name: str, message: str) -> dict[str, Any]:
    return {"error": [{"code": "custom", "path": [name], "message": message}]}


def wrong_type(name: str, expected: str, received: str, message: str = "") -> dict[str, Any]:
    message = message or f"Expected {expected}, received {received}"
    issue = {"code": "invalid_type", "expected": expected, "received": received}
    return {"error": [issue | {"path": [name], "message": message}]}


def bound(name: str, code: str, key: str, limit: float, words: str, kind: str = "number") -> dict[str, Any]:
    issue = {"code": code, key: limit, "type": kind, "inclusive": True, "exact": False}
    return {"error": [issue | {"message": words, "path": [name]}]}


def enum(name: str, received: object, options: list[object]) -> dict[str, Any]:
    listed = " | ".join(f"'{option}'" if isinstance(option, str) else str(option) for option in options)
    message = f"Invalid enum value. Expected {listed}, received '{received}'"
    issue = {"received": received, "code": "invalid_enum_value", "options": options, "path": [name]}
    return {"error": [issue | {"message": message}]}


CODINGS: list[object] = ["wav", "ulaw", "alaw", "pcm", "mp3"]
RATES: list[object] = [8_000, 16_000, 24_000, 44_100]
MODELS: list[object] = ["lightning_v3.1", "lightning_v3.1_pro", "lightning_v3.2"]
BASE_LANGUAGES = "en, hi, mr, kn, ta, bn, gu, te, ml, pa, or, es, de, fr, it, nl, sv, pt, ru, pl"
ID = {"error": [{"validation": "regex", "code": "invalid_string", "message": "Invalid"}]}
REQUIRED = "The 'text' field is required."


def unsupported(code: str) -> dict[str, Any]:
    words = f"Language '{code}' is not supported on the lightning_v3.1 model."
    return custom("language", f"{words} Supported languages: {BASE_LANGUAGES}")


REFUSALS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"voice_id": "no_such_voice"}, custom("voice_id", "Invalid Voice ID")),
    ({"voice_id": "Magnus"}, custom("voice_id", "Invalid Voice ID")),
    ({"voice_id": None}, wrong_type("voice_id", "string", "undefined", "Required")),
    ({"voice_id": 5}, wrong_type("voice_id", "string", "number")),
    ({"text": None}, wrong_type("text", "string", "undefined", REQUIRED)),
    ({"text": ""}, custom("text", REQUIRED)),
    ({"text": " \n\t"}, custom("text", REQUIRED)),
    ({"text": ["a"]}, wrong_type("text", "string", "array")),
    ({"text": "a" * 100_001}, bound("text", "too_big", "maximum", 100_000,
        "String must contain at most 100000 character(s)", "string")),
    ({"output_format": "mulaw"}, enum("output_format", "mulaw", CODINGS)),
    ({"output_format": "opus"}, enum("output_format", "opus", CODINGS)),
    ({"output_format": {}}, wrong_type("output_format", "string", "object")),
    ({"sample_rate": 22_050}, enum("sample_rate", 22_050, RATES)),
    ({"sample_rate": "24000"}, enum("sample_rate", "24000", RATES)),
    ({"sample_rate": True}, wrong_type("sample_rate", "number", "boolean")),
    ({"model": "lightning_v3.1_pro"},
        custom("voice_id", "Voice 'magnus' is not available on the lightning_v3.1_pro model")),
    ({"voice_id": "meher", "model": "lightning_v3.1"},
        custom("voice_id", "Voice 'meher' is not available on the lightning_v3.1 model")),
    ({"model": "lightning-v3.1"}, enum("model", "lightning-v3.1", MODELS)),
    ({"speed": 0.4}, bound("speed", "too_small", "minimum", 0.5,
        "Number must be greater than or equal to 0.5")),
    ({"speed": 2.1}, bound("speed", "too_big", "maximum", 2,
        "Number must be less than or equal to 2")),
    ({"speed": "1"}, wrong_type("speed", "number", "string")),
    ({"language": "xx"}, unsupported("xx")),
    ({"language": "ja"}, unsupported("ja")),  # Pro only
    ({"language": "zh", "model": "lightning_v3.1"}, unsupported("zh")),
    ({"language": 1}, wrong_type("language", "string", "number")),
    ({"content_filter": True}, wrong_type("content_filter", "object", "boolean")),
    ({"math_notation": 1}, wrong_type("math_notation", "boolean", "number")),
    ({"session_id": "a b"}, {"error": [ID["error"][0] | {"path": ["session_id"]}]}),
    ({"request_id": "a" * 129}, {"error": [ID["error"][0] | {"path": ["request_id"]}]}),
    ({"request_id": "a\r\nX: y"}, {"error": [ID["error"][0] | {"path": ["request_id"]}]}),
    ({"pronunciation_dicts": "64f1"}, wrong_type("pronunciation_dicts", "array", "string")),
    ({"pronunciation_dicts": ["64f1234567890abcdef12345"]}, INVALID),
]  # fmt: skip


@pytest.mark.parametrize("path", [HTTP["unified"], SSE["unified"]])
@pytest.mark.parametrize(("fields", "body"), REFUSALS)
def test_validation_errors_of_the_unified_api(
    server: Offline, path: str, fields: dict[str, Any], body: dict[str, Any]
) -> None:
    request = hello() | fields
    reply = server.post(path, {name: value for name, value in request.items() if value is not None})
    assert (reply.status_code, reply.headers["Content-Type"], reply.json()) == (400, JSON, body)


def test_all_problems_are_listed(server: Offline) -> None:
    issues = server.post(TTS, hello(text=None, voice_id="no_such_voice", speed=9)).json()["error"]
    assert [issue["path"] for issue in issues] == [["text"], ["voice_id"], ["speed"]]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 99_999])
def test_body_that_is_not_a_json_object_is_400(server: Offline, body: bytes) -> None:
    reply = server.ask("POST", TTS, data=body, headers=server.auth | {"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()) == (400, INVALID)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-1e999", b"1" + b"0" * 400])
@pytest.mark.parametrize("name", [b"speed", b"sample_rate"])
def test_nan_and_infinity_are_rejected(server: Offline, name: bytes, number: bytes) -> None:
    body = b'{"text":"a","voice_id":"magnus","%s":%s}' % (name, number)
    reply = server.ask("POST", TTS, data=body, headers=server.auth | {"Content-Type": "application/json"})
    assert reply.status_code == 400
    answer = json.loads(reply.text, parse_constant=pytest.fail)  # no NaN in the reply
    assert answer["error"][0]["path"] == [name.decode()]


def test_text_plain_body_is_415(server: Offline) -> None:
    headers = server.auth | {"Content-Type": "text/plain"}
    assert server.ask("POST", TTS, data=json.dumps(hello()), headers=headers).status_code == 415


def test_body_over_1_mib_is_413(server: Offline) -> None:
    assert server.post(TTS, hello(extra="a" * (1 << 20))).status_code == 413
    headers = server.auth | {"Content-Type": "application/json"}
    pieces = (b"a" * 65_536 for _ in range(17))
    assert server.ask("POST", TTS, data=pieces, headers=headers).status_code == 413


@pytest.mark.parametrize("given", [{}, {"Authorization": "Bearer "}, {"Authorization": "Bearer sk_other"},
    {"Authorization": f"Basic {KEY}"}, {"Authorization": KEY}, {"Authorization": "Bearer \xe9"},
    {"Authorization": f"Bearer {KEY}x"}, {"X-Api-Key": KEY}])  # fmt: skip
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("POST", path) for path in (*HTTP.values(), *SSE.values())),
        ("GET", "/waves/v1/lightning-v3.1/get_voices"),
    ],
)
def test_every_route_needs_a_key(server: Offline, method: str, path: str, given: dict[str, str]) -> None:
    reply = server.ask(method, path, json=hello(), headers=given)
    assert (reply.status_code, reply.headers["Content-Type"], reply.json()) == (401, JSON, UNAUTHORIZED)


def test_bearer_scheme_is_case_insensitive(server: Offline) -> None:
    assert server.post(TTS, hello(), headers={"Authorization": f"bearer {KEY}"}).status_code == 200


def retired(endpoint: str) -> dict[str, Any]:
    return {
        "status": "error",
        "error_code": "MODEL_DEPRECATED",
        "message": f"This model is retired. Please migrate to lightning-v3.1 via {endpoint}.",
        "recommended_endpoint": endpoint,
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/", 404, {"error": "Not Found"}),
        ("GET", "/waves/v1/tts", 404, {"error": "Not Found"}),
        ("GET", "/waves/v1/tts/live", 404, {"error": "Not Found"}),  # without an upgrade
        ("OPTIONS", "/waves/v1/tts", 404, {"error": "Not Found"}),
        ("DELETE", "/waves/v1/health", 404, {"error": "Not Found"}),
        ("POST", "/waves/v1/lightning-v3.1/get_speech_long_text", 404, {"error": "Not Found"}),
        ("POST", "/waves/v1/lightning/get_speech", 404, {"error": "Not Found"}),
        ("POST", "/waves/v1/lightning-large/get_speech", 410, retired("/waves/v1/lightning-v3.1/get_speech")),
        ("DELETE", "/waves/v1/lightning-large", 410, retired("/waves/v1/lightning-v3.1/get_speech")),
        ("POST", "/waves/v1/prof-voice-cloning/x", 410, retired("/waves/v1/voice-cloning")),
    ],
)
def test_missing_and_retired_routes(
    server: Offline, method: str, path: str, status: int, body: dict[str, Any]
) -> None:
    reply = server.ask(method, path)
    assert (reply.status_code, reply.headers["Content-Type"], reply.json()) == (status, JSON, body)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"voice_id": "ryan"}, 200),
        ({"voice_id": "aditi", "consistency": 0.5, "similarity": 0, "enhancement": 1}, 200),
        ({"consistency": 1.1}, 400),
        ({"similarity": "0"}, 400),
        ({"enhancement": 3}, 400),
        ({"enhancement": 0.5}, 400),
        ({"language": "ar"}, 200),
        ({"language": "ko"}, 400),
        ({"number_pronunciation_language": ["hi"]}, 200),  # not a field of v2
        ({"model": "whatever"}, 200),  # not a field of v2
    ],
)
def test_v2_validation_rules(server: Offline, fields: dict[str, Any], status: int) -> None:
    assert server.post(HTTP["v2"], hello(**fields)).status_code == status


def test_v2_voices_are_valid_on_v2_only(server: Offline) -> None:
    assert server.post(HTTP["unified"], hello(voice_id="ryan")).json() == custom(
        "voice_id", "Invalid Voice ID"
    )
