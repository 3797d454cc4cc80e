"""Decode errors: HTTP replies, stream messages and WebSocket closes (waves/api.md, 5)."""

from __future__ import annotations

import re
from collections.abc import Mapping

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
from smallest_cli.protocol.endpoints import Fields
from smallest_cli.protocol.json import decode_object, payload
from smallest_cli.security import printable


def decode_error(fields: Fields) -> RemoteError | None:
    """The error in a stream message, in any of the forms of waves/api.md, 5b; None without one."""
    failed = "error" in (fields.get("status"), payload(fields).get("status"))
    if not (failed or fields.get("error") or fields.get("errors")):
        return None
    text = error_text(fields)
    code = fields.get("code", fields.get("statusCode"))
    if isinstance(code, int) and 400 <= code < 600:
        error = _class_of_status(code)(text, hint=_hint(text, code))
    else:
        error = _class_of_text(text, RequestError if fields.get("errors") else ServerError)(text)
        error.hint = _hint(text, 429 if isinstance(error, RateLimited) else None)
    request_id = fields.get("request_id")
    error.request_id = printable(request_id) if isinstance(request_id, str) else None
    return error


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


_TEXT_CLASSES: tuple[tuple[re.Pattern[str], type[RemoteError]], ...] = (
    (re.compile(r"concurren|rate limit|too many", re.I), RateLimited),
    (re.compile(r"timed out|inactivity", re.I), NetworkError),
    (re.compile(r"unauthori[sz]ed|api key|bearer|credit|usage limit|higher plan|organi[sz]ation", re.I),
     AuthError),
    (re.compile(r"invalid|not supported|required|unsupported|retired|deprecated", re.I), RequestError),
)  # fmt: skip


def _class_of_text(text: str, default: type[RemoteError]) -> type[RemoteError]:
    return next((error for pattern, error in _TEXT_CLASSES if pattern.search(text)), default)


_STATUS_CLASSES: dict[int, type[RemoteError]] = {
    401: AuthError,
    402: AuthError,
    403: AuthError,
    408: NetworkError,
    409: RateLimited,
    429: RateLimited,
}


def _class_of_status(status: int) -> type[RemoteError]:
    """An unlisted 4xx is treated as 400 (RFC 9110, 15)."""
    if 500 <= status < 600:
        return ServerError
    return _STATUS_CLASSES.get(status, RequestError if 400 <= status < 500 else ProtocolError)


_HINTS = {
    401: "check the API key",
    402: "the account has no credit",
    403: "the key has no access, or the account has reached a limit",
    410: "this API is retired; drop --api to use the current one",
    413: "send shorter segments, e.g. --split 100",
    429: "the account's concurrency limit is reached; retry later",
}


def _hint(text: str, status: int | None) -> str:
    if re.search(r"invalid voice", text, re.I):
        return "list voices: smallest voices"
    return _HINTS.get(status or 0, "")


def decode_http_error(status: int, headers: Mapping[str, str], body: bytes) -> RemoteError:
    """The error of an HTTP reply without the requested content: redirect, 4xx, 5xx.

    `headers` must have lower-case names.
    """
    request_id = printable(headers["x-request-id"]) if headers.get("x-request-id") else None
    if 300 <= status < 400:
        target = printable(headers.get("location", "an unnamed address"), 120)
        return SecurityError(
            f"refused to follow a redirect ({status}) to {target}",
            hint="nothing was sent to it; check the base URL",
            request_id=request_id,
        )
    try:
        text = error_text(decode_object(body))
    except ProtocolError:
        text = printable(headers.get("content-type") or "no content type", 60)
    error = _class_of_status(status)(
        f"the service answered {status}: {text}", hint=_hint(text, status), request_id=request_id
    )
    error.status = status
    if isinstance(error, RateLimited | ServerError):
        error.retry_after = decode_retry_after(headers.get("retry-after"), headers.get("date"))
    return error


def decode_retry_after(value: str | None, date: str | None) -> float | None:
    """Seconds to wait as `Retry-After` says, None when it is absent or malformed.

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


_CLOSE_CLASSES: dict[int, type[RemoteError]] = {
    1001: ConnectionClosed, 1006: ConnectionClosed, 1008: AuthError, 1009: RequestError,
    1012: ConnectionClosed, 1013: RateLimited,
}  # fmt: skip


def decode_close(code: int, reason: str = "") -> RemoteError:
    """The error of a WebSocket close before `complete`; 1000 is not a success (waves/api.md, 4e)."""
    detail = f": {printable(reason)}" if reason else ""
    if code == 1006:
        return ConnectionClosed("the service dropped the connection")
    error = _class_of_text(reason, _CLOSE_CLASSES.get(code, ServerError))(
        f"the service closed the connection ({code}{detail}) before the end"
    )
    error.close_code = code
    return error
