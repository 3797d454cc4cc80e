"""The aiohttp application: routes, middleware, and the checks before a request is synthesized."""

from __future__ import annotations

from typing import cast

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from smallest_cli.errors import ProtocolError
from smallest_cli.models import Api, Via
from smallest_cli.protocol.endpoints import HEALTH_PATH, PATHS
from smallest_cli.protocol.json import decode_object
from smallest_cli.protocol.resources import CLONES_PATH, encode_voices
from smallest_cli.server import error_bodies, openai_api
from smallest_cli.server.account_api import constant_reply
from smallest_cli.server.auth import LimitExceeded, check_origin
from smallest_cli.server.connections import Connection
from smallest_cli.server.faults import FaultSpec
from smallest_cli.server.http import Exchange
from smallest_cli.server.request_log import LogEntry
from smallest_cli.server.state import ServerState
from smallest_cli.server.validation import validate
from smallest_cli.server.websocket import WebSocketSession

BODY_LIMIT = 1 << 20
HEALTHY = {"status": "ok"} | {part: {"status": "connected"} for part in ("mongo", "redis", "rabbitmq")}
V3_1_PATH = PATHS["v3.1"]["http"]
SUCCESSORS: dict[Api, str] = {"v3.1": PATHS["unified"]["http"], "v2": V3_1_PATH}


def create_app(state: ServerState, port: int) -> web.Application:
    """Build the application with every route; any other path or method is 404."""
    app = web.Application(middlewares=[_guard(state, port)], client_max_size=BODY_LIMIT)
    routes = app.router
    for api, paths in PATHS.items():
        if api == "unified" or state.config.legacy == "on":
            for via in ("http", "sse"):
                routes.add_post(paths[via], state.key_required(_speech_handler(state, api, via)))
            routes.add_get(paths["ws"], _upgrade_handler(state, api))
        elif state.config.legacy == "410":
            for path in set(paths.values()):
                routes.add_route("*", path, constant_reply(error_bodies.retired(SUCCESSORS[api]), 410))
    routes.add_get(HEALTH_PATH, constant_reply(HEALTHY))
    routes.add_get("/waves/v1/{pool}/get_voices", state.key_required(_voices_handler(state)))
    for method, path, handler in state.account_api.routes():
        routes.add_route(method, path, state.key_required(handler))
    if state.config.openai:
        routes.add_post(openai_api.PATH, openai_api.OpenAIAPI(state).speech)
    # Both were retired on 2026-05-19 (waves/api.md, 1).
    for family, successor in (("lightning-large", V3_1_PATH), ("prof-voice-cloning", CLONES_PATH)):
        reply = constant_reply(error_bodies.retired(successor), 410)
        routes.add_route("*", f"/waves/v1/{family}{{rest:.*}}", reply)
    return app


def _guard(state: ServerState, port: int) -> Middleware:
    """Check host and origin before routing, and convert exceptions to the JSON errors of the service."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        any_host = not state.config.on_loopback
        if rejected := check_origin(request, any_host=any_host, port=port):
            status, message = rejected
            return web.json_response({"error": message}, status=status)
        try:
            with cast(Connection, request.protocol).handling(request):
                return await handler(request)
        except (web.RequestPayloadError, HttpProcessingError):
            return web.json_response(error_bodies.INVALID, status=400)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            return web.json_response(error_bodies.NOT_FOUND, status=404)
        except web.HTTPRequestEntityTooLarge:
            return web.json_response({"error": f"More than {BODY_LIMIT} bytes"}, status=413)
        except LimitExceeded:
            return web.json_response(error_bodies.BUSY, status=429, headers={"Retry-After": "1"})

    return guard


def _voices_handler(state: ServerState) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        voices = state.voices(request.match_info["pool"])
        if voices is None:
            return web.json_response(error_bodies.BAD_MODEL, status=400)
        return web.Response(body=encode_voices(voices), content_type="application/json", charset="utf-8")

    return handler


def _speech_handler(state: ServerState, api: Api, via: Via) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        # Browsers send cross-origin application/json only after a preflight, which fails here.
        if request.content_type != "application/json":
            return web.json_response({"error": "Content-Type must be application/json"}, status=415)
        try:
            fields = decode_object(await request.read(), raw=True)
        except ProtocolError:
            return web.json_response(error_bodies.INVALID, status=400)
        if issues := validate(fields, state.rules(api, via)):
            return web.json_response({"error": issues}, status=400)
        if not state.account_api.has_dictionaries(fields.get("pronunciation_dicts")):
            return web.json_response(error_bodies.INVALID, status=400)
        speech, key = state.decode(fields, api), request["key"]
        entry = LogEntry(via, speech.text, key, speech.voice)
        try:
            with state.slots.hold(key):
                fault = state.faults.take()
                if fault and fault.kind == "status":
                    entry.status = f"fault {fault.code}"
                    return _status_response(fault)
                exchange = Exchange(state, request, api, speech, entry, fault)
                return await (exchange.send_audio_file() if via == "http" else exchange.send_event_stream())
        except LimitExceeded:
            entry.status = "busy"
            raise
        finally:
            state.request_log.write(entry)

    return handler


def _upgrade_handler(state: ServerState, api: Api) -> Handler:
    def new_socket() -> web.WebSocketResponse:
        # autoping off: the session answers pings, which do not count as activity (api.md, 4b).
        return web.WebSocketResponse(compress=False, autoping=False, max_msg_size=BODY_LIMIT, timeout=2.0)

    @state.key_required
    async def open_session(request: web.Request) -> web.StreamResponse:
        key = request["key"]
        with state.sockets.hold(key):
            if fault := state.faults.take(status_only=True):
                return _status_response(fault)
            socket = new_socket()
            await socket.prepare(request)
            await WebSocketSession(state, socket, request, api, key).run()
        return socket

    async def handler(request: web.Request) -> web.StreamResponse:
        if not new_socket().can_prepare(request).ok:
            raise web.HTTPNotFound
        return await open_session(request)

    return handler


def _status_response(fault: FaultSpec) -> web.Response:
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    return web.json_response(error_bodies.status_body(fault.code), status=fault.code, headers=headers)
