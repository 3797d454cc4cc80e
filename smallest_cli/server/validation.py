"""Request validation with the service's own error messages (waves/api.md, 2 and 5a).

Fields are checked one by one before `decode_request` reads them. Unknown fields are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from smallest_cli.models import SAMPLE_RATES, Api, Via
from smallest_cli.protocol.endpoints import DEFAULT_MODEL, ENCODINGS, Fields
from smallest_cli.security import printable
from smallest_cli.server.config import TEXT_LIMIT
from smallest_cli.voices import LANGUAGES, MODELS, PRO_ONLY_LANGUAGES

Issue = dict[str, Any]
Check = Callable[[str, Any], Iterator[Issue]]

MAX_SHOWN_NUMBER = 1e15
TEXT_REQUIRED = "The 'text' field is required."
ACCEPTED_MODELS = (*MODELS, "lightning_v3.2")
"""lightning_v3.2 is public since about September 2026, without a reference page (waves/api.md, 0.8)."""
LANGUAGE_CODES = ("auto", *LANGUAGES)
SUPPORTED_LANGUAGES: dict[str, tuple[str, ...]] = {
    "lightning_v3.1": tuple(code for code in LANGUAGES if code not in PRO_ONLY_LANGUAGES),
    "lightning_v3.1_pro": tuple(LANGUAGES),
    "lightning_v3.2": tuple(LANGUAGES),
    "lightning-v2": (
        "en", "hi", "mr", "kn", "ta", "bn", "gu", "te", "ml", "de", "fr", "es", "it", "pl", "nl", "sv", "ru",
        "ar", "he",
    ),
}  # fmt: skip
"""Language codes that each model accepts; validation is per model, not per voice (waves/api.md, 2a, 2b)."""
_ID = re.compile(r"[a-zA-Z0-9_\-.]+")
_MAX_ID_CHARS = 128


@dataclass(frozen=True, slots=True)
class Rules:
    """What a route accepts. `max_text` is in characters; None applies the server's own limit.

    `voice_models` maps the voices that may be used with one model only to that model.
    """

    api: Api
    via: Via
    voices: frozenset[str]
    max_text: int | None = None
    voice_models: Mapping[str, str] = field(default_factory=dict)
    blocked_words: tuple[str, ...] = ()


def validate(fields: Fields, rules: Rules, *, optional: Iterable[str] = ()) -> list[Issue]:
    """Return all problems of a request; fields in `optional` may be absent or empty."""
    issues: list[Issue] = []
    for name, check in _checks(rules).items():
        if name in fields:
            if not (name in optional and fields[name] == ""):
                issues += check(name, fields[name])
        elif name in ("text", "voice_id") and name not in optional:
            issues.append(
                _wrong_type(name, "string", "undefined", TEXT_REQUIRED if name == "text" else "Required")
            )
    if not issues:
        issues += _check_language(fields, rules)
        issues += _check_voice_model(fields, rules)
        issues += _check_content_filter(fields, rules)
    return issues


def _checks(rules: Rules) -> dict[str, Check]:
    wide_speed = rules.api == "v2" and rules.via == "ws"  # only the v2 socket takes 0.1 to 5 (2b)
    checks: dict[str, Check] = {
        "text": _text(rules.max_text),
        "voice_id": _voice(rules.voices),
        "sample_rate": _enum(SAMPLE_RATES),
        "speed": _number(0.1, 5) if wide_speed else _number(0.5, 2),
        "output_format": _enum(ENCODINGS),
        "session_id": _string(_identifier),
        "request_id": _string(_identifier),
        "language": _typed(str, "string"),
    }
    if rules.api == "v2":
        checks |= {
            "consistency": _number(0, 1),
            "similarity": _number(0, 1),
            "enhancement": _number(0, 2, integer=True),
        }
    else:
        checks |= {
            "model": _enum(ACCEPTED_MODELS),
            "number_pronunciation_language": _enum(LANGUAGE_CODES),
            "math_notation": _typed(bool, "boolean"),
            "content_filter": _typed(dict, "object"),
            "word_timestamps": _typed(bool, "boolean"),
        }
    if rules.via != "ws":
        return checks | {"pronunciation_dicts": _typed(list, "array")}
    return checks | {
        "continue": _typed(bool, "boolean"),
        "flush": _typed(bool, "boolean"),
        "context_close": _typed(bool, "boolean"),
        "cancel_request": _typed(bool, "boolean"),
        "max_buffer_flush_ms": _number(0, 1000, integer=True),
        "max_buffer_delay_ms": _number(0, 5000, integer=True),
        "complete_backoff_ms": _number(0, 10_000),
        "context_id": _string(_identifier),
    }


def _type_name(value: object) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _wrong_type(name: str, expected: str, received: str, message: str = "") -> Issue:
    return {
        "code": "invalid_type",
        "expected": expected,
        "received": received,
        "path": [name],
        "message": message or f"Expected {expected}, received {received}",
    }


def _typed(kind: type, expected: str) -> Check:
    def check(name: str, value: Any) -> Iterator[Issue]:
        if not isinstance(value, kind):
            yield _wrong_type(name, expected, _type_name(value))

    return check


def _string(check_string: Callable[[str, str], Iterator[Issue]]) -> Check:
    def check(name: str, value: Any) -> Iterator[Issue]:
        if isinstance(value, str):
            yield from check_string(name, value)
        else:
            yield _wrong_type(name, "string", _type_name(value))

    return check


def _number(low: float, high: float, *, integer: bool = False) -> Check:
    def check(name: str, value: Any) -> Iterator[Issue]:
        if _type_name(value) != "number":
            yield _wrong_type(name, "number", _type_name(value))
        elif integer and value % 1:  # also true for infinity
            yield _wrong_type(name, "integer", "float")
        elif not value >= low:  # also true for NaN
            yield _bound(name, "too_small", "minimum", low, "greater than or equal to")
        elif not value <= high:
            yield _bound(name, "too_big", "maximum", high, "less than or equal to")

    return check


def _bound(name: str, code: str, key: str, limit: float, words: str) -> Issue:
    return {
        "code": code,
        key: limit,
        "type": "number",
        "inclusive": True,
        "exact": False,
        "message": f"Number must be {words} {limit:g}",
        "path": [name],
    }


def _enum(options: tuple[object, ...]) -> Check:
    def check(name: str, value: Any) -> Iterator[Issue]:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            if value not in options:
                yield _not_an_option(name, value, options)
        else:
            yield _wrong_type(name, _type_name(options[0]), _type_name(value))

    return check


def _not_an_option(name: str, value: str | float, options: tuple[object, ...]) -> Issue:
    shown = (
        value if isinstance(value, int | float) and abs(value) < MAX_SHOWN_NUMBER else printable(value, 60)
    )
    listed = " | ".join(f"'{option}'" if isinstance(option, str) else str(option) for option in options)
    return {
        "received": shown,
        "code": "invalid_enum_value",
        "options": list(options),
        "path": [name],
        "message": f"Invalid enum value. Expected {listed}, received '{shown}'",
    }


def custom_issue(name: str, message: str) -> Issue:
    """A problem without a code of the validation library."""
    return {"code": "custom", "path": [name], "message": message}


def _text(max_text: int | None) -> Check:
    limit = max_text or TEXT_LIMIT

    def check(name: str, value: str) -> Iterator[Issue]:
        if not value.strip():
            yield custom_issue(name, TEXT_REQUIRED)
        elif len(value.strip()) > limit:
            message = f"String must contain at most {limit} character(s)"
            yield _bound(name, "too_big", "maximum", limit, "") | {"type": "string", "message": message}

    return _string(check)


def _voice(voices: frozenset[str]) -> Check:
    def check(name: str, value: str) -> Iterator[Issue]:
        if value not in voices:
            yield custom_issue(name, "Invalid Voice ID")

    return _string(check)


def _identifier(name: str, value: str) -> Iterator[Issue]:
    if len(value) > _MAX_ID_CHARS or not _ID.fullmatch(value):
        yield {"validation": "regex", "code": "invalid_string", "message": "Invalid", "path": [name]}


def _check_language(fields: Fields, rules: Rules) -> Iterator[Issue]:
    model = "lightning-v2" if rules.api == "v2" else fields.get("model", DEFAULT_MODEL)
    language = fields.get("language", "auto")
    if language == "auto" or language in SUPPORTED_LANGUAGES[model]:
        return
    problem = f"Language '{printable(language, 60)}' is not supported on the {model} model."
    yield custom_issue("language", f"{problem} Supported languages: {', '.join(SUPPORTED_LANGUAGES[model])}")


def _check_voice_model(fields: Fields, rules: Rules) -> Iterator[Issue]:
    """A voice of the other model is rejected (0.5); without `model` any voice is accepted."""
    voice, model = fields.get("voice_id", ""), fields.get("model")
    if model in MODELS and rules.voice_models.get(voice, model) != model:
        yield custom_issue("voice_id", f"Voice '{voice}' is not available on the {model} model")


def _check_content_filter(fields: Fields, rules: Rules) -> Iterator[Issue]:
    """Reject mode blocks the configured words. The code is reported, its place in the body inferred (0.6)."""
    content_filter = fields.get("content_filter", {}) if rules.api != "v2" else {}
    if content_filter.get("enabled") is not True or content_filter.get("action") != "reject":
        return
    text = str(fields.get("text", "")).casefold()
    if any(word.casefold() in text for word in rules.blocked_words):
        message = "Text blocked by the content filter"
        yield {"code": "CONTENT_FILTER_BLOCKED", "path": ["text"], "message": message}
