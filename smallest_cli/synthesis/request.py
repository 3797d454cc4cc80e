"""What a run needs, as plain values: the request template, the destinations, the settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from smallest_cli.audio.destinations import Destination
from smallest_cli.errors import UsageError
from smallest_cli.models import AudioFormat, SpeechRequest
from smallest_cli.settings import Settings
from smallest_cli.voices import resolve_voice

if TYPE_CHECKING:
    from smallest_cli.synthesis.captions import CaptionPlan

AHEAD_S = 30.0


@dataclass(frozen=True)
class RunConfig:
    """Everything that a run needs, checked before any file, device or socket is opened."""

    settings: Settings
    template: SpeechRequest
    """The request of every segment, without its text."""
    destinations: Sequence[Destination] = ()
    captions: CaptionPlan | None = None
    key_file: str | None = None
    max_time: float | None = None
    """Seconds for everything that the service does in this run."""
    ahead_s: float = AHEAD_S
    """The next segment is requested when less than this is still to be played; 0 for at once."""
    keep_partial: bool = True
    clobber: bool = True
    started_ns: int = field(default_factory=time.perf_counter_ns)

    @property
    def written_files(self) -> list[str]:
        """The files that this run writes."""
        outputs = [each.output for each in self.destinations]
        subtitles = self.captions.path if self.captions else None
        return [name for name in (*outputs, subtitles) if name and name != "-"]


def build_request(
    settings: Settings,
    *,
    number_language: str | None = None,
    math_notation: bool = False,
    dictionaries: Sequence[str] = (),
    v2_fields: dict[str, Any] | None = None,
    force: bool = False,
    warn: Callable[[str], None],
) -> SpeechRequest:
    """The request template: voice and model resolved, no text.

    `v2_fields` may hold consistency, similarity and enhancement, which only the v2 API has (waves/api.md,
    2b). `force` sends a voice and a model that do not belong together. Raises UsageError.
    """
    chosen = resolve_voice(
        settings.voice, settings.model, settings.api, base_url=settings.base_url, force=force
    )
    for warning in (*settings.warnings, *chosen.warnings):
        warn(warning)
    return SpeechRequest(
        text="",
        voice=chosen.voice,
        model=chosen.model,
        language=settings.language,
        speed=settings.speed,
        format=AudioFormat(settings.sample_rate),
        number_language=number_language,
        math_notation=math_notation,
        dictionaries=tuple(dictionaries),
        completion_wait_ms=settings.completion_wait,
        **_check_v2_fields(v2_fields or {}, settings.api),
    )


def describe_settings(settings: Settings, template: SpeechRequest) -> Iterator[str]:
    """Every setting and its source, for --debug."""
    resolved = settings._replace(voice=template.voice, model=template.model)
    for name in resolved._fields:
        if name in ("sources", "warnings"):
            continue
        value, source = getattr(resolved, name), resolved.sources.get(name, "default")
        yield f"{name} = {'not set' if value is None else value} from {source}"


def _check_v2_fields(given: dict[str, Any], api: str) -> dict[str, Any]:
    for name, value in given.items():
        limit = 2 if name == "enhancement" else 1
        if value is not None and api != "v2":
            raise UsageError(f"--{name} requires --api v2")
        if value is not None and not 0 <= value <= limit:
            raise UsageError(f"--{name}: {value:g} is not between 0 and {limit}")
    return given
