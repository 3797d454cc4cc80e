"""Messages of one socket into jobs: plain ones at once, buffered ones when they are due (4b, 4c)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter_ns
from uuid import uuid4

from smallest_cli.errors import ProtocolError
from smallest_cli.models import Api, Buffering, SpeechRequest
from smallest_cli.protocol.endpoints import Fields
from smallest_cli.protocol.json import decode_object
from smallest_cli.protocol.messages import PONG
from smallest_cli.protocol.requests import decode_buffering, is_keep_alive
from smallest_cli.server.config import TEXT_CAP
from smallest_cli.server.state import ServerState
from smallest_cli.server.validation import Issue, issue, refuse

LONGEST = 250
SHORTEST_SENTENCE = 20
"""How long "long enough" is, nobody states; the vendor's example releases one of 26 characters."""

_SENTENCE_END = re.compile(r"[.?!…。！？؟।][\"'”’)\]»]*\s*$")
_NO_END = re.compile(
    r"(\d[.,]$)|(\b([A-Za-z]|Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|No|Inc|Ltd|Jr|Sr|Mt|approx)\.\s*$)"
)
_INNER_END = re.compile(r"[.?!…][\"'”’)\]»]*\s|[。！？؟।]")


def release(held: str) -> tuple[list[str], str]:
    """The segments that `held` gives now, and what goes on waiting. Joined they are `held`."""
    segments = []
    while len(held) > LONGEST:
        cut = _cut(held)
        segments.append(held[:cut])
        held = held[cut:]
    if len(held.strip()) >= SHORTEST_SENTENCE and ends_sentence(held):
        segments.append(held)
        held = ""
    return segments, held


def ends_sentence(text: str) -> bool:
    """Whether `text` stops at the end of a sentence, and not at an abbreviation or inside a number."""
    return bool(_SENTENCE_END.search(text)) and not _NO_END.search(text)


def _cut(text: str) -> int:
    """Where text that is too long is cut: after a sentence, else after a blank, else anywhere."""
    ends = [
        match.end()
        for match in _INNER_END.finditer(text, 0, LONGEST)
        if not _NO_END.search(text[: match.end()])
    ]
    if ends:
        return ends[-1]
    return text.rfind(" ", 0, LONGEST) + 1 or LONGEST


DEFAULT_DELAY_MS = 3_000
MOST_CONTEXTS = 64


class Refused(Exception):
    """The message is answered by an error; `issues` say what is wrong with it."""

    def __init__(self, *issues: Issue) -> None:
        super().__init__("refused")
        self.issues = list(issues)


@dataclass(frozen=True, slots=True)
class Job:
    """A text to say now. An empty one only brings `complete`; one that does not end brings none."""

    request: SpeechRequest
    wait_s: float
    ends: bool = True
    closes: bool = False
    request_id: str = field(default_factory=lambda: f"task_{uuid4()}")
    received_ns: int = field(default_factory=perf_counter_ns)

    @property
    def received(self) -> float:
        """The same instant, in seconds."""
        return self.received_ns / 1e9


