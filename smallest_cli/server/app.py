"""The aiohttp application: routes, middleware, and the checks before a request is synthesized."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from smallest_cli.errors import ProtocolError
from smallest_cli.models import APIS, Api, Via
from smallest_cli.protocol.endpoints import HEALTH_PATH, PATHS, Fields
from smallest_cli.protocol.json import decode_object
from smallest_cli.protocol.resources import encode_voices
from smallest_cli.server import error_bodies
from smallest_cli.server.auth import LimitExceeded, check_origin
from smallest_cli.server.http import Exchange, send_audio_file, send_event_stream
from smallest_cli.server.request_log import LogEntry
from smallest_cli.server.state import ServerState
from smallest_cli.server.validation import validate
from smallest_cli.server.websocket import WebSocketSession

STATE = web.AppKey("state", ServerState)
BODY_LIMIT = 1 << 20
SUCCESSORS: dict[Api, tuple[str, ...]] = {"v3.1": (PATHS["unified"]["http"],), "v2": ()}
HEALTHY = {"status": "ok"} | {part: {"status": "connected"} for part in ("mongo", "redis", "rabbitmq")}


def create_app(state: ServerState, port: int) -> web.Application:
    """Build the application with every route; any other path or method is 404."""
    app = web.Application(middlewares=[_guard(state, port)], client_max_size=BODY_LIMIT)
    app[STATE] = state
    for api in APIS:
        _add_speech_routes(app, state, api)
    app.router.add_get(HEALTH_PATH, _health)
    app.router.add_get("/waves/v1/{pool}/get_voices", state.auth.required(_voices))
    state.account_api.add_routes(app, state.auth.required)
    # Both families ended on 2026-05-19 (waves/api.md, 1).
    app.router.add_route("*", "/waves/v1/lightning-large{rest:.*}", _retired())
    app.router.add_route("*", "/waves/v1/prof-voice-cloning{rest:.*}", _retired("/waves/v1/voice-cloning"))
    return app


def _add_speech_routes(app: web.Application, state: ServerState, api: Api) -> None:
    paths = PATHS[api]
    if api == "unified" or state.config.legacy == "on":
        app.router.add_post(paths["http"], state.auth.required(_speech_handler(api, "http")))
        app.router.add_post(paths["sse"], state.auth.required(_speech_handler(api, "sse")))
        app.router.add_get(paths["ws"], _upgrade_handler(state, api))
    elif state.config.legacy == "410":
        for path in set(paths.values()):
            app.router.add_route("*", path, _retired(*SUCCESSORS[api]))


def _guard(state: ServerState, port: int) -> Middleware:
    """Check host and origin before routing, and turn exceptions into the service's JSON bodies."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        any_host = not state.config.on_loopback
        if rejected := check_origin(request, any_host=any_host, port=port):
            status, message = rejected
            return web.json_response({"error": message}, status=status)
        try:
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            return web.json_response(error_bodies.NOT_FOUND, status=404)
        except web.HTTPRequestEntityTooLarge:
            return web.json_response({"error": f"More than {BODY_LIMIT} bytes"}, status=413)
        except LimitExceeded:
            return web.json_response(error_bodies.BUSY, status=429, headers={"Retry-After": "1"})

    return guard


async def _health(request: web.Request) -> web.StreamResponse:
    return web.json_response(HEALTHY)


async def _voices(request: web.Request) -> web.StreamResponse:
    voices = request.app[STATE].voices(request.match_info["pool"])
    if voices is None:
        return web.json_response(error_bodies.BAD_MODEL, status=400)
    return web.Response(body=encode_voices(voices), content_type="application/json", charset="utf-8")


def _speech_handler(api: Api, via: Via) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        # A browser sends application/json to another origin only after a preflight, which fails here.
        if request.content_type != "application/json":
            return web.json_response({"error": "Content-Type must be application/json"}, status=415)
        try:
            fields = decode_object(await request.read())
        except ProtocolError:
            return web.json_response(error_bodies.INVALID, status=400)
        return await _synthesize(request, fields, api, via)

    return handler


async def _synthesize(request: web.Request, fields: Fields, api: Api, via: Via) -> web.StreamResponse:
    state = request.app[STATE]
    if issues := validate(fields, state.rules(api, via)):
        return web.json_response({"error": issues}, status=400)
    if not state.account_api.has_dictionaries(fields.get("pronunciation_dicts")):
        return web.json_response(error_bodies.INVALID, status=400)
    speech, key = state.decode(fields, api), request["key"]
    entry = LogEntry(via, speech.text, key)
    try:
        with state.limits.slot(key):
            fault = state.faults.take()
            if fault and fault.kind == "status":
                entry.status = f"fault {fault.code}"
                return _status_response(fault.code, fault.retry_after)
            exchange = Exchange(state, request, api, speech, entry, fault)
            return await (send_audio_file(exchange) if via == "http" else send_event_stream(exchange))
    except LimitExceeded:
        entry.status = "busy"
        raise
    finally:
        state.request_log.write(entry)


def _upgrade_handler(state: ServerState, api: Api) -> Handler:
    async def open_session(request: web.Request) -> web.StreamResponse:
        key = request["key"]
        with state.limits.socket(key):
            if fault := state.faults.take(status_only=True):
                return _status_response(fault.code, fault.retry_after)
            socket = _new_socket()
            await socket.prepare(request)
            await WebSocketSession(state, socket, request, api, key).run()
        return socket

    authenticated = state.auth.required(open_session)

    async def handler(request: web.Request) -> web.StreamResponse:
        if not _new_socket().can_prepare(request).ok:
            raise web.HTTPNotFound
        return await authenticated(request)

    return handler


def _new_socket() -> web.WebSocketResponse:
    # autoping off: the session answers pings itself, because they do not count as activity (api.md, 4b).
    return web.WebSocketResponse(compress=False, autoping=False, max_msg_size=BODY_LIMIT, timeout=2.0)


def _status_response(status: int, retry_after: int | None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.json_response(error_bodies.status_body(status), status=status, headers=headers)


def _retired(*endpoint: str) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(error_bodies.retired(*endpoint), status=410)

    return handler
