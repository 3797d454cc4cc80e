"""Decode JSON objects from untrusted input."""

from __future__ import annotations

import json
from typing import Any

from smallest_cli.errors import ProtocolError
from smallest_cli.protocol.endpoints import Fields
from smallest_cli.security import printable


def decode_object(data: bytes | str) -> dict[str, Any]:
    """Decode a JSON object. Raises ProtocolError for anything else."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        raise ProtocolError(f"not a JSON message: {excerpt(data)}") from None
    if not isinstance(fields, dict):
        raise ProtocolError(f"not a JSON object: {excerpt(data)}")
    return fields


def excerpt(data: bytes | str) -> str:
    """The printable start of input that cannot be decoded, for an error message."""
    return printable(data[:80].decode("utf-8", "replace") if isinstance(data, bytes) else data, 80)


def text_or_none(value: object) -> str | None:
    """The value if it is a string that is not empty."""
    return value if isinstance(value, str) and value else None


def payload(fields: Fields) -> Fields:
    """The nested object in which the vendor's v2 sample also looks for `status` (waves/api.md, 2b)."""
    nested = fields.get("payload")
    return nested if isinstance(nested, dict) else {}
