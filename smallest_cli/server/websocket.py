"""One WebSocket session, from the upgrade to the close (waves/api.md, 4).

One task reads messages at any time; another synthesizes the resulting jobs in order, one at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import ExitStack, aclosing
from time import perf_counter
from uuid import uuid4

from aiohttp import WSMsgType, web

from smallest_cli.errors import ServerError
from smallest_cli.models import Api, AudioChunk, Completed, WordTiming
from smallest_cli.protocol.endpoints import Fields
from smallest_cli.protocol.messages import encode_error_message, encode_message
from smallest_cli.server.auth import LimitExceeded
from smallest_cli.server.error_bodies import BUSY, INTERNAL, INVALID, status_body
from smallest_cli.server.faults import ABNORMAL, Fault, FaultSpec
from smallest_cli.server.request_log import LogEntry
from smallest_cli.server.state import ServerState
from smallest_cli.server.text_buffer import InvalidMessage, Job, MessageBuffer

MAX_IDLE_S = 180.0
MAX_QUEUED_JOBS = 256


class WebSocketSession:
    """The state of one socket."""

    def __init__(
        self, state: ServerState, socket: web.WebSocketResponse, http: web.Request, api: Api, key: str
    ) -> None:
        self._state = state
        self._config = state.config
        self._socket = socket
        self._http = http
        self._key = key
        self._session_id = None if api == "v2" else f"ws_{uuid4()}"  # v2 has no session id (2b)
        self._jobs: asyncio.Queue[Job] = asyncio.Queue(MAX_QUEUED_JOBS)
        self._slot = ExitStack()
        self._busy = False
        self._buffer = MessageBuffer(state, api, self._enqueue)
        self._completions: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve the socket until either side closes it."""
        tasks = [asyncio.create_task(self._read_messages()), asyncio.create_task(self._run_jobs())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._buffer.close()
            for task in (*tasks, *self._completions):
                task.cancel()
            await asyncio.gather(*tasks, *self._completions, return_exceptions=True)
            self._slot.close()

    # Reading

    async def _read_messages(self) -> None:
        idle_s = self._idle_timeout_s()
        deadline = perf_counter() + idle_s
        while True:
            try:
                message = await self._socket.receive(timeout=max(deadline - perf_counter(), 0.001))
            except TimeoutError:
                if self._busy or self._completions:  # the idle time starts again when all jobs are done
                    deadline = perf_counter() + idle_s
                    continue
                # The only documented error message; it has no session_id (4b).
                text = f"Connection timed out after {idle_s:g} seconds of inactivity"
                await self._socket.send_str(encode_error_message(text, form=self._config.error_form))
                await self._socket.close()
                return
            if message.type is WSMsgType.PING:  # a protocol ping does not reset the idle time (4b)
                await self._socket.pong(message.data)
                continue
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                if message.type is WSMsgType.PONG:
                    continue
                return
            deadline = perf_counter() + idle_s
            await self._read(message.data)

    def _idle_timeout_s(self) -> float:
        """The query's `timeout` in seconds, clamped (waves/api.md, 2a and 4b), else the configured one."""
        timeout = self._http.query.get("timeout", "")
        if timeout.isascii() and timeout.isdigit() and int(timeout[:9]) > 0:
            return min(float(timeout[:9]), MAX_IDLE_S)
        return self._config.idle_timeout_s

    async def _read(self, data: str | bytes) -> None:
        try:
            answer = self._buffer.read(data)
        except InvalidMessage as error:
            await self._send_error(INVALID["error"], error.issues)
        except asyncio.QueueFull:
            await self._send_error(BUSY["error"])
        else:
            if answer is not None:
                await self._socket.send_str(answer)

    def _enqueue(self, job: Job) -> None:
        if job.closes and self._busy and self._config.second_request == "refuse":
            raise asyncio.QueueFull
        self._jobs.put_nowait(job)
        self._busy = True

    # Synthesizing

    async def _run_jobs(self) -> None:
        next_job: Job | None = None
        while True:
            self._busy = next_job is not None or not self._jobs.empty()
            job = next_job or await self._jobs.get()
            next_job = None
            entry = LogEntry("ws", job.request.text, self._key, job.received_ns, request_id=job.request_id)
            if self._completes_alone(job):
                if await self._synthesize(job, entry):
                    task = asyncio.create_task(self._complete_later(job, entry))
                    self._completions.add(task)
                    task.add_done_callback(self._completions.discard)
                else:
                    self._state.request_log.write(entry)
                continue
            try:
                if await self._synthesize(job, entry):
                    next_job = await self._complete(job, entry)
            finally:
                self._state.request_log.write(entry)

    def _completes_alone(self, job: Job) -> bool:
        """Whether `complete` of a plain request comes in its time, while the next one is synthesized."""
        config = self._config
        overlaps = config.second_request == "queue" and not config.close_after_complete
        return job.closes and overlaps and config.complete_per == "request" and job.complete_wait_s > 0

    async def _complete_later(self, job: Job, entry: LogEntry) -> None:
        try:
            await asyncio.sleep(job.complete_wait_s)
            await self._send(Completed(), job)
            entry.mark_completed()
        finally:
            self._state.request_log.write(entry)

    async def _synthesize(self, job: Job, entry: LogEntry) -> bool:
        """Send a job's audio. False when it failed, so that no `complete` is due."""
        try:
            if job.request.text:
                self._slot.close()
                self._slot.enter_context(self._state.limits.slot(self._key))
                await self._send_audio(job, entry)
        except LimitExceeded:
            entry.status = "busy"
            await self._send_error(BUSY["error"])
            return False
        except (Fault, ServerError) as error:
            entry.status = str(error)
            await self._fail(error)
            return False
        finally:
            if self._jobs.empty():  # jobs queued on this socket keep its slot
                self._slot.close()
        return True

    async def _send_audio(self, job: Job, entry: LogEntry) -> None:
        fault = self._state.faults.take()
        if fault and fault.kind == "status":
            raise Fault(fault)
        async with aclosing(self._state.synthesize(job.request, job.received_ns, fault)) as events:
            async for event in events:
                if isinstance(event, AudioChunk):
                    entry.mark_audio()
                await self._send(event, job)

    async def _complete(self, job: Job, entry: LogEntry) -> Job | None:
        """Send `complete` after the job's quiet time, or as soon as another job is queued; return that."""
        next_job = await self._wait_quiet(job)
        entry.status = "partial"
        if job.ends and not (next_job and self._config.complete_per == "quiet"):
            await self._send(Completed(), job)
            entry.mark_completed()
            if self._config.close_after_complete and job.closes:
                await self._socket.close()
        return next_job

    async def _wait_quiet(self, job: Job) -> Job | None:
        if job.closes and (self._config.second_request == "hold" or self._config.close_after_complete):
            await asyncio.sleep(job.complete_wait_s)
            return None
        if not self._jobs.empty():
            return self._jobs.get_nowait()
        if not (job.ends and job.complete_wait_s):
            return None
        try:
            async with asyncio.timeout(job.complete_wait_s):
                return await self._jobs.get()
        except TimeoutError:
            return None

    async def _send(self, event: AudioChunk | WordTiming | Completed, job: Job) -> None:
        event = event._replace(request_id=job.request_id)
        older = self._config.complete_form == "older"
        await self._socket.send_str(encode_message(event, self._session_id, job.request, older=older))

    # Errors

    async def _send_error(self, text: str, issues: Iterable[Fields] = ()) -> None:
        form = self._config.error_form
        message = encode_error_message(text, session_id=self._session_id, issues=issues, form=form)
        await self._socket.send_str(message)

    async def _fail(self, error: Fault | ServerError) -> None:
        match error:
            case Fault(spec=FaultSpec(kind="close", code=code)) if code == ABNORMAL:
                if self._http.transport:
                    self._http.transport.close()
            case Fault(spec=FaultSpec(kind="close", code=code)):
                await self._socket.close(code=code)
            case Fault(spec=FaultSpec(kind="status", code=code)):
                body = status_body(code)
                await self._send_error(str(body.get("message", body["error"])))
            case _:
                await self._send_error(INTERNAL["message"])
