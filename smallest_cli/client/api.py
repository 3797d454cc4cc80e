"""The account API: voices, dictionaries, clones and credit, one HTTP request each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from smallest_cli.client.http_session import HTTPSession
from smallest_cli.client.service import open_service
from smallest_cli.models import Clone, Dictionary, Service, Voice
from smallest_cli.network.dialer import Dialer
from smallest_cli.protocol import resources
from smallest_cli.protocol.endpoints import voices_path
from smallest_cli.settings import Settings
from smallest_cli.voices import MODELS


class AccountClient:
    """A client of the account API (waves/api.md, 7 and 8). Every call raises RemoteError."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        self._session = HTTPSession(service, dialer)

    def __enter__(self) -> AccountClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        limit = resources.VOICES_LIMIT
        return self._session.request(method, path, body, content_type=content_type, limit=limit)

    def check(self) -> None:
        """Verify the key with a request that costs nothing."""
        self._request("GET", voices_path(MODELS[0]))

    def voices(self) -> list[Voice]:
        """List the voices of all models; the reply does not name the model, the path does."""
        replies = ((model, self._request("GET", voices_path(model))) for model in MODELS)
        return [voice for model, reply in replies for voice in resources.decode_voices(reply, model)]

    def dictionaries(self) -> list[Dictionary]:
        """List the pronunciation dictionaries."""
        return resources.decode_dictionaries(self._request("GET", resources.DICTIONARIES_PATH))

    def create_dictionary(self, items: Iterable[tuple[str, str]]) -> Dictionary:
        """Create a dictionary of (word, pronunciation) pairs; at least one."""
        body = resources.encode_dictionary(items)
        return resources.decode_dictionary(self._request("POST", resources.DICTIONARIES_PATH, body))

    def replace_dictionary(self, id: str, items: Iterable[tuple[str, str]]) -> Dictionary:
        """Replace all items of a dictionary; the service cannot add to them."""
        body = resources.encode_dictionary(items, id)
        return resources.decode_dictionary(self._request("PUT", resources.DICTIONARIES_PATH, body))

    def delete_dictionary(self, id: str) -> None:
        """Delete a dictionary."""
        body = resources.encode_dictionary_id(id)
        resources.decode_deleted(self._request("DELETE", resources.DICTIONARIES_PATH, body))

    def clones(self) -> list[Clone]:
        """List the cloned voices."""
        return resources.decode_clones(self._request("GET", resources.CLONES_PATH))

    def create_clone(self, body: BinaryIO, content_type: str) -> Clone:
        """Create a voice from a multipart body of `encode_clone`."""
        return resources.decode_clone(self._request("POST", resources.CLONES_PATH, body, content_type))

    def balance(self) -> float:
        """Return the credit in US dollars."""
        return resources.decode_balance(self._request("GET", resources.BALANCE_PATH))

    def concurrency(self) -> int | None:
        """Return the limit of concurrent requests, None where the reply does not name it."""
        return resources.decode_concurrency(self._request("GET", resources.SUBSCRIPTION_PATH))


@contextmanager
def open_account(
    settings: Settings, key_file: str | None, *, max_time: float | None = None, warn: Callable[[str], None]
) -> Iterator[AccountClient]:
    """Open the account API of the service in `settings`, the offline server included.

    `key_file` is the value of --api-key-file, `max_time` a limit in seconds for all calls together, `warn`
    takes warnings about the key. Raises RemoteError, SettingsError, UsageError.
    """
    dialer = Dialer.from_settings(settings, max_time=max_time)
    with open_service(settings, key_file, warn) as service, AccountClient(service, dialer) as account:
        yield account
