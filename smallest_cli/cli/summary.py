"""Print the result of a run: a summary line, details with --verbose, or the object of --json."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from smallest_cli.cli.console import MINUTE_S, Console, describe_phases, duration, print_json
from smallest_cli.errors import plural
from smallest_cli.synthesis.request import RunConfig, RunResult
from smallest_cli.synthesis.timeline import MILLISECOND

NOTABLE_WAIT_MS = 200
"""Minimum wait for `complete` that is reported."""
LINE_WIDTH = 80


def print_summary(config: RunConfig, result: RunResult, console: Console, *, as_json: bool) -> None:
    """Print the result of a run."""
    if as_json:
        print_json(result_as_json(config, result))
    for line in _details(config, result):
        console.detail(line)
    totals = result.totals
    resent = f" ({result.resent} sent again)" if result.resent else ""
    cached = f"  {result.cached} cached" if result.cached else ""
    segments = f"  {totals.segments} segments" if totals.segments > 1 else ""
    total_s = result.total_ms / 1000
    figures = (
        f"{duration(totals.seconds)}  first audio {_first_audio(result)}  "
        f"total {duration(total_s) if total_s >= MINUTE_S else f'{total_s:.2f} s'}"
        f"{segments}{cached}  {plural(totals.characters, 'character')}{resent}"
    )
    names = ", ".join(each.name for each in config.destinations)
    console.info(f"{shorten(names, LINE_WIDTH - len(figures) - 2)}  {figures}")


def shorten(name: str, width: int) -> str:
    """Return the end of a long name, which differs most, at least 12 characters of it."""
    width = max(width, 12)
    return name if len(name) <= width else f"...{name[3 - width :]}"


def _first_audio(result: RunResult, digits: int = 0) -> str:
    if result.timeline.starts_cached:
        return "cached"
    return f"{result.timeline.ttfb_ms or 0:.{digits}f} ms"


def _details(config: RunConfig, result: RunResult) -> Iterator[str]:
    timeline, totals = result.timeline, result.totals
    if phases := timeline.phases:
        yield f"connection  {describe_phases(phases)}"
    yield (
        f"audio  first {_first_audio(result, 1)}"
        f"  longest gap {timeline.longest_gap_ns / MILLISECOND:.1f} ms"
        f"  real-time factor {timeline.real_time_factor(totals.seconds):.3f}"
    )
    if (wait_ms := timeline.longest_tail_ns / MILLISECOND) >= NOTABLE_WAIT_MS:
        yield (
            f"`complete` came up to {wait_ms / 1000:.1f} s after the last audio;"
            " --completion-wait MS requests less; --via sse does not wait"
        )
    template = config.template
    yield f"voice {template.voice}  model {template.model}  via {config.settings.via}"


def result_as_json(config: RunConfig, result: RunResult) -> dict[str, Any]:
    """Return the result of a run as the object of --json."""
    names = [each.name for each in config.destinations]
    ttfb_ms = None if result.timeline.starts_cached else round(result.timeline.ttfb_ms or 0.0, 3)
    return {
        "file": names[0] if len(names) == 1 else names,
        "seconds": round(result.totals.seconds, 6),
        "sample_rate": config.settings.sample_rate,
        "ttfb_ms": ttfb_ms,
        "total_ms": round(result.total_ms, 3),
        "characters": result.totals.characters,
        "characters_resent": result.resent,
        "segments": result.totals.segments,
        "cached": result.cached,
        "request_ids": result.totals.request_ids,
        "transport": config.settings.via,
        "voice": config.template.voice,
        "model": config.template.model,
    }
