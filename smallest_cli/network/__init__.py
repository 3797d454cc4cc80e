"""The one way to a socket: resolve, connect, proxy, TLS, deadlines by the wall clock, and what each took.

Every failure leaves here as one of our errors, so the transports translate no socket errors.
"""

from smallest_cli.network.connection import Connection, read_head
from smallest_cli.network.dialer import Dialer
from smallest_cli.network.origin import Origin, is_loopback, parse_base_url
from smallest_cli.network.proxy import Proxy, find_proxy

__all__ = [
    "Connection",
    "Dialer",
    "Origin",
    "Proxy",
    "find_proxy",
    "is_loopback",
    "parse_base_url",
    "read_head",
]
