"""Build the run configuration from options and settings, and check it before anything is opened."""

from __future__ import annotations

import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from smallest_cli.audio.destinations import Destination, check_distinct, choose_destinations
from smallest_cli.audio.formats import HEADERLESS_G711, TELEPHONE_RATE
from smallest_cli.cli.console import Console
from smallest_cli.cli.options import CaptionOptions, RunOptions, ServiceOptions, SoundOptions, VoiceOptions
from smallest_cli.client.credentials import key_files, reads_stdin
from smallest_cli.errors import SettingsError, UsageError, plural
from smallest_cli.models import AudioFormat, SpeechRequest
from smallest_cli.security import printable
from smallest_cli.settings import Settings, config_path, load_settings
from smallest_cli.stdio import stdout_kind
from smallest_cli.synthesis.request import (
    AHEAD_S,
    RunConfig,
    build_request,
    describe_settings,
    open_session,
    resolve_speakers,
)
from smallest_cli.synthesis.session import Session
from smallest_cli.voices import UnknownVoice

if TYPE_CHECKING:
    from pathlib import Path

    from smallest_cli.cli.live_text import LiveText
    from smallest_cli.synthesis.captions import CaptionPlan, Captions

MAX_LEAD_S = 10
FILE_NAMES = "txt|text|md|markdown|rst|srt|vtt|csv|tsv|jsonl?|html?|log|pdf|docx?|epub"
"""Extensions that a text of one word hardly ends in."""


def load_request(
    voice: VoiceOptions,
    service: ServiceOptions,
    report: RunOptions,
    cache: bool | None = None,
    *,
    needs_ws: bool = False,
    warn: Callable[[str], None] | None = None,
) -> tuple[Console, Settings, SpeechRequest]:
    """Return the console, the settings and the request template. Raises UsageError and SettingsError.

    `needs_ws`: with transport auto use ws, as the command requires it. `warn` takes the warnings, by default
    the console.
    """
    if service.ca_file is not None and not os.path.exists(os.path.expanduser(service.ca_file)):
        raise SettingsError(f"--ca-file: no such file: {printable(service.ca_file)}")
    if report.quiet and (report.verbose or report.debug):
        raise UsageError(f"--quiet and --{'verbose' if report.verbose else 'debug'} cannot be combined")
    console = Console(quiet=report.quiet, verbose=report.verbose, debug=report.debug)
    warn = warn or console.warn
    settings = load_settings(voice.as_dict() | service.as_dict() | {"cache": cache})
    if "via" not in settings.sources and (needs_ws or service.completion_wait is not None):
        settings = settings._replace(via="ws")
    build = partial(
        build_request,
        settings,
        number_language=voice.number_language,
        math_notation=voice.math_notation,
        dictionaries=voice.dictionary or (),
        v2_fields={name: getattr(voice, name) for name in ("consistency", "similarity", "enhancement")},
        warn=warn,
    )
    try:
        template = build(force=voice.force)
    except UnknownVoice as error:
        if report.json or not console.confirms(f"{error}. Send it anyway?"):
            raise
        template = build(force=True)
    if service.completion_wait is not None and settings.via != "ws":
        warn(f"--completion-wait has no effect over {settings.via}")
    for line in describe_settings(settings, template):
        console.debug(line)
    return console, settings, template


