"""The account API: voices, dictionaries, clones and credit, one HTTP request each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable

from smallest_cli.client.http_session import HTTPSession
from smallest_cli.models import MODELS, Clone, Dictionary, Service, Voice
from smallest_cli.network.dialer import Dialer
from smallest_cli.protocol import resources
from smallest_cli.protocol.endpoints import voices_path


class AccountClient:
    """A client of the account API (waves/api.md, 7 and 8). Every call raises RemoteError."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        self._request = HTTPSession(service, dialer, limit=resources.VOICES_LIMIT).request

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

    def dictionary_digest(self, ids: Iterable[str]) -> str:
        """Return a hash of the content of dictionaries: an update changes it, and not their ids."""
        items = {each.id: each.items for each in self.dictionaries()}
        return hashlib.sha256(json.dumps([(id, items.get(id)) for id in ids]).encode()).hexdigest()

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

    def create_clone(self, body: bytes, content_type: str, on_write: Callable[[int], object]) -> Clone:
        """Create a voice from a multipart body of `encode_clone`; `on_write` gets the bytes of each write."""
        return resources.decode_clone(
            self._request("POST", resources.CLONES_PATH, body, content_type, on_write)
        )

    def balance(self) -> float:
        """Return the credit in US dollars."""
        return resources.decode_balance(self._request("GET", resources.BALANCE_PATH))

    def concurrency(self) -> int | None:
        """Return the limit of concurrent requests, None where the reply does not name it."""
        return resources.decode_concurrency(self._request("GET", resources.SUBSCRIPTION_PATH))
