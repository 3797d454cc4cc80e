"""Record the segments of a run and their times, and write them to a subtitle file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress

from smallest_cli.audio.destinations import Destination
from smallest_cli.errors import BrokenPipe, DeviceError, Incomplete, Interrupted, SmallestError, UsageError
from smallest_cli.models import AudioFormat, SpeechRequest, Value
from smallest_cli.security import printable
from smallest_cli.settings import Settings
from smallest_cli.signals import uninterrupted
from smallest_cli.synthesis.subtitles import SpokenSegment, cues_of, is_timed, render, subtitle_format
from smallest_cli.voices import WORD_TIMING_LANGUAGES, WORD_TIMING_VOICES, find_voice, known_voices

HARMLESS = (DeviceError, Interrupted, BrokenPipe)
"""Errors that do not make subtitles wrong once all text was spoken."""


class CaptionPlan(Value):
    """The options of a run: a subtitle file, one cue for each word, text shown as it is played.

    `timed`: word times are requested.
    """

    path: str | None = None
    by_word: bool = False
    follow: bool = False
    timed: bool = False


def plan_captions(
    plan: CaptionPlan, template: SpeechRequest, settings: Settings, *, force: bool
) -> CaptionPlan:
    """Return the plan with `timed` resolved. Raises UsageError if required word times are not available."""
    if plan.path is not None:
        subtitle_format(plan.path)
    reason = "" if force or not (plan.by_word or plan.follow) else untimed_reason(template, settings)
    if plan.by_word and reason:
        raise UsageError(f"--cue word: {reason}", hint="--cue sentence works with every voice and transport")
    return plan.but(timed=plan.by_word or (plan.follow and not reason))


def untimed_reason(template: SpeechRequest, settings: Settings) -> str:
    """Return why the service will send no word times, "" if it may (waves/api.md, 3c)."""
    known = find_voice(template.voice, known_voices(settings.base_url))
    if settings.via != "ws":
        return f"word times are sent over ws only, not over {settings.via}"
    if settings.api == "v2":
        return "the v2 API sends no word times"
    if known and known.id not in WORD_TIMING_VOICES:
        return f"voice {known.id} has no word times; these have: {', '.join(sorted(WORD_TIMING_VOICES))}"
    if template.language not in (None, "auto", *WORD_TIMING_LANGUAGES):
        return f"word times exist for English and Hindi only, not for {printable(template.language, 20)}"
    return ""


class Captions:
    """Segments in the order in which they are spoken, with exact frames. `segments` only grows.

    `ended` is set when all text was spoken.
    """

    def __init__(self, format: AudioFormat) -> None:
        self.segments: list[SpokenSegment] = []
        self.ended = False
        self.format = format

    def start(
        self, request: SpeechRequest, frame: int, retried: SpokenSegment | None = None
    ) -> SpokenSegment:
        """Return a segment that starts at `frame`: a new one, or `retried`, reset."""
        if retried is not None:
            retried.restart(frame)
            return retried
        segment = SpokenSegment(
            request.text, frame, frame_size=self.format.frame_size, speaker=request.speaker
        )
        self.segments.append(segment)
        return segment


@contextmanager
def open_subtitles(
    plan: CaptionPlan, captions: Captions, *, clobber: bool, keep: bool, warn: Callable[[str], None]
) -> Iterator[None]:
    """Open the subtitle file before any request; write it if the context succeeds.

    It is also written after a device error, closed pipe or signal if all audio came. Else, with `keep`,
    the complete sentences are kept in a partial file. Raises OutputError, UsageError if the file exists
    and must not be replaced, and Incomplete if required word times did not come: the audio is
    complete then, and there is no subtitle file.
    """
    if (path := plan.path) is None:
        yield
        return
    from smallest_cli.files import FileTarget

    target: FileTarget | None = None
    kept = False

    def write(target: FileTarget) -> None:
        cues = cues_of(captions.segments, captions.format.sample_rate)
        target.write(render(cues, subtitle_format(path), by_word=plan.by_word).encode())

    def finish(target: FileTarget) -> None:
        if plan.by_word:
            _check_timed(captions.segments)
        write(target)
        target.commit()

    try:
        # Opening a FIFO waits for its reader, which a signal must be able to end.
        with uninterrupted() if Destination(path).is_file else nullcontext():
            target = FileTarget(path, clobber=clobber)
        try:
            yield
        except BaseException as error:
            if captions.ended and isinstance(error, HARMLESS):
                with suppress(SmallestError):
                    finish(target)
                raise
            kept = keep and target.is_file and any(each.complete for each in captions.segments)
            if kept:
                write(target)
            raise
        finish(target)
    except BaseException:
        if target and (part := target.abandon(kept)):
            warn(f"partial subtitles saved to {printable(part)}")
        raise


def _check_timed(segments: Iterable[SpokenSegment]) -> None:
    for segment in segments:
        if not is_timed(segment):
            raise Incomplete(
                "no subtitles, though the audio is complete: the service sent no word times for"
                f" {printable(segment.text.strip(), 40)!r}",
                hint="--cue sentence works with every voice and transport",
            )
