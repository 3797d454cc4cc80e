"""Convert the messages of one socket to synthesis jobs (waves/api.md, 4c).

Plain requests become jobs at once, buffered text and continuations when due.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter_ns
from uuid import uuid4

from smallest_cli.errors import ProtocolError
from smallest_cli.models import SEGMENT_CHARS, Api, Buffering, SpeechRequest
from smallest_cli.protocol.endpoints import Fields
from smallest_cli.protocol.json import decode_object
from smallest_cli.protocol.messages import PONG
from smallest_cli.protocol.requests import decode_buffering, is_keep_alive
from smallest_cli.server.config import TEXT_LIMIT
from smallest_cli.server.state import ServerState
from smallest_cli.server.validation import Issue, custom_issue, validate

MIN_SENTENCE_CHARS = 20
"""The docs only say "long enough"; the vendor's example releases a sentence of 26 characters (4c.3)."""
DEFAULT_DELAY_MS = 3_000
MAX_CONTEXTS = 64
RETRY_S = 0.1

_CLOSERS = r"[\"'”’)\]»]*"
_SENTENCE_END = re.compile(rf"[.?!…。！？؟।]{_CLOSERS}\s*$")
_INNER_END = re.compile(rf"[.?!…]{_CLOSERS}\s|[。！？؟।]")
_NO_END = re.compile(
    r"(\d[.,]$)|(\b([A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|No|Inc|Ltd|Jr|Sr|Mt|approx)\.\s*$)"
)


def split_complete(text: str) -> tuple[list[str], str]:
    """Split buffered text into segments due now and the remainder. Joined they equal `text` (4c.3)."""
    segments = []
    while len(text) > SEGMENT_CHARS:
        # Split after the last sentence that fits, else after a space, else anywhere.
        ends = [match.end() for match in _INNER_END.finditer(text, 0, SEGMENT_CHARS)]
        ends = [end for end in ends if not _NO_END.search(text[:end])]
        end = ends[-1] if ends else text.rfind(" ", 0, SEGMENT_CHARS) + 1 or SEGMENT_CHARS
        segments.append(text[:end])
        text = text[end:]
    if len(text.strip()) >= MIN_SENTENCE_CHARS and ends_sentence(text):
        return [*segments, text], ""
    return segments, text


def ends_sentence(text: str) -> bool:
    """Whether `text` ends a sentence, and not with an abbreviation or inside a number."""
    return bool(_SENTENCE_END.search(text)) and not _NO_END.search(text)


class InvalidMessage(Exception):
    """The message is answered with an error that lists `issues`."""

    def __init__(self, *issues: Issue) -> None:
        super().__init__("invalid message")
        self.issues = list(issues)


def _new_request_id() -> str:
    return f"task_{uuid4()}"


@dataclass(frozen=True, slots=True)
class Job:
    """Text to synthesize now; empty text only sends `complete`.

    `complete` is sent `complete_wait_s` after the last chunk, but only if the job `ends` its
    request. `closes` allows the server to close the socket afterwards.
    """

    request: SpeechRequest
    complete_wait_s: float
    ends: bool = True
    closes: bool = False
    request_id: str = field(default_factory=_new_request_id)
    received_ns: int = field(default_factory=perf_counter_ns)


