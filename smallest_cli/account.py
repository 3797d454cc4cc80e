"""The calls that are not speech: JSON over one exchange."""

from __future__ import annotations

from smallest_cli import wire
from smallest_cli.connect import Dialer
from smallest_cli.speech import Service
from smallest_cli.transports.post import Poster


def check_key(service: Service, dialer: Dialer) -> None:
    """Try a key by a call that costs nothing (waves/api.md, 10). Raises RemoteError where it is refused."""
    poster = Poster(service, dialer)
    try:
        with poster.get(wire.voices_path("lightning-v3.1"), accept="application/json") as reply:
            for _ in reply.body:
                pass
    finally:
        poster.close()
