"""Decode errors: HTTP replies, stream messages and WebSocket closes (waves/api.md, 5)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from smallest_cli import errors
from smallest_cli.errors import RemoteError
from smallest_cli.protocol.endpoints import Fields
from smallest_cli.protocol.json import decode_object, payload, text_or_none
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


def decode_error(fields: Fields) -> RemoteError | None:
    """The error in a stream message, in any of the forms of waves/api.md, 5b; None without one."""
    failed = "error" in (fields.get("status"), payload(fields).get("status"))
    if not (failed or fields.get("error") or fields.get("errors")):
        return None
    text = error_text(fields)
    code = fields.get("code", fields.get("statusCode"))
    if isinstance(code, int) and 400 <= code < 600:
        kind, hint = _by_status(code, text)
    else:
        kind = _by_text(text, errors.RequestError if fields.get("errors") else errors.ServerError)
        hint = _by_status(429 if kind is errors.RateLimited else 0, text)[1]
    request_id = text_or_none(fields.get("request_id"))
    return kind(text, hint=hint, request_id=request_id and printable(request_id))


def error_text(fields: Fields) -> str:
    """The printable text of an error body, in any of the forms of waves/api.md, 5a and 5b."""
    parts: list[str] = []
    for key in ("message", "error", "errors", "details"):
        parts += _texts(fields.get(key))
    return printable("; ".join(dict.fromkeys(parts))) or "no reason given"


def _texts(value: object, depth: int = 4) -> list[str]:
    match value:
        case str() if value.strip():
            return [value.strip().rstrip(".")]
        case list() if depth:
            return [text for item in value[:8] for text in _texts(item, depth - 1)]
        case dict() if depth:
            return _texts(value.get("message"), depth - 1)
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
    try:
        text = error_text(decode_object(body))
    except errors.ProtocolError:
        text = printable(headers.get("content-type") or "no content type", 60)
    kind, hint = _by_status(status, text)
    error = kind(f"the service answered {status}: {text}", hint=hint, request_id=request_id)
    error.status = status
    if isinstance(error, errors.RateLimited | errors.ServerError):
        error.retry_after = decode_retry_after(headers.get("retry-after"), headers.get("date"))
    return error


def decode_retry_after(value: str | None, date: str | None) -> float | None:
    """Return the seconds of a `Retry-After` header, None when it is absent or malformed.

    A date is compared with the reply's own `Date`, so that the local clock does not matter.
    """
    value = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", value):
        return float(value)
    if not value or not date:
        return None
    from email.utils import parsedate_to_datetime

    try:
        wait = (parsedate_to_datetime(value) - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return max(0.0, wait)


def decode_close(code: int, reason: str = "") -> RemoteError:
    """The error of a WebSocket close before `complete`; 1000 is not a success (waves/api.md, 4e)."""
    if code == 1006:
        return errors.ConnectionClosed("the service dropped the connection")
    detail = f": {printable(reason)}" if reason else ""
    kind = _by_text(reason, _BY_CLOSE_CODE.get(code, errors.ServerError))
    error = kind(f"the service closed the connection ({code}{detail}) before the end")
    error.close_code = code
    return error
