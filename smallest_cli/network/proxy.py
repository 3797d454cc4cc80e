"""Find the HTTP proxy for an origin, and open a tunnel through it."""

from __future__ import annotations

import re
import socket
from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from smallest_cli.errors import ConnectError, SettingsError
from smallest_cli.models import Phases
from smallest_cli.network.connection import Clock, Connection, Deadline, read_head
from smallest_cli.network.origin import Origin, is_loopback
from smallest_cli.security import printable


class Proxy(NamedTuple):
    """An HTTP proxy; `authorization` is the value of Proxy-Authorization, None to send none."""

    host: str
    port: int
    authorization: str | None


def find_proxy(origin: Origin, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that `environ` names for an origin; None for a direct connection.

    Reads http_proxy or https_proxy, all_proxy and no_proxy. As in urllib and curl the name in lower case
    wins over the one in upper case, and an empty value switches the proxy off. Loopback has no proxy. Raises
    SettingsError for a proxy that is not supported: connecting directly could bypass a policy.
    """
    settings = {
        name.lower().removesuffix("_proxy"): value
        for name, value in sorted(environ.items())  # lower case last
        if name.lower().endswith("_proxy")
    }
    scheme = "https" if origin.secure else "http"
    url = settings.get(scheme, settings.get("all"))
    if not url or is_loopback(origin.host):
        return None
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

    if proxy_bypass_environment(f"{origin.host}:{origin.port}", settings):
        return None
    source = f"the proxy in {scheme}_proxy or all_proxy"
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or 80
    except ValueError:
        raise SettingsError(f"{source} is not a URL", hint="use http://HOST:PORT") from None
    if parts.scheme != "http" or not parts.hostname:
        problem = f"{source} is not supported: {printable(parts.scheme)}"
        raise SettingsError(problem, hint="use http://HOST:PORT")
    authorization = None
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + b64encode(pair.encode()).decode("ascii")
    return Proxy(parts.hostname, port, authorization)


def open_tunnel(sock: socket.socket, proxy: Proxy, origin: Origin, clock: Clock, deadline: Deadline) -> None:
    """Ask the proxy at the other end of `sock` for a connection to the origin (RFC 9110, 9.3.6).

    Raises NetworkError.
    """
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"Host: {host}:{origin.port}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    connection = Connection(sock, Phases(), clock)
    connection.set_deadline("answer from the proxy", deadline.remaining(), deadline.timeout_s)
    connection.send("\r\n".join([*lines, "", ""]).encode("ascii"))
    head = read_head(connection)
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if not status:
        raise ConnectError(f"the proxy {printable(proxy.host)}:{proxy.port} did not answer in HTTP")
    if status[1] != b"200":
        raise ConnectError(f"the proxy {printable(proxy.host)}:{proxy.port} answered {int(status[1])}")