@dataclass(slots=True)
class BufferedText:
    """Text not yet released, spoken with the parameters of the latest request.

    `timer` runs from the first fragment; `partly_sent`: a part was released before.
    """

    request: SpeechRequest
    text: str = ""
    partly_sent: bool = False
    timer: asyncio.TimerHandle | None = None
    request_id: str = field(default_factory=_new_request_id)

    def add(self, request: SpeechRequest, waiting: int) -> None:
        """Append a fragment verbatim; blank fragments before any text are dropped.

        `waiting` is the number of characters in all buffers of the socket.
        """
        if waiting + len(request.text) > TEXT_LIMIT:
            raise InvalidMessage(custom_issue("text", f"more than {TEXT_LIMIT} characters are waiting"))
        if request.text.strip():
            self.request = request
        elif request.completion_wait_ms is not None:
            self.request = self.request._replace(completion_wait_ms=request.completion_wait_ms)
        if self.text or request.text.strip():
            self.text += request.text

    def job(self, complete_wait_s: float, *, ends: bool = True, closes: bool = False) -> Job:
        """Return all buffered text as one job."""
        request = self.request._replace(text=self.text)
        return Job(request, complete_wait_s, ends, closes, request_id=self.request_id)

    def start_timer(self, delay_ms: float, callback: Callable[[BufferedText], None]) -> None:
        """Call `callback` after the delay, and retry shortly while the job queue is full."""

        def expire() -> None:
            self.timer = None
            try:
                callback(self)
            except asyncio.QueueFull:
                self.timer = loop.call_later(delay_ms / 1000 + RETRY_S, expire)

        loop = asyncio.get_running_loop()
        self.timer = loop.call_later(delay_ms / 1000, expire)

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class MessageBuffer:
    """Read messages and pass jobs to `enqueue`, which may raise asyncio.QueueFull."""

    def __init__(self, state: ServerState, api: Api, enqueue: Callable[[Job], None]) -> None:
        self._state = state
        self._config = state.config
        self._api: Api = api
        self._rules = state.rules(api, "ws")
        self._enqueue = enqueue
        self._buffers: dict[str | None, BufferedText] = {}  # by context; None is the legacy buffer

    def close(self) -> None:
        """Stop all timers. Text still buffered is lost with the socket (4c.3)."""
        for context in list(self._buffers):
            self._drop(context)

    def _waiting(self) -> int:
        return sum(len(buffered.text) for buffered in self._buffers.values())

    def _drop(self, context: str | None) -> None:
        if context in self._buffers:
            self._buffers.pop(context).stop_timer()

    def read(self, data: str | bytes) -> str | None:
        """Process one message; return an immediate reply, if any. Raises InvalidMessage."""
        try:
            fields = decode_object(data, raw=True)
        except ProtocolError:
            raise InvalidMessage from None
        if is_keep_alive(fields):
            return PONG
        buffering = decode_buffering(fields)
        text = fields.get("text")
        blank = isinstance(text, str) and not text.strip()
        if buffering is None and blank and text:
            return None  # older keep-alive: no audio, no reply, no flush (4b, 12)
        if buffering is None and fields.get("cancel_request") is True:
            self._drop(None)
            return None
        buffered = buffering is not None or None in self._buffers
        request = self._decode(fields, buffering, blank and buffered)
        if not buffered:
            self._enqueue(Job(request, self._complete_wait_s(request, buffered=False), closes=True))
        elif buffering is None or buffering.context is None:
            self._add_to_legacy(request, buffering or Buffering(flush=True))
        else:
            self._add_to_context(request, buffering, buffering.context)
        return None

    def _decode(self, fields: Fields, buffering: Buffering | None, blank_allowed: bool) -> SpeechRequest:
        """Validate and decode a message; one that closes or cancels a buffer needs no text (4c)."""
        optional = {"text"} if blank_allowed else set()
        if buffering is not None and buffering.context is not None:
            if buffering.flush or buffering.max_flush_ms:
                message = "context_id cannot be combined with flush or max_buffer_flush_ms"
                raise InvalidMessage(custom_issue("context_id", message))
            if buffering.close or buffering.cancel:
                optional = {"text", "voice_id"}
            elif not buffering.more:
                optional = {"text"}
        checked = {name: value for name, value in fields.items() if not (blank_allowed and name == "text")}
        # Text of any length may be streamed in fragments (0.4).
        rules = self._rules if buffering is None else self._rules._replace(max_text=None)
        if issues := validate(checked, rules, optional=optional):
            raise InvalidMessage(*issues)
        return self._state.decode(fields, self._api)

    def _complete_wait_s(self, request: SpeechRequest, *, buffered: bool) -> float:
        """Return the idle time before `complete`: `complete_backoff_ms` or the configured one."""
        config = self._config
        if request.completion_wait_ms is not None and (buffered or config.honour_complete_wait):
            return request.completion_wait_ms / 1000
        return (config.buffered_complete_wait_ms if buffered else config.complete_wait_ms) / 1000

    # The legacy buffer (4c.2)

    def _add_to_legacy(self, request: SpeechRequest, buffering: Buffering) -> None:
        buffered = self._buffers.setdefault(None, BufferedText(request))
        buffered.add(request, self._waiting())
        if buffering.flush or not buffering.more:
            self._drop(None)
            speaks = bool(buffered.text.strip())
            if speaks or buffered.partly_sent or self._config.answer_empty_close:
                wait_s = self._complete_wait_s(buffered.request, buffered=True) if speaks else 0.0
                self._enqueue(buffered.job(wait_s, closes=True))
        elif buffering.max_flush_ms and buffered.timer is None and buffered.text.strip():
            buffered.start_timer(buffering.max_flush_ms, self._flush_part)

    def _flush_part(self, buffered: BufferedText) -> None:
        """Release text after `max_buffer_flush_ms`; `complete` follows the last part."""
        self._enqueue(buffered.job(0.0, ends=False))
        buffered.text, buffered.partly_sent = "", True

    # Continuations (4c.3)

    def _add_to_context(self, request: SpeechRequest, buffering: Buffering, context: str) -> None:
        buffered = self._buffers.get(context)
        if buffering.cancel:
            # Only text not yet released is dropped; the context stays open (0.7).
            if buffered is not None:
                buffered.stop_timer()
                buffered.text = ""
            return
        if buffered is None:
            if buffering.close:
                return
            if len(self._buffers.keys() - {None}) >= MAX_CONTEXTS:
                raise InvalidMessage(custom_issue("context_id", f"more than {MAX_CONTEXTS} contexts"))
            buffered = self._buffers[context] = BufferedText(request)
        if not buffering.close:
            buffered.add(request, self._waiting())
        if buffering.more and not buffering.close:
            self._release(buffered, buffering.max_delay_ms)
        else:
            self._drop(context)
            self._finish(buffered, answer=not buffering.close)

    def _release(self, buffered: BufferedText, delay_ms: int | None) -> None:
        """Release complete sentences; the delay of the remainder counts from its first fragment."""
        segments, buffered.text = split_complete(buffered.text)
        for segment in segments:
            self._enqueue_segment(buffered, segment)
        if segments or not buffered.text.strip():
            buffered.stop_timer()
        if buffered.text.strip() and buffered.timer is None:
            buffered.start_timer(DEFAULT_DELAY_MS if delay_ms is None else delay_ms, self._release_all)

    def _release_all(self, buffered: BufferedText) -> None:
        self._enqueue_segment(buffered, buffered.text)
        buffered.text = ""

    def _finish(self, buffered: BufferedText, *, answer: bool) -> None:
        """Release all text; a closing message without any may still be answered (12)."""
        segments, remainder = split_complete(buffered.text)
        segments += [remainder] if remainder.strip() else []
        for segment in segments:
            self._enqueue_segment(buffered, segment)
        if not segments and answer and self._config.answer_empty_close:
            self._enqueue(Job(buffered.request._replace(text=""), 0.0))

    def _enqueue_segment(self, buffered: BufferedText, text: str) -> None:
        request = buffered.request._replace(text=text)
        self._enqueue(Job(request, self._complete_wait_s(request, buffered=True)))
