"""`smallest stream`: speak a text while it is still being written."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Annotated, Literal, NoReturn

import typer

from smallest_cli.audio.sink import Sink
from smallest_cli.cli.console import end_text, say_text
from smallest_cli.cli.option_groups import Options, grouped
from smallest_cli.cli.options import CaptionOptions, RunOptions, ServiceOptions, SoundOptions, VoiceOptions
from smallest_cli.cli.run_config import build_run_config, refuse_text_and_key
from smallest_cli.cli.summary import print_summary
from smallest_cli.errors import Incomplete, SmallestError, UsageError
from smallest_cli.models import Conversation, SpeechRequest
from smallest_cli.synthesis.pipeline import Pump, Spoken, drain, play
from smallest_cli.synthesis.request import Run
from smallest_cli.synthesis.session import RunResult, Stage, open_stage, result
from smallest_cli.text.segments import SPLIT
from smallest_cli.text.stream import SegmentStream, TextReader, cut

LOOK_EVERY_S = 0.05
FLUSH_MS = 1500
DRAIN_S = 5.0


class StreamOptions(Options):
    """How arriving text is cut and shown."""

    buffering: Annotated[
        Literal["sentence", "server"],
        typer.Option("--buffering", help="Who cuts the text: this tool by sentences, or the service."),
    ] = "sentence"
    split: Annotated[
        int | None,
        typer.Option(
            "--split", metavar="N", min=1, help=f"Most characters in a segment; the default is {SPLIT}."
        ),
    ] = None
    first_chunk_chars: Annotated[
        int | None,
        typer.Option(
            "--first-chunk-chars",
            metavar="N",
            min=1,
            help="When N characters have come, the first piece may end at a clause.",
        ),
    ] = None
    flush_ms: Annotated[
        int | None,
        typer.Option(
            "--flush-ms",
            metavar="MS",
            min=1,
            help=f"Speak what dangles after so long without more text; the default is {FLUSH_MS}.",
        ),
    ] = None
    strip_markdown: Annotated[
        bool | None,
        typer.Option(
            "--strip-markdown/--no-strip-markdown",
            help="Leave Markdown's marks unread; on when stdin is a pipe.",
        ),
    ] = None
    echo: Annotated[bool, typer.Option("--echo", help="Print the text as it is heard, to stderr.")] = False
    drain: Annotated[
        float | None,
        typer.Option(
            "--drain",
            metavar="SECONDS",
            min=0.1,
            help=f"With --buffering server: quiet that means the end; the default is {DRAIN_S:g}.",
        ),
    ] = None
    max_chars: Annotated[
        int,
        typer.Option(
            "--max-chars", metavar="N", min=0, help="Speak what fits in so many, and stop; 0 for no bound."
        ),
    ] = 0


@grouped
def stream(
    words: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="The words.")] = None,
    *,
    arriving: StreamOptions,
    who: VoiceOptions,
    sound: SoundOptions,
    captions: CaptionOptions,
    where: ServiceOptions,
    report: RunOptions,
) -> None:
    """Speak a text while it is still being written.

    Each sentence is heard as soon as it is whole. At a terminal each line is, on Enter.
    """
    if "?" in (who.voice, sound.device):
        from smallest_cli.cli.tables import answer_question  # for those who ask

        answer_question(who.voice, sound.device, as_json=report.json)
        return
    if not words and sys.stdin is None:
        raise UsageError("stdin is closed", hint="pipe a text in, or give it as words")
    run = build_run_config(who, sound, where, report, captions)
    refuse_text_and_key([] if words else ["-"], where, run.settings)
    if arriving.buffering == "server":
        _refuse_own_cutting(arriving, run)
    elif arriving.drain is not None:
        raise UsageError("--drain is for --buffering server")
    if arriving.echo and captions.follow:
        raise UsageError("--echo and --follow both show the text", hint="leave one of them away")
    typed = not words and sys.stdin.isatty()
    arrivals = TextReader([" ".join(words)] if words else sys.stdin.fileno())
    strip = arriving.strip_markdown
    cutter = SegmentStream(
        limit=arriving.split or SPLIT,
        first_limit=arriving.first_chunk_chars,
        strip_markdown=not (typed or words) if strip is None else strip,
        by_line=typed,
        apart=run.plan is not None,
        most=arriving.max_chars,
    )
    told = (
        _by_service(run, arriving, arrivals)
        if arriving.buffering == "server"
        else _by_sentence(run, arriving, arrivals, cutter)
    )
    if arrivals.broken:
        run.console.warn("the text was not all UTF-8; U+FFFD stands for what could not be read")
    if cutter.removed:
        run.console.warn(f"{cutter.removed} control characters were left out of the text")
    print_summary(run, told)


def _refuse_own_cutting(options: StreamOptions, run: Run) -> None:
    """What needs sentences of our own cutting is not to be had from the service's."""
    if run.plan:
        raise UsageError(
            "--subtitles and --follow need --buffering sentence: the service tells no sentence's time"
        )
    if run.sound.cache:
        raise UsageError("--cache needs --buffering sentence: what the service cuts is not known before")
    given = {
        "--split": options.split, "--first-chunk-chars": options.first_chunk_chars,
        "--flush-ms": options.flush_ms, "--strip-markdown": options.strip_markdown,
        "--echo": options.echo, "--max-chars": options.max_chars,
    }  # fmt: skip
    if names := [name for name, value in given.items() if value]:
        raise UsageError(f"{names[0]} needs --buffering sentence: with server the text goes as it comes")


