"""The ways to the service. Each is one file; only the one that is asked for is imported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from smallest_cli.models import Service, Transport, Via
from smallest_cli.network.dialer import Dialer


@contextmanager
def open_transport(via: Via, service: Service, dialer: Dialer) -> Iterator[Transport]:
    """The transport of that name, closed at the end. It connects when it is first asked to speak.

    `dialer.timeout` also bounds, in seconds, the wait for the first audio and for each next one.
    """
    transport: Transport
    match via:
        case "ws":
            from smallest_cli.transports.websocket import WebSocketTransport

            transport = WebSocketTransport(service, dialer)
        case "sse":
            from smallest_cli.transports.sse import SSETransport

            transport = SSETransport(service, dialer)
        case "http":
            from smallest_cli.transports.http import HTTPTransport

            transport = HTTPTransport(service, dialer)
    try:
        yield transport
    finally:
        transport.close()
