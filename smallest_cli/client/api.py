"""The calls that are not speech: one HTTP exchange each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from smallest_cli.cli.console import Console
from smallest_cli.cli.options import ServiceOptions
from smallest_cli.client.service import open_service
from smallest_cli.errors import ProtocolError
from smallest_cli.models import Clone, Dictionary, Service, Voice
from smallest_cli.network.dialer import Dialer
from smallest_cli.protocol.endpoints import voices_path
from smallest_cli.protocol.resources import (
    BALANCE_PATH,
    CLONES_PATH,
    DICTIONARIES_PATH,
    SUBSCRIPTION_PATH,
    VOICES_LIMIT,
    decode_balance,
    decode_clone,
    decode_clones,
    decode_concurrency,
    decode_deleted,
    decode_dictionaries,
    decode_dictionary,
    decode_voices,
    encode_dictionary,
    encode_dictionary_id,
)
from smallest_cli.settings import load_settings
from smallest_cli.transports.http_session import HTTPSession
from smallest_cli.voices import MODELS


class Account:
    """What a key can ask of a service besides speech (waves/api.md, 7, 8). Every call raises RemoteError."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        self._poster = HTTPSession(service, dialer)

    def __enter__(self) -> Account:
        return self

    def __exit__(self, *_: object) -> None:
        self._poster.close()

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        with self._poster.exchange(method, path, body, content_type=content_type) as reply:
            got = bytearray()
            for piece in reply.body:
                got += piece
                if len(got) > VOICES_LIMIT:
                    raise ProtocolError("the service's reply is too large")
        return bytes(got)

    def check(self) -> None:
        """Ask for something that costs nothing and needs a good key."""
        self._ask("GET", voices_path(MODELS[0]))

    def voices(self) -> list[Voice]:
        """Every voice of both pools; the reply names no pool, the path does."""
        replies = ((pool, self._ask("GET", voices_path(pool))) for pool in MODELS)
        return [voice for pool, body in replies for voice in decode_voices(body, pool)]

    def dictionaries(self) -> list[Dictionary]:
        """Every pronunciation dictionary of the account."""
        return decode_dictionaries(self._ask("GET", DICTIONARIES_PATH))

    def create_dictionary(self, items: Iterable[tuple[str, str]]) -> Dictionary:
        """A new one; at least one item."""
        return decode_dictionary(self._ask("POST", DICTIONARIES_PATH, encode_dictionary(items)))

    def replace_dictionary(self, id: str, items: Iterable[tuple[str, str]]) -> Dictionary:
        """Other items under the same id; the service knows no merging."""
        body = encode_dictionary(items, id)
        return decode_dictionary(self._ask("PUT", DICTIONARIES_PATH, body))

    def delete_dictionary(self, id: str) -> None:
        """Delete one."""
        decode_deleted(self._ask("DELETE", DICTIONARIES_PATH, encode_dictionary_id(id)))

    def clones(self) -> list[Clone]:
        """Every cloned voice of the account."""
        return decode_clones(self._ask("GET", CLONES_PATH))

    def create_clone(self, body: BinaryIO, content_type: str) -> Clone:
        """A new voice out of a multipart body, as `encode_clone` makes it."""
        return decode_clone(self._ask("POST", CLONES_PATH, body, content_type))

    def balance(self) -> float:
        """US dollars of credit."""
        return decode_balance(self._ask("GET", BALANCE_PATH))

    def concurrency(self) -> int | None:
        """Requests at a time, None where the account does not tell."""
        return decode_concurrency(self._ask("GET", SUBSCRIPTION_PATH))


@contextmanager
def open_account(where: ServiceOptions) -> Iterator[Account]:
    """The account that options and settings name."""
    settings = load_settings(where.as_dict())
    dialer = Dialer(
        timeout=settings.timeout,
        max_time=where.max_time,
        ca_file=settings.ca_file,
        plain_http=settings.plain_http,
    )
    console = Console(quiet=False, verbose=False)
    with (
        open_service(settings, where.api_key_file, console.warn) as service,
        Account(service, dialer) as account,
    ):
        yield account
