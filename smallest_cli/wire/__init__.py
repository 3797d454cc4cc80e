"""The wire format, both directions. No I/O, no clock.

Every fact is from waves/api.md; the section stands at the function. The client encodes requests and
decodes messages, the offline server does the reverse; they meet nowhere else.
"""

from smallest_cli.wire.failures import (
    decode_close,
    decode_error,
    decode_refusal,
    decode_retry_after,
    describe_failure,
)
from smallest_cli.wire.messages import (
    PONG,
    EventStream,
    decode_message,
    encode_error_message,
    encode_message,
    encode_sse,
)
from smallest_cli.wire.objects import decode_object
from smallest_cli.wire.requests import (
    KEEP_ALIVE,
    decode_buffering,
    decode_request,
    encode_request,
    is_keep_alive,
)
from smallest_cli.wire.routes import (
    DEFAULT_COMPLETION_WAIT_MS,
    DEFAULT_MODEL,
    DEFAULT_SAMPLE_RATE,
    ENCODINGS,
    HEALTH_PATH,
    MESSAGE_LIMIT,
    PATHS,
    REFUSAL_LIMIT,
    SSE_SHAPES,
    ErrorForm,
    Fields,
    SSEShape,
    voices_path,
)
from smallest_cli.wire.voices import encode_voices

__all__ = [
    "DEFAULT_COMPLETION_WAIT_MS",
    "DEFAULT_MODEL",
    "DEFAULT_SAMPLE_RATE",
    "ENCODINGS",
    "HEALTH_PATH",
    "KEEP_ALIVE",
    "MESSAGE_LIMIT",
    "PATHS",
    "PONG",
    "REFUSAL_LIMIT",
    "SSE_SHAPES",
    "ErrorForm",
    "EventStream",
    "Fields",
    "SSEShape",
    "decode_buffering",
    "decode_close",
    "decode_error",
    "decode_message",
    "decode_object",
    "decode_refusal",
    "decode_request",
    "decode_retry_after",
    "describe_failure",
    "encode_error_message",
    "encode_message",
    "encode_request",
    "encode_sse",
    "encode_voices",
    "is_keep_alive",
    "voices_path",
]
