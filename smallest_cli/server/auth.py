"""Who may talk to the server, and how much one key may do at a time (waves/api.md, 4f).

A page in a browser can reach loopback; it cannot forge `Host` and `Origin`, so both are checked
before anything else, and no CORS header is ever sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import urlsplit

from aiohttp import web

from smallest_cli.network.origin import is_loopback

SOCKETS_PER_SLOT = 5


def check_origin(http: web.Request, *, anyone: bool, port: int) -> tuple[int, str] | None:
    """The status and words for a request that is not from here, None for one that is.

    `anyone` is for a server that was told to listen to other machines, under names it cannot know.
    """
    host = http.headers.get("Host", "")
    if len(http.headers.getall("Host", [])) != 1 or not (anyone or _is_own(host, http.scheme, port)):
        return 421, "Host is not this server"
    origin = http.headers.get("Origin")
    if origin is None:
        return None
    scheme, _, authority = origin.partition("://")
    own = authority == host if anyone else _is_own(authority, scheme, port)
    return None if own and scheme in ("http", "https") else (403, "Origin is not this server")


def _is_own(authority: str, scheme: str, port: int) -> bool:
    try:
        parts = urlsplit(f"//{authority}")
        given = parts.port or (443 if scheme == "https" else 80)
    except ValueError:
        return False
    plain = parts.netloc == authority and "@" not in authority and not parts.path
    return plain and given == port and is_loopback(parts.hostname or "")


def bearer(http: web.Request) -> str:
    """The key of a request, "" where it has none."""
    scheme, _, key = http.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


class Busy(Exception):
    """The key has as much under way as it may."""


class Limits:
    """Counts syntheses, whatever their transport, and open sockets, for each key."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._slots: Counter[str] = Counter()
        self._sockets: Counter[str] = Counter()

    def slot(self, key: str) -> AbstractContextManager[None]:
        """One synthesis, for as long as the context lasts. Raises Busy."""
        return _counted(self._slots, key, self._concurrency)

    def socket(self, key: str) -> AbstractContextManager[None]:
        """One open WebSocket. Raises Busy."""
        return _counted(self._sockets, key, self._concurrency * SOCKETS_PER_SLOT)


@contextmanager
def _counted(counter: Counter[str], key: str, most: int) -> Iterator[None]:
    if counter[key] >= most:
        raise Busy
    counter[key] += 1
    try:
        yield
    finally:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]
