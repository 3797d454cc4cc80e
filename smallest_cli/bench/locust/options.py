"""What a load run is asked for: options of Locust's own parser or the environment, made into a plan."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf
from typing import Any, TypeVar

from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from smallest_cli.bench.corpus import CORPORA
from smallest_cli.bench.plan import CONNS, Arm, Plan, Text
from smallest_cli.bench.thresholds import check_promises
from smallest_cli.errors import SettingsError, UsageError
from smallest_cli.models import VIAS, AudioFormat, SpeechRequest
from smallest_cli.security import printable
from smallest_cli.settings import DEFAULT_BASE_URL, Settings, load_settings
from smallest_cli.text.segments import SPLIT, write_script
from smallest_cli.voices import resolve_voice

PAID_CHARACTERS = 20_000


def add_options(parser: LocustArgumentParser) -> None:
    """The trial's options. None of them is a key: that is SMALLEST_API_KEY, or what `smallest login` kept."""

    def add(flag: str, default: str, words: str, *, shown: bool = True, **more: Any) -> None:
        variable = "SMALLEST_" + flag.removeprefix("--smallest-").strip("-").replace("-", "_").upper()
        parser.add_argument(
            flag, env_var=variable, default=default, help=words, include_in_web_ui=shown, **more
        )

    add("--voice", "", "A voice's id or name.")
    add("--model", "", "The model; a known voice tells its own.")
    add("--language", "", "The text's language.")
    add("--sample-rate", "", "Hertz; 24000.")
    add("--via", "ws", "A list of ws, sse and http.")
    add("--conn", "warm", "A list of warm and cold.")
    add("--corpus", "short", "short, mixed or long.")
    add("--text", "", "Speak this instead.")
    add("--buffer", "0,50,100,200", "Prebuffers of the simulated player, ms; ttfa is of the first.")
    add("--slo", "", "Thresholds, as ttfb.p95<300ms, separated by semicolons.")
    add("--api", "", "unified, v3.1 or v2.")
    add("--timeout", "", "Seconds for connecting, first audio and each stall; 15.")
    add("--seed", "1", "Fixes the order of texts.")
    add("--max-chars", "", "Never send more; 20,000 to the vendor's own service, else no bound; 0 for none.")
    add("--ca-file", "", "Trust the authorities in this file, on every worker.", shown=False)
    add("--smallest-plain-http", "", "1 sends the key over plain http to another machine.", shown=False)
    add("--smallest-calibrate", "1", "0 leaves out measuring each worker on the offline server first.")
    add("--smallest-json", "", "Write the result of the whole run, as smallest bench --save.", shown=False)
    add("--smallest-jsonl", "", "Every worker writes its raw trials, its name added.", shown=False)


def tell_workers(options: Any, workers: int) -> None:
    """Note how many users and workers there are among the options that Locust sends from master to worker."""
    options.smallest_users, options.smallest_workers = options.num_users, max(1, workers)


@dataclass(frozen=True)
class LoadConfig:
    """What one process was asked for. `plan` is its own part of the load: its share of characters, a seed of
    its own; it names no number of users, which no single process knows."""

    settings: Settings
    plan: Plan
    lanes: int
    """How many users it may expect."""
    buffers_ms: list[float]
    promises: list[str]
    calibrated: bool
    raw: str
    """Where its raw trials go; empty for nowhere."""


def read_config(environment: Environment, warn: Callable[[str], None]) -> LoadConfig:
    """Resolve the options of this run. Raises UsageError and SettingsError."""
    options: Any = environment.parsed_options
    settings = load_settings(
        {
            "voice": options.voice or None,
            "model": options.model or None,
            "language": options.language or None,
            "sample_rate": _number("--sample-rate", options.sample_rate, int),
            "base_url": environment.host or None,
            "ca_file": options.ca_file or None,
            "plain_http": options.smallest_plain_http == "1" or None,
            "timeout": _number("--timeout", options.timeout, float),
            "api": options.api or None,
        }
    )
    if settings.ca_file is not None and not os.path.exists(settings.ca_file):
        raise SettingsError(f"--ca-file: {printable(settings.ca_file)} does not exist")
    voice = resolve_voice(settings.voice, settings.model, settings.api, base_url=settings.base_url)
    for warning in (*settings.warnings, *voice.warnings):
        warn(warning)
    template = SpeechRequest(
        text="",
        voice=voice.voice,
        model=voice.model,
        language=settings.language,
        speed=settings.speed,
        format=AudioFormat(settings.sample_rate),
        completion_wait_ms=settings.completion_wait,
    )
    workers = getattr(options, "smallest_workers", 1)
    return LoadConfig(
        settings,
        _plan(options, settings, template, workers, getattr(environment.runner, "worker_index", 0)),
        ceil(_users(options) / workers),
        _buffers(options),
        _promises(options),
        options.smallest_calibrate != "0",
        options.smallest_jsonl,
    )


def check_options(options: Any) -> None:
    """Raises UsageError for an option that no worker could do anything with."""
    for flag, text, kind in (
        ("--sample-rate", options.sample_rate, int), ("--timeout", options.timeout, float),
        ("--max-chars", options.max_chars, int), ("--seed", options.seed, int),
    ):  # fmt: skip
        _number(flag, text, kind)
    if options.corpus not in CORPORA:
        raise UsageError(f"--corpus is one of {', '.join(CORPORA)}")
    _promises(options)


def _users(options: Any) -> int:
    return getattr(options, "smallest_users", options.num_users) or 1


def _arms(options: Any) -> tuple[Arm, ...]:
    vias, conns = options.via.split(","), options.conn.split(",")
    if not set(vias) <= set(VIAS) or not set(conns) <= set(CONNS):
        raise UsageError("--via is a list of ws, sse and http, --conn one of warm and cold")
    return tuple(Arm(via, conn) for via in VIAS if via in vias for conn in CONNS if conn in conns)


def _buffers(options: Any) -> list[float]:
    given = [_number("--buffer", each, float) for each in options.buffer.split(",")]
    return [each for each in given if each is not None] or [0.0]


def _plan(options: Any, settings: Settings, template: SpeechRequest, workers: int, index: int) -> Plan:
    check_options(options)
    words, name = CORPORA[options.corpus], options.corpus
    if options.text:
        name = "text"  # as bench names them: texts of one name and sound are compared
        script = write_script([options.text], template, split=SEGMENT_CHARS, pause_s=0)
        words = tuple(item.text for item in script.items if isinstance(item, SpeechRequest))
    most = _number("--max-chars", options.max_chars, int)
    if most is None:
        most = PAID_CHARACTERS if settings.base_url == DEFAULT_BASE_URL else 0
    return Plan(
        arms=_arms(options),
        texts=tuple(Text(f"{name}{n:02}", each) for n, each in enumerate(words)),
        template=template,
        count=None,
        concurrency=0,
        seed=(_number("--seed", options.seed, int) or 0) + max(index, 0),
        max_chars=max(1, most // workers) if most else 0,  # rounded up, all of them would send more
    )


Number = TypeVar("Number", int, float)


def _number(flag: str, text: str, kind: Callable[[str], Number]) -> Number | None:
    try:
        found = kind(text) if text else None
    except ValueError:
        found = kind("-1")
    if found is not None and not 0 <= found < inf:
        raise UsageError(f"{flag} takes a number, not {printable(text)}")
    return found


def _promises(options: Any) -> list[str]:
    found = [each.strip() for each in options.slo.split(";") if each.strip()]
    arms = [f"{arm.via}/{arm.conn}/c{_users(options)}" for arm in _arms(options)]
    check_promises(found, arms, _buffers(options))
    return found
