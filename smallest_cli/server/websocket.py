"""One WebSocket from the upgrade to its end (waves/api.md, 4).

A reader takes messages at any time; one speaker says what they ask for, in order, one at a time.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field, replace
from time import perf_counter
from uuid import uuid4

from aiohttp import WSMsgType, web

from smallest_cli.errors import ServerError
from smallest_cli.models import Api, AudioChunk, Completed, WordTiming
from smallest_cli.protocol.messages import encode_error_message, encode_message
from smallest_cli.server import faults
from smallest_cli.server.auth import Busy
from smallest_cli.server.error_bodies import BUSY, INTERNAL, INVALID, status_body
from smallest_cli.server.faults import Fault, FaultSpec
from smallest_cli.server.request_log import Entry
from smallest_cli.server.state import ServerState
from smallest_cli.server.text_buffer import Job, MessageBuffer, Refused

LONGEST_IDLE_S = 180.0


@dataclass(slots=True)
class Conversation:
    """The state of one socket."""

    studio: ServerState
    socket: web.WebSocketResponse
    http: web.Request
    api: Api
    key: str
    session_id: str | None = field(init=False)
    _jobs: asyncio.Queue[Job] = field(init=False, default_factory=lambda: asyncio.Queue(256))
    _slot: ExitStack = field(init=False, default_factory=ExitStack)
    _speaking: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.session_id = None if self.api == "v2" else f"ws_{uuid4()}"  # v2 names no session (2b)

    async def run(self) -> None:
        """Talk until either side ends it."""
        inbox = MessageBuffer(self.studio, self.api, self._enqueue)
        tasks = [asyncio.create_task(self._listen(inbox)), asyncio.create_task(self._speak_all())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            inbox.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._slot.close()

    # listening

    async def _listen(self, inbox: MessageBuffer) -> None:
        idle_s = self._idle_s()
        deadline = perf_counter() + idle_s
        while True:
            try:
                message = await self.socket.receive(timeout=max(deadline - perf_counter(), 0.001))
            except TimeoutError:
                if self._speaking:  # the clock starts again when all has been said
                    deadline = perf_counter() + idle_s
                    continue
                # the one error that is documented, and it names no session
                text = f"Connection timed out after {idle_s:g} seconds of inactivity"
                await self.socket.send_str(encode_error_message(text, form=self.studio.behaviour.error_form))
                await self.socket.close()
                return
            if message.type is WSMsgType.PING:  # of the protocol, not of the API: no sign of life (4b)
                await self.socket.pong(message.data)
                continue
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                if message.type is WSMsgType.PONG:
                    continue
                return
            deadline = perf_counter() + idle_s
            await self._read(inbox, message.data)

    def _idle_s(self) -> float:
        asked = self.http.query.get("timeout", "")
        if asked.isascii() and asked.isdigit() and int(asked[:9]) > 0:
            return min(float(asked[:9]), LONGEST_IDLE_S)
        return self.studio.behaviour.idle_timeout_s

    async def _read(self, inbox: MessageBuffer, data: str | bytes) -> None:
        try:
            answer = inbox.read(data)
        except Refused as refusal:
            await self._fail(INVALID["error"], refusal.issues)
        except asyncio.QueueFull:
            await self._fail(BUSY["error"])
        else:
            if answer is not None:
                await self.socket.send_str(answer)

    def _enqueue(self, job: Job) -> None:
        self._jobs.put_nowait(job)
        self._speaking = True

    # speaking

    async def _speak_all(self) -> None:
        following: Job | None = None
        while True:
            self._speaking = following is not None or not self._jobs.empty()
            job = following or await self._jobs.get()
            following = None
            entry = Entry("ws", job.request.text, self.key, job.received_ns, request_id=job.request_id)
            try:
                if await self._speak(job, entry):
                    following = await self._complete(job, entry)
            finally:
                self.studio.journal.write(entry)

    async def _speak(self, job: Job, entry: Entry) -> bool:
        """Send a job's audio; False when it failed and no `complete` is due."""
        try:
            if job.request.text:
                self._take_slot()
                await self._send_audio(job, entry)
        except Busy:
            entry.status = "busy"
            await self._fail(BUSY["error"])
            return False
        except (Fault, ServerError) as error:
            entry.status = str(error)
            await self._break(error)
            return False
        finally:
            if self._jobs.empty():  # what waits on this socket keeps its slot
                self._slot.close()
        return True

    def _take_slot(self) -> None:
        self._slot.close()
        self._slot.enter_context(self.studio.limits.slot(self.key))

    async def _send_audio(self, job: Job, entry: Entry) -> None:
        pace = self.studio.pace(job.received)
        fault = self.studio.faults.take()
        if fault and fault.kind == "status":
            raise Fault(fault)
        async with aclosing(self.studio.speak(job.request, pace, fault)) as sound:
            async for event in sound:
                if isinstance(event, AudioChunk):
                    entry.audio()
                await self._send(event, job)

    async def _complete(self, job: Job, entry: Entry) -> Job | None:
        """Send `complete` once it has been quiet for long enough, or at once when more is to say,
        which is then the result."""
        following = await self._quiet(job)
        entry.status = "partial"
        if job.ends and not (following and self.studio.behaviour.complete_per == "quiet"):
            await self._send(Completed(), job)
            entry.completed()
            if self.studio.behaviour.close_after_complete and job.closes and not following:
                await self.socket.close()
        return following

    async def _quiet(self, job: Job) -> Job | None:
        if not self._jobs.empty():
            return self._jobs.get_nowait()
        if not (job.ends and job.wait_s):
            return None
        try:
            async with asyncio.timeout(job.wait_s):
                return await self._jobs.get()
        except TimeoutError:
            return None

    async def _send(self, event: AudioChunk | WordTiming | Completed, job: Job) -> None:
        event = replace(event, request_id=job.request_id)
        older = self.studio.behaviour.complete_form == "older"
        await self.socket.send_str(encode_message(event, self.session_id, job.request, older=older))

    # failing

    async def _fail(self, text: str, issues: list[dict[str, object]] | None = None) -> None:
        form = self.studio.behaviour.error_form
        await self.socket.send_str(
            encode_error_message(text, session_id=self.session_id, issues=issues or (), form=form)
        )

    async def _break(self, error: Fault | ServerError) -> None:
        match error:
            case Fault(spec=FaultSpec(kind="close", code=faults.ABNORMAL)):
                if self.http.transport:
                    self.http.transport.close()
            case Fault(spec=FaultSpec(kind="close", code=code)):
                await self.socket.close(code=code)
            case Fault(spec=FaultSpec(kind="status", code=code)):
                body = status_body(code)
                await self._fail(str(body.get("message", body["error"])))
            case _:
                await self._fail(INTERNAL["message"])
