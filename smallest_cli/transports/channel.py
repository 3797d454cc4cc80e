"""A transport as a channel: `send` a request, `receive` its events one by one."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Mapping

from smallest_cli.errors import RemoteError
from smallest_cli.models import Event, HasFileno, Sent, Service, SpeechRequest
from smallest_cli.protocol.errors import decode_http_error


class Channel(ABC):
    """A transport that carries one request at a time. Events are tagged with the request's number."""

    capacity = 1
    """Requests that may be under way at the same time."""

    def __init__(self) -> None:
        self._number = 0
        self._sent: deque[Event] = deque()
        self._events: Generator[Event, None, None] | None = None

    def send(self, request: SpeechRequest) -> int:
        """Send a request; returns its number, the `segment` of its events. Raises RemoteError."""
        self._number += 1
        self._events = self.synthesize(request)
        while not (self._sent and isinstance(self._sent[-1], Sent)):
            self._sent.append(next(self._events))
        return self._number

    def receive(self, wake: HasFileno | None = None, timeout_s: float | None = None) -> Event | None:
        """Return the next event; ignores `wake` and `timeout_s`. Raises RemoteError."""
        assert self._events is not None, "nothing was sent"  # noqa: S101
        event = self._sent.popleft() if self._sent else next(self._events)
        return event.but(segment=self._number)

    @abstractmethod
    def synthesize(self, request: SpeechRequest) -> Generator[Event, None, None]:
        """Yield all events of one request."""

    def close(self) -> None:
        """Discard the request that is under way."""
        self._events = None
        self._sent.clear()


def error_from_response(
    service: Service, status: int, headers: Mapping[str, str], body: bytes
) -> RemoteError:
    """Return the error for a status other than 200 (names of `headers` in lower case); 401 names the key."""
    if "retry-after" in headers and "date" not in headers:  # it may be a time of the day
        from email.utils import formatdate

        headers = {**headers, "date": formatdate(time.time(), usegmt=True)}
    error = decode_http_error(status, headers, body)
    if status == 401:
        suffix = f" and ends {service.key}" if len(str(service.key)) > 1 else ""
        error.hint = f"the key is from {service.key.source}{suffix}"
    return error
