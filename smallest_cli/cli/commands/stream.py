"""`smallest stream`: speak text as it arrives."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from smallest_cli.cli.option_groups import Options, grouped, option
from smallest_cli.cli.options import CaptionOptions, RunOptions, ServiceOptions, SoundOptions, VoiceOptions
from smallest_cli.cli.run_config import build_run_config, check_key_not_from_text, session_on_console
from smallest_cli.cli.summary import print_summary
from smallest_cli.errors import Incomplete, UsageError, plural
from smallest_cli.models import MAX_REQUEST_CHARS, SEGMENT_CHARS
from smallest_cli.security import os_error_text
from smallest_cli.synthesis.request import result
from smallest_cli.text.input import join_words
from smallest_cli.text.stream import ArrivingSegments, SegmentStream, TextReader

FLUSH_MS = 1500
DRAIN_S = 5.0
SENTENCE_OPTIONS = (
    *("subtitles", "follow", "cache", "split"),
    *("first_chunk_chars", "flush_ms", "strip_markdown", "max_chars"),
)
"""Options that require the client to split sentences."""


class StreamOptions(Options):
    """How streamed text is split."""

    buffering: Literal["sentence", "server"] = option(
        "--buffering", "Where sentences are split: client or server (ws only).", "sentence"
    )
    split: int | None = option(
        "--split N",
        f"Maximum characters per request. [default: {SEGMENT_CHARS}]",
        min=1,
        max=MAX_REQUEST_CHARS,
    )
    first_chunk_chars: int | None = option(
        "--first-chunk-chars N", "After N characters the first request may end at a clause.", min=1
    )
    flush_ms: int | None = option(
        "--flush-ms MS", f"Flush unfinished text after MS of silence. [default: {FLUSH_MS}]", min=1
    )
    strip_markdown: bool | None = option(
        "--strip-markdown/--no-strip-markdown",
        "Remove Markdown markup. [default: on unless stdin is a terminal]",
    )
    drain: float | None = option(
        "--drain SECONDS",
        f"With --buffering server: quiet that ends the run. [default: {DRAIN_S:g}]",
        min=0.1,
    )
    max_chars: int = option("--max-chars N", "Stop after this many characters; 0 = unlimited.", 0, min=0)


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

    Each sentence is spoken as soon as it is complete. At a terminal each line is, on Enter.
    """
    if "?" in (voice.voice, sound.device):
        from smallest_cli.cli.tables import answer_question

        answer_question(sound.device, as_json=report.json)
        return
    if not words and sys.stdin is None:
        raise UsageError("stdin is closed", hint="pipe text in, or give it as arguments")
    by_server = stream_options.buffering == "server"
    config, console = build_run_config(voice, sound, service, report, captions, needs_ws=by_server)
    check_key_not_from_text([] if words else ["-"], service.api_key_file, config.settings)
    if by_server:
        given = captions.as_dict() | sound.as_dict() | stream_options.as_dict()
        for name in SENTENCE_OPTIONS:
            if given[name]:
                raise UsageError(f"--{name.replace('_', '-')} requires --buffering sentence")
    elif stream_options.drain is not None:
        raise UsageError("--drain requires --buffering server")
    typed = not words and sys.stdin.isatty()
    reader = TextReader([join_words(words)] if words else sys.stdin.fileno())
    strip = stream_options.strip_markdown
    segments = SegmentStream(
        limit=stream_options.split or SEGMENT_CHARS,
        first_limit=stream_options.first_chunk_chars,
        strip_markdown=not (typed or words) if strip is None else strip,
        by_line=typed,
        by_sentence=config.captions is not None,
        max_chars=stream_options.max_chars,
    )
    with session_on_console(config, console) as session:
        if by_server:
            session.converse(config.template, reader, stream_options.drain or DRAIN_S)
            session.totals.characters = reader.characters
        else:
            flush_s = (stream_options.flush_ms or FLUSH_MS) / 1000
            session.stay_connected()
            session.run(ArrivingSegments(reader, segments, config.template, flush_s))
            if segments.full:
                limit = f"longer than {plural(stream_options.max_chars, 'character')}"
                hint = "allow more: --max-chars"
                if not session.totals.byte_count:
                    raise UsageError(f"the first sentence is {limit}", hint=hint)
                session.pipeline.drain()  # play the text within the limit first
                seconds = session.totals.seconds
                raise Incomplete(f"the text is {limit}, after {seconds:.1f} s of audio", hint=hint)
        if reader.error:
            reason = os_error_text(reader.error)
            read = plural(reader.characters, "character")
            raise UsageError(f"cannot read stdin: {reason}, after {read} of text")
        if not session.totals.byte_count:
            raise UsageError("nothing to speak: no text came")
    if reader.broken:
        console.warn("the text was not all UTF-8; U+FFFD replaces what could not be decoded")
    if segments.removed:
        console.warn(f"removed {plural(segments.removed, 'control character')} from the text")
    print_summary(config, result(config, session), console, as_json=report.json)