def build_run_config(
    voice: VoiceOptions,
    sound: SoundOptions,
    service: ServiceOptions,
    report: RunOptions,
    captions: CaptionOptions | None = None,
    *,
    needs_ws: bool = False,
) -> tuple[RunConfig, Console]:
    """Return the configuration of a run and its console. Raises UsageError and SettingsError."""
    captions = captions or CaptionOptions()
    needs_ws = needs_ws or captions.cue == "word"
    console, settings, template = load_request(voice, service, report, sound.cache, needs_ws=needs_ws)
    settings = _prefer_ws(captions, template, settings)
    destinations = choose_destinations(
        sound.output or [],
        template.format,
        play=sound.play,
        implies_play=captions.follow or any((sound.device, sound.player, sound.overlap)),
        format=sound.format,
        device=sound.device,
        player=_player(sound, settings),
        lead_s=parse_seconds(sound.lead_silence),
        overlap=sound.overlap,
        keep=sound.partial == "keep",
        clobber=sound.clobber,
    )
    if "sample_rate" not in settings.sources and any(each.coding in HEADERLESS_G711 for each in destinations):
        settings = settings._replace(sample_rate=TELEPHONE_RATE)
        template = template._replace(format=AudioFormat(TELEPHONE_RATE))
    if report.json and stdout_kind() == "closed":
        raise UsageError("--json prints on stdout, which is closed")
    if report.json and not report.dry_run and any(each.output == "-" for each in destinations):
        raise UsageError("--json and audio cannot share stdout", hint="use -o FILE")
    if sound.player and all(each.output is not None for each in destinations):
        raise UsageError("--player requires playback", hint="add --play")
    plan = _plan_captions(captions, destinations, template, settings, force=voice.force)
    config = RunConfig(
        settings,
        template._replace(word_timings=plan is not None and plan.timed),
        destinations,
        plan,
        key_file=service.api_key_file,
        max_time=service.max_time,
        ahead_s=AHEAD_S if sound.ahead is None else sound.ahead,
        keep_partial=sound.partial == "keep",
        clobber=sound.clobber,
        started_ns=time.perf_counter_ns(),
    )
    check_not_overwriting_inputs(settings, service.api_key_file, config.written_files)
    return config, console


@contextmanager
def session_on_console(
    config: RunConfig, console: Console, segments: int = 0, *, drawn: bool = True
) -> Iterator[Session]:
    """Open a session with progress and, with --follow, the text on stderr.

    `segments`: how many there are, if all are known. `drawn`: whether the terminal is free for progress.
    """
    plan, format = config.captions, config.template.format
    captions: Captions | None = None
    live_text: LiveText | None = None
    with ExitStack() as stack:
        if plan:
            from smallest_cli.synthesis.captions import Captions

            captions = Captions(format)
        if plan and captions and plan.follow:
            from smallest_cli.cli.live_text import LiveText

            live_text = LiveText(captions.segments, format.sample_rate)
            stack.enter_context(live_text.shown())
        progress = console.progress(format, segments, drawn=drawn and live_text is None)
        stack.callback(progress.stop)
        on_sink = live_text.start if live_text else None
        if live_text is None and any(each.output is None for each in config.destinations):
            on_sink = progress.watch
        on_event, at_once = progress.on_event, segments > 0
        opened = open_session(
            config, at_once, warn=console.warn, captions=captions, on_event=on_event, on_sink=on_sink
        )
        session = stack.enter_context(opened)
        if live_text:
            stack.enter_context(live_text.stopped_on_error())
        yield session


def resolve_voices(
    speakers: Sequence[str] | None, config: RunConfig, console: Console, *, force: bool
) -> dict[str, SpeechRequest]:
    """Return the template of each --speaker. Raises UsageError, for a voice without word times, too."""
    resolved = resolve_speakers(
        speakers or (), config.settings, config.template, force=force, warn=console.warn
    )
    if config.captions and config.captions.by_word:
        from smallest_cli.synthesis.captions import plan_captions

        for template in resolved.values():
            plan_captions(config.captions, template, config.settings, force=force)
    return resolved


def report_text(removed: int, dropped: int, warnings: Iterable[str], console: Console) -> None:
    """Warn about likely mistakes and removed control characters; with --verbose count what was dropped."""
    for warning in warnings:
        console.warn(warning)
    if removed:
        console.warn(f"removed {plural(removed, 'control character')} from the text")
    if dropped:
        console.detail(f"dropped {plural(dropped, 'character')} that cannot be spoken")


def warn_of_file_name(words: Sequence[str], option: str, console: Console) -> None:
    """Warn if the text is one word that is the name of a file, or looks like one; `option` reads a file."""
    if len(words) != 1:
        return
    exists = os.path.isfile(words[0])
    if exists or re.fullmatch(rf"\S+\.({FILE_NAMES})", words[0], re.IGNORECASE):
        which = "that file" if exists else "a file"
        name = printable(words[0], 60)
        console.warn(f"'{name}' is spoken as it is; to speak the text of {which}: {option}")


