"""Where a base URL points."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from smallest_cli.errors import SettingsError
from smallest_cli.security import printable


class Origin(NamedTuple):
    """Where a base URL points: scheme, host, port, and a path prefix without its last slash."""

    secure: bool
    host: str
    port: int
    prefix: str = ""

    @property
    def netloc(self) -> str:
        """Host and port as a Host header or a URL has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    def url(self, scheme: str, path: str) -> str:
        """An address under this origin: `scheme` is http or ws, made secure where the origin is."""
        return f"{scheme}{'s' if self.secure else ''}://{self.netloc}{self.prefix}{path}"


def parse_base_url(base_url: str) -> Origin:
    """The origin of an http, https, ws or wss base URL, its host in ASCII. Raises SettingsError."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        raise SettingsError(f"the base URL {printable(base_url)} is not a URL") from None
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise SettingsError(
            f"the base URL {printable(base_url)} is not a URL", hint="it looks like https://api.smallest.ai"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingsError("the base URL holds more than scheme, host, port and path")
    secure = parts.scheme in ("https", "wss")
    return Origin(secure, _ascii(parts.hostname), port or (443 if secure else 80), parts.path.rstrip("/"))


def _ascii(host: str) -> str:
    """A host as the network has it: xn--... for a name in another script. Raises SettingsError.

    Where the standard library's rules (of 2003) would change the name, as they make ss of a sharp s, today's
    may lead to another host, and the key would go to the wrong one.
    """
    if host.isascii():
        return host
    try:
        name = host.encode("idna")
        if name.decode("idna") == host:
            return name.decode("ascii")
    except UnicodeError:
        pass
    raise SettingsError(
        f"the host {printable(host)} cannot be written in ASCII for certain",
        hint="name it by its form in xn--",
    )


def is_loopback(host: str) -> bool:
    """Whether a host, by name or address, is this machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
