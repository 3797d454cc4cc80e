"""The configuration of the offline server: disputed protocol points, timing and injected faults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, ValidationError, convert

from smallest_cli.errors import UsageError
from smallest_cli.network.origin import is_loopback
from smallest_cli.protocol.endpoints import DEFAULT_COMPLETION_WAIT_MS, ErrorForm, SSEShape
from smallest_cli.server.faults import FaultSpec

TEXT_LIMIT = 100_000
MIN_TOKEN_CHARS = 16

Milliseconds = Annotated[float, Meta(ge=0, le=10_000)]

_DOCUMENTED = {"complete_wait_ms": DEFAULT_COMPLETION_WAIT_MS, "max_text": 8_000}
PROFILES: Mapping[str, Mapping[str, Any]] = {
    "live": {**_DOCUMENTED, "honour_complete_wait": False},
    "documented": {**_DOCUMENTED, "close_after_complete": True},
    "instant": {},
}
"""Profiles, as values that differ from the defaults: the service as third parties report it, as its reference
pages document it, and without waiting for `complete` (waves/api.md, 0.1, 0.2 and 0.4)."""


class InvalidField(UsageError):
    """An invalid field value; the name is separate because `serve` shows the option instead."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}")
        self.name, self.problem = name, problem


class ServerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configuration of the server; the defaults suit existing clients (waves/api.md, 12)."""

    host: str = "127.0.0.1"  # address to listen on; beyond loopback, a token is required
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0  # 0 = a free port
    token: str | None = None  # the only valid key; None: any non-empty key
    tls_cert: str | None = None  # certificate chain (PEM) for https and wss
    tls_key: str | None = None  # its private key (PEM)
    # Concurrent syntheses per key; open sockets are limited to 5 times as many (4f).
    concurrency: Annotated[int, Meta(ge=1, le=10_000)] = 1
    extra_voices: tuple[str, ...] = ()  # additional voice ids to accept
    # Maximum text length after trimming, in characters; streamed fragments are not limited (0.4).
    max_text: Annotated[int, Meta(ge=1, le=TEXT_LIMIT)] | None = None
    # Words that a request with `content_filter` in reject mode must not contain (0.6).
    blocked_words: tuple[str, ...] = ()
    # Reject a voice of the other model; False is the older behaviour, audio with 200 (0.5).
    check_voice_model: bool = True
    # Seconds without a message after which a socket is closed (4b).
    idle_timeout_s: Annotated[float, Meta(ge=0.01, le=180)] = 60.0
    # Seconds for a complete request, from its first byte to the last of its body.
    request_timeout_s: Annotated[float, Meta(ge=0.01, le=3600)] = 30.0
    # Seconds without a request, or without reading a reply, after which a connection is closed.
    keep_alive_s: Annotated[float, Meta(ge=0.01, le=3600)] = 60.0
    # Close the socket after a plain `complete`, as documented; later requests are lost (4c.1).
    close_after_complete: bool = False
    # A plain request during another: its audio follows at once (`queue`), it starts after the other's
    # `complete` (`hold`), or it is rejected (0.3).
    second_request: Literal["queue", "hold", "refuse"] = "queue"
    complete_per: Literal["request", "quiet"] = "request"  # `complete` per request or quiet period (4c.1)
    complete_wait_ms: Milliseconds = 0  # idle time before `complete` of a plain request
    honour_complete_wait: bool = True  # a plain request may shorten it by `complete_backoff_ms` (0.1)
    buffered_complete_wait_ms: Milliseconds = DEFAULT_COMPLETION_WAIT_MS  # of a buffered request
    complete_form: Literal["live", "older"] = "live"  # form of `complete` on the WebSocket (3c)
    answer_empty_close: bool = True  # answer a closing message without text to speak with `complete` (12)
    sse_shape: SSEShape | None = None  # SSE envelope for all routes; None: per route (3b)
    error_form: ErrorForm = "message"  # form of errors on the WebSocket (5b)
    chunked: bool = False  # send HTTP audio in chunks, without Content-Length
    legacy: Literal["on", "404", "410"] = "on"  # state of the v3.1 and v2 routes (1)
    openai: bool = False  # also serve POST /v1/audio/speech in the form of OpenAI's API
    first_byte_ms: Annotated[float, Meta(ge=0, le=60_000)] = 0  # median time to the first audio
    first_byte_sigma: Annotated[float, Meta(ge=0, le=3)] = 0  # its spread: sigma of the lognormal
    realtime_factor: Annotated[float, Meta(ge=0, le=1_000)] = 0  # multiple of real time; 0 = unpaced
    jitter_ms: Milliseconds = 0  # maximum random delay added to each block
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None  # seed of the random delays
    fail: tuple[str, ...] = ()  # faults to inject in turn, see `FaultSpec.parse`
    fail_times: Annotated[int, Meta(ge=0, le=10**9)] = 0  # number of requests that fail; 0 = all
    log: str | None = None  # file to which a JSON line is appended for each request

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @classmethod
    def from_fields(cls, given: Mapping[str, Any]) -> ServerConfig:
        """Build a configuration from JSON fields, `profile` among them (default: instant).

        Raises UsageError for an unknown name or a bad value.
        """
        given = dict(given)
        profile = given.pop("profile", "instant")
        if str(profile) not in PROFILES:
            raise InvalidField("profile", f"must be one of {', '.join(PROFILES)}")
        try:
            config = convert({**PROFILES[profile], **given}, cls)
        except ValidationError as error:
            # e.g. "Expected `int` <= 65535 - at `$.port`"; unknown names come without a path
            problem, _, place = str(error).replace("`", "").partition(" - at $.")
            if not place:
                raise UsageError(f"invalid server settings: {problem}") from None
            raise InvalidField(place, f"is invalid: {problem[0].lower()}{problem[1:]}") from None
        if bool(config.tls_cert) != bool(config.tls_key):
            raise UsageError("a TLS certificate and its key must be given together")
        if not config.on_loopback and len(config.token or "") < MIN_TOKEN_CHARS:
            raise UsageError(
                f"listening on {config.host} needs a token of at least {MIN_TOKEN_CHARS} characters",
                hint="pass --token, or drop --host",
            )
        if config.token is not None and not config.token:
            raise UsageError("the token is empty")
        for spec in config.fail:
            FaultSpec.parse(spec)
        return config
