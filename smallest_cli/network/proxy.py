"""Find the HTTP proxy for an origin, and open a tunnel through it."""

from __future__ import annotations

import re
import socket
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from smallest_cli.errors import ConnectError, DeadlineExceeded, NetworkError, ProtocolError, SettingsError
from smallest_cli.models import Phases
from smallest_cli.network.connection import STATUS_LINE, Clock, Connection, Deadline, read_final_head
from smallest_cli.network.origin import Origin, is_loopback
from smallest_cli.security import printable

PROXY_HINT = "use http://HOST:PORT"


class Proxy(NamedTuple):
    """An HTTP proxy; `authorization` is the value of Proxy-Authorization, None to send none."""

    host: str
    port: int
    authorization: str | None
    variable: str = ""
    """The environment variable that it is from."""

    @property
    def name(self) -> str:
        """How error messages call it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"the proxy {printable(host)}:{self.port} ({printable(self.variable)})"


def find_proxy(origin: Origin, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that `environ` names for an origin; None for a direct connection.

    Reads http_proxy or https_proxy, all_proxy and no_proxy. As in urllib and curl the name in lower case
    wins over the one in upper case, and an empty value switches the proxy off. Loopback has no proxy. Raises
    SettingsError for a proxy that is not supported: connecting directly could bypass a policy.
    """
    variables = {name.lower(): name for name in sorted(environ)}  # lower case last
    scheme = "https_proxy" if origin.secure else "http_proxy"
    variable = variables.get(scheme) or variables.get("all_proxy", "")
    url = environ.get(variable, "").strip()
    no_proxy = environ.get(variables.get("no_proxy", ""), "")
    if not url or is_loopback(origin.host) or _is_excluded(origin, no_proxy):
        return None
    source = f"the proxy in {variable}"
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or 80
    except ValueError:
        raise SettingsError(f"{source} is not a URL", hint=PROXY_HINT) from None
    if parts.scheme != "http" or not parts.hostname:
        raise SettingsError(f"{source} is not supported: {printable(parts.scheme)}", hint=PROXY_HINT)
    authorization = None
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + b64encode(pair.encode()).decode("ascii")
    return Proxy(parts.hostname, port, authorization, variable)


def _is_excluded(origin: Origin, no_proxy: str) -> bool:
    """Whether no_proxy lists the host as curl reads it: a domain, an address, a network, or "*" for all."""
    host = origin.host.lower().rstrip(".")
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    for entry in re.split(r"[\s,]+", no_proxy.lower()):
        has_port = entry.count(":") == 1 or "]:" in entry  # not the colons of an IPv6 address
        # An entry of another port keeps it, and so matches no host.
        name = (entry.removesuffix(f":{origin.port}") if has_port else entry).strip(".[")
        if name == "*" or (not address and name and f".{host}".endswith(f".{name}")):
            return True
        with suppress(ValueError):
            if address and address in ip_network(name.replace("]", ""), strict=False):
                return True
    return False


def open_tunnel(sock: socket.socket, proxy: Proxy, origin: Origin, clock: Clock, deadline: Deadline) -> None:
    """Ask the proxy at the other end of `sock` for a connection to the origin (RFC 9110, 9.3.6).

    Raises NetworkError, which names the proxy.
    """
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"Host: {host}:{origin.port}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    connection = Connection(sock, Phases(), clock)
    connection.set_deadline(f"answer from {proxy.name}", deadline.remaining(), deadline.timeout_s)
    try:
        connection.send("\r\n".join([*lines, "", ""]).encode("ascii"))
        head = read_final_head(connection)
    except (NetworkError, ProtocolError) as error:
        if isinstance(error, DeadlineExceeded):
            raise
        raise ConnectError(f"{proxy.name} failed: {error}") from None
    match = re.match(STATUS_LINE, head)
    if not match:
        raise ConnectError(f"{proxy.name} did not answer in HTTP")
    status = int(match[1])
    if not 200 <= status < 300:
        refused = ConnectError(f"{proxy.name} answered {status}")
        refused.retryable = status >= 500 or status in (408, 429)
        if status == 407:
            refused.hint = f"set user name and password: {proxy.variable}=http://USER:PASSWORD@HOST:PORT"
        raise refused
