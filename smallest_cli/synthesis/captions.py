"""What a run says and when, kept as it passes; and its subtitle file, whole or not there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace

from smallest_cli.audio.destinations import Destination
from smallest_cli.errors import (
    BrokenPipe,
    DeviceError,
    Incomplete,
    Interrupted,
    SmallestError,
    UsageError,
)
from smallest_cli.models import AudioChunk, AudioFormat, Completed, Event, SpeechRequest, WordTiming
from smallest_cli.security import printable
from smallest_cli.settings import Settings
from smallest_cli.signals import uninterrupted
from smallest_cli.synthesis.subtitles import SpokenSegment, cues_of, is_timed, kind_of, render
from smallest_cli.voices import WORD_TIMING_VOICES, find_voice, known_voices

SPARING = (DeviceError, Interrupted, BrokenPipe)
TIMED_LANGUAGES = (None, "auto", "en", "hi")


@dataclass(frozen=True, slots=True)
class CaptionPlan:
    """What is wanted: a subtitle file, its words as cues, the text followed as it is heard.

    `timed` says that the service is asked for the times of words.
    """

    path: str | None = None
    by_word: bool = False
    follow: bool = False
    timed: bool = False


def plan_captions(
    plan: CaptionPlan, template: SpeechRequest, settings: Settings, *, force: bool
) -> CaptionPlan:
    """The plan, `timed` settled. Raises UsageError for what can be seen to be impossible."""
    if plan.path is not None:
        kind_of(plan.path)
    why = "" if force or not (plan.by_word or plan.follow) else _untimed(template, settings)
    if plan.by_word and why:
        raise UsageError(f"--cue word: {why}", hint="--cue sentence goes with every voice and transport")
    return replace(plan, timed=plan.by_word or (plan.follow and not why))


def _untimed(template: SpeechRequest, settings: Settings) -> str:
    """Why words will not be timed, as far as is known without asking (waves/api.md, 3c)."""
    names = ", ".join(sorted(WORD_TIMING_VOICES))
    known = find_voice(template.voice, known_voices(settings.base_url))
    if settings.via != "ws":
        return f"words are timed over ws alone, not over {settings.via}"
    if settings.api == "v2":
        return "the v2 API times no words"
    if known and known.id not in WORD_TIMING_VOICES:
        return f"{known.id} is no voice that times its words; those are {names}"
    if template.language not in TIMED_LANGUAGES:
        return f"words are timed in English and Hindi alone, not in {printable(template.language, 20)}"
    return ""


class Captions:
    """Hears of every passage and watches its events: exact frames, no clock. `passages` only grows.

    `ended` is set when all of the text has been spoken.
    """

    def __init__(self, format: AudioFormat) -> None:
        self.passages: list[SpokenSegment] = []
        self.ended = False
        self._format = format
        self._byte_count = 0

    def begin(self, request: SpeechRequest, frame: int) -> None:
        """A segment's sound will begin at `frame`."""
        self.passages.append(SpokenSegment(request.text, frame))

    def watch(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events, of one attempt at the segment that was begun last.

        What an attempt before it has told is void.
        """
        passage = self.passages[-1]
        passage.words.clear()
        self._byte_count = passage.frames = 0
        for event in events:
            match event:
                case AudioChunk(pcm=pcm):
                    self._byte_count += len(pcm)
                    passage.frames = self._byte_count // self._format.frame_size
                case WordTiming():
                    passage.words.append(event)
                case Completed():
                    passage.whole = True
            yield event


@contextmanager
def open_subtitles(
    plan: CaptionPlan,
    captions: Captions,
    format: AudioFormat,
    *,
    clobber: bool,
    keep: bool,
    warn: Callable[[str], None],
) -> Iterator[None]:
    """Open the file before anything is asked for; write it when all within has gone well.

    A loudspeaker that is lost, a reader that left and a signal spare it as they spare a file of sound, once
    all has come. Otherwise the sentences that are whole are kept beside its name, if `keep`. Raises
    OutputError, UsageError where the file is there and is not to be replaced, and Incomplete where words
    were to be timed and were not: the sound is whole then, and there is no file.
    """
    if plan.path is None:
        yield
        return
    from smallest_cli.files import FileTarget

    path = plan.path
    target: FileTarget | None = None
    kept = False

    def write(target: FileTarget) -> None:
        cues = cues_of(captions.passages, format.sample_rate)
        target.write(render(cues, kind_of(path), by_word=plan.by_word).encode())

    def finish(target: FileTarget) -> None:
        if plan.by_word:
            _refuse_untimed(captions.passages)
        write(target)
        target.commit()

    try:
        # What is no file may wait for its other end, and must be left by a signal.
        with uninterrupted() if Destination(path).is_file else nullcontext():
            target = FileTarget(path, clobber=clobber)
        try:
            yield
        except BaseException as error:
            if captions.ended and isinstance(error, SPARING):
                with suppress(SmallestError):
                    finish(target)
                raise
            kept = keep and target.is_file and any(each.whole for each in captions.passages)
            if kept:
                write(target)
            raise
        finish(target)
    except BaseException:
        if target and (part := target.abandon(kept)):
            warn(f"the subtitles so far are kept in {printable(part)}")
        raise


def _refuse_untimed(passages: Iterable[SpokenSegment]) -> None:
    for passage in passages:
        if not is_timed(passage):
            raise Incomplete(
                f"no subtitles, though the sound is whole: no words were timed of"
                f" {printable(passage.text.strip(), 40)!r}",
                hint="--cue sentence goes with every voice and transport",
            )
