"""A transport as a channel: `send` a request, `receive` its events one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import replace

from smallest_cli.errors import RemoteError
from smallest_cli.models import Event, Service, SpeechRequest
from smallest_cli.protocol.errors import decode_refusal


class Channel(ABC):
    """A transport that carries one request at a time. Events are tagged with the request's number."""

    def __init__(self) -> None:
        self._number = 0
        self._events: Generator[Event, None, None] | None = None

    def send(self, request: SpeechRequest) -> int:
        """Begin a request; returns its number, the `segment` of its events."""
        self._number += 1
        self._events = self.synthesize(request)
        return self._number

    def receive(self) -> Event:
        """The next event, waited for. Raises RemoteError."""
        assert self._events is not None, "nothing was sent"  # noqa: S101
        return replace(next(self._events), segment=self._number)

    @abstractmethod
    def synthesize(self, request: SpeechRequest) -> Generator[Event, None, None]:
        """All events of one request."""


def error_from_response(
    service: Service, status: int, headers: Mapping[str, str], body: bytes
) -> RemoteError:
    """Return the error for an HTTP status other than 200; for 401 its hint says which key was sent."""
    error = decode_refusal(status, {name.lower(): value for name, value in headers.items()}, body)
    if status == 401:
        suffix = f" and ends {service.key}" if len(str(service.key)) > 1 else ""
        error.hint = f"the key is from {service.key.source}{suffix}"
    return error
