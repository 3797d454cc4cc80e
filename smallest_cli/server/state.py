"""What every route shares: the voice, its limits, its pace, its failures. Sends nothing itself."""

from __future__ import annotations

import asyncio
import hmac
import math
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from time import perf_counter

from smallest_cli.models import Api, AudioChunk, AudioFormat, SpeechRequest, Via, Voice, WordTiming
from smallest_cli.protocol.endpoints import Fields, voices_path
from smallest_cli.protocol.requests import decode_request
from smallest_cli.server.account_api import AccountAPI
from smallest_cli.server.auth import Limits
from smallest_cli.server.config import ServerConfig
from smallest_cli.server.faults import Fault, Faults, FaultSpec
from smallest_cli.server.request_log import Journal
from smallest_cli.server.validation import Rules
from smallest_cli.server.voice.engine import Engine
from smallest_cli.server.voice.voice_map import V2_VOICES
from smallest_cli.voices import bundled_voices

V2_SAMPLE_RATE = 24_000


class ServerState:
    """One server's state."""

    def __init__(self, behaviour: ServerConfig, engine: Engine) -> None:
        self.behaviour = behaviour
        self.limits = Limits(behaviour.concurrency)
        self.faults = Faults(behaviour.fail, behaviour.fail_times)
        self.journal = Journal(behaviour.log)
        self._engine = engine
        self.desk = AccountAPI()
        self._luck = Random(behaviour.seed)
        known = {voice.id for voice in bundled_voices()} | set(behaviour.extra_voices)
        self._voice_ids: dict[bool, frozenset[str]] = {
            False: frozenset(known),
            True: frozenset(known | {voice.id for voice in V2_VOICES}),
        }

    def accepts(self, key: str) -> bool:
        """Whether a request with this key may come in."""
        token = self.behaviour.token
        if token is None:
            return bool(key)
        return hmac.compare_digest(key.encode(errors="replace"), token.encode(errors="replace"))

    def rules(self, api: Api, via: Via) -> Rules:
        """What requests on a route have to keep to."""
        voices = self._voice_ids[api == "v2"] | self.desk.clone_ids
        return Rules(api, via, voices, self.behaviour.max_text)

    def voices(self, pool: str) -> tuple[Voice, ...] | None:
        """The voices of a pool by its name in paths, None for a pool that is not there."""
        for model in ("lightning_v3.1", "lightning_v3.1_pro"):
            if voices_path(model) == f"/waves/v1/{pool}/get_voices":
                return tuple(voice for voice in bundled_voices() if voice.model == model)
        return V2_VOICES if pool == "lightning-v2" and self.behaviour.legacy == "on" else None

    def decode(self, fields: Fields, api: Api) -> SpeechRequest:
        """The request in a message that nothing was wrong with."""
        if api == "v2":
            fields = {"sample_rate": V2_SAMPLE_RATE, **fields}
        request = decode_request(fields)
        return replace(request, format=AudioFormat(int(request.format.sample_rate)))

    def pace(self, received: float) -> Pacer:
        """The times of a request that came in at that second of `perf_counter`."""
        return Pacer(self.behaviour, self._luck, received)

    async def speak(
        self, request: SpeechRequest, pace: Pacer, fault: FaultSpec | None = None, encoding: str = "pcm"
    ) -> AsyncGenerator[AudioChunk | WordTiming, None]:
        """The sound of a request, block by block, each when it is due.

        Raises Fault when its failure is to come now, ServerError when the voice fails. A stall
        lasts until the task is cancelled: the client has left.
        """
        blocks = 0
        request = replace(request, text=self.desk.pronounce(request.text, request.dictionaries))
        async with aclosing(self._engine.speak(request, encoding)) as sound:
            async for event in sound:
                if isinstance(event, AudioChunk):
                    if fault and fault.after == blocks:
                        await _break(fault)
                    blocks += 1
                    await pace.next(request.format.duration(len(event.pcm)))
                yield event
        if fault:
            await _break(fault)


async def _break(fault: FaultSpec) -> None:
    if fault.kind == "stall":
        await asyncio.Event().wait()
    raise Fault(fault)


class Random(random.Random):
    """Draws times, never secrets."""


class Pacer:
    """The times of one request's blocks, from the second at which it was received.

    The first is lognormal about its median; each later one is due when the audio before it would be
    used up at `realtime_factor`; jitter comes on top.
    """

    def __init__(self, behaviour: ServerConfig, luck: Random, received: float) -> None:
        self._behaviour = behaviour
        self._luck = luck
        self.due = received + self._first_byte_s()

    def _first_byte_s(self) -> float:
        if not (median := self._behaviour.first_byte_ms / 1000):
            return 0.0
        return median * math.exp(self._luck.gauss(0.0, self._behaviour.first_byte_sigma))

    async def next(self, seconds: float) -> None:
        """Wait until a block may go; `seconds` is how long it sounds."""
        jitter = self._luck.uniform(0, self._behaviour.jitter_ms / 1000) if self._behaviour.jitter_ms else 0.0
        wait = self.due + jitter - perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        if self._behaviour.realtime_factor:
            self.due = max(self.due, perf_counter() - jitter) + seconds / self._behaviour.realtime_factor
