"""Authentication, host and origin checks, and the limits of each key (waves/api.md, 4a and 4f).

A web page can connect to loopback but cannot forge `Host` and `Origin`, so both are checked
first, and no CORS headers are sent.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from smallest_cli.network.origin import is_loopback
from smallest_cli.server.error_bodies import UNAUTHORIZED


def find_key(request: web.Request, token: str | None) -> str | None:
    """Return the key of a request, None if it is missing or not valid.

    The only valid key is `token`; if that is None, any non-empty key is valid.
    """
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    key = key.strip()
    # Constant-time comparison, against timing attacks.
    same = token is None or hmac.compare_digest(key.encode(errors="replace"), token.encode(errors="replace"))
    return key if scheme.lower() == "bearer" and key and same else None


def key_required(token: str | None) -> Callable[[Handler], Handler]:
    """Return a handler decorator: reply 401 without a valid key, else store it as `request["key"]`."""

    def required(handler: Handler) -> Handler:
        async def authenticated(request: web.Request) -> web.StreamResponse:
            key = find_key(request, token)
            if key is None:
                return web.json_response(UNAUTHORIZED, status=401)
            request["key"] = key
            return await handler(request)

        return authenticated

    return required


def check_origin(request: web.Request, *, any_host: bool, port: int) -> tuple[int, str] | None:
    """Return status and message for a request to another host or from another origin, else None.

    `any_host` is for a server that listens beyond loopback, whose host names are unknown.
    """
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not (any_host or _is_own(hosts[0], request.scheme, port)):
        return 421, "Host is not this server"
    origin = request.headers.get("Origin")
    if origin is None:
        return None
    scheme, _, authority = origin.partition("://")
    own = authority == hosts[0] if any_host else _is_own(authority, scheme, port)
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
    """The key has reached its limit of syntheses or sockets."""


class Limit:
    """Limit concurrent syntheses or sockets per key (waves/api.md, 4f)."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._open: Counter[str] = Counter()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Hold one slot within the context. Raises LimitExceeded."""
        if self._open[key] >= self._maximum:
            raise LimitExceeded
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
