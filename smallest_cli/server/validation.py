"""Request validation with the service's own error messages (waves/api.md, 2 and 5a).

Fields are checked one by one before `decode_request` reads them. Unknown fields are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from smallest_cli.models import MODELS, SAMPLE_RATES, Api, Via
from smallest_cli.protocol.endpoints import DEFAULT_MODEL, ENCODINGS, Fields
from smallest_cli.security import printable
from smallest_cli.server.config import TEXT_LIMIT
from smallest_cli.voices import LANGUAGES, PRO_ONLY_LANGUAGES

Issue = dict[str, Any]
Check = Callable[[Any], Issue | None]
"""Return the problem of a value, without its path, or None."""

MAX_SHOWN_NUMBER = 1e15
REQUIRED = {"text": "The 'text' field is required.", "voice_id": "Required"}
ACCEPTED_MODELS = (*MODELS, "lightning_v3.2")
"""lightning_v3.2: public since about September 2026, no reference page (waves/api.md, 0.8)."""
V2_LANGUAGES = "en hi mr kn ta bn gu te ml de fr es it pl nl sv ru ar he"
SUPPORTED_LANGUAGES: dict[str, tuple[str, ...]] = {
    "lightning_v3.1": tuple(code for code in LANGUAGES if code not in PRO_ONLY_LANGUAGES),
    "lightning_v3.1_pro": tuple(LANGUAGES),
    "lightning_v3.2": tuple(LANGUAGES),
    "lightning-v2": tuple(V2_LANGUAGES.split()),
}
"""Language codes that each model accepts; validation is per model, not per voice (waves/api.md, 2a, 2b)."""
_ID = re.compile(r"[a-zA-Z0-9_\-.]{1,128}")
_TYPE_NAMES = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}


class Rules(NamedTuple):
    """Validation rules of a route. `max_text` is in characters; None applies the server's own limit.

    `voice_models` maps voices restricted to one model to that model.
    """

    api: Api
    via: Via
    voices: frozenset[str]
    max_text: int | None
    voice_models: Mapping[str, str]
    blocked_words: tuple[str, ...]


def validate(fields: Fields, rules: Rules, *, optional: Iterable[str] = ()) -> list[Issue]:
    """Return all problems of a request; fields in `optional` may be absent or empty."""
    issues: list[Issue] = []
    for name, check in _checks(rules).items():
        issue = None
        if name in fields:
            issue = check(fields[name]) if fields[name] != "" or name not in optional else None
        elif name in REQUIRED and name not in optional:
            issue = _wrong_type("string", "undefined") | {"message": REQUIRED[name]}
        if issue:
            issues.append(issue | {"path": [name]})
    return issues or list(_check_combinations(fields, rules))


def _checks(rules: Rules) -> dict[str, Check]:
    identifier = _typed("string", _identifier)
    boolean = _typed("boolean")
    wide_speed = rules.api == "v2" and rules.via == "ws"  # only the v2 socket takes 0.1 to 5 (2b)
    checks: dict[str, Check] = {
        "text": _text(rules.max_text or TEXT_LIMIT),
        "voice_id": _typed("string", lambda id: None if id in rules.voices else _custom("Invalid Voice ID")),
        "sample_rate": _enum(SAMPLE_RATES),
        "speed": _number(0.1, 5) if wide_speed else _number(0.5, 2),
        "output_format": _enum(ENCODINGS),
        "session_id": identifier,
        "request_id": identifier,
        "language": _typed("string"),
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
            "number_pronunciation_language": _enum(("auto", *LANGUAGES)),
            "math_notation": boolean,
            "content_filter": _typed("object"),
            "word_timestamps": boolean,
        }
    if rules.via != "ws":
        return checks | {"pronunciation_dicts": _typed("array")}
    return checks | {
        "continue": boolean,
        "flush": boolean,
        "context_close": boolean,
        "cancel_request": boolean,
        "max_buffer_flush_ms": _number(0, 1000, integer=True),
        "max_buffer_delay_ms": _number(0, 5000, integer=True),
        "complete_backoff_ms": _number(0, 10_000),
        "context_id": identifier,
    }


def _type_name(value: object) -> str:
    return _TYPE_NAMES.get(type(value), "null")


def _wrong_type(expected: str, received: str) -> Issue:
    message = f"Expected {expected}, received {received}"
    return {"code": "invalid_type", "expected": expected, "received": received, "message": message}


def _custom(message: str) -> Issue:
    """Return a problem with the code "custom", not one of the validation library."""
    return {"code": "custom", "message": message}


def custom_issue(name: str, message: str) -> Issue:
    """Return a problem of the field `name` with the code "custom"."""
    return _custom(message) | {"path": [name]}


def _typed(expected: str, check: Check = lambda value: None) -> Check:
    def check_typed(value: Any) -> Issue | None:
        received = _type_name(value)
        return check(value) if received == expected else _wrong_type(expected, received)

    return check_typed


def _number(low: float, high: float, *, integer: bool = False) -> Check:
    def check(value: Any) -> Issue | None:
        if integer and value % 1:  # also true for infinity
            return _wrong_type("integer", "float")
        if not value >= low:  # also true for NaN
            return _bound("too_small", "minimum", low, f"Number must be greater than or equal to {low:g}")
        if not value <= high:
            return _bound("too_big", "maximum", high, f"Number must be less than or equal to {high:g}")
        return None

    return _typed("number", check)


def _bound(code: str, key: str, limit: float, message: str, type: str = "number") -> Issue:
    return {"code": code, key: limit, "type": type, "inclusive": True, "exact": False, "message": message}


def _enum(options: tuple[object, ...]) -> Check:
    listed = " | ".join(f"'{option}'" if isinstance(option, str) else str(option) for option in options)

    def check(value: Any) -> Issue | None:
        if _type_name(value) not in ("string", "number"):
            return _wrong_type(_type_name(options[0]), _type_name(value))
        if value in options:
            return None
        short = isinstance(value, int | float) and abs(value) < MAX_SHOWN_NUMBER
        shown = value if short else printable(value, 60)
        return {
            "received": shown,
            "code": "invalid_enum_value",
            "options": list(options),
            "message": f"Invalid enum value. Expected {listed}, received '{shown}'",
        }

    return check


def _text(limit: int) -> Check:
    def check(value: str) -> Issue | None:
        if not value.strip():
            return _custom(REQUIRED["text"])
        if len(value.strip()) > limit:
            message = f"String must contain at most {limit} character(s)"
            return _bound("too_big", "maximum", limit, message, "string")
        return None

    return _typed("string", check)


def _identifier(value: str) -> Issue | None:
    if _ID.fullmatch(value):
        return None
    return {"validation": "regex", "code": "invalid_string", "message": "Invalid"}


def _check_combinations(fields: Fields, rules: Rules) -> Iterator[Issue]:
    """Yield the problems of fields that are valid by themselves."""
    model = "lightning-v2" if rules.api == "v2" else fields.get("model", DEFAULT_MODEL)
    language = fields.get("language", "auto")
    supported = SUPPORTED_LANGUAGES[model]
    if language != "auto" and language not in supported:
        problem = f"Language '{printable(language, 60)}' is not supported on the {model} model."
        yield custom_issue("language", f"{problem} Supported languages: {', '.join(supported)}")
    # A voice of the other model is rejected (0.5); without `model` any voice is accepted.
    voice = fields.get("voice_id", "")
    if fields.get("model") in MODELS and rules.voice_models.get(voice, model) != model:
        yield custom_issue("voice_id", f"Voice '{voice}' is not available on the {model} model")
    # Reject mode blocks the configured words. The code is known, its position in the body inferred (0.6).
    content_filter = fields.get("content_filter", {}) if rules.api != "v2" else {}
    if content_filter.get("enabled") is True and content_filter.get("action") == "reject":
        text = str(fields.get("text", "")).casefold()
        if any(word.casefold() in text for word in rules.blocked_words):
            message = "Text blocked by the content filter"
            yield {"code": "CONTENT_FILTER_BLOCKED", "path": ["text"], "message": message}
