"""Errors from HTTP replies and WebSocket close codes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallest_cli.errors import (
    AuthError,
    ConnectionClosed,
    NetworkError,
    ProtocolError,
    RateLimited,
    RemoteError,
    RequestError,
    SecurityError,
    ServerError,
)
from smallest_cli.protocol.errors import decode_close, decode_error, decode_http_error, decode_retry_after
from tests.support.published import REFUSALS, VOICES, WS

REFUSED: dict[str, tuple[type[RemoteError], int, str]] = {
    "invalid_voice": (RequestError, 5, "Invalid Voice ID"),
    "invalid_output_format": (RequestError, 5, "Expected 'wav' | 'ulaw' | 'alaw'"),
    "unsupported_language": (RequestError, 5, "Language 'xx' is not supported on the"),
    "missing_text_documented": (RequestError, 5, "The 'text' field is required"),
    "unknown_pronunciation_dict": (RequestError, 5, "Invalid input data"),
    "plan_gated": (RequestError, 5, "please upgrade to a higher plan"),
    "unauthorized": (AuthError, 4, "Bearer token is missing or invalid"),
    "payment_required_guess": (AuthError, 4, "Insufficient credits"),
    "forbidden": (AuthError, 4, "Usage limit reached"),
    "org_gated": (AuthError, 4, "not available for your organization"),
    "not_found": (RequestError, 5, "Not Found"),
    "model_deprecated": (RequestError, 5, "This model is retired"),
    "model_deprecated_voice_cloning": (RequestError, 5, "/waves/v1/voice-cloning"),
    "too_many_requests": (RateLimited, 6, "Concurrency limit reached"),
    "internal": (ServerError, 8, "An unexpected error occurred"),
    "transient_503": (ServerError, 8, "Service temporarily unavailable"),
}
REFUSED_LISTINGS: list[tuple[type[RemoteError], int, str]] = [
    (RequestError, 5, "Invalid model"),
    (AuthError, 4, "Bearer token is missing or invalid"),
    (ServerError, 8, "An unexpected error occurred"),
]


def test_every_published_refusal_has_a_case() -> None:
    assert set(REFUSED) == set(REFUSALS) - {"about"}
    assert len(REFUSED_LISTINGS) == len(VOICES["get_voices_errors"])


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        *((REFUSALS[name], expected) for name, expected in REFUSED.items()),
        *zip(VOICES["get_voices_errors"], REFUSED_LISTINGS, strict=True),
    ],
)
def test_published_refusal_is_decoded(
    refusal: dict[str, Any], expected: tuple[type[RemoteError], int, str]
) -> None:
    kind, exit_code, text = expected
    headers = {name.lower(): value for name, value in refusal.get("headers", {}).items()}
    headers |= {"content-type": "application/json; charset=utf-8", "x-request-id": "5f0b9f2c"}
    error = decode_http_error(refusal["status"], headers, json.dumps(refusal["body"]).encode())
    assert type(error) is kind
    assert error.exit_code == exit_code
    assert error.status == refusal["status"]
    assert error.request_id == "5f0b9f2c"
    assert error.retryable is (exit_code in (6, 7, 8))
    assert text in str(error)
    assert str(refusal["status"]) in str(error)


def test_handshake_refusal_without_body() -> None:
    error = decode_http_error(WS["handshake_refused_401"]["status"], {}, b"")
    assert type(error) is AuthError
    assert error.hint


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_redirect_is_a_security_error(status: int) -> None:
    error = decode_http_error(status, {"location": "https://elsewhere.example/"}, b"")
    assert type(error) is SecurityError
    assert error.exit_code == 12
    assert "https://elsewhere.example/" in str(error)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
def test_transient_statuses_are_retryable(status: int) -> None:
    assert decode_http_error(status, {}, b"").retryable


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 410, 413, 414, 422])
def test_permanent_statuses_are_not_retryable(status: int) -> None:
    assert not decode_http_error(status, {}, b"").retryable


@pytest.mark.parametrize("status", [406, 411, 415, 418, 421, 431, 451])
def test_unlisted_4xx_is_a_request_error(status: int) -> None:
    """RFC 9110, 15: an unrecognised status is its class's x00; a retry cannot help."""
    error = decode_http_error(status, {}, b"")
    assert type(error) is RequestError


@pytest.mark.parametrize("status", [200, 204, 101])
def test_unexpected_success_is_a_protocol_error(status: int) -> None:
    """A 200 whose body is JSON (3a)."""
    error = decode_http_error(status, {"content-type": "application/json"}, b'{"error": "no audio"}')
    assert type(error) is ProtocolError
    assert "no audio" in str(error)


