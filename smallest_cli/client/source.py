"""Where a segment's sound comes from: a transport, behind the cache where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smallest_cli.errors import OutputFailed
from smallest_cli.models import Event, Service, SpeechRequest, Transport
from smallest_cli.network import Dialer, parse_base_url
from smallest_cli.settings import Settings
from smallest_cli.transports import open_transport

if TYPE_CHECKING:
    from smallest_cli.client.cache import Cache, Store


@dataclass(frozen=True)
class Source:
    """One thread's; `transport` is the way past the cache."""

    transport: Transport
    cache: Cache | None = None

    @property
    def hits(self) -> int:
        """Segments that the service was not asked for."""
        return self.cache.hits if self.cache else 0

    def synthesize(self, request: SpeechRequest) -> Iterator[Event]:
        """As a transport does."""
        if self.cache is None:
            return self.transport.synthesize(request)
        return self.cache.over(request, self.transport.synthesize)


def find_store(settings: Settings, warn: Callable[[str], None]) -> Store | None:
    """Where segments are kept. None where nobody asked for it, and where it cannot be made.

    Of the latter `warn` hears: the sound is what was wanted. Raises SettingsError.
    """
    if not settings.cache:
        return None
    from smallest_cli.client.cache import open_store  # for those who want it

    try:
        return open_store(settings.cache_max_mb * 1_000_000)
    except OutputFailed as error:
        warn(f"{error}; --no-cache does without")
        return None


@contextmanager
def open_source(
    settings: Settings, service: Service, dialer: Dialer, store: Store | None
) -> Iterator[Source]:
    """Connects when it is first asked for what is not in the store."""
    cache = None
    if store is not None:
        from smallest_cli.client.cache import Cache

        place = "local" if settings.local else settings.base_url
        cache = Cache(store, place, settings.api)
    with open_transport(settings.via, service, dialer) as transport:
        yield Source(transport, cache)


def head_start(settings: Settings, service: Service, dialer: Dialer) -> AbstractContextManager[None]:
    """Connecting from now on, but for a run that the cache may answer alone."""
    return nullcontext() if settings.cache else dialer.head_start(parse_base_url(service.base_url))