@dataclass(slots=True)
class Held:
    """Text that waits, spoken as the latest request asks. `timer` runs from its first fragment."""

    request: SpeechRequest
    text: str = ""
    partly: bool = False
    timer: asyncio.TimerHandle | None = None
    request_id: str = field(default_factory=lambda: f"task_{uuid4()}")

    def add(self, request: SpeechRequest) -> None:
        """Another fragment, verbatim; a blank one before all text is nothing."""
        if len(self.text) + len(request.text) > TEXT_CAP:
            raise Refused(issue("text", f"more than {TEXT_CAP} characters are waiting"))
        if request.text.strip():
            self.request = request
        elif request.completion_wait_ms is not None:
            self.request = replace(self.request, completion_wait_ms=request.completion_wait_ms)
        if self.text or request.text.strip():
            self.text += request.text

    def job(self, wait_s: float, *, ends: bool = True, closes: bool = False) -> Job:
        """All that waits, as one job of the buffer's own id."""
        request = replace(self.request, text=self.text)
        return Job(request, wait_s, ends, closes, request_id=self.request_id)

    def stop(self) -> None:
        """Stop the clock."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class MessageBuffer:
    """Reads messages and hands jobs to `enqueue`, which may raise asyncio.QueueFull."""

    def __init__(self, studio: ServerState, api: Api, enqueue: Callable[[Job], None]) -> None:
        self._studio = studio
        self._api: Api = api
        self._rules = studio.rules(api, "ws")
        self._enqueue = enqueue
        self._contexts: dict[str, Held] = {}
        self._buffer: Held | None = None

    def close(self) -> None:
        """The socket is gone, and all that waits with it."""
        for held in (*self._contexts.values(), *filter(None, [self._buffer])):
            held.stop()

    def read(self, data: str | bytes) -> str | None:
        """Take in a message; gives a message to answer with at once, if any. Raises Refused."""
        try:
            fields = decode_object(data)
        except ProtocolError:
            raise Refused from None
        if is_keep_alive(fields):
            return PONG
        buffering = decode_buffering(fields)
        text = fields.get("text")
        blank = isinstance(text, str) and not text.strip()
        if buffering is None and blank and text:
            return None  # the older keep-alive: no audio, no reply, and nothing is flushed by it
        if buffering is None and fields.get("cancel_request") is True:
            self._forget_buffer()
            return None
        waiting = buffering is not None or self._buffer is not None
        request = self._request(fields, buffering, blank and waiting)
        if buffering is None and self._buffer is None:
            self._enqueue(Job(request, self._wait_s(request, buffered=False), closes=True))
        elif buffering is None or buffering.context is None:
            self._hold(request, buffering or Buffering(flush=True))
        else:
            self._continue(request, buffering, buffering.context)
        return None

    def _request(self, fields: Fields, buffering: Buffering | None, silent: bool) -> SpeechRequest:
        """The request of a message that nothing is wrong with; a closing one needs no text."""
        optional: set[str] = set()
        if buffering is not None and buffering.context is not None:
            if buffering.flush or buffering.max_flush_ms:
                raise Refused(
                    issue("context_id", "context_id goes with neither flush nor max_buffer_flush_ms")
                )
            if buffering.close or buffering.cancel:
                optional = {"text", "voice_id"}
            elif not buffering.more:
                optional = {"text"}
        checked = fields
        if silent:
            optional.add("text")
            checked = {name: value for name, value in fields.items() if name != "text"}
        if issues := refuse(checked, self._rules, optional=optional):
            raise Refused(*issues)
        return self._studio.decode(fields, self._api)

    def _wait_s(self, request: SpeechRequest, *, buffered: bool) -> float:
        behaviour = self._studio.behaviour
        own = behaviour.buffered_complete_wait_ms if buffered else behaviour.complete_wait_ms
        return (own if request.completion_wait_ms is None else request.completion_wait_ms) / 1000

    # the older buffer

    def _hold(self, request: SpeechRequest, buffering: Buffering) -> None:
        held = self._buffer = self._buffer or Held(request)
        held.add(request)
        if buffering.flush or not buffering.more:
            self._forget_buffer()
            if held.text.strip():
                self._enqueue(held.job(self._wait_s(held.request, buffered=True), closes=True))
            elif held.partly or self._studio.behaviour.answer_empty_close:
                self._enqueue(held.job(0.0, closes=True))
        elif buffering.max_flush_ms and held.timer is None and held.text.strip():
            self._later(held, buffering.max_flush_ms, self._flush_part)

    def _flush_part(self, held: Held) -> None:
        """So long have they waited: what is there is said, `complete` comes at the end of all."""
        self._enqueue(held.job(0.0, ends=False))
        held.text, held.partly = "", True

    def _forget_buffer(self) -> None:
        if self._buffer is not None:
            self._buffer.stop()
            self._buffer = None

    # continuations

    def _continue(self, request: SpeechRequest, buffering: Buffering, context: str) -> None:
        held = self._contexts.get(context)
        if buffering.cancel:
            if held is not None:
                held.stop()
                held.text = ""
            return
        if held is None:
            if buffering.close:
                return
            if len(self._contexts) >= MOST_CONTEXTS:
                raise Refused(issue("context_id", f"more than {MOST_CONTEXTS} contexts"))
            held = self._contexts[context] = Held(request)
        if not buffering.close:
            held.add(request)
        if buffering.more and not buffering.close:
            self._release(held, buffering.max_delay_ms)
        else:
            del self._contexts[context]
            self._finish(held, answer=not buffering.close)

    def _release(self, held: Held, delay_ms: int | None) -> None:
        """Say the sentences that are whole; the rest waits, by the clock of its first fragment."""
        segments, held.text = release(held.text)
        for segment in segments:
            self._say(held, segment)
        if segments or not held.text.strip():
            held.stop()
        if held.text.strip() and held.timer is None:
            self._later(held, DEFAULT_DELAY_MS if delay_ms is None else delay_ms, self._expire)

    def _expire(self, held: Held) -> None:
        self._say(held, held.text)
        held.text = ""

    def _finish(self, held: Held, *, answer: bool) -> None:
        """Say all that is left; a closing message that leaves nothing to say may want an answer still."""
        held.stop()
        segments, rest = release(held.text)
        segments += [rest] if rest.strip() else []
        for segment in segments:
            self._say(held, segment)
        if not segments and answer and self._studio.behaviour.answer_empty_close:
            self._enqueue(Job(replace(held.request, text=""), 0.0))

    def _say(self, held: Held, segment: str) -> None:
        request = replace(held.request, text=segment)
        self._enqueue(Job(request, self._wait_s(request, buffered=True)))

    @staticmethod
    def _later(held: Held, delay_ms: float, due: Callable[[Held], None]) -> None:
        def ring() -> None:
            held.timer = None
            try:
                due(held)
            except asyncio.QueueFull:
                held.timer = loop.call_later(delay_ms / 1000 + 0.1, ring)

        loop = asyncio.get_running_loop()
        held.timer = loop.call_later(delay_ms / 1000, ring)
