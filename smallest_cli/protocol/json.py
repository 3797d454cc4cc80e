"""Decode JSON objects from untrusted input."""

from __future__ import annotations

import json
from typing import Any

from smallest_cli.errors import ProtocolError
from smallest_cli.protocol.endpoints import Fields
from smallest_cli.security import printable, redact_all

EXCERPT_READ = 1000


def decode_json(data: bytes | str, *, raw: bool = False) -> Any:
    """Decode JSON. Keys in it are redacted, unless it is `raw`. Raises ProtocolError."""
    try:
        return json.loads(data) if raw else redact_all(json.loads(data))
    except (ValueError, RecursionError):
        raise ProtocolError(f"not a JSON message: {excerpt(data)}") from None


def decode_object(data: bytes | str, *, raw: bool = False) -> dict[str, Any]:
    """Decode a JSON object, as `decode_json` does. Raises ProtocolError for anything else."""
    fields = decode_json(data, raw=raw)
    if not isinstance(fields, dict):
        raise ProtocolError(f"not a JSON object: {excerpt(data)}")
    return fields


def excerpt(data: bytes | str) -> str:
    """The printable start of input that cannot be decoded, for an error message."""
    start = data[:EXCERPT_READ]
    return printable(start.decode("utf-8", "replace") if isinstance(start, bytes) else start, 80)


def text_or_none(value: object) -> str | None:
    """The value if it is a string that is not empty."""
    return value if isinstance(value, str) and value else None


def payload(fields: Fields) -> Fields:
    """The nested object in which the vendor's v2 sample also looks for `status` (waves/api.md, 2b)."""
    nested = fields.get("payload")
    return nested if isinstance(nested, dict) else {}
