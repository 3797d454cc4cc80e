"""Which proxy stands before an origin, and the way through it."""

from __future__ import annotations

import re
import socket
from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from smallest_cli.errors import ConnectError, SettingsError
from smallest_cli.models import Phases
from smallest_cli.network.connection import Clock, Connection, read_head
from smallest_cli.network.origin import Origin, is_loopback
from smallest_cli.security import printable


class Proxy(NamedTuple):
    """An HTTP proxy; `authorization` is the value of its header, None where it asks for nobody."""

    host: str
    port: int
    authorization: str | None


def find_proxy(origin: Origin, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy that the environment names for an origin. Loopback never has one.

    Raises SettingsError for a kind of proxy that is not spoken here: going direct instead
    would be a surprise to whoever set it.
    """
    settings = {
        name.lower().removesuffix("_proxy"): value
        for name, value in environ.items()
        if name.lower().endswith("_proxy") and value
    }
    scheme = "https" if origin.secure else "http"
    url = settings.get(scheme) or settings.get("all")
    if not url or is_loopback(origin.host):
        return None
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

    if proxy_bypass_environment(f"{origin.host}:{origin.port}", settings):
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError:
        raise SettingsError(
            f"the proxy in {scheme}_proxy or all_proxy is not a URL", hint="it looks like http://HOST:PORT"
        ) from None
    try:
        port = parts.port or 80
    except ValueError:
        port = 0
    if parts.scheme != "http" or not parts.hostname or not port:
        raise SettingsError(
            f"the proxy in {scheme}_proxy or all_proxy is of a kind that is not supported: "
            f"{printable(parts.scheme)}",
            hint="http://HOST:PORT is",
        )
    authorization = None
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + b64encode(pair.encode()).decode("ascii")
    return Proxy(parts.hostname, port, authorization)


def tunnel(
    sock: socket.socket, proxy: Proxy, origin: Origin, clock: Clock, *, seconds: float, of: float
) -> None:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"Host: {host}:{origin.port}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    connection = Connection(sock, Phases(), clock)
    connection.expect("answer from the proxy", max(0.001, seconds), of)
    connection.send("\r\n".join([*lines, "", ""]).encode("ascii"))
    head = read_head(connection)
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if not status:
        raise ConnectError(f"the proxy {printable(proxy.host)}:{proxy.port} did not answer in HTTP")
    if status[1] != b"200":
        raise ConnectError(f"the proxy {printable(proxy.host)}:{proxy.port} answered {int(status[1])}")
