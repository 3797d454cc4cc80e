"""Every switch of the offline server: what the sources dispute, how fast it is, what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from smallest_cli.errors import UsageError
from smallest_cli.network.origin import is_loopback
from smallest_cli.protocol.endpoints import DEFAULT_COMPLETION_WAIT_MS, ErrorForm, SSEShape
from smallest_cli.server.faults import FaultSpec

TEXT_CAP = 100_000
TOKEN_LENGTH = 16


class BadField(UsageError):
    """A field's bad value; whoever asked for it may know the field by another name."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}")
        self.name, self.problem = name, problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """How the server behaves; the defaults are those that real clients need (waves/api.md, 12)."""

    host: str = "127.0.0.1"
    """Address to listen on; another than loopback needs a token."""
    port: int = 0
    """Port to listen on; 0 takes a free one."""
    token: str | None = None
    """The only key to accept; without it any key that is not empty."""
    tls_cert: str | None = None
    """Certificate chain (PEM) to serve https and wss with."""
    tls_key: str | None = None
    """Private key (PEM) of the certificate."""
    concurrency: int = 1
    """Syntheses at a time for each key; open sockets are capped at 5 times that."""
    extra_voices: tuple[str, ...] = ()
    """Further voice ids to accept."""
    max_text: int | None = None
    """Refuse a longer text, in characters."""
    idle_timeout_s: float = 60.0
    """Seconds without a message after which a socket is closed."""
    close_after_complete: bool = False
    """Close the socket after `complete`, as the docs tell."""
    complete_per: Literal["request", "quiet"] = "request"
    """One `complete` for each request, or for each quiet period."""
    complete_wait_ms: float = 0
    """Quiet time before `complete` of a plain request."""
    buffered_complete_wait_ms: float = DEFAULT_COMPLETION_WAIT_MS
    """Quiet time before `complete` of a buffered one."""
    complete_form: Literal["live", "older"] = "live"
    """How `complete` looks on the WebSocket."""
    answer_empty_close: bool = True
    """Answer a closing message with nothing to say by `complete`."""
    sse_shape: SSEShape | None = None
    """One SSE envelope for every route, instead of its own."""
    error_form: ErrorForm = "message"
    """How errors look on the WebSocket."""
    chunked: bool = False
    """Send a one-shot reply in chunks, without its length."""
    legacy: Literal["on", "404", "410"] = "on"
    """What the v3.1 and v2 routes do."""
    first_byte_ms: float = 0
    """Median time to the first audio."""
    first_byte_sigma: float = 0
    """Spread of that time: the sigma of its logarithm."""
    realtime_factor: float = 0
    """Send audio at this multiple of real time; 0 at once."""
    jitter_ms: float = 0
    """Up to this much more before each block."""
    seed: int | None = None
    """Makes the random times repeatable."""
    fail: tuple[str, ...] = ()
    """A failure: status:503, status:429:2, error:3, close:1011:2, stall:2; several take turns."""
    fail_times: int = 0
    """How many requests fail before all is well; 0 for all of them."""
    log: str | None = None
    """File to append a line of JSON to for each request."""

    def __post_init__(self) -> None:
        self._check_numbers()
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise BadField(name, f"is one of {', '.join(map(str, allowed))}")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise UsageError("a certificate and its key are given together")
        if not self.on_loopback and len(self.token or "") < TOKEN_LENGTH:
            raise UsageError(
                f"listening on {self.host} needs a token of at least {TOKEN_LENGTH} characters",
                hint="give one with --token, or leave --host away",
            )
        if self.token is not None and not self.token:
            raise UsageError("the token is empty")
        for spec in self.fail:
            FaultSpec.parse(spec)

    def _check_numbers(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name in ("max_text", "seed"):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise BadField(name, f"is a number from {low:g} to {high:g}")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @classmethod
    def from_fields(cls, given: Mapping[str, Any]) -> ServerConfig:
        """A behaviour out of JSON. Raises UsageError for a name that is not there or a bad value."""
        known = {item.name for item in fields(cls)}
        if unknown := sorted(set(given) - known):
            raise UsageError(f"no such behaviour: {', '.join(unknown)}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
        }
        for name in ("fail", "extra_voices"):
            words = values.get(name, ())
            if not (isinstance(words, tuple) and all(isinstance(word, str) for word in words)):
                raise BadField(name, "is a list of words")
        for name in ("host", "token", "tls_cert", "tls_key", "log"):
            if not isinstance(values.get(name, ""), str | None):
                raise BadField(name, "is a word")
        return cls(**values)


_RANGES: Mapping[str, tuple[float, float]] = {
    "port": (0, 65_535), "concurrency": (1, 10_000), "max_text": (1, TEXT_CAP),
    "idle_timeout_s": (0.01, 180), "complete_wait_ms": (0, 10_000),
    "buffered_complete_wait_ms": (0, 10_000), "first_byte_ms": (0, 60_000), "first_byte_sigma": (0, 3),
    "realtime_factor": (0, 1_000), "jitter_ms": (0, 10_000), "seed": (0, 2**63), "fail_times": (0, 10**9),
}  # fmt: skip
_CHOICES: Mapping[str, tuple[object, ...]] = {
    "complete_per": ("request", "quiet"), "complete_form": ("live", "older"),
    "sse_shape": ("live", "older", "seed", None), "error_form": ("message", "nested", "list"),
    "legacy": ("on", "404", "410"), "close_after_complete": (True, False),
    "answer_empty_close": (True, False), "chunked": (True, False),
}  # fmt: skip
