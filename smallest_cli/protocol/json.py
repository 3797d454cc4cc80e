"""Decode JSON objects from untrusted input."""

from __future__ import annotations

import json
import math
from typing import Any

from smallest_cli.errors import ProtocolError
from smallest_cli.protocol.endpoints import Fields
from smallest_cli.security import printable, redact_all

EXCERPT_READ = 1000

UNCHECKED_SIZE = 64 * 1024
MAX_VALUES = 100_000
"""Values need up to 60 bytes of memory for each of theirs; this limits them to some megabytes."""


def decode_json(data: bytes | str, *, raw: bool = False) -> Any:
    """Decode JSON. Keys in it are redacted, unless it is `raw`. Raises ProtocolError."""
    if len(data) > UNCHECKED_SIZE and _count_values(data) > MAX_VALUES:
        raise ProtocolError(f"a JSON message of more than {MAX_VALUES:,} values")
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


def _count_values(data: bytes | str) -> int:
    """Return an upper limit of the number of values."""
    if isinstance(data, str):
        return sum(data.count(each) for each in ",[{")
    return sum(data.count(each) for each in (b",", b"[", b"{"))


def excerpt(data: bytes | str) -> str:
    """The printable start of input that cannot be decoded, for an error message."""
    start = data[:EXCERPT_READ]
    return printable(start.decode("utf-8", "replace") if isinstance(start, bytes) else start, 80)


def text_or_none(value: object) -> str | None:
    """The value if it is a string that is not empty."""
    return value if isinstance(value, str) and value else None


def finite_or_none(value: object) -> float | None:
    """The value if it is a finite number: Python's JSON also has NaN, Infinity and integers of any length."""
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def payload(fields: Fields) -> Fields:
    """The nested object in which the vendor's v2 sample also looks for `status` (waves/api.md, 2b)."""
    nested = fields.get("payload")
    return nested if isinstance(nested, dict) else {}
