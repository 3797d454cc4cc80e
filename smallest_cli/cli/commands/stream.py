"""`smallest stream`: speak text as it arrives."""

import math
import sys
from typing import Annotated, Literal

import typer

from smallest_cli.cli.option_groups import Options, grouped, option
from smallest_cli.cli.options import (
    PAUSE_HELP,
    PAUSE_S,
    SPEAKER_HELP,
    CaptionOptions,
    RunOptions,
    ServiceOptions,
    SoundOptions,
    VoiceOptions,
)
from smallest_cli.cli.run_config import (
    build_run_config,
    check_key_not_from_text,
    report_text,
    resolve_voices,
    session_on_console,
    warn_of_file_name,
)
from smallest_cli.cli.summary import print_summary
from smallest_cli.errors import Incomplete, UsageError, plural
from smallest_cli.models import MAX_REQUEST_CHARS, SEGMENT_CHARS
from smallest_cli.security import os_error_text
from smallest_cli.synthesis.request import result
from smallest_cli.text.input import SUBTITLES_NOTICE, join_words

FLUSH_MS = 1500
DRAIN_S = 5.0
SENTENCE_OPTIONS = (
    *("subtitles", "follow", "cache", "split"),
    *("first_chunk_chars", "flush_ms", "strip_markdown", "max_chars"),
    *("lines", "pause", "speaker"),
)
"""Options that require the client to split sentences."""


class StreamOptions(Options, group="Text"):
    """How streamed text is split."""

    buffering: Literal["sentence", "server"] = option(
        "--buffering", "Where sentences are split: client or server (ws only).", "sentence", advanced=True
    )
    split: int | None = option(
        "--split N",
        f"Maximum characters per request. [default: {SEGMENT_CHARS}]",
        min=1,
        max=MAX_REQUEST_CHARS,
        advanced=True,
    )
    first_chunk_chars: int | None = option(
        "--first-chunk-chars N",
        "After N characters the first request may end at a clause.",
        min=1,
        advanced=True,
    )
    flush_ms: int | None = option(
        "--flush-ms MS", f"Flush unfinished text after MS of silence. [default: {FLUSH_MS}]", min=1
    )
    strip_markdown: bool | None = option(
        "--strip-markdown/--no-strip-markdown",
        "Remove Markdown. [default: on; off at a terminal]",
    )
    drain: float | None = option(
        "--drain SECONDS",
        f"With --buffering server: silence that ends the run. [default: {DRAIN_S:g}]",
        min=0.1,
        advanced=True,
    )
    lines: bool = option("--lines", "Make every line a segment, e.g. of a log.", False)
    max_lag: float | None = option(
        "--max-lag SECONDS", "With --lines: drop lines older than SECONDS.", min=0.1
    )
    pause: float | None = option("--pause SECONDS", f"{PAUSE_HELP} [default: {PAUSE_S:g}]", min=0, max=60)
    speaker: list[str] | None = option("--speaker NAME=VOICE", SPEAKER_HELP)
    max_chars: int = option(
        "--max-chars N", "Stop after this many characters; 0 = unlimited.", 0, min=0, advanced=True
    )


