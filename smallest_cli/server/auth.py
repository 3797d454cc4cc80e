"""Authentication, host and origin checks, and the limits of each key (waves/api.md, 4a and 4f).

A page in a browser can reach loopback but cannot forge `Host` and `Origin`, so both are checked
before anything else, and no CORS header is ever sent.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from smallest_cli.network.origin import is_loopback
from smallest_cli.server.error_bodies import UNAUTHORIZED

SOCKETS_PER_SLOT = 5


class Authenticator:
    """Accepts one token or, when `token` is None, any key that is not empty."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def required(self, handler: Handler) -> Handler:
        """Wrap a handler: answer 401 without a valid key, else store it as `request["key"]`."""

        async def authenticated(request: web.Request) -> web.StreamResponse:
            scheme, _, key = request.headers.get("Authorization", "").partition(" ")
            key = key.strip()
            if scheme.lower() != "bearer" or not self._accepts(key):
                return web.json_response(UNAUTHORIZED, status=401)
            request["key"] = key
            return await handler(request)

        return authenticated

    def _accepts(self, key: str) -> bool:
        if self._token is None:
            return bool(key)
        # Constant time, so that the token cannot be guessed byte by byte.
        return hmac.compare_digest(key.encode(errors="replace"), self._token.encode(errors="replace"))


def check_origin(request: web.Request, *, any_host: bool, port: int) -> tuple[int, str] | None:
    """Return status and message for a request to another host or from another origin, else None.

    `any_host` is for a server that listens beyond loopback, under names it cannot know.
    """
    host = request.headers.get("Host", "")
    if len(request.headers.getall("Host", [])) != 1 or not (any_host or _is_own(host, request.scheme, port)):
        return 421, "Host is not this server"
    origin = request.headers.get("Origin")
    if origin is None:
        return None
    scheme, _, authority = origin.partition("://")
    own = authority == host if any_host else _is_own(authority, scheme, port)
    return None if own and scheme in ("http", "https") else (403, "Origin is not this server")


def _is_own(authority: str, scheme: str, port: int) -> bool:
    try:
        parts = urlsplit(f"//{authority}")
        given = parts.port or (443 if scheme == "https" else 80)
    except ValueError:
        return False
    plain = parts.netloc == authority and "@" not in authority and not parts.path
    return plain and given == port and is_loopback(parts.hostname or "")


class LimitExceeded(Exception):
    """The key has as many syntheses or sockets open as it may."""


class Limits:
    """Count active syntheses over all transports, and open sockets, for each key (waves/api.md, 4f)."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._slots: Counter[str] = Counter()
        self._sockets: Counter[str] = Counter()

    def slot(self, key: str) -> AbstractContextManager[None]:
        """Hold one synthesis slot while the context lasts. Raises LimitExceeded."""
        return _counted(self._slots, key, self._concurrency)

    def socket(self, key: str) -> AbstractContextManager[None]:
        """Count one open WebSocket while the context lasts. Raises LimitExceeded."""
        return _counted(self._sockets, key, self._concurrency * SOCKETS_PER_SLOT)


@contextmanager
def _counted(counter: Counter[str], key: str, limit: int) -> Iterator[None]:
    if counter[key] >= limit:
        raise LimitExceeded
    counter[key] += 1
    try:
        yield
    finally:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]
