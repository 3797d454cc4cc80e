"""Client connections: deadlines for what clients send and read, and a limit to their number."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

from aiohttp import web

from smallest_cli.server.config import ServerConfig

OWN_DESCRIPTORS = 48  # event loop, log, voice process ..., and connections that are being accepted
MAX_DESCRIPTORS = 65_536
LATE_S = 1.0


def connection_limit() -> int:
    """Return how many connections may be open, of as many descriptors as the system allows.

    Each may need a second descriptor, for its voice.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if 0 <= soft < allowed:  # systems give 1024 to programs that do not ask for more
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
    descriptors = MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
    return max((descriptors - OWN_DESCRIPTORS) // 2, 4)


class Connection(web.RequestHandler):
    """A connection that is aborted if a request, its beginning or the reading of a reply takes too long.

    One more than `limit` aborts the oldest one without a request, else an idle WebSocket, else itself.
    """

    def __init__(self, server: web.Server, config: ServerConfig, limit: int) -> None:
        self._clock = asyncio.get_running_loop()
        super().__init__(server, loop=self._clock, auto_decompress=False)
        self._server, self._config, self._limit = server, config, limit
        self._deadline: asyncio.TimerHandle | None = None
        self._begun = self._lost = False
        self.waits = True  # for a request
        self.is_idle: Callable[[], bool] = lambda: False  # replaced by a WebSocket session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._opened = cast(asyncio.Transport, transport)  # aiohttp forgets it before all data are sent
        others = [each for each in cast(list[Connection], self._server.connections) if each.is_open()]
        if len(others) >= self._limit:
            waiting = (each for each in others if each.waits)
            idle = (each for each in others if each.is_idle())
            (next(waiting, None) or next(idle, self)).abort()
        self._expect_within(self._config.keep_alive_s)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._expect_within(None)
        self._lost = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if data and self.waits and not self._begun:
            self._begun = True
            self._expect_within(self._config.request_timeout_s)
        super().data_received(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._update()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._update()

    def handle_error(self, request: web.BaseRequest, *details: Any, **_: Any) -> web.StreamResponse:
        """Reply 400 to a header that aiohttp cannot quote in its own error, 500 to a bug."""
        if isinstance(details[-1], UnicodeEncodeError):
            return web.Response(status=400)
        return super().handle_error(request, *details)

    @contextmanager
    def handling(self, request: web.Request) -> Iterator[None]:
        """End the deadline of a request when its body is complete; afterwards the next one has its own."""
        self.waits = self._begun = False
        request.content.on_eof(self._update)
        try:
            yield
        finally:
            self.waits = True
            if not self._lost:  # data that are not sent keep a closing connection open
                self._expect_within(self._config.keep_alive_s)

    def is_open(self) -> bool:
        return not self._opened.is_closing()

    def abort(self) -> None:
        """Close the connection at once, whatever is not sent yet."""
        self._opened.abort()

    def _update(self) -> None:
        if not self.waits:
            self._expect_within(self._config.keep_alive_s if self.writing_paused else None)

    def _expect_within(self, seconds: float | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        if seconds is not None:
            due = self._clock.time() + seconds
            self._deadline = self._clock.call_at(due, self._expire, seconds, due)

    def _expire(self, seconds: float, due: float) -> None:
        if self._clock.time() - due > LATE_S:  # it is this process that was stopped
            self._expect_within(seconds)
        else:
            self.abort()
