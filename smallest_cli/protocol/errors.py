"""Decode errors: HTTP replies, stream messages and WebSocket closes (waves/api.md, 5)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress

from smallest_cli import errors
from smallest_cli.errors import RemoteError
from smallest_cli.protocol.endpoints import Fields
from smallest_cli.protocol.json import decode_object, excerpt, payload, text_or_none
from smallest_cli.security import printable

_BY_STATUS: dict[int, tuple[type[RemoteError], str]] = {
    401: (errors.AuthError, "check the API key"),
    402: (errors.AuthError, "the account has no credit"),
    403: (errors.AuthError, "the key has no access, or the account has reached a limit"),
    408: (errors.NetworkError, ""),
    409: (errors.RateLimited, ""),
    410: (errors.RequestError, "this API is retired; drop --api to use the current one"),
    413: (errors.RequestError, "send shorter segments, e.g. --split 100"),
    429: (errors.RateLimited, "the account's concurrency limit is reached; retry later"),
}
"""HTTP status -> class and hint."""
DATE_OR_LIST = r"\s*,\s*(?!\d\d[ -])"
"""The commas of a list, not those within dates ("Sun, 06 Nov 1994 08:49:37 GMT")."""
MAX_RETRY_AFTER_S = 1e10
TEXT_KEYS = ("message", "msg", "title", "error", "errors", "detail", "details")
_BY_TEXT: tuple[tuple[str, type[RemoteError]], ...] = (
    (r"concurren|rate limit|too many", errors.RateLimited),
    (r"timed out|inactivity", errors.NetworkError),
    (r"unauthori[sz]ed|api key|bearer|credit|usage limit|higher plan|organi[sz]ation", errors.AuthError),
    (r"invalid|not supported|required|unsupported|retired|deprecated", errors.RequestError),
)
_BY_CLOSE_CODE: dict[int, type[RemoteError]] = {
    1001: errors.ConnectionClosed,
    1008: errors.AuthError,
    1009: errors.RequestError,
    1012: errors.ConnectionClosed,
    1013: errors.RateLimited,
}
PRIVATE_CLOSE_CODES = {3000: 401, 3003: 403, 3008: 408, 4001: 401, 4003: 403, 4029: 429}
"""Close codes that stand for an HTTP status, as registered by IANA or by custom; 4400 to 4599 do, too."""


def decode_error(fields: Fields) -> RemoteError | None:
    """The error in a stream message, in any of the forms of waves/api.md, 5b; None without one."""
    failed = "error" in (fields.get("status"), payload(fields).get("status"))
    return _stream_error(fields) if failed or fields.get("error") or fields.get("errors") else None


def _stream_error(fields: Fields) -> RemoteError:
    text = error_text(fields) or "no reason given"
    codes = (fields.get(name) for name in ("code", "statusCode", "status"))
    if code := next((code for code in codes if isinstance(code, int) and 400 <= code < 600), None):
        kind, hint = _by_status(code, text)
    else:
        kind = _by_text(text, errors.RequestError if fields.get("errors") else errors.ServerError)
        hint = _by_status(429 if kind is errors.RateLimited else 0, text)[1]
    request_id = text_or_none(fields.get("request_id"))
    return kind(text, hint=hint, request_id=request_id and printable(request_id))


def decode_error_event(data: bytes) -> RemoteError:
    """The error in a server-sent event that is named so, which holds an object or plain text."""
    try:
        fields = decode_object(data)
    except errors.ProtocolError:
        fields = {}
    if not error_text(fields):
        fields["message"] = data.decode("utf-8", "replace")
    return _stream_error(fields)


def error_text(fields: Fields) -> str:
    """The printable text of an error body, in any of the forms of waves/api.md, 5a and 5b; "" without one.

    Gateways of others use those of problem details (RFC 9457: title, detail) and FastAPI (detail, msg).
    """
    return printable("; ".join(dict.fromkeys(_texts(fields))))


def _texts(value: object, depth: int = 5) -> list[str]:
    match value:
        case str() if value.strip():
            return [value.strip().rstrip(".")]
        case list() if depth:
            return [text for item in value[:8] for text in _texts(item, depth - 1)]
        case dict() if depth:
            place = value.get("loc")  # FastAPI: where the fault is in the request
            prefix = f"{'.'.join(map(str, place))}: " if isinstance(place, list) else ""
            return [prefix + text for key in TEXT_KEYS for text in _texts(value.get(key), depth - 1)]
    return []


def _by_text(text: str, default: type[RemoteError]) -> type[RemoteError]:
    return next((kind for pattern, kind in _BY_TEXT if re.search(pattern, text, re.I)), default)


def _by_status(status: int, text: str) -> tuple[type[RemoteError], str]:
    """Class and hint. An unlisted 4xx is treated as 400 (RFC 9110, 15)."""
    classes = {4: errors.RequestError, 5: errors.ServerError}
    kind, hint = _BY_STATUS.get(status, (classes.get(status // 100, errors.ProtocolError), ""))
    return kind, "list voices: smallest voices" if re.search(r"invalid voice", text, re.I) else hint


def decode_http_error(status: int, headers: Mapping[str, str], body: bytes) -> RemoteError:
    """The error of an HTTP reply without the requested content: redirect, 4xx, 5xx.

    `headers` must have lower-case names.
    """
    request_id = printable(headers.get("x-request-id", "")) or None
    if 300 <= status < 400:
        target = printable(headers.get("location", "an unnamed address"), 120)
        text = f"refused to follow a redirect ({status}) to {target}"
        hint = "nothing was sent to it; check the base URL"
        return errors.SecurityError(text, hint=hint, request_id=request_id)
    text = _body_text(headers.get("content-type", ""), body)
    kind, hint = _by_status(status, text)
    wait_s = decode_retry_after(headers.get("retry-after"), headers.get("date"))
    after = f" (retry after {math.ceil(wait_s):,} s)" if wait_s else ""
    error = kind(f"the service answered {status}: {text}{after}", hint=hint, request_id=request_id)
    error.status, error.retry_after = status, wait_s
    return error


def _body_text(content_type: str, body: bytes) -> str:
    """The printable text of an error body: of JSON or plain text; else, e.g. for a page, its content type."""
    try:
        return error_text(decode_object(body)) or excerpt(body)
    except errors.ProtocolError:
        pass
    is_text = content_type.lower().startswith("text/") or not content_type
    if is_text and (text := body.decode("utf-8", "replace").strip()) and not text.startswith("<"):
        return printable(" ".join(text.split()))
    return printable(content_type or "no content type", 60)


def decode_retry_after(value: str | None, date: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header, None when it is absent or malformed.

    A date is compared with the reply's own `Date`, so that the local clock does not matter. The longest of
    several counts: a gateway may add its own to that of the service.
    """
    waits = []
    for each in re.split(DATE_OR_LIST, (value or "").strip()):
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", each):
            waits.append(min(float(each), MAX_RETRY_AFTER_S))
        elif each and date:
            from datetime import UTC
            from email.utils import parsedate_to_datetime

            with suppress(TypeError, ValueError, OverflowError):
                times = (parsedate_to_datetime(text) for text in (each, date))
                until, now = (time if time.tzinfo else time.replace(tzinfo=UTC) for time in times)
                waits.append(max(0.0, (until - now).total_seconds()))
    return max(waits, default=None)


def decode_close(code: int, reason: str = "") -> RemoteError:
    """The error of a WebSocket close before `complete`; 1000 is not a success (waves/api.md, 4e)."""
    if code == 1006:
        return errors.ConnectionClosed("the service dropped the connection")
    detail = f": {printable(reason)}" if reason else ""
    status = PRIVATE_CLOSE_CODES.get(code, code - 4000 if 4400 <= code < 4600 else 0)
    if status:
        kind, hint = _by_status(status, reason)
    else:
        kind, hint = _by_text(reason, _BY_CLOSE_CODE.get(code, errors.ServerError)), ""
    error = kind(f"the service closed the connection ({code}{detail}) before the end", hint=hint)
    error.close_code = code
    return error
