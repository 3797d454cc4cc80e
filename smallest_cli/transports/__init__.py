"""The transports: WebSocket, SSE and HTTP, one module each. Only the one in use is imported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from smallest_cli.models import Service, Transport, Via
from smallest_cli.network.dialer import Dialer


@contextmanager
def open_transport(via: Via, service: Service, dialer: Dialer) -> Iterator[Transport]:
    """Yield the transport of that name and close it at the end. It connects with its first request.

    `dialer.timeout` is also the limit, in seconds, for the first audio and for gaps in it.
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