@grouped
def stream(
    words: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Text to speak.")] = None,
    *,
    stream_options: StreamOptions,
    voice: VoiceOptions,
    sound: SoundOptions,
    captions: CaptionOptions,
    service: ServiceOptions,
    report: RunOptions,
) -> None:
    """Speak text as it arrives, for example from an LLM.

    Each sentence is spoken as soon as it is complete; at a terminal, each line on Enter.
    """
    if "?" in (voice.voice, sound.device, sound.player):
        from smallest_cli.cli.tables import answer_question

        answer_question(sound.device, sound.player, as_json=report.json)
        return
    if not words and sys.stdin is None:
        raise UsageError("stdin is closed", hint="pipe text in, or give it as arguments")
    by_server = stream_options.buffering == "server"
    config, console = build_run_config(voice, sound, service, report, captions, needs_ws=by_server)
    warn_of_file_name(words or [], "< FILE", console)
    check_key_not_from_text([] if words else ["-"], service.api_key_file, config.settings)
    if by_server:
        given = captions.as_dict() | sound.as_dict() | stream_options.as_dict()
        for name in SENTENCE_OPTIONS:
            if given[name]:
                raise UsageError(f"--{name.replace('_', '-')} requires --buffering sentence")
    elif stream_options.drain is not None:
        raise UsageError("--drain requires --buffering server")
    max_lag = stream_options.max_lag
    if max_lag is not None:
        if not stream_options.lines:
            raise UsageError("--max-lag requires --lines")
        config = config.but(ahead_s=min(config.ahead_s or max_lag, max_lag))
    speakers = resolve_voices(stream_options.speaker, config, console, force=voice.force)
    typed = not words and sys.stdin.isatty()
    given_text = join_words(words or [])
    if typed:
        console.info("Type a line and press Enter to speak it; Ctrl-D ends.")
    with session_on_console(config, console, drawn=not typed) as session:
        # While the connection is made: these and their patterns take 15 ms.
        from smallest_cli.text.stream import (
            LAGGING_QUEUE_LENGTH,
            QUEUE_LENGTH,
            ArrivingSegments,
            CleanFragments,
            SegmentStream,
            TextReader,
        )

        reader = TextReader(
            [given_text] if words else sys.stdin.fileno(),
            QUEUE_LENGTH if max_lag is None else LAGGING_QUEUE_LENGTH,
        )
        fragments = CleanFragments(reader)
        strip = stream_options.strip_markdown
        segments = SegmentStream(
            config.template,
            speakers,
            limit=stream_options.split or SEGMENT_CHARS,
            first_limit=stream_options.first_chunk_chars,
            strip_markdown=not (typed or words or stream_options.lines) if strip is None else strip,
            typed=typed,
            by_line=stream_options.lines,
            by_sentence=config.captions is not None,
            max_chars=stream_options.max_chars,
            pause_s=0 if typed else PAUSE_S if stream_options.pause is None else stream_options.pause,
        )
        cleaned = fragments if by_server else segments
        if by_server:
            fragments.before_text = session.take_playback
            session.converse(config.template, fragments, stream_options.drain or DRAIN_S)
            session.totals.characters = fragments.characters
        else:
            flush_s = (stream_options.flush_ms or FLUSH_MS) / 1000
            segments.prepare()
            session.by_line = stream_options.lines
            session.stay_connected()
            arriving = ArrivingSegments(reader, segments, flush_s, math.inf if max_lag is None else max_lag)
            arriving.before_line = session.take_playback
            session.run(arriving)
            if arriving.dropped_lines:
                console.warn(f"dropped {plural(arriving.dropped_lines, 'line')} older than {max_lag:g} s")
            if segments.full:
                limit = f"longer than {plural(stream_options.max_chars, 'character')}"
                hint = "allow more: --max-chars"
                if not session.totals.byte_count:
                    raise UsageError(f"the first sentence is {limit}", hint=hint)
                session.pipeline.drain()  # play the text within the limit first
                seconds = session.totals.seconds
                raise Incomplete(f"the text is {limit}, after {seconds:.1f} s of audio", hint=hint)
        if reader.refused:
            raise reader.refused
        if reader.error:
            reason = os_error_text(reader.error)
            read = plural(reader.characters, "character")
            raise UsageError(f"cannot read stdin: {reason}, after {read} of text")
        if not session.totals.byte_count:
            reason = "nothing in the text is spoken" if reader.characters else "no text came"
            reason = "the text has no letter or digit" if cleaned.dropped else reason
            raise UsageError(f"nothing to speak: {reason}")
    if fragments.pauses:
        console.warn(f"removed {plural(fragments.pauses, 'pause')}: they require --buffering sentence")
    if reader.has_subtitles:
        console.warn(SUBTITLES_NOTICE.format("stdin"))
    if reader.broken:
        console.warn("the text was not all UTF-8; U+FFFD replaces what could not be decoded")
    report_text(cleaned.removed, cleaned.dropped, segments.warnings, console)
    print_summary(config, result(config, session), console, as_json=report.json)
