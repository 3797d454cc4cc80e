"""JSON objects, whatever came."""

from __future__ import annotations

import json
from typing import Any

from smallest_cli.errors import (
    ProtocolError,
)
from smallest_cli.protocol.endpoints import Fields
from smallest_cli.security import printable


def decode_object(data: bytes | str) -> dict[str, Any]:
    """A JSON object, or ProtocolError for anything else."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        raise ProtocolError(f"not a JSON message: {excerpt(data)}") from None
    if not isinstance(fields, dict):
        raise ProtocolError(f"not a JSON object: {excerpt(data)}")
    return fields


def excerpt(data: bytes | str) -> str:
    """The beginning of what cannot be read, made safe."""
    return printable(data[:80].decode("utf-8", "replace") if isinstance(data, bytes) else data, 80)


def payload(fields: Fields) -> Fields:
    """Where the v2 sample of the vendor also looks for the status (section 5b)."""
    payload = fields.get("payload")
    return payload if isinstance(payload, dict) else {}
