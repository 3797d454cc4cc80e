"""What a reply that is not the one asked for becomes, with the words that only this side knows."""

from __future__ import annotations

from collections.abc import Mapping

from smallest_cli import protocol
from smallest_cli.errors import RemoteError
from smallest_cli.models import Service


def refusal(service: Service, status: int, headers: Mapping[str, str], body: bytes) -> RemoteError:
    """The error for an HTTP reply; a rejected key is told by its source and its last four characters."""
    error = protocol.decode_refusal(status, {name.lower(): value for name, value in headers.items()}, body)
    if status == 401:
        ends = f" and ends {service.key}" if len(str(service.key)) > 1 else ""
        error.hint = f"the key is from {service.key.source}{ends}"
    return error
