"""The options of a load run, from Locust's own parser or the environment, and the plan built from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf
from typing import Any, TypeVar

from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from smallest_cli import __version__
from smallest_cli.bench.corpus import CORPORA
from smallest_cli.bench.plan import (
    BUFFERS,
    MAX_CHARS,
    Plan,
    make_arms,
    make_texts,
    parse_buffers,
    parse_kinds,
)
from smallest_cli.bench.thresholds import check_thresholds
from smallest_cli.errors import SettingsError, UsageError
from smallest_cli.security import printable
from smallest_cli.settings import DEFAULT_BASE_URL, Settings, load_settings
from smallest_cli.synthesis.request import build_request


def add_options(parser: LocustArgumentParser) -> None:
    """Add the options of trials. The key is not among them: set SMALLEST_API_KEY or use `smallest login`."""

    def add(flag: str, default: str, words: str, *, shown: bool = True, **more: Any) -> None:
        variable = "SMALLEST_" + flag.removeprefix("--smallest-").strip("-").replace("-", "_").upper()
        parser.add_argument(
            flag, env_var=variable, default=default, help=words, include_in_web_ui=shown, **more
        )

    add("--voice", "", "Voice id or name.")
    add("--model", "", "Model. [default: that of the voice]")
    add("--language", "", "Language code, e.g. en, hi.")
    add("--sample-rate", "", "Sample rate in Hz. [default: 24000]")
    add("--via", "ws", "Transports: list of ws, sse, http.")
    add("--conn", "warm", "Connections: list of warm, cold.")
    add("--corpus", "short", "Built-in texts: short, mixed or long.")
    add("--text", "", "Text to speak instead.")
    add("--buffer", BUFFERS, "Prebuffers of the simulated player, in ms; ttfa uses the first.")
    add("--slo", "", "Thresholds, e.g. ttfb.p95<300ms, separated by semicolons.")
    add("--api", "", "API: unified, v3.1 or v2.")
    add("--timeout", "", "Timeout for connect, first audio and gaps, in seconds. [default: 15]")
    add("--seed", "1", "Seed of the order of texts.")
    limit = "[default: 20000 for the vendor's service, else 0]"
    add("--max-chars", "", f"Maximum characters to send; 0 = unlimited. {limit}")
    add("--ca-file", "", "CA certificates to trust, a file on every worker.", shown=False)
    add("--smallest-plain-http", "", "1: allow the key over plain http to another machine.", shown=False)
    add("--smallest-calibrate", "1", "0: skip the self-test of each worker on the offline server.")
    add("--smallest-json", "", "Write the result of the run, as smallest bench --save does.", shown=False)
    raw = "Write raw trials, one file for each worker with its name added."
    add("--smallest-jsonl", "", raw, shown=False)


def share_counts(options: Any, workers: int) -> None:
    """Add the numbers of users and workers to the options that Locust sends from master to workers, and our
    version."""
    options.smallest_users, options.smallest_workers = options.num_users, max(1, workers)
    options.smallest_version = __version__


@dataclass(frozen=True)
class LoadConfig:
    """The configuration of one process. `plan` is its part of the load: its share of --max-chars, its own
    seed, and no concurrency, since Locust decides the number of users."""

    settings: Settings
    plan: Plan
    users: int  # expected number of users in this process
    buffers_ms: list[float]
    slo: list[str]
    calibrated: bool
    raw: str  # file for its raw trials; empty: none


def read_config(environment: Environment, warn: Callable[[str], None]) -> LoadConfig:
    """Resolve the options of this run. Raises UsageError and SettingsError."""
    options: Any = environment.parsed_options
    settings = load_settings(
        {
            "voice": options.voice or None,
            "model": options.model or None,
            "language": options.language or None,
            "sample_rate": _number(options, "sample_rate", int),
            "base_url": environment.host or None,
            "ca_file": options.ca_file or None,
            "plain_http": options.smallest_plain_http == "1" or None,
            "timeout": _number(options, "timeout", float),
            "api": options.api or None,
        }
    )
    if settings.ca_file is not None and not os.path.exists(settings.ca_file):
        raise SettingsError(f"--ca-file: no such file: {printable(settings.ca_file)}")
    check_options(options)
    template = build_request(settings, warn=warn)
    workers = getattr(options, "smallest_workers", 1)
    limit = _number(options, "max_chars", int)
    if limit is None:
        limit = MAX_CHARS if settings.base_url == DEFAULT_BASE_URL else 0
    plan = Plan(
        arms=make_arms(*parse_kinds(options.via, options.conn, "--via"), [0]),
        texts=make_texts([options.text] if options.text else [], options.corpus, template),
        template=template,
        count=None,
        seed=(_number(options, "seed", int) or 0) + max(getattr(environment.runner, "worker_index", 0), 0),
        max_chars=max(1, limit // workers) if limit else 0,  # rounded down: the sum must not exceed it
    )
    return LoadConfig(
        settings,
        plan,
        ceil(_users(options) / workers),
        parse_buffers(options.buffer or "0"),
        _thresholds(options),
        options.smallest_calibrate != "0",
        options.smallest_jsonl,
    )


def check_options(options: Any) -> None:
    """Raise UsageError for an option that is invalid on every worker."""
    _number(options, "timeout", float)
    for name in ("sample_rate", "max_chars", "seed"):
        _number(options, name, int)
    if options.corpus not in CORPORA:
        raise UsageError(f"--corpus takes one of {', '.join(CORPORA)}")
    _thresholds(options)


def _users(options: Any) -> int:
    return getattr(options, "smallest_users", options.num_users) or 1


Number = TypeVar("Number", int, float)


def _number(options: Any, name: str, kind: Callable[[str], Number]) -> Number | None:
    text = getattr(options, name)
    try:
        found = kind(text) if text else None
    except ValueError:
        found = kind("-1")
    if found is not None and not 0 <= found < inf:
        raise UsageError(f"--{name.replace('_', '-')} takes a number, not {printable(text)}")
    return found


def _thresholds(options: Any) -> list[str]:
    found = [each.strip() for each in options.slo.split(";") if each.strip()]
    arms = make_arms(*parse_kinds(options.via, options.conn, "--via"), [_users(options)])
    check_thresholds(found, arms, parse_buffers(options.buffer or "0"))
    return found
