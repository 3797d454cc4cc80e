"""Origins: the parts of a base URL, and which hosts are this machine."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from smallest_cli.errors import SettingsError
from smallest_cli.security import printable


class Origin(NamedTuple):
    """Scheme, host in ASCII, port, and a path prefix without its last slash."""

    secure: bool
    host: str
    port: int
    prefix: str = ""

    @property
    def netloc(self) -> str:
        """Host and port as in a URL or a Host header; the default port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    def url(self, scheme: str, path: str) -> str:
        """Return the URL of `path`; `scheme` is "http" or "ws", to which a secure origin adds its s."""
        return f"{scheme}{'s' if self.secure else ''}://{self.netloc}{self.prefix}{path}"


def parse_base_url(base_url: str) -> Origin:
    """Parse an http, https, ws or wss base URL. Raises SettingsError."""
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        raise SettingsError(f"the base URL {printable(base_url)} is not a URL") from None
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        hint = "example: https://api.smallest.ai"
        raise SettingsError(f"the base URL {printable(base_url)} is not a URL", hint=hint)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise SettingsError("the base URL may hold scheme, host, port and path only")
    secure = parts.scheme in ("https", "wss")
    return Origin(secure, _ascii(parts.hostname), port or (443 if secure else 80), parts.path.rstrip("/"))


def _ascii(host: str) -> str:
    """Encode an international host name in ASCII (xn--...). Raises SettingsError.

    Python's codec follows IDNA 2003. A name that it changes (a sharp s becomes ss) may be another host by
    IDNA 2008, to which the key would be sent, so such a name is refused.
    """
    if host.isascii():
        return host
    try:
        name = host.encode("idna")
        if name.decode("idna") == host:
            return name.decode("ascii")
    except UnicodeError:
        pass
    hint = "give its xn-- form"
    raise SettingsError(f"the host {printable(host)} has no unambiguous form in ASCII", hint=hint)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by a literal address or by a name of RFC 6761, 6.3."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
