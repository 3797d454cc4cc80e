"""The front desk: what is asked of a service besides speech, kept for as long as the server runs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from aiohttp import BodyPartReader, web

from smallest_cli.protocol.resources import (
    BALANCE_PATH,
    CLONE_LARGEST,
    CLONES_PATH,
    DICTIONARIES_PATH,
    SUBSCRIPTION_PATH,
)

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]

CLONE_FIELDS = ("displayName", "description", "accent", "tags", "language", "model")
CLONE_MODELS = ("lightning-v3.1", "lightning-v3.1-pro")
NOT_FOUND = {"error": "Pronunciation dictionary not found"}


class AccountAPI:
    """Dictionaries and clones of whoever holds the key, and an account that never runs out."""

    def __init__(self) -> None:
        self._dictionaries: dict[str, dict[str, Any]] = {}
        self._clones: list[dict[str, Any]] = []

    @property
    def clone_ids(self) -> frozenset[str]:
        """The voices that were cloned here."""
        return frozenset(clone["voiceId"] for clone in self._clones)

    def has(self, ids: object) -> bool:
        """Whether every dictionary of a request is here; None asks for none."""
        return ids is None or (
            isinstance(ids, list)
            and all(isinstance(each, str) and each in self._dictionaries for each in ids)
        )

    def pronounce(self, text: str, ids: Iterable[str]) -> str:
        """The text with the words of its dictionaries as they are said."""
        for each in ids:
            for item in self._dictionaries.get(each, {}).get("items", ()):
                said = item["pronunciation"].replace("\\", r"\\")
                text = re.sub(rf"\b{re.escape(item['word'])}\b", said, text, flags=re.I)
        return text

    def add_routes(self, app: web.Application, key: Callable[[web.Request], str | None]) -> None:
        """Answer on an application; `key` gives a request's key where it is good."""

        def guarded(reply: Reply) -> Reply:
            async def answer(http: web.Request) -> web.StreamResponse:
                if key(http) is None:
                    return web.json_response({"error": "Unauthorized"}, status=401)
                return await reply(http)

            return answer

        routes: list[tuple[str, str, Reply]] = [
            ("GET", DICTIONARIES_PATH, self._list_dictionaries),
            ("POST", DICTIONARIES_PATH, self._create_dictionary),
            ("PUT", DICTIONARIES_PATH, self._replace_dictionary),
            ("DELETE", DICTIONARIES_PATH, self._delete_dictionary),
            ("GET", CLONES_PATH, self._list_clones),
            ("POST", CLONES_PATH, self._create_clone),
            ("GET", BALANCE_PATH, self._balance),
            ("GET", SUBSCRIPTION_PATH, self._subscription),
            ("GET", "/waves/v1/analytics/tts/logs", self._logs),
        ]
        for method, path, reply in routes:
            app.router.add_route(method, path, guarded(reply))

    async def _list_dictionaries(self, _: web.Request) -> web.StreamResponse:
        return web.json_response(list(self._dictionaries.values()))

    async def _create_dictionary(self, http: web.Request) -> web.StreamResponse:
        items = _items(await _fields(http))
        if not items:
            return _invalid(["items"])
        id = os.urandom(12).hex()
        made = self._dictionaries[id] = {"id": id, "items": items, "createdAt": _now()}
        return web.json_response(made)

    async def _replace_dictionary(self, http: web.Request) -> web.StreamResponse:
        fields = await _fields(http)
        items = _items(fields)
        if items is None:
            return _invalid(["items"])
        if fields.get("id") not in self._dictionaries:
            return web.json_response(NOT_FOUND, status=404)
        self._dictionaries[fields["id"]]["items"] = items
        return web.json_response({"id": fields["id"], "items": items})

    async def _delete_dictionary(self, http: web.Request) -> web.StreamResponse:
        id = str((await _fields(http)).get("id"))
        if self._dictionaries.pop(id, None) is None:
            return web.json_response(NOT_FOUND, status=404)
        return web.json_response({"id": id, "deleted": True})

    async def _list_clones(self, _: web.Request) -> web.StreamResponse:
        hidden = {"model", "audioFileNames", "samples", "organizationId"}
        listed = [{name: each[name] for name in each.keys() - hidden} for each in self._clones]
        return web.json_response({"data": listed})

    async def _create_clone(self, http: web.Request) -> web.StreamResponse:
        if not http.content_type.startswith("multipart/"):
            return web.json_response({"error": "No file provided"}, status=400)
        fields: dict[str, str] = {}
        file_name, size = "", 0
        async for part in await http.multipart():
            if not isinstance(part, BodyPartReader):
                continue
            if part.name == "file":
                file_name = part.filename or "sample"
                while data := await part.read_chunk():
                    size += len(data)
            elif part.name in CLONE_FIELDS:
                fields[part.name] = await part.text()
        if refused := _refuse_clone(fields, size):
            return web.json_response({"error": refused}, status=400)
        model = fields.get("model", CLONE_MODELS[0])
        clone = {
            "_id": os.urandom(12).hex(),
            "voiceId": f"voice_{os.urandom(5).hex()}",
            "displayName": fields["displayName"],
            "description": fields.get("description", ""),
            "accent": fields.get("accent", "general"),
            "tags": [tag for tag in fields.get("tags", "").split(",") if tag],
            "language": fields.get("language", "en"),
            "status": "completed",
            "cloningType": "instant",
            "modelIds": [model],
            "model": {"_id": os.urandom(12).hex(), "modelName": model},
            "audioFileNames": [file_name],
            "samples": [],
            "organizationId": "offline",
            "createdAt": _now(),
        }
        self._clones.append(clone)
        return web.json_response({"message": "Voice clone created successfully", "data": clone})

    async def _balance(self, _: web.Request) -> web.StreamResponse:
        data = {"creditBalance": 15, "planId": "plan_offline", "isEnterprise": False}
        return web.json_response({"success": True, "data": data})

    async def _subscription(self, _: web.Request) -> web.StreamResponse:
        data = {"planId": "plan_offline", "subscriptionActive": True, "limits": {}, "features": {}}
        return web.json_response({"status": True, "data": data})

    async def _logs(self, _: web.Request) -> web.StreamResponse:
        page = {"status": "success", "page": 1, "pageSize": 50, "totalCount": 0, "totalPages": 0, "data": []}
        return web.json_response(page)


def _refuse_clone(fields: dict[str, str], size: int) -> str | None:
    if not size:
        return "No file provided"
    if not 1 <= len(fields.get("displayName", "")) <= 500:
        return "displayName is required"
    if size > CLONE_LARGEST:
        return "File too large"
    if fields.get("model", CLONE_MODELS[0]) not in CLONE_MODELS:
        return f"Invalid model. Supported models: {', '.join(CLONE_MODELS)}"
    return None


async def _fields(http: web.Request) -> dict[str, Any]:
    try:
        fields = json.loads(await http.read())
    except ValueError:
        fields = None
    return fields if isinstance(fields, dict) else {}


def _items(fields: dict[str, Any]) -> list[dict[str, str]] | None:
    """The items of a body, None where one of them is not valid."""
    items = fields.get("items")
    if not isinstance(items, list):
        return None
    for each in items:
        if not isinstance(each, dict) or not all(
            isinstance(each.get(name), str) and each[name] for name in ("word", "pronunciation")
        ):
            return None
    return [{"word": each["word"], "pronunciation": each["pronunciation"]} for each in items]


def _invalid(path: list[str | int]) -> web.Response:
    detail = {"code": "invalid_type", "expected": "array", "path": path, "message": "Required"}
    return web.json_response({"error": "Invalid request body", "details": [detail]}, status=400)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
