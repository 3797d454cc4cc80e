"""The server's side of the voice process: a request in, blocks of PCM and word timings out."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from smallest_cli.catalogue import WORD_TIMING_VOICES
from smallest_cli.errors import ServiceFailed, SettingsError
from smallest_cli.local.casting import cast
from smallest_cli.local.output import AUDIO, END, FRAME, WORD
from smallest_cli.speech import AudioChunk, SpeechRequest, WordTiming

INSTALL = "pip install 'smallest-cli[local]'"
_ROOT = Path(__file__).parents[2]
_PROGRAM = """
import sys
sys.path.append(sys.argv[1])
from smallest_cli.local.voice_process import main
sys.exit(main(int(sys.argv[2])))
"""
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
            # -P and a path at the end: nothing is imported from the current folder.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(_ROOT), str(theirs.fileno())],
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

        line = self._control.makefile("rb").readline()
        answer = json.loads(line) if line else {"error": "the voice process did not start"}
        if "error" in answer:
            raise SettingsError(answer["error"], hint=INSTALL)
        if find_spec("soxr") is None:
            raise SettingsError("soxr is not installed", hint=INSTALL)

    def close(self) -> None:
        """End the process; utterances that are under way go on to their end."""
        self._control.close()
        self._process.wait()

    async def speak(
        self, request: SpeechRequest, encoding: str = "pcm"
    ) -> AsyncGenerator[AudioChunk | WordTiming, None]:
        """The sound of a request: blocks of 160 ms, words as the audio comes to them.

        At normal speed the last block is filled up with silence, else it is short. Another
        `encoding` than pcm comes as one chunk at the end. Closing the iterator ends the utterance.
        Raises ServiceFailed when the engine fails.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b"u"], [theirs.fileno()])
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            order = _order(request, encoding)
            writer.write(len(order).to_bytes(4, "big") + order)
            while True:
                kind, size = FRAME.unpack(await reader.readexactly(FRAME.size))
                payload = await reader.readexactly(size)
                if kind == AUDIO:
                    yield AudioChunk(payload)
                elif kind == WORD:
                    yield WordTiming(**json.loads(payload))
                elif kind == END:
                    return
                else:
                    raise ServiceFailed(f"the voice failed: {payload.decode(errors='replace')}")
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ServiceFailed("the voice process died") from None
        finally:
            writer.transport.abort()


def _order(request: SpeechRequest, encoding: str) -> bytes:
    part = cast(request)
    timed = request.voice in WORD_TIMING_VOICES and part.language in ("en", "hi")
    return json.dumps(
        {
            "text": request.text,
            "espeak_voice": part.espeak_voice,
            "pitch": part.pitch,
            "speed": request.speed,
            "sample_rate": request.format.sample_rate,
            "block_bytes": block_bytes(request.format.sample_rate),
            "pad": request.speed == 1.0,
            "words": request.word_timings and timed,
            "encoding": encoding,
        }
    ).encode()
