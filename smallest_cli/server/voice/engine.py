"""Client of the voice process: a request in, blocks of PCM and word timings out."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator

from smallest_cli.errors import ServerError, SettingsError
from smallest_cli.models import AudioChunk, SpeechRequest, WordTiming
from smallest_cli.security import child_environment
from smallest_cli.server.voice.ipc import AUDIO, END, FRAME, WORD, VoiceRequest
from smallest_cli.server.voice.voice_map import resolve_espeak_voice
from smallest_cli.voices import WORD_TIMING_LANGUAGES, WORD_TIMING_VOICES

INSTALL = "pip install 'smallest-cli[local]'"
REQUIRED_MODULES = ("numpy", "soxr")  # for the voice process, from the extra `local`
PROCESS_DIED = "the voice process died"
BLOCK_MS = 160  # length of the service's audio blocks (waves/api.md, 3a)


def block_bytes(sample_rate: int) -> int:
    """Return the size of one block of s16le mono PCM, in bytes."""
    return sample_rate * BLOCK_MS // 1000 * 2


class Engine:
    """A voice process, started without waiting, so that it loads in parallel with the server."""

    def __init__(self) -> None:
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
            )

    @property
    def pid(self) -> int:
        """PID of the voice process, which forks for each utterance."""
        return self._process.pid

    def check(self) -> None:
        """Wait until the engine is loaded. Raises SettingsError if a part is not installed."""
        from importlib.util import find_spec

        with self._control.makefile("rb") as replies:
            line = replies.readline()
        if missing := [name for name in REQUIRED_MODULES if find_spec(name) is None]:
            raise SettingsError(f"{' and '.join(missing)} is not installed", hint=INSTALL)
        reply = json.loads(line) if line else {"error": "the voice process did not start"}
        if "error" in reply:
            raise SettingsError(reply["error"], hint=INSTALL)

    def close(self) -> None:
        """Stop the process. An active utterance ends when the reader closes its socket."""
        self._control.close()
        self._process.wait()

    async def synthesize(
        self, request: SpeechRequest, encoding: str = "pcm"
    ) -> AsyncGenerator[AudioChunk | WordTiming, None]:
        """Yield audio in blocks of 160 ms, each word timing before its audio.

        At normal speed the last block is padded with silence (waves/api.md, 3a). Any `encoding` but
        pcm is one chunk at the end. Closing the iterator ends the utterance. Raises ServerError.
        """
        # One end of a new socket pair is passed to the voice process, which forks to serve it.
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
            try:
                socket.send_fds(self._control, [b"u"], [theirs.fileno()])
            except OSError:
                writer.transport.abort()
                raise ServerError(PROCESS_DIED) from None
        try:
            writer.write(_voice_request(request, encoding).encode())
            while True:
                kind, size = FRAME.unpack(await reader.readexactly(FRAME.size))
                payload = await reader.readexactly(size)
                if kind == AUDIO:
                    if payload:
                        yield AudioChunk(payload)
                elif kind == WORD:
                    yield WordTiming(**json.loads(payload))
                elif kind == END:
                    return
                else:
                    raise ServerError(f"the voice failed: {payload.decode(errors='replace')}")
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ServerError(PROCESS_DIED) from None
        finally:
            writer.transport.abort()


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