def _by_sentence(run: Run, options: StreamOptions, arrivals: TextReader, cutter: SegmentStream) -> RunResult:
    """Each segment is one plain request."""
    echo = _Echo(wanted=options.echo)
    with echo, open_stage(run, shown=not options.echo) as stage, echo.following(stage.sink):
        stage.stay_connected()
        segments = cut(
            arrivals, cutter, flush_s=(options.flush_ms or FLUSH_MS) / 1000, keep_open=stage.stay_connected
        )
        script = (replace(run.template, text=segment) for segment in segments)

        def begin(request: SpeechRequest, frame: int) -> None:
            stage.begin(request, frame)
            echo.begin(request, frame)

        play(
            script, stage.ask, stage.sink, stage.spoken,
            ahead_s=run.ahead_s, begin=begin, again=stage.retries.over,
        )  # fmt: skip
        if cutter.full:
            _refuse_rest(stage, options.max_chars)
        _refuse_nothing(stage.spoken)
    return result(run, stage)


def _refuse_rest(stage: Stage, most: int) -> NoReturn:
    """More came than is allowed: what was allowed is heard to its end."""
    spoken, hint = stage.spoken, "allow more: --max-chars"
    if not spoken.byte_count:
        raise UsageError(f"the first sentence is longer than {most} characters", hint=hint)
    drain(stage.sink, spoken.frames)
    raise Incomplete(
        f"the text is longer than {most} characters, after {spoken.seconds:.1f} s of audio", hint=hint
    )


def _by_service(run: Run, options: StreamOptions, arrivals: TextReader) -> RunResult:
    """Fragments go as they come, and the service cuts them."""
    with open_stage(run) as stage:
        if not isinstance(stage.transport, Conversation):
            raise UsageError("--buffering server needs --via ws")
        pump = Pump(stage.sink, stage.spoken)
        events = stage.transport.converse(run.template, arrivals, options.drain or DRAIN_S)
        pump.pour(stage.watch(events))
        stage.spoken.characters = arrivals.characters
        _refuse_nothing(stage.spoken)
    return result(run, stage)


def _refuse_nothing(spoken: Spoken) -> None:
    if not spoken.byte_count:
        raise UsageError("nothing to speak: no text came")


class _Echo:
    """Prints a segment's text when its sound is heard. Around the sink, which plays until it is closed."""

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._waiting: deque[tuple[int, str]] = deque()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, request: SpeechRequest, frame: int) -> None:
        """A segment's sound begins at that frame."""
        if self._wanted:
            self._waiting.append((frame, request.text))

    @contextmanager
    def following(self, sink: Sink) -> Iterator[None]:
        """Follow what a sink plays; to the end of the outer context, or to an error within this one."""
        if not self._wanted:
            yield
            return
        self._thread = threading.Thread(target=self._follow, args=(sink,), daemon=True)
        self._thread.start()
        try:
            yield
        except BaseException:
            self._stop()  # before the sink is aborted, which then may call all of it heard
            self._tell(sink)
            raise

    def __enter__(self) -> _Echo:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop()
        while kind is None and self._waiting:
            say_text(self._waiting.popleft()[1])
        end_text()

    def _stop(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join()

    def _follow(self, sink: Sink) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            self._tell(sink)

    def _tell(self, sink: Sink) -> None:
        """Print what is heard by now; what a sink that died had not played, nobody heard."""
        with suppress(SmallestError):
            while self._waiting and self._waiting[0][0] < sink.frames_played():
                say_text(self._waiting.popleft()[1])
