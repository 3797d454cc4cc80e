"""The server's life: its listening socket, its certificate, its loop, its end."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError

from smallest_cli.errors import UsageError
from smallest_cli.server.app import Server
from smallest_cli.server.config import ServerConfig
from smallest_cli.server.state import ServerState
from smallest_cli.server.voice.engine import Engine

BACKLOG = 1024


REACHED_BY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (of every address, the one for a URL)


async def serve(
    behaviour: ServerConfig, engine: Engine, announce: Callable[[str], None], stop: asyncio.Event
) -> None:
    """Listen, `announce` the base URL, serve until `stop`. Raises UsageError for what cannot be done."""
    logging.getLogger("aiohttp.server").addFilter(_is_news)
    asyncio.get_running_loop().set_exception_handler(_complain)
    tls = _tls(behaviour)
    studio = ServerState(behaviour, engine)
    listener = _listen(behaviour)
    port = listener.getsockname()[1]
    app = Server(studio, port).app()
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.SockSite(runner, listener, ssl_context=tls, backlog=BACKLOG).start()
        host = REACHED_BY.get(behaviour.host, behaviour.host)
        host = f"[{host}]" if ":" in host else host
        announce(f"{'https' if tls else 'http'}://{host}:{port}")
        await stop.wait()
    finally:
        await runner.cleanup()
        studio.journal.close()


def _is_news(record: logging.LogRecord) -> bool:
    """A bug of ours is; a client that leaves early, or speaks no HTTP, is not."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, ConnectionError | HttpProcessingError)


def _complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), OSError | ssl.SSLError):
        loop.default_exception_handler(context)


def _listen(behaviour: ServerConfig) -> socket.socket:
    try:
        return socket.create_server(
            (behaviour.host, behaviour.port),
            family=socket.AF_INET6 if ":" in behaviour.host else socket.AF_INET,
            backlog=BACKLOG,
        )
    except OSError as error:
        why = str(error.strerror).partition(" (while")[0]  # create_server repeats the address there
        raise UsageError(f"cannot listen on {behaviour.host}:{behaviour.port}: {why}") from None


def _tls(behaviour: ServerConfig) -> ssl.SSLContext | None:
    if behaviour.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(behaviour.tls_cert, behaviour.tls_key, _refuse_encrypted)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the certificate cannot be used: {error}") from None
    return context


def _refuse_encrypted() -> str:
    """Instead of OpenSSL, which would ask for a pass phrase at the terminal. Raises UsageError."""
    raise UsageError("the key of the certificate is encrypted", hint="openssl pkey -in KEY -out PLAIN_KEY")


def run(
    behaviour: ServerConfig,
    engine: Engine,
    announce: Callable[[str], None],
    watch: Callable[[Callable[[], None]], None],
) -> None:
    """Serve in this thread until the callable that `watch` is given gets called, from any thread."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def end() -> None:
            with suppress(RuntimeError):  # the loop is gone already
                loop.call_soon_threadsafe(stop.set)

        watch(end)
        await serve(behaviour, engine, announce, stop)

    asyncio.run(main())