@pytest.mark.parametrize(
    "body", [b"", b"<html>502 Bad Gateway</html>", b"\xff\xf3\xc4\xc4", b"[]", b"[" * 10**5]
)
def test_refusal_with_a_body_that_is_not_json(body: bytes) -> None:
    error = decode_http_error(502, {"content-type": "text/html"}, body)
    assert type(error) is ServerError
    assert "502" in str(error)


@pytest.mark.parametrize(
    "body", [{"error": None}, {"error": []}, {"error": [None, 3]}, {"message": "  "}, {}]
)
def test_refusal_without_text_still_has_a_message(body: dict[str, Any]) -> None:
    assert len(str(decode_http_error(400, {}, json.dumps(body).encode()))) > len("the service answered 400: ")


DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize(
    ("retry_after", "date", "seconds"),
    [
        ("1", None, 1.0),
        ("0", None, 0.0),
        (" 30 ", None, 30.0),
        ("1.5", DATE, 1.5),
        ("Sun, 06 Nov 1994 08:49:47 GMT", DATE, 10.0),
        ("Mon, 07 Nov 1994 08:49:37 GMT", DATE, 86_400.0),
        ("Sunday, 06-Nov-94 08:49:47 GMT", DATE, 10.0),
        ("Sun Nov  6 08:49:47 1994", "Sun Nov  6 08:49:37 1994", 10.0),
        ("Sun Nov  6 08:49:47 1994", DATE, 10.0),
        ("Sun, 06 Nov 1994 08:49:47 GMT", "Sun, 06 Nov 1994 08:49:37 -0000", 10.0),
        ("Sun, 06 Nov 1994 08:49:27 GMT", DATE, 0.0),
        ("Sun, 06 Nov 1994 08:49:47 GMT", None, None),
        ("Sun, 06 Nov 1994 08:49:47 GMT", "yesterday", None),
        ("soon", DATE, None),
        ("-5", DATE, None),
        ("", DATE, None),
        ("1e9", DATE, None),
        ("nan", DATE, None),
        ("inf", None, None),
        ("١", DATE, None),
        ("9999999999", None, 1e10 - 1),
        ("9" * 400, DATE, 1e10),
        ("1.50000000000", None, 1.5),
        ("5, 30", None, 30.0),
        ("30,5", None, 30.0),
        ("soon, 5", None, 5.0),
        ("5, Sun, 06 Nov 1994 08:49:47 GMT", DATE, 10.0),
        ("Sun, 06 Nov 1994 08:49:47 GMT, 5", DATE, 10.0),
        ("Sun, 06 Nov 1994 08:49:47 GMT, Sun, 06 Nov 1994 08:49:57 GMT", DATE, 20.0),
        ("Sunday, 06-Nov-94 08:49:47 GMT, 5", DATE, 10.0),
        ("Sun, 99 Nov 9999 99:99:99 GMT", DATE, None),
        (None, DATE, None),
    ],
)
def test_retry_after_seconds_and_dates(
    retry_after: str | None, date: str | None, seconds: float | None
) -> None:
    headers = {"retry-after": retry_after, "date": date}
    present = {name: value for name, value in headers.items() if value is not None}
    for status in (408, 429, 503):
        error = decode_http_error(status, present, b"")
        assert error.retryable
        assert error.retry_after == seconds


@settings(deadline=None, max_examples=500)
@given(*[st.text('0123456789 :+-.,GMTSunNov()"\\') | st.text()] * 2)
def test_arbitrary_retry_after_is_a_wait_or_none(value: str, date: str) -> None:
    seconds = decode_retry_after(value, date)
    assert seconds is None or 0 <= seconds < 1e12


@pytest.mark.parametrize(
    ("code", "kinds"),
    [
        (1000, (ServerError,)),
        (1001, (ConnectionClosed,)),
        (1005, (ServerError, NetworkError)),
        (1006, (ConnectionClosed,)),
        (1008, (AuthError,)),
        (1011, (ServerError,)),
        (1012, (ConnectionClosed,)),
        (1013, (RateLimited,)),  # "server full" in a related API (4e)
        (3000, (AuthError,)),
        (3003, (AuthError,)),
        (4000, (ServerError,)),
        (4001, (AuthError,)),
        (4003, (AuthError,)),
        (4029, (RateLimited,)),
        (4400, (RequestError,)),
        (4401, (AuthError,)),
        (4403, (AuthError,)),
        (4404, (RequestError,)),
        (4429, (RateLimited,)),
        (4503, (ServerError,)),
        (4600, (ServerError,)),
        (4999, (ServerError,)),
    ],
)
def test_close_before_complete_is_an_error(code: int, kinds: tuple[type[RemoteError], ...]) -> None:
    assert type(decode_close(code)) in kinds


