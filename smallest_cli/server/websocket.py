"""One WebSocket session, from the upgrade to the close (waves/api.md, 4).

One task reads messages; another synthesizes the resulting jobs in order, one at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import ExitStack, aclosing
from time import perf_counter
from typing import cast
from uuid import uuid4

from aiohttp import WSMsgType, web

from smallest_cli.errors import ServerError
from smallest_cli.models import Api, AudioChunk, Completed
from smallest_cli.protocol.endpoints import Fields
from smallest_cli.protocol.messages import AudioEvent, encode_error_message, encode_message
from smallest_cli.server import error_bodies
from smallest_cli.server.auth import LimitExceeded
from smallest_cli.server.config import TEXT_LIMIT
from smallest_cli.server.connections import Connection
from smallest_cli.server.faults import ABNORMAL, Fault
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
        self._queued_chars = 0
        self._slot = ExitStack()
        self._busy = False
        self._buffer = MessageBuffer(state, api, self._enqueue)
        self._completions: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve the socket until either side closes it."""
        cast(Connection, self._http.protocol).is_idle = lambda: not (self._busy or self._completions)
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
        idle_s = self._config.idle_timeout_s
        # The query's `timeout` in seconds, clamped (waves/api.md, 2a and 4b).
        timeout = self._http.query.get("timeout", "")
        if timeout.isascii() and timeout.isdigit() and int(timeout[:9]) > 0:
            idle_s = min(float(timeout[:9]), MAX_IDLE_S)
        deadline = perf_counter() + idle_s
        while True:
            try:
                message = await self._socket.receive(timeout=max(deadline - perf_counter(), 0.001))
            except TimeoutError:
                if self._busy or self._completions:  # the timeout restarts when all jobs are done
                    deadline = perf_counter() + idle_s
                    continue
                # The only documented error message; it has no session_id (4b).
                text = f"Connection timed out after {idle_s:g} seconds of inactivity"
                await self._socket.send_str(encode_error_message(text, form=self._config.error_form))
                await self._socket.close()
                return
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    deadline = perf_counter() + idle_s
                    await self._read(message.data)
                case WSMsgType.PING:  # a protocol ping does not reset the idle time (4b)
                    await self._socket.pong(message.data)
                case WSMsgType.PONG:
                    pass
                case _:
                    return

    async def _read(self, data: str | bytes) -> None:
        try:
            if (answer := self._buffer.read(data)) is not None:
                await self._socket.send_str(answer)
        except InvalidMessage as error:
            await self._send_error(error_bodies.INVALID["error"], error.issues)
        except asyncio.QueueFull:
            await self._send_error(error_bodies.BUSY["error"])

    def _enqueue(self, job: Job) -> None:
        if job.closes and self._busy and self._config.second_request == "refuse":
            raise asyncio.QueueFull
        if self._queued_chars > TEXT_LIMIT:
            raise asyncio.QueueFull
        self._jobs.put_nowait(job)
        self._queued_chars += len(job.request.text)
        self._busy = True

    # Synthesizing

    async def _run_jobs(self) -> None:
        next_job: Job | None = None
        while True:
            self._busy = next_job is not None or not self._jobs.empty()
            job = next_job or await self._jobs.get()
            next_job = None
            request = job.request
            self._queued_chars -= len(request.text)
            entry = LogEntry(
                "ws", request.text, self._key, request.voice, job.received_ns, request_id=job.request_id
            )
            completes_later = False
            try:
                if await self._synthesize(job, entry):
                    completes_later = self._completes_alone(job)
                    if completes_later:
                        task = asyncio.create_task(self._complete_later(job, entry))
                        self._completions.add(task)
                        task.add_done_callback(self._completions.discard)
                    else:
                        next_job = await self._complete(job, entry)
            finally:
                if not completes_later:  # else `_complete_later` writes it
                    self._state.request_log.write(entry)

    def _completes_alone(self, job: Job) -> bool:
        """Whether `complete` of a plain request is sent while the next request is synthesized."""
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
        """Send a job's audio. Return False if it failed and no `complete` is due."""
        try:
            if job.request.text:
                self._slot.close()
                self._slot.enter_context(self._state.slots.hold(self._key))
                fault = self._state.faults.take()
                if fault and fault.kind == "status":
                    raise Fault(fault)
                async with aclosing(self._state.synthesize(job.request, job.received_ns, fault)) as events:
                    async for event in events:
                        if isinstance(event, AudioChunk):
                            entry.mark_audio()
                        await self._send(event, job)
                        if isinstance(event, AudioChunk):
                            entry.audio_bytes += len(event.pcm)
        except LimitExceeded:
            entry.status = "busy"
            await self._send_error(error_bodies.BUSY["error"])
            return False
        except (Fault, ServerError) as error:
            entry.status = str(error)
            await self._fail(error)
            return False
        finally:
            if self._jobs.empty():  # jobs queued on this socket keep its slot
                self._slot.close()
        return True

    async def _complete(self, job: Job, entry: LogEntry) -> Job | None:
        """Send `complete` after the job's idle time, or once another job is queued; return that job."""
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

    async def _send(self, event: AudioEvent, job: Job) -> None:
        event = event.but(request_id=job.request_id)
        older = self._config.complete_form == "older"
        await self._socket.send_str(encode_message(event, self._session_id, job.request, older=older))

    async def _send_error(self, text: str, issues: Iterable[Fields] = ()) -> None:
        form = self._config.error_form
        message = encode_error_message(text, session_id=self._session_id, issues=issues, form=form)
        await self._socket.send_str(message)

    async def _fail(self, error: Fault | ServerError) -> None:
        spec = error.spec if isinstance(error, Fault) else None
        if spec and spec.kind == "close" and spec.code == ABNORMAL:
            if self._http.transport:
                self._http.transport.close()
        elif spec and spec.kind == "close":
            await self._socket.close(code=spec.code)
        else:
            body = error_bodies.status_body(spec.code if spec and spec.kind == "status" else 500)
            await self._send_error(str(body.get("message", body["error"])))
