"""What is settled before anything is opened: voice, service, destinations, captions.

Everything that can be wrong without asking the service is found here, or in opening the sinks.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from smallest_cli.audio.destinations import Destination, choose_destinations, refuse_twice
from smallest_cli.cli.options import CaptionOptions, RunOptions, ServiceOptions, SoundOptions, VoiceOptions
from smallest_cli.client.credentials import key_files, reads_stdin
from smallest_cli.errors import OutputError, SettingsError, UsageError
from smallest_cli.models import SpeechRequest
from smallest_cli.security import printable
from smallest_cli.settings import Settings, config_path
from smallest_cli.stdio import stdout_kind
from smallest_cli.synthesis.request import Run, build_request

if TYPE_CHECKING:
    from pathlib import Path

    from smallest_cli.synthesis.captions import CaptionPlan


LONGEST_LEAD_S = 10


def build_run_config(
    who: VoiceOptions,
    sound: SoundOptions,
    where: ServiceOptions,
    report: RunOptions,
    captions: CaptionOptions | None = None,
) -> Run:
    """Settle voice, service and destinations. Raises UsageError and SettingsError."""
    console, settings, template = build_request(who, where, report, sound.cache)
    destinations = choose_destinations(
        sound.output or [],
        template.format,
        play=sound.play,
        format=sound.format,
        device=sound.device,
        player=_player(sound, settings),
        lead_s=parse_seconds(sound.lead_silence),
        keep=sound.partial == "keep",
        clobber=sound.clobber,
    )
    if report.json and stdout_kind() == "closed":
        raise UsageError("--json prints on stdout, which is closed")
    if report.json and not report.dry_run and any(each.output == "-" for each in destinations):
        raise UsageError("--json prints on stdout, where the sound goes", hint="use -o FILE")
    if sound.player and all(each.output is not None for each in destinations):
        raise UsageError("--player is for the loudspeaker", hint="add --play")
    plan = _settle_captions(captions or CaptionOptions(), destinations, template, settings, force=who.force)
    template = replace(template, word_timings=plan is not None and plan.timed)
    run = Run(settings, template, destinations, sound, where, report, console, plan)
    check_not_overwriting_inputs(settings, where, run.written)
    return run


def refuse_text_and_key(texts: Iterable[str], where: ServiceOptions, settings: Settings) -> None:
    """Raises UsageError where stdin, `-` among the texts, would be read for the key too."""
    if "-" in texts and not settings.local and reads_stdin(where.api_key_file):
        raise UsageError(
            "stdin cannot be both the text and the key", hint="give the key in a file: --api-key-file FILE"
        )


def check_not_overwriting_inputs(settings: Settings, where: ServiceOptions, written: Iterable[str]) -> None:
    """Refuse to replace what the settings or a key come from. Raises UsageError."""
    own = [config_path(), *key_files(where.api_key_file), settings.ca_file or ""]
    check_not_overwriting(own, written, "where the settings or a key come from")


def check_not_overwriting(read: Iterable[str | Path], written: Iterable[str], role: str) -> None:
    """Refuse to replace a file that is read, by whatever name; `-` is stdin. Raises UsageError."""
    targets = {name: status for name in written if (status := _status(name))}
    for source in map(_status, read if targets else ()):
        for name, target in targets.items():
            if source and stat.S_ISREG(source.st_mode) and os.path.samestat(source, target):
                raise UsageError(f"{printable(name)} is {role}")


def refuse_unwritable(run: Run) -> None:
    """For a run that opens nothing: refuse a place that could not be written. Raises OutputError."""
    for name in run.written:
        folder = os.path.dirname(os.path.realpath(name))
        if not os.path.isdir(folder):
            raise OutputError(f"cannot write {printable(name)}: there is no folder {printable(folder)}")
        if os.path.isdir(name):
            raise OutputError(f"cannot write {printable(name)}: it is a folder")
        if not os.access(name if os.path.exists(name) else folder, os.W_OK):
            raise OutputError(f"cannot write {printable(name)}: it is read-only")


def _status(path: str | Path) -> os.stat_result | None:
    try:
        return os.fstat(0) if path == "-" else os.stat(path)
    except OSError:
        return None


def _player(sound: SoundOptions, settings: Settings) -> str | None:
    """The flag's, else the setting's, which a device that is named stands above."""
    if sound.player is not None and sound.device is not None:
        raise UsageError("--device and --player do not go together", hint="name the device in the command")
    player = sound.player or (None if sound.device else settings.player)
    if player or sound.player is not None:
        from smallest_cli.audio.player import command_of

        try:
            command_of(player or "", settings.sample_rate)
        except UsageError as error:
            if sound.player is not None:
                raise
            place = printable(settings.sources["player"])
            raise SettingsError(f"{place}: {str(error).removeprefix('--')}", hint=error.hint) from None
    return player


def parse_seconds(text: str | None) -> float:
    """Seconds out of `0.5`, `0.5s` or `500ms`. Raises UsageError."""
    if text is None:
        return 0.0
    number, per_second = (text[:-2], 1000) if text.endswith("ms") else (text.removesuffix("s"), 1)
    try:
        seconds = float(number) / per_second
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_LEAD_S:
        raise UsageError(
            f"--lead-silence: {printable(text, 40)} is not a time up to {LONGEST_LEAD_S} s, as 500ms"
        )
    return seconds


def _settle_captions(
    options: CaptionOptions,
    destinations: list[Destination],
    template: SpeechRequest,
    settings: Settings,
    *,
    force: bool,
) -> CaptionPlan | None:
    """What is wanted beside the sound, if anything."""
    if options.cue and not options.subtitles:
        raise UsageError("--cue is for subtitles", hint="add --subtitles FILE")
    if options.subtitles is not None:
        refuse_twice([*(each.output for each in destinations if each.output), options.subtitles])
    if options.follow and all(each.output is not None for each in destinations):
        raise UsageError("--follow shows what is heard", hint="add --play")
    if options.follow and not (sys.stderr and sys.stderr.isatty()):
        raise UsageError("--follow needs a terminal on stderr")
    if options.subtitles is None and not options.follow:
        return None
    from smallest_cli.synthesis.captions import CaptionPlan, plan_captions  # for those who want any

    plan = CaptionPlan(options.subtitles, by_word=options.cue == "word", follow=options.follow)
    return plan_captions(plan, template, settings, force=force)
