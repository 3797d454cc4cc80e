"""The web application: which route is answered by whom, and who is let in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from smallest_cli.errors import ProtocolError
from smallest_cli.models import APIS, Api, Via
from smallest_cli.protocol.endpoints import HEALTH_PATH, PATHS, Fields
from smallest_cli.protocol.json import decode_object
from smallest_cli.protocol.resources import encode_voices
from smallest_cli.server import error_bodies
from smallest_cli.server.auth import Busy, bearer, check_origin
from smallest_cli.server.http import Call, one_shot, server_sent
from smallest_cli.server.request_log import Entry
from smallest_cli.server.state import ServerState
from smallest_cli.server.validation import refuse
from smallest_cli.server.websocket import Conversation

BODY_LIMIT = 1 << 20
SUCCESSORS: dict[Api, tuple[str, ...]] = {"v3.1": (PATHS["unified"]["http"],), "v2": ()}
HEALTHY = {"status": "ok"} | {part: {"status": "connected"} for part in ("mongo", "redis", "rabbitmq")}

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """The application over one studio."""

    def __init__(self, studio: ServerState, port: int) -> None:
        self._studio = studio
        self._port = port

    def app(self) -> web.Application:
        """Every route. What is not here is 404, whatever the method."""

        @web.middleware
        async def guard(request: web.Request, handler: Reply) -> web.StreamResponse:
            return await self._guard(request, handler)

        app = web.Application(middlewares=[guard], client_max_size=BODY_LIMIT)
        for api in APIS:
            self._add_api(app, api)
        app.router.add_get(HEALTH_PATH, self._health)
        app.router.add_get("/waves/v1/{pool}/get_voices", self._voices)
        self._studio.desk.add_routes(app, self._key)
        app.router.add_route("*", "/waves/v1/lightning-large{rest:.*}", _retired())
        app.router.add_route(
            "*", "/waves/v1/prof-voice-cloning{rest:.*}", _retired("/waves/v1/voice-cloning")
        )
        return app

    def _add_api(self, app: web.Application, api: Api) -> None:
        paths = PATHS[api]
        if api != "unified" and self._studio.behaviour.legacy != "on":
            if self._studio.behaviour.legacy == "410":
                for path in set(paths.values()):
                    app.router.add_route("*", path, _retired(*SUCCESSORS[api]))
            return
        app.router.add_post(paths["http"], self._post(api, "http"))
        app.router.add_post(paths["sse"], self._post(api, "sse"))
        app.router.add_get(paths["ws"], self._upgrade(api))

    async def _guard(self, request: web.Request, handler: Reply) -> web.StreamResponse:
        anyone = not self._studio.behaviour.on_loopback
        if refused := check_origin(request, anyone=anyone, port=self._port):
            return web.json_response({"error": refused[1]}, status=refused[0])
        try:
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            return web.json_response(error_bodies.NOT_FOUND, status=404)
        except web.HTTPRequestEntityTooLarge:
            return web.json_response({"error": f"More than {BODY_LIMIT} bytes"}, status=413)
        except Busy:
            return web.json_response(error_bodies.BUSY, status=429, headers={"Retry-After": "1"})

    def _key(self, http: web.Request) -> str | None:
        key = bearer(http)
        return key if self._studio.accepts(key) else None

    # routes

    async def _health(self, http: web.Request) -> web.StreamResponse:
        return web.json_response(HEALTHY)

    async def _voices(self, http: web.Request) -> web.StreamResponse:
        if self._key(http) is None:
            return _unauthorized()
        voices = self._studio.voices(http.match_info["pool"])
        if voices is None:
            return web.json_response(error_bodies.BAD_MODEL, status=400)
        return web.Response(body=encode_voices(voices), content_type="application/json", charset="utf-8")

    def _post(self, api: Api, via: Via) -> Reply:
        async def reply(http: web.Request) -> web.StreamResponse:
            key = self._key(http)
            if key is None:
                return _unauthorized()
            if http.content_type != "application/json":
                return web.json_response({"error": "Content-Type must be application/json"}, status=415)
            try:
                fields = decode_object(await http.read())
            except ProtocolError:
                return web.json_response(error_bodies.INVALID, status=400)
            return await self._synthesize(http, key, fields, api, via)

        return reply

    async def _synthesize(
        self, http: web.Request, key: str, fields: Fields, api: Api, via: Via
    ) -> web.StreamResponse:
        studio = self._studio
        if issues := refuse(fields, studio.rules(api, via)):
            return web.json_response({"error": issues}, status=400)
        if not studio.desk.has(fields.get("pronunciation_dicts")):
            return web.json_response(error_bodies.INVALID, status=400)
        request = studio.decode(fields, api)
        entry = Entry(via, request.text, key)
        try:
            with studio.limits.slot(key):
                fault = studio.faults.take()
                if fault and fault.kind == "status":
                    entry.status = f"fault {fault.code}"
                    return _broken(fault.code, fault.retry_after)
                call = Call(studio, http, api, request, entry, fault)
                return await (one_shot(call) if via == "http" else server_sent(call))
        except Busy:
            entry.status = "busy"
            raise
        finally:
            studio.journal.write(entry)

    def _upgrade(self, api: Api) -> Reply:
        async def reply(http: web.Request) -> web.StreamResponse:
            socket = web.WebSocketResponse(
                compress=False, autoping=False, max_msg_size=BODY_LIMIT, timeout=2.0, heartbeat=None
            )
            if not socket.can_prepare(http).ok:
                raise web.HTTPNotFound
            key = self._key(http)
            if key is None:
                return _unauthorized()
            with self._studio.limits.socket(key):
                if fault := self._studio.faults.take(status_only=True):
                    return _broken(fault.code, fault.retry_after)
                await socket.prepare(http)
                await Conversation(self._studio, socket, http, api, key).run()
            return socket

        return reply


def _unauthorized() -> web.Response:
    return web.json_response(error_bodies.UNAUTHORIZED, status=401)


def _broken(status: int, retry_after: int | None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.json_response(error_bodies.status_body(status), status=status, headers=headers)


def _retired(*endpoint: str) -> Reply:
    async def reply(http: web.Request) -> web.StreamResponse:
        return web.json_response(error_bodies.retired(*endpoint), status=410)

    return reply
