"""State shared by all handlers: voices, limits, faults, log, and the paced synthesis of a request."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from random import Random
from time import perf_counter

from smallest_cli.models import MODELS, Api, AudioChunk, AudioFormat, SpeechRequest, Via, Voice, WordTiming
from smallest_cli.protocol.endpoints import Fields, path_model
from smallest_cli.protocol.requests import decode_request
from smallest_cli.server.account_api import AccountAPI
from smallest_cli.server.auth import Limit, key_required
from smallest_cli.server.config import ServerConfig
from smallest_cli.server.faults import Fault, Faults, FaultSpec
from smallest_cli.server.request_log import RequestLog
from smallest_cli.server.validation import Rules
from smallest_cli.server.voice.engine import Engine
from smallest_cli.server.voice.voice_map import UNLISTED_VOICES, V2_VOICES
from smallest_cli.voices import bundled_voices

V2_DEFAULT_SAMPLE_RATE = 24_000
SOCKETS_PER_SLOT = 5


class ServerState:
    """The state of one running server."""

    def __init__(self, config: ServerConfig, engine: Engine) -> None:
        self.config = config
        self.key_required = key_required(config.token)
        self.slots = Limit(config.concurrency)  # shared by all transports
        self.sockets = Limit(config.concurrency * SOCKETS_PER_SLOT)
        self.faults = Faults(config.fail, config.fail_times)
        self.request_log = RequestLog(config.log)
        self.account_api = AccountAPI()
        self._engine = engine
        self._random = Random(config.seed)  # noqa: S311  (delays, not secrets)
        known = (*bundled_voices(), *UNLISTED_VOICES)
        self._voice_ids = frozenset(voice.id for voice in known) | set(config.extra_voices)
        self._voice_models = {voice.id: voice.model for voice in bundled_voices()}
        self._v2_voice_ids = self._voice_ids | {voice.id for voice in V2_VOICES}

    def rules(self, api: Api, via: Via) -> Rules:
        """Return the validation rules of a route."""
        voices = self._v2_voice_ids if api == "v2" else self._voice_ids
        checked = api == "unified" and self.config.check_voice_model
        models = self._voice_models if checked else {}
        voices |= self.account_api.clone_ids
        return Rules(api, via, voices, self.config.max_text, models, self.config.blocked_words)

    def voices(self, pool: str) -> tuple[Voice, ...] | None:
        """Return the voices of a pool, named as in paths; None for an unknown pool."""
        for model in MODELS:
            if pool == path_model(model):
                return tuple(voice for voice in bundled_voices() if voice.model == model)
        return V2_VOICES if pool == "lightning-v2" and self.config.legacy == "on" else None

    def decode(self, fields: Fields, api: Api) -> SpeechRequest:
        """Decode the fields of a valid request; v2 has its own default sample rate (waves/api.md, 2b)."""
        if api == "v2":
            fields = {"sample_rate": V2_DEFAULT_SAMPLE_RATE, **fields}
        request = decode_request(fields)
        return request._replace(format=AudioFormat(int(request.format.sample_rate)))

    async def synthesize(
        self, request: SpeechRequest, received_ns: int, fault: FaultSpec | None = None, encoding: str = "pcm"
    ) -> AsyncGenerator[AudioChunk | WordTiming, None]:
        """Yield the audio of a request block by block, each at its paced time.

        `received_ns` is a `perf_counter_ns` time. Raises Fault when `fault` is due, ServerError
        if the voice process fails. A stall lasts until the client disconnects and the task is cancelled.
        """
        pacer = Pacer(self.config, self._random, received_ns / 1e9)
        blocks = 0
        request = request._replace(text=self.account_api.pronounce(request.text, request.dictionaries))
        async with aclosing(self._engine.synthesize(request, encoding)) as events:
            async for event in events:
                if isinstance(event, AudioChunk):
                    if fault and fault.after == blocks:
                        if fault.kind == "short":
                            return
                        await _trigger(fault)
                    blocks += 1
                    await pacer.wait(request.format.duration(len(event.pcm)))
                yield event
        if fault and fault.kind != "short":
            await _trigger(fault)


async def _trigger(fault: FaultSpec) -> None:
    if fault.kind == "stall":
        await asyncio.Event().wait()
    raise Fault(fault)


class Pacer:
    """Pace the blocks of one request; times are `perf_counter` seconds.

    The first delay is lognormal; each later block is due when the audio before it has been played at
    `realtime_factor` times real time; jitter is added to each.
    """

    def __init__(self, config: ServerConfig, random: Random, received: float) -> None:
        self._config = config
        self._random = random
        delay = config.first_byte_ms / 1000
        if delay:
            delay *= math.exp(random.gauss(0.0, config.first_byte_sigma))
        self.due = received + delay

    async def wait(self, seconds: float) -> None:
        """Wait until a block of that many seconds of audio is due."""
        max_jitter = self._config.jitter_ms / 1000
        jitter = self._random.uniform(0, max_jitter) if max_jitter else 0.0
        delay = self.due + jitter - perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        if self._config.realtime_factor:
            self.due = max(self.due, perf_counter() - jitter) + seconds / self._config.realtime_factor
