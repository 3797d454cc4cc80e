"""The calls that are not speech: one HTTP exchange each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import BinaryIO

from smallest_cli import protocol
from smallest_cli.errors import ProtocolError, UsageError
from smallest_cli.models import Clone, Dictionary, Service, Voice
from smallest_cli.network import Dialer
from smallest_cli.security import safe
from smallest_cli.transports.http_session import Poster
from smallest_cli.voices import MODELS


class Account:
    """What a key can ask of a service besides speech (waves/api.md, 7, 8). Every call raises RemoteError."""

    def __init__(self, service: Service, dialer: Dialer) -> None:
        self._poster = Poster(service, dialer)

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
                if len(got) > protocol.VOICES_LIMIT:
                    raise ProtocolError("the service's reply is too large")
        return bytes(got)

    def check(self) -> None:
        """Ask for something that costs nothing and needs a good key."""
        self._ask("GET", protocol.voices_path(MODELS[0]))

    def voices(self) -> list[Voice]:
        """Every voice of both pools; the reply names no pool, the path does."""
        replies = ((pool, self._ask("GET", protocol.voices_path(pool))) for pool in MODELS)
        return [voice for pool, body in replies for voice in protocol.decode_voices(body, pool)]

    def dictionaries(self) -> list[Dictionary]:
        """Every pronunciation dictionary of the account."""
        return protocol.decode_dictionaries(self._ask("GET", protocol.DICTIONARIES_PATH))

    def create_dictionary(self, items: Iterable[tuple[str, str]]) -> Dictionary:
        """A new one; at least one item."""
        return protocol.decode_dictionary(
            self._ask("POST", protocol.DICTIONARIES_PATH, protocol.encode_dictionary(items))
        )

    def replace_dictionary(self, id: str, items: Iterable[tuple[str, str]]) -> Dictionary:
        """Other items under the same id; the service knows no merging."""
        body = protocol.encode_dictionary(items, id)
        return protocol.decode_dictionary(self._ask("PUT", protocol.DICTIONARIES_PATH, body))

    def delete_dictionary(self, id: str) -> None:
        """Delete one."""
        protocol.decode_deleted(
            self._ask("DELETE", protocol.DICTIONARIES_PATH, protocol.encode_dictionary_id(id))
        )

    def clones(self) -> list[Clone]:
        """Every cloned voice of the account."""
        return protocol.decode_clones(self._ask("GET", protocol.CLONES_PATH))

    def create_clone(self, body: BinaryIO, content_type: str) -> Clone:
        """A new voice out of a multipart body, as `encode_clone` makes it."""
        return protocol.decode_clone(self._ask("POST", protocol.CLONES_PATH, body, content_type))

    def balance(self) -> float:
        """US dollars of credit."""
        return protocol.decode_balance(self._ask("GET", protocol.BALANCE_PATH))

    def concurrency(self) -> int | None:
        """Requests at a time, None where the account does not tell."""
        return protocol.decode_concurrency(self._ask("GET", protocol.SUBSCRIPTION_PATH))


def encode_clone(sample: bytes, file_name: str, fields: Mapping[str, str]) -> tuple[bytes, str]:
    """A multipart body and its type, from the recording and the fields that go with it. Raises UsageError."""
    from urllib3.filepost import encode_multipart_formdata

    for value in fields.values():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{safe(value, 60)} is not UTF-8 text") from None
    suffix = file_name[file_name.rfind(".") :].lower()
    parts: dict[str, str | tuple[str, bytes, str]] = dict(fields)
    sendable = file_name.encode(errors="replace").decode()
    parts["file"] = (sendable, sample, protocol.CLONE_TYPES[suffix])
    return encode_multipart_formdata(parts)
