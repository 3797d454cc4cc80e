"""The server's side of the voice process: a request in, blocks of PCM and word timings out."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator

from smallest_cli.errors import ServerError, SettingsError
from smallest_cli.models import AudioChunk, SpeechRequest, WordTiming
from smallest_cli.server.voice.ipc import AUDIO, END, FRAME, WORD, Order
from smallest_cli.server.voice.voice_map import cast
from smallest_cli.voices import WORD_TIMING_VOICES

INSTALL = "pip install 'smallest-cli[local]'"
PARTS = ("numpy", "soxr")
"""What the voice process imports and a bare installation lacks."""
DIED = "the voice process died"
BLOCK_MS = 160
"""The service's audio comes in blocks of this length (waves/api.md, 3a)."""


def block_bytes(sample_rate: int) -> int:
    """Bytes of one block of s16le mono."""
    return sample_rate * BLOCK_MS // 1000 * 2


class Engine:
    """A voice process. Started without waiting for it, so that it loads while the server does."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            # -P: nothing is imported from the current folder.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "smallest_cli.server.voice.process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # the C library writes there about odd text
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )

    @property
    def pid(self) -> int:
        """The process that forks for each utterance."""
        return self._process.pid

    def check(self) -> None:
        """Wait until the engine is loaded. Raises SettingsError where it cannot be."""
        from importlib.util import find_spec

        with self._control.makefile("rb") as answers:
            line = answers.readline()
        if missing := [name for name in PARTS if find_spec(name) is None]:
            raise SettingsError(f"{' and '.join(missing)} is not installed", hint=INSTALL)
        answer = json.loads(line) if line else {"error": "the voice process did not start"}
        if "error" in answer:
            raise SettingsError(answer["error"], hint=INSTALL)

    def close(self) -> None:
        """End the process. An utterance that is under way ends when its listener does."""
        self._control.close()
        self._process.wait()

    async def speak(
        self, request: SpeechRequest, encoding: str = "pcm"
    ) -> AsyncGenerator[AudioChunk | WordTiming, None]:
        """The sound of a request: blocks of 160 ms, words as the audio comes to them.

        At normal speed the last block is filled up with silence, else it is short. Another
        `encoding` than pcm comes as one chunk at the end. Closing the iterator ends the utterance.
        Raises ServerError when the engine fails.
        """
        reader, writer = await asyncio.open_unix_connection(sock=self._ask())
        try:
            writer.write(_order(request, encoding).encode())
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
            raise ServerError(DIED) from None
        finally:
            writer.transport.abort()

    def _ask(self) -> socket.socket:
        """A fork's attention: what is written there is its order."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"u"], [theirs.fileno()])
            except OSError:
                ours.close()
                raise ServerError(DIED) from None
        return ours


def _order(request: SpeechRequest, encoding: str) -> Order:
    part = cast(request)
    can_time = request.voice in WORD_TIMING_VOICES and part.language in ("en", "hi")
    return Order(
        text=request.text,
        espeak_voice=part.espeak_voice,
        pitch=part.pitch,
        speed=request.speed,
        sample_rate=request.format.sample_rate,
        block_bytes=block_bytes(request.format.sample_rate),
        fill=request.speed == 1.0,
        timed=request.word_timings and can_time,
        encoding=encoding,
    )
