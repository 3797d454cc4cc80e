"""The account endpoints: dictionaries, clones, balance and logs (waves/api.md, 7 and 8).

Dictionaries and clones are kept in memory while the server runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from secrets import token_hex
from typing import Annotated, Any, TypedDict

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from smallest_cli.errors import ProtocolError, ServerError
from smallest_cli.models import MODELS
from smallest_cli.protocol import resources
from smallest_cli.protocol.endpoints import path_model
from smallest_cli.protocol.json import decode_object
from smallest_cli.server.config import TEXT_LIMIT
from smallest_cli.server.error_bodies import INVALID

LOGS_PATH = "/waves/v1/analytics/tts/logs"
CLONE_FIELDS = ("displayName", "description", "accent", "tags", "language", "model")
CLONE_MODELS = tuple(path_model(model) for model in MODELS)
UNLISTED_CLONE_FIELDS = {"model", "audioFileNames", "samples", "organizationId"}
NOT_FOUND = {"error": "Pronunciation dictionary not found"}
_ITEMS_REQUIRED = {"code": "invalid_type", "expected": "array", "path": ["items"], "message": "Required"}
INVALID_ITEMS = {"error": "Invalid request body", "details": [_ITEMS_REQUIRED]}
BALANCE = {"creditBalance": 15, "planId": "plan_offline", "isEnterprise": False}
SUBSCRIPTION = {"planId": "plan_offline", "subscriptionActive": True, "limits": {}, "features": {}}
LOGS = {"status": "success", "page": 1, "pageSize": 50, "totalCount": 0, "totalPages": 0, "data": []}

# The service publishes no limits for these; without any, memory and time are unlimited.
MAX_STORED = 500  # dictionaries, and clones
MAX_ITEMS = 1_000
MAX_WORD_CHARS = 500
MAX_FIELD_CHARS = 2_000  # of a clone

_NotEmpty = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_WORD_CHARS)]


class _Item(TypedDict):
    word: _NotEmpty
    pronunciation: _NotEmpty


class _Body(TypedDict, total=False):
    id: str
    items: Annotated[list[_Item], msgspec.Meta(max_length=MAX_ITEMS)]


class AccountAPI:
    """Dictionaries and clones, shared by all keys, and an account with a constant balance."""

    def __init__(self) -> None:
        self._dictionaries: dict[str, dict[str, Any]] = {}
        self._clones: list[dict[str, Any]] = []

    @property
    def clone_ids(self) -> frozenset[str]:
        """Return the voice ids of all clones."""
        return frozenset(clone["voiceId"] for clone in self._clones)

    def has_dictionaries(self, ids: object) -> bool:
        """Whether `ids` is None or a list of existing dictionary ids."""
        return ids is None or (
            isinstance(ids, list) and all(isinstance(id, str) and id in self._dictionaries for id in ids)
        )

    def pronounce(self, text: str, ids: Iterable[str]) -> str:
        """Replace the words of dictionaries, of the first one that has it (waves/api.md, 6: case-sensitive).

        Raises ServerError if that takes too many words, or makes too long a text.
        """
        words: dict[str, str] = {}
        for id in dict.fromkeys(ids):
            items = self._dictionaries.get(id, {}).get("items", ())
            words = {item["word"]: item["pronunciation"] for item in items} | words
            if len(words) > MAX_ITEMS:
                raise ServerError(f"the dictionaries have more than {MAX_ITEMS} words")
        if words:
            longest_first = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
            text = re.sub(rf"\b(?:{longest_first})\b", lambda found: words[found[0]], text)
        if len(text) > TEXT_LIMIT:
            raise ServerError(f"the text has more than {TEXT_LIMIT} characters with its pronunciations")
        return text

    def routes(self) -> tuple[tuple[str, str, Handler], ...]:
        """Return method, path and handler of each route."""
        return (
            ("GET", resources.DICTIONARIES_PATH, self._list_dictionaries),
            ("POST", resources.DICTIONARIES_PATH, self._create_dictionary),
            ("PUT", resources.DICTIONARIES_PATH, self._replace_dictionary),
            ("DELETE", resources.DICTIONARIES_PATH, self._delete_dictionary),
            ("GET", resources.CLONES_PATH, self._list_clones),
            ("POST", resources.CLONES_PATH, self._create_clone),
            ("GET", resources.BALANCE_PATH, constant_reply({"success": True, "data": BALANCE})),
            ("GET", resources.SUBSCRIPTION_PATH, constant_reply({"status": True, "data": SUBSCRIPTION})),
            ("GET", LOGS_PATH, constant_reply(LOGS)),
        )

    async def _list_dictionaries(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(list(self._dictionaries.values()))

    async def _create_dictionary(self, request: web.Request) -> web.StreamResponse:
        body = await _read_body(request)
        if not body.get("items"):
            return web.json_response(INVALID_ITEMS, status=400)
        if len(self._dictionaries) >= MAX_STORED:
            return web.json_response({"error": f"More than {MAX_STORED} dictionaries"}, status=400)
        id = token_hex(12)
        dictionary = self._dictionaries[id] = {"id": id, "items": body["items"], "createdAt": _now()}
        return web.json_response(dictionary)

    async def _replace_dictionary(self, request: web.Request) -> web.StreamResponse:
        body = await _read_body(request)
        if "items" not in body:
            return web.json_response(INVALID_ITEMS, status=400)
        id = body.get("id", "")
        if id not in self._dictionaries:
            return web.json_response(NOT_FOUND, status=404)
        self._dictionaries[id]["items"] = body["items"]
        return web.json_response({"id": id, "items": body["items"]})

    async def _delete_dictionary(self, request: web.Request) -> web.StreamResponse:
        id = (await _read_body(request)).get("id", "")
        if self._dictionaries.pop(id, None) is None:
            return web.json_response(NOT_FOUND, status=404)
        return web.json_response({"id": id, "deleted": True})

    async def _list_clones(self, request: web.Request) -> web.StreamResponse:
        listed = [
            {name: clone[name] for name in clone.keys() - UNLISTED_CLONE_FIELDS} for clone in self._clones
        ]
        return web.json_response({"data": listed})

    async def _create_clone(self, request: web.Request) -> web.StreamResponse:
        if not request.content_type.startswith("multipart/"):
            return web.json_response({"error": "No file provided"}, status=400)
        if len(self._clones) >= MAX_STORED:
            return web.json_response({"error": f"More than {MAX_STORED} clones"}, status=400)
        fields = {"accent": "general", "language": "en", "model": CLONE_MODELS[0]}
        try:
            form = await request.clone(client_max_size=2 * resources.CLONE_MAX_BYTES).post()
        except (ValueError, LookupError, RuntimeError, AssertionError):  # of aiohttp, for a malformed body
            return web.json_response(INVALID, status=400)
        fields |= {
            name: value[:MAX_FIELD_CHARS] for name in CLONE_FIELDS if isinstance(value := form.get(name), str)
        }
        file = form.get("file")
        if not isinstance(file, web.FileField):
            return web.json_response({"error": "No file provided"}, status=400)
        if problem := _clone_problem(fields, file.file.seek(0, os.SEEK_END)):
            return web.json_response({"error": problem}, status=400)
        clone = {
            "_id": token_hex(12),
            "voiceId": f"voice_{token_hex(5)}",
            "displayName": fields["displayName"],
            "description": fields.get("description", ""),
            "accent": fields["accent"],
            "tags": [tag for tag in fields.get("tags", "").split(",") if tag],
            "language": fields["language"],
            "status": "completed",
            "cloningType": "instant",
            "modelIds": [fields["model"]],
            "model": {"_id": token_hex(12), "modelName": fields["model"]},
            "audioFileNames": [file.filename[:MAX_FIELD_CHARS]],
            "samples": [],
            "organizationId": "offline",
            "createdAt": _now(),
        }
        self._clones.append(clone)
        return web.json_response({"message": "Voice clone created successfully", "data": clone})


def constant_reply(body: Any, status: int = 200) -> Handler:
    """Return a handler that gives every request the same reply."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status)

    return handler


def _clone_problem(fields: dict[str, str], size: int) -> str | None:
    if not size:
        return "No file provided"
    if not 1 <= len(fields.get("displayName", "")) <= 500:
        return "displayName is required"
    if size > resources.CLONE_MAX_BYTES:
        return "File too large"
    if fields["model"] not in CLONE_MODELS:
        return f"Invalid model. Supported models: {', '.join(CLONE_MODELS)}"
    return None


async def _read_body(request: web.Request) -> _Body:
    """Return the fields of a body, {} if one of them is invalid."""
    try:
        # msgspec.json rejects lone surrogates.
        return msgspec.convert(decode_object(await request.read()), _Body)
    except (ProtocolError, msgspec.ValidationError):
        return {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
