"""The configuration of the offline server: disputed protocol points, timing and injected faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from smallest_cli.errors import UsageError
from smallest_cli.models import MAX_REQUEST_CHARS
from smallest_cli.network.origin import is_loopback
from smallest_cli.protocol.endpoints import DEFAULT_COMPLETION_WAIT_MS, ErrorForm, SSEShape
from smallest_cli.server.faults import FaultSpec

TEXT_LIMIT = 100_000
MIN_TOKEN_CHARS = 16

PROFILES: Mapping[str, Mapping[str, Any]] = {
    "live": {
        "complete_wait_ms": DEFAULT_COMPLETION_WAIT_MS,
        "honour_complete_wait": False,
        "max_text": MAX_REQUEST_CHARS,
    },
    "documented": {
        "complete_wait_ms": DEFAULT_COMPLETION_WAIT_MS,
        "close_after_complete": True,
        "max_text": MAX_REQUEST_CHARS,
    },
    "instant": {},
}
"""Values that differ from the defaults: the service as independent observers report it, as its reference
pages describe it, and without waiting for `complete` (waves/api.md, 0.1, 0.2 and 0.4)."""


class InvalidField(UsageError):
    """A bad value of a field, kept apart from its name because `serve` names the option instead."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}")
        self.name, self.problem = name, problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Configuration of the server; the defaults are what existing clients need (waves/api.md, 12)."""

    host: str = "127.0.0.1"
    """Address to listen on; any but loopback needs a token."""
    port: int = 0
    """Port to listen on; 0 picks a free one."""
    token: str | None = None
    """The only key accepted; None accepts any key that is not empty."""
    tls_cert: str | None = None
    """Certificate chain (PEM) for https and wss."""
    tls_key: str | None = None
    """Private key (PEM) of the certificate."""
    concurrency: int = 1
    """Concurrent syntheses per key; open sockets are limited to 5 times that (4f)."""
    extra_voices: tuple[str, ...] = ()
    """Additional voice ids to accept."""
    max_text: int | None = None
    """Maximum text length after trimming, in characters; streamed fragments are not limited (0.4)."""
    blocked_words: tuple[str, ...] = ()
    """Words that a request with `content_filter` in reject mode must not contain (0.6)."""
    check_voice_model: bool = True
    """Reject a voice of the other model; without it the older behaviour, audio with 200 (0.5)."""
    idle_timeout_s: float = 60.0
    """Seconds without a message after which a socket is closed (4b)."""
    close_after_complete: bool = False
    """Close the socket after a plain `complete`, as documented; requests behind it are lost (4c.1)."""
    second_request: Literal["queue", "hold", "refuse"] = "queue"
    """A plain request while another is under way: its audio follows (`queue`), it begins only after the
    other's `complete` (`hold`), or it is refused (0.3)."""
    complete_per: Literal["request", "quiet"] = "request"
    """Send `complete` once per request, or once per quiet period (4c.1)."""
    complete_wait_ms: float = 0
    """Quiet time before `complete` of a plain request, in milliseconds."""
    honour_complete_wait: bool = True
    """Let a plain request shorten that time with its `complete_backoff_ms` (0.1)."""
    buffered_complete_wait_ms: float = DEFAULT_COMPLETION_WAIT_MS
    """Quiet time before `complete` of a buffered request, in milliseconds."""
    complete_form: Literal["live", "older"] = "live"
    """Form of `complete` on the WebSocket (3c)."""
    answer_empty_close: bool = True
    """Answer a closing message without text to speak with `complete` (12)."""
    sse_shape: SSEShape | None = None
    """SSE envelope for all routes; None uses the one of each route (3b)."""
    error_form: ErrorForm = "message"
    """Form of errors on the WebSocket (5b)."""
    chunked: bool = False
    """Send HTTP audio in chunks, without Content-Length."""
    legacy: Literal["on", "404", "410"] = "on"
    """State of the v3.1 and v2 routes (1)."""
    first_byte_ms: float = 0
    """Median time to the first audio, in milliseconds."""
    first_byte_sigma: float = 0
    """Spread of that time: sigma of the lognormal distribution."""
    realtime_factor: float = 0
    """Send audio at this multiple of real time; 0 = unpaced."""
    jitter_ms: float = 0
    """Maximum random delay added to each block, in milliseconds."""
    seed: int | None = None
    """Seed of the random delays."""
    fail: tuple[str, ...] = ()
    """Faults to inject in turn: status:503, status:429:2, error:3, close:1011:2, stall:2."""
    fail_times: int = 0
    """Number of requests that fail; 0 = all."""
    log: str | None = None
    """File to which a JSON line is appended for each request."""

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name in ("max_text", "seed"):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise InvalidField(name, f"must be a number from {low:g} to {high:g}")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InvalidField(name, f"must be one of {', '.join(map(str, allowed))}")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise UsageError("a TLS certificate and its key must be given together")
        if not self.on_loopback and len(self.token or "") < MIN_TOKEN_CHARS:
            raise UsageError(
                f"listening on {self.host} needs a token of at least {MIN_TOKEN_CHARS} characters",
                hint="pass --token, or drop --host",
            )
        if self.token is not None and not self.token:
            raise UsageError("the token is empty")
        for spec in self.fail:
            FaultSpec.parse(spec)

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
        given = {**PROFILES[profile], **given}
        known = {item.name for item in fields(cls)}
        if unknown := sorted(set(given) - known):
            raise UsageError(f"unknown server setting {', '.join(map(repr, unknown))}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
        }
        for name in ("fail", "extra_voices", "blocked_words"):
            items = values.get(name, ())
            if not (isinstance(items, tuple) and all(isinstance(item, str) for item in items)):
                raise InvalidField(name, "must be a list of strings")
        for name in ("host", "token", "tls_cert", "tls_key", "log"):
            if not isinstance(values.get(name, ""), str | None):
                raise InvalidField(name, "must be a string")
        return cls(**values)


_RANGES: Mapping[str, tuple[float, float]] = {
    "port": (0, 65_535), "concurrency": (1, 10_000), "max_text": (1, TEXT_LIMIT),
    "idle_timeout_s": (0.01, 180), "complete_wait_ms": (0, 10_000),
    "buffered_complete_wait_ms": (0, 10_000), "first_byte_ms": (0, 60_000), "first_byte_sigma": (0, 3),
    "realtime_factor": (0, 1_000), "jitter_ms": (0, 10_000), "seed": (0, 2**63), "fail_times": (0, 10**9),
}  # fmt: skip
_CHOICES: Mapping[str, tuple[object, ...]] = {
    "complete_per": ("request", "quiet"), "complete_form": ("live", "older"),
    "second_request": ("queue", "hold", "refuse"),
    "sse_shape": ("live", "older", "seed", None), "error_form": ("message", "nested", "list"),
    "legacy": ("on", "404", "410"), "close_after_complete": (True, False),
    "answer_empty_close": (True, False), "chunked": (True, False), "honour_complete_wait": (True, False),
    "check_voice_model": (True, False),
}  # fmt: skip
