"""Run the server: listening socket, TLS, event loop and shutdown."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from aiohttp import web
from aiohttp.http import HttpProcessingError

from smallest_cli.errors import UsageError
from smallest_cli.server.app import create_app
from smallest_cli.server.config import ServerConfig
from smallest_cli.server.connections import Connection, connection_limit
from smallest_cli.server.state import ServerState
from smallest_cli.server.voice.engine import Engine

Watch = Callable[[Callable[[], None]], None]
BACKLOG = 1024
ACCEPTED_AT_ONCE = 16  # before any of them is counted and one too many is closed
# A wildcard address is not usable in a URL: announce loopback instead.
URL_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


def run(config: ServerConfig, engine: Engine, announce: Callable[[str], None], watch: Watch) -> None:
    """Listen, pass the base URL to `announce`, and serve in this thread until stopped.

    `watch` receives a function that stops the server from any thread. Raises UsageError if the address
    or the certificate cannot be used.
    """
    warnings.filterwarnings("ignore", module="aiohttp")  # about malformed requests
    asyncio.run(_serve(config, engine, announce, watch))


async def _serve(config: ServerConfig, engine: Engine, announce: Callable[[str], None], watch: Watch) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def request_stop() -> None:
        with suppress(RuntimeError):  # the loop is already closed
            loop.call_soon_threadsafe(stop.set)

    watch(request_stop)
    logging.getLogger("aiohttp.server").addFilter(_is_bug)
    loop.set_exception_handler(_report_bug)
    tls = _tls(config)
    state = ServerState(config, engine)
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        listener = socket.create_server((config.host, config.port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = str(error.strerror).partition(" (while")[0]  # create_server repeats the address there
        raise UsageError(f"cannot listen on {config.host}:{config.port}: {reason}") from None
    port = listener.getsockname()[1]
    # Cancel the handler, and so the synthesis, when a client disconnects.
    app = create_app(state, port)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    limit = connection_limit()
    server = await loop.create_server(
        lambda: Connection(cast(web.Server, runner.server), config, limit),
        sock=listener,
        ssl=tls,
        ssl_handshake_timeout=config.request_timeout_s if tls else None,
        backlog=ACCEPTED_AT_ONCE,
    )
    listener.listen(BACKLOG)  # for asyncio both are one number
    try:
        host = URL_HOSTS.get(config.host, config.host)
        host = f"[{host}]" if ":" in host else host
        announce(f"{'https' if tls else 'http'}://{host}:{port}")
        await stop.wait()
    finally:
        server.close()
        await runner.cleanup()
        state.request_log.close()


def _is_bug(record: logging.LogRecord) -> bool:
    """Keep log records of bugs; drop those of clients that disconnect early or do not send HTTP."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, ConnectionError | HttpProcessingError)


def _report_bug(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), OSError):  # SSLError is one
        loop.default_exception_handler(context)


def _tls(config: ServerConfig) -> ssl.SSLContext | None:
    def refuse_encrypted() -> str:
        # Password callback: without one, OpenSSL prompts on the terminal.
        raise UsageError("the TLS key is encrypted", hint="decrypt it: openssl pkey -in KEY -out PLAIN_KEY")

    if config.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key, refuse_encrypted)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"cannot use the TLS certificate: {error}") from None
    return context
