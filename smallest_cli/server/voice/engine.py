"""Client of the voice process: a request in, blocks of PCM and word timings out."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress

from smallest_cli.errors import ServerError, SettingsError
from smallest_cli.extras import LOCAL, install_command
from smallest_cli.models import AudioChunk, SpeechRequest, WordTiming
from smallest_cli.security import child_environment
from smallest_cli.server.voice.ipc import AUDIO, END, FRAME, WORD, VoiceRequest
from smallest_cli.server.voice.voice_map import resolve_espeak_voice
from smallest_cli.voices import WORD_TIMING_LANGUAGES, WORD_TIMING_VOICES

INSTALL = install_command(*LOCAL.values())
REQUIRED_MODULES = ("numpy", "soxr")  # for the voice process, from the extra `local`
START_TIMEOUT_S = 20.0
PROCESS_DIED = "the voice process died"
REPLY_S = 10.0  # to start an utterance or to continue it, on a busy machine
RETRY_S = 0.01
LATE_S = 1.0
BLOCK_MS = 160  # length of the service's audio blocks (waves/api.md, 3a)


def block_bytes(sample_rate: int) -> int:
    """Return the size of one block of s16le mono PCM, in bytes."""
    return sample_rate * BLOCK_MS // 1000 * 2


class Engine:
    """A voice process, started without waiting, so that it loads in parallel with the server.

    One that has died or hangs is replaced by the next request.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            # -P: import nothing from the current directory.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "smallest_cli.server.voice.process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # the C library prints warnings about unusual text
                env=child_environment() | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                process_group=0,  # to end its forks with it, whatever state they are in
            )

    @property
    def pid(self) -> int:
        """PID of the voice process, which forks for each utterance."""
        return self._process.pid

    def check(self) -> None:
        """Wait until the engine is loaded. Raises SettingsError if a part is not installed."""
        from importlib.util import find_spec

        line = b""
        if select.select([self._control], [], [], START_TIMEOUT_S)[0]:
            with self._control.makefile("rb") as replies:
                line = replies.readline()
        if missing := [name for name in REQUIRED_MODULES if find_spec(name) is None]:
            raise SettingsError(f"{' and '.join(missing)} is not installed", hint=INSTALL)
        reply = json.loads(line) if line else {"error": "the voice process did not start"}
        if "error" in reply:
            raise SettingsError(reply["error"], hint=INSTALL)

    def close(self) -> None:
        """Kill the process and its forks: they have nothing to save, and a stopped one ends no other way."""
        self._control.close()
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    async def _pass(self, peer: socket.socket) -> None:
        """Pass a socket to the voice process, which forks to serve it; start that anew if it has died."""
        while True:
            try:
                self._control.setblocking(False)  # a stopped process reads nothing
                socket.send_fds(self._control, [b"u"], [peer.fileno()])
                return
            except BlockingIOError:  # many others are not forked yet
                await asyncio.sleep(RETRY_S)
            except ConnectionError:
                self._process.wait()  # its forks go on
                dead = self._control
                self._start()
                dead.close()

    async def synthesize(
        self, request: SpeechRequest, encoding: str = "pcm"
    ) -> AsyncGenerator[AudioChunk | WordTiming, None]:
        """Yield audio in blocks of 160 ms, each word timing before its audio.

        At normal speed the last block is padded with silence (waves/api.md, 3a). Any `encoding` but
        pcm is one chunk at the end. Closing the iterator ends the utterance. Raises ServerError.
        """
        try:
            ours, theirs = socket.socketpair()
            reader, writer = await asyncio.open_unix_connection(sock=ours)
        except OSError as error:
            raise ServerError(f"out of resources: {error.strerror}") from None
        process = self._process
        try:
            with theirs:
                async with asyncio.timeout(REPLY_S):
                    await self._pass(theirs)
            process = self._process
            writer.write(_voice_request(request, encoding).encode())
            while True:
                kind, size = FRAME.unpack(await _read(reader, FRAME.size))
                payload = await _read(reader, size)
                if kind == AUDIO:
                    if payload:
                        yield AudioChunk(payload)
                elif kind == WORD:
                    yield WordTiming(**json.loads(payload))
                elif kind == END:
                    return
                else:
                    raise ServerError(f"the voice failed: {payload.decode(errors='replace')}")
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its forks, too, since any of them may hang
            raise ServerError("the voice process hangs") from None
        except (asyncio.IncompleteReadError, OSError):
            raise ServerError(PROCESS_DIED) from None
        finally:
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader, size: int) -> bytes:
    """Read that many bytes. Raises TimeoutError if they do not arrive while this process runs."""
    while True:
        try:
            async with asyncio.timeout(REPLY_S) as limit:
                return await reader.readexactly(size)
        except TimeoutError:
            # A timer that fires late: this process was stopped itself.
            if asyncio.get_running_loop().time() - (limit.when() or 0.0) < LATE_S:
                raise


def _voice_request(request: SpeechRequest, encoding: str) -> VoiceRequest:
    voice = resolve_espeak_voice(request)
    can_time = request.voice in WORD_TIMING_VOICES and voice.language in WORD_TIMING_LANGUAGES
    return VoiceRequest(
        text=request.text,
        espeak_voice=voice.name,
        pitch=voice.pitch,
        speed=request.speed,
        sample_rate=request.format.sample_rate,
        block_bytes=block_bytes(request.format.sample_rate),
        pad=request.speed == 1.0,
        word_timings=request.word_timings and can_time,
        encoding=encoding,
    )