def test_known_close_reason_selects_the_error() -> None:
    assert type(decode_close(1008, "Too many connections")) is RateLimited
    assert type(decode_close(1008, "Invalid sample rate")) is RequestError


@pytest.mark.parametrize("reason", ["", "invalid token", "session timed out", "bearer required"])
def test_close_code_of_a_rejected_key_outweighs_its_reason(reason: str) -> None:
    error = decode_close(4001, reason)
    assert (type(error), error.exit_code, error.hint) == (AuthError, 4, "check the API key")


def test_close_reason_is_in_the_message() -> None:
    assert "server full" in str(decode_close(1013, "server full"))


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("Concurrency limit reached", "concurrency limit"),
        ("Invalid Voice ID", "smallest voices"),
        ("Language 'xx' is not supported", ""),
    ],
)
def test_stream_error_has_the_hint_of_its_status(message: str, hint: str) -> None:
    error = decode_error({"status": "error", "message": message})
    assert error is not None
    assert hint in error.hint
    assert bool(hint) == bool(error.hint)


JSON, PROBLEM = "application/json", "application/problem+json"
TEXTS: list[tuple[str, bytes, str]] = [
    (JSON, b'{"detail":"Not authenticated"}', "Not authenticated"),
    (
        JSON,
        b'{"detail":[{"type":"missing","loc":["body","voice_id"],"msg":"Field required","input":{}}]}',
        "body.voice_id: Field required",
    ),
    (JSON, b'{"detail":[{"loc":["body",0],"msg":"a"},{"loc":["query"],"msg":"b"}]}', "body.0: a; query: b"),
    (JSON, b'{"detail":{"message":"Too long","code":7}}', "Too long"),
    (JSON, b'{"detail":{"error":"Too long"}}', "Too long"),
    (PROBLEM, b'{"type":"about:blank","title":"No credit","status":422,"detail":"0.1 left."}',
     "No credit; 0.1 left"),
    (PROBLEM, b'{"title":"Gone"}', "Gone"),
    (JSON, b'\xef\xbb\xbf{"message":"with a mark"}', "with a mark"),
    (JSON, b'{"errors":[{"title":"one","detail":"two"}]}', "one; two"),
    (JSON, b'{"reason":"quota"}', '{"reason":"quota"}'),
    ("text/plain; charset=utf-8", b"upstream connect error\n", "upstream connect error"),
    ("Text/Plain", b"two\r\nlines", "two lines"),
    ("text/html", b"404 page not found", "404 page not found"),
    ("", b"no healthy upstream", "no healthy upstream"),
    ("text/plain", b"\xff\x1b[2J", "\ufffd\\x1b[2J"),
    ("text/plain", b"  \n", "text/plain"),
    ("text/html", b"<html>502 Bad Gateway</html>", "text/html"),
    ("", b" <html>", "no content type"),
    ("audio/wav", b"RIFF", "audio/wav"),
    (JSON, b'{"detail":', JSON),
    (JSON, b"", JSON),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "body", "text"), TEXTS, ids=[str(case[1][:30]) for case in TEXTS])
def test_error_body_of_any_gateway_keeps_its_words(kind: str, body: bytes, text: str) -> None:
    headers = {"content-type": kind} if kind else {}
    assert str(decode_http_error(422, headers, body)) == f"the service answered 422: {text}"


def test_long_plain_text_is_shortened() -> None:
    assert len(str(decode_http_error(503, {"content-type": "text/plain"}, b"x" * 60_000))) < 1_000


@pytest.mark.parametrize("status", [403, 429, 503])
def test_wait_that_the_service_asks_for_is_named(status: int) -> None:
    error = decode_http_error(status, {"retry-after": "3600.5"}, b'{"message":"Busy"}')
    assert str(error) == f"the service answered {status}: Busy (retry after 3,601 s)"
    assert "retry after" not in str(decode_http_error(status, {"retry-after": "0"}, b""))


@pytest.mark.parametrize("name", ["code", "statusCode", "status"])
def test_status_in_a_stream_error_selects_the_error(name: str) -> None:
    error = decode_error({name: 429, "error": "wait"})
    assert (type(error), str(error)) == (RateLimited, "wait")
