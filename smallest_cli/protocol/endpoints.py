"""Paths, defaults and limits of the service (waves/api.md, 1 and 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from smallest_cli.models import STANDARD_MODEL, Api, Via

Fields = Mapping[str, Any]

MESSAGE_LIMIT = 4 * 1024 * 1024
"""Bytes of a message or server-sent event that the client accepts: 35 s of audio. The service sends 14 KB."""
ERROR_BODY_LIMIT = 64 * 1024

SSEShape = Literal["live", "older", "seed"]
ErrorForm = Literal["message", "nested", "list"]

PATHS: dict[Api, dict[Via, str]] = {
    "unified": {"ws": "/waves/v1/tts/live", "sse": "/waves/v1/tts/live", "http": "/waves/v1/tts"},
    "v3.1": {
        "ws": "/waves/v1/lightning-v3.1/get_speech/stream",
        "sse": "/waves/v1/lightning-v3.1/stream",
        "http": "/waves/v1/lightning-v3.1/get_speech",
    },
    "v2": {
        "ws": "/waves/v1/lightning-v2/get_speech/stream",
        "sse": "/waves/v1/lightning-v2/stream",
        "http": "/waves/v1/lightning-v2/get_speech",
    },
}
SSE_SHAPES: dict[Api, SSEShape] = {"unified": "live", "v3.1": "seed", "v2": "older"}
HEALTH_PATH = "/waves/v1/health"
DEFAULT_SAMPLE_RATE = 44_100
DEFAULT_MODEL = STANDARD_MODEL
DEFAULT_COMPLETION_WAIT_MS = 4_000
ENCODINGS = ("wav", "ulaw", "alaw", "pcm", "mp3")
KEEP_ALIVE_TYPES = ("ping", "keepalive", "keep_alive", "keep-alive")


def path_model(model: str) -> str:
    """A model as paths, clones and logs spell it: with hyphens (waves/api.md, 1)."""
    return model.replace("_", "-")


def voices_path(model: str) -> str:
    """The path that lists the voices of a model's pool (waves/api.md, 7)."""
    return f"/waves/v1/{path_model(model)}/get_voices"
