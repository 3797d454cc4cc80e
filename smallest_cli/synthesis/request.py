"""TODO."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from smallest_cli.audio.destinations import Destination
from smallest_cli.cli.console import Console
from smallest_cli.cli.options import RunOptions, ServiceOptions, SoundOptions, VoiceOptions
from smallest_cli.errors import SettingsError, UsageError
from smallest_cli.models import AudioFormat, SpeechRequest
from smallest_cli.security import printable
from smallest_cli.settings import Settings, load_settings
from smallest_cli.synthesis.pipeline import AHEAD_S
from smallest_cli.voices import resolve_voice

if TYPE_CHECKING:
    from smallest_cli.synthesis.captions import CaptionPlan
import os
import time


@dataclass(frozen=True)
class Run:
    """What is settled before anything is opened. `template` is every segment's request, but for its text."""

    settings: Settings
    template: SpeechRequest
    destinations: list[Destination]
    sound: SoundOptions
    where: ServiceOptions
    report: RunOptions
    console: Console
    plan: CaptionPlan | None = None
    started_ns: int = field(default_factory=time.perf_counter_ns)

    @property
    def written(self) -> list[str]:
        """The files that this run writes."""
        outputs = [each.output for each in self.destinations]
        subtitles = self.plan.path if self.plan else None
        return [name for name in (*outputs, subtitles) if name and name != "-"]

    @property
    def ahead_s(self) -> float:
        """How much may still be to be heard when the next segment is asked for; 0 is no limit."""
        return AHEAD_S if self.sound.ahead is None else self.sound.ahead


def build_request(
    who: VoiceOptions, where: ServiceOptions, report: RunOptions, cache: bool | None = None
) -> tuple[Console, Settings, SpeechRequest]:
    """Settle who speaks and how; the request is without text. Raises UsageError and SettingsError."""
    if where.ca_file is not None and not os.path.exists(where.ca_file):
        raise SettingsError(f"--ca-file: there is no {printable(where.ca_file)}")
    if report.quiet and (report.verbose or report.debug):
        raise UsageError(f"--quiet and --{'verbose' if report.verbose else 'debug'} do not go together")
    console = Console(quiet=report.quiet, verbose=report.verbose, debug=report.debug)
    settings = load_settings(who.as_dict() | where.as_dict() | {"cache": cache})
    chosen = resolve_voice(
        settings.voice, settings.model, settings.api, base_url=settings.base_url, force=who.force
    )
    for warning in (*settings.warnings, *chosen.warnings):
        console.warn(warning)
    if where.completion_wait is not None and settings.via != "ws":
        console.warn(f"--completion-wait does nothing over {settings.via}, where nobody waits")
    for line in _settled(replace(settings, voice=chosen.voice, model=chosen.model)):
        console.debug(line)
    template = SpeechRequest(
        text="",
        voice=chosen.voice,
        model=chosen.model,
        language=settings.language,
        speed=settings.speed,
        format=AudioFormat(settings.sample_rate),
        number_language=who.number_language,
        math_notation=who.math_notation,
        dictionaries=tuple(who.dictionary or ()),
        completion_wait_ms=settings.completion_wait,
        **_older(who, settings.api),
    )
    return console, settings, template


def _settled(settings: Settings) -> Iterator[str]:
    """Every setting, and where it came from."""
    for name in (each.name for each in fields(settings) if each.name not in ("sources", "warnings")):
        value, source = getattr(settings, name), settings.sources.get(name, "default")
        yield f"{name} = {'not set' if value is None else value} from {source}"


def _older(who: VoiceOptions, api: str) -> dict[str, Any]:
    """The fields that the v2 API alone has (waves/api.md, 2b)."""
    given = {name: getattr(who, name) for name in ("consistency", "similarity", "enhancement")}
    for name, value in given.items():
        most = 2 if name == "enhancement" else 1
        if value is not None and api != "v2":
            raise UsageError(f"--{name} is for --api v2 alone")
        if value is not None and not 0 <= value <= most:
            raise UsageError(f"--{name}: {value:g} is not from 0 to {most}")
    return given