def check_key_not_from_text(texts: Iterable[str], key_file: str | None, settings: Settings) -> None:
    """Raise UsageError if the text (`-` among `texts`) and the key would both be read from stdin."""
    if "-" in texts and not settings.local and reads_stdin(key_file):
        hint = "read the key from a file: --api-key-file FILE"
        raise UsageError("stdin cannot be both the text and the key", hint=hint)


def check_not_overwriting_inputs(settings: Settings, key_file: str | None, written: Iterable[str]) -> None:
    """Raise UsageError if an output would replace a settings or key file."""
    inputs = [config_path(), *key_files(key_file), settings.ca_file or ""]
    check_not_overwriting(inputs, written, "the settings or a key are read from it")


def check_not_overwriting(read: Iterable[str | Path], written: Iterable[str], reason: str) -> None:
    """Raise UsageError if an output is also an input, even by another path; `-` is stdin."""
    targets = {name: status for name in written if (status := _status(name))}
    for source in map(_status, read if targets else ()):
        for name, target in targets.items():
            if source and stat.S_ISREG(source.st_mode) and os.path.samestat(source, target):
                raise UsageError(f"refusing to overwrite {printable(name)}: {reason}")


def _status(path: str | Path) -> os.stat_result | None:
    try:
        return os.fstat(0) if path == "-" else os.stat(path)
    except OSError:
        return None


def _player(sound: SoundOptions, settings: Settings) -> str | None:
    """Return the player command: --player, else the setting unless --device is given."""
    if sound.player is not None and sound.device is not None:
        raise UsageError("--device and --player cannot be combined", hint="name the device in the command")
    player = sound.player or (None if sound.device else settings.player)
    if player or sound.player is not None:
        from smallest_cli.audio.player import player_command

        try:
            player_command(player or "", settings.sample_rate)
        except UsageError as error:
            if sound.player is not None:
                raise
            source = printable(settings.sources["player"])
            raise SettingsError(f"{source}: {str(error).removeprefix('--')}", hint=error.hint) from None
    return player


def parse_seconds(text: str | None) -> float:
    """Parse `0.5`, `0.5s` or `500ms` into seconds. Raises UsageError."""
    if text is None:
        return 0.0
    number, per_second = (text[:-2], 1000) if text.endswith("ms") else (text.removesuffix("s"), 1)
    with suppress(ValueError):
        if 0 <= (seconds := float(number) / per_second) <= MAX_LEAD_S:
            return seconds
    raise UsageError(
        f"--lead-silence: {printable(text, 40)} is not a time of 0 to {MAX_LEAD_S} s, e.g. 500ms"
    )


def _plan_captions(
    options: CaptionOptions,
    destinations: Sequence[Destination],
    template: SpeechRequest,
    settings: Settings,
    *,
    force: bool,
) -> CaptionPlan | None:
    """Return the plan for subtitles and live text, None if neither is requested. Raises UsageError."""
    if options.cue and not options.subtitles:
        raise UsageError("--cue requires --subtitles", hint="add --subtitles FILE")
    if options.subtitles is not None:
        check_distinct([*(each.output for each in destinations if each.output), options.subtitles])
    if options.subtitles is None and not options.follow:
        return None
    if options.follow and sys.stderr is None:
        raise UsageError("--follow prints on stderr, which is closed")
    from smallest_cli.synthesis.captions import CaptionPlan, plan_captions

    plan = CaptionPlan(options.subtitles, by_word=options.cue == "word", follow=options.follow)
    return plan_captions(plan, template, settings, force=force)


def _prefer_ws(captions: CaptionOptions, template: SpeechRequest, settings: Settings) -> Settings:
    """With transport auto, use ws for --follow on a terminal if the voice has word timings: sse has none."""
    if not captions.follow or "via" in settings.sources or not (sys.stderr and sys.stderr.isatty()):
        return settings
    from smallest_cli.synthesis.captions import untimed_reason

    over_ws = settings._replace(via="ws")
    return settings if untimed_reason(template, over_ws) else over_ws
