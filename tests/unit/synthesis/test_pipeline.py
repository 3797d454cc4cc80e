"""Copying audio in whole frames, errors for missing audio, and the request loop of a session."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallest_cli import errors
from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.client.cache import AudioCache, CachedAudio
from smallest_cli.client.retry import Budget, RetryPolicy
from smallest_cli.errors import (
    Incomplete,
    NetworkError,
    RemoteError,
    ServerError,
    SettingsError,
)
from smallest_cli.models import (
    AudioChunk,
    AudioFormat,
    Completed,
    Event,
    Opened,
    Phases,
    Sent,
    Silence,
    SpeechRequest,
)
from smallest_cli.synthesis.captions import Captions
from smallest_cli.synthesis.pipeline import Pipeline, Totals
from smallest_cli.synthesis.session import Cancelled, Session
from smallest_cli.text.segments import FinishedSegments
from smallest_cli.transports.channel import Channel
from tests.support.memory_sink import MemorySink

FORMAT = AudioFormat(8_000)
SECOND = bytes(range(250)) * 64


def request(text: str = "Hello.") -> SpeechRequest:
    return SpeechRequest(text, "meher", format=FORMAT)


def segment(*pieces: bytes, request_id: str | None = None) -> list[Event]:
    """Events of one complete request."""
    return [Opened(Phases()), Sent(), *map(AudioChunk, pieces), Completed(request_id)]


def failing(events: Iterable[Event], error: Exception) -> Iterator[Event]:
    yield from events
    raise error


def copy(*groups: Iterable[Event], sink: MemorySink | None = None) -> Totals:
    pipeline = Pipeline(sink or MemorySink(), FORMAT)
    for events in groups:
        pipeline.copy(events)
    return pipeline.totals


# Whole frames


@given(
    st.lists(st.lists(st.binary(max_size=9), max_size=8).filter(any), min_size=1, max_size=4),
    st.sampled_from([AudioFormat(8_000), AudioFormat(8_000, channels=2)]),
)
def test_odd_chunks_are_joined_to_whole_frames(groups: list[list[bytes]], format: AudioFormat) -> None:
    sink = MemorySink()
    pipeline = Pipeline(sink, format)
    for pieces in groups:
        pieces.append(bytes(-sum(map(len, pieces)) % format.frame_size))
        pipeline.copy(segment(*pieces))
    assert sink.pcm == b"".join(map(b"".join, groups))
    assert all(len(written) % format.frame_size == 0 and written for written in sink.writes)
    assert (pipeline.totals.byte_count, pipeline.totals.segments) == (len(sink.pcm), len(groups))


def test_frame_is_written_once_complete() -> None:
    sink = MemorySink()
    seen = []
    pipeline = Pipeline(sink, FORMAT)

    def events() -> Iterator[Event]:
        for piece in (b"a", b"bc", b"d", b"", b"ef"):
            yield AudioChunk(piece)
            seen.append(sink.pcm)
        yield Completed()

    pipeline.copy(events())
    assert seen == [b"", b"ab", b"abcd", b"abcd", b"abcdef"]


def test_audio_without_its_end_is_incomplete() -> None:
    with pytest.raises(Incomplete, match=r"without an end marker, after 2\.0 s"):
        copy([Sent(), AudioChunk(SECOND), AudioChunk(SECOND)])


def test_each_segment_of_a_stream_needs_its_end() -> None:
    totals = copy([*segment(SECOND, request_id="a"), *segment(SECOND, request_id="b")])
    assert (totals.segments, totals.request_ids, totals.seconds) == (2, ["a", "b"], 2.0)
    with pytest.raises(Incomplete, match="without an end marker"):
        copy([*segment(SECOND), Sent()])


# Service errors before and after the first audio

KINDS = [errors.AuthError, errors.RateLimited, NetworkError, ServerError, errors.SecurityError]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [[], [Opened(Phases()), Sent()], [Sent(), AudioChunk(b"a")]])
def test_error_before_the_first_frame_is_raised_unchanged(
    kind: type[RemoteError], before: list[Event]
) -> None:
    error = kind("it broke", hint="mend it", request_id="r")
    with pytest.raises(kind) as caught:
        copy(failing(before, error))
    assert caught.value is error


@pytest.mark.parametrize("kind", KINDS)
def test_error_after_the_first_frame_is_incomplete_with_its_duration(kind: type[RemoteError]) -> None:
    error = kind("it broke", hint="mend it", request_id="r")
    streams: list[list[Iterable[Event]]] = [
        [failing([Sent(), AudioChunk(SECOND), AudioChunk(SECOND[:8_000])], error)],
        [segment(SECOND + SECOND[:8_000]), failing([], error)],
    ]
    for groups in streams:
        with pytest.raises(Incomplete, match=r"^it broke, after 1\.5 s of audio$") as caught:
            copy(*groups)
        assert caught.value.exit_code == 9
        assert (caught.value.hint, caught.value.request_id) == ("mend it", "r")
        assert caught.value.__cause__ is error


SHORTAGES = [
    RuntimeError("can't start new thread"),
    MemoryError(),
    *(OSError(number, os.strerror(number)) for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)),
]


@pytest.mark.parametrize("error", SHORTAGES, ids=repr)
def test_resource_exhaustion_is_a_settings_error_or_incomplete(
    error: Exception,
) -> None:
    with pytest.raises(SettingsError, match="^out of resources: ") as caught:
        copy(failing([Sent()], error))
    assert (caught.value.exit_code, caught.value.hint) == (3, "see ulimit -a")
    with pytest.raises(Incomplete, match=r"^out of resources: .+, after 1\.0 s of audio$"):
        copy(segment(SECOND), failing([], error))
    with pytest.raises(Incomplete, match="out of resources"):
        session(segment(SECOND)).run(FinishedSegments(request_then_raise(error)))


def request_then_raise(error: Exception) -> Iterator[SpeechRequest]:
    yield request()
    raise error


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(errno.EBADF, "bad")], ids=repr)
def test_unexpected_error_after_audio_is_raised_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        copy(segment(SECOND), failing([], error))
    assert caught.value is error


def test_partial_audio_is_kept_in_a_part_file(tmp_path: Path) -> None:
    destination = Destination(str(tmp_path / "out.pcm"), "pcm")
    with pytest.raises(Incomplete) as caught, open_sinks([destination], FORMAT) as sink:
        Pipeline(sink, FORMAT).copy(failing([Sent(), AudioChunk(SECOND + b"x")], NetworkError("gone")))
    assert caught.value.partial
    assert caught.value.partial.read_bytes() == SECOND


def test_sink_failure_is_an_output_error() -> None:
    with pytest.raises(errors.OutputError), open_sinks([Destination("/dev/full", "pcm")], FORMAT) as sink:
        Pipeline(sink, FORMAT).copy(segment(SECOND))


# The request loop

Reply = Iterable[Event] | RemoteError


class Replies(Channel):
    """A transport that answers each request with the next of its replies."""

    def __init__(self, *replies: Reply) -> None:
        super().__init__()
        self.requested: list[str] = []
        self.closed = 0
        self._replies = iter(replies)

    def synthesize(self, request: SpeechRequest) -> Generator[Event, None, None]:
        self.requested.append(request.text)
        reply = next(self._replies)
        if isinstance(reply, RemoteError):
            raise reply
        yield from reply

    def connect(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


class Run:
    """A session that records its waits, warnings and requests."""

    def __init__(
        self, *replies: Reply, sink: MemorySink | None = None, most: int = 2, **options: Any
    ) -> None:
        self.waits: list[float] = []
        self.warnings: list[str] = []
        self.sink = sink or MemorySink()
        self.transport = Replies(*replies)
        self.session = Session(
            self.transport,
            Pipeline(self.sink, FORMAT),
            RetryPolicy(most, random=lambda: 1.0),
            Budget(),
            wait=self.waits.append,
            warn=self.warnings.append,
            **options,
        )

    def run(self, *texts: str) -> None:
        self.session.run(FinishedSegments([request(text) for text in texts]))


def session(*replies: Reply, **options: Any) -> Session:
    return Run(*replies, **options).session


def test_segments_and_silences_are_joined_in_order() -> None:
    captions = Captions(FORMAT)
    run = Run(
        segment(b"abcd", request_id="1"), segment(b"ef"), segment(b"gh", request_id="3"), captions=captions
    )
    run.session.run(
        FinishedSegments([request("One."), Silence(0.001), request("Two."), Silence(0), request("Three!")])
    )
    assert run.sink.pcm == b"abcd" + bytes(16) + b"efgh"
    assert [(each.text, each.start) for each in captions.segments] == [
        ("One.", 0),
        ("Two.", 10),
        ("Three!", 11),
    ]
    totals = run.session.totals
    assert (totals.segments, totals.characters, totals.request_ids) == (3, 14, ["1", "3"])


def test_nothing_is_requested_after_a_failure() -> None:
    run = Run(segment(SECOND), failing([Sent()], ServerError("no audio")), segment(SECOND), most=0)
    with pytest.raises(Incomplete):
        run.run("a", "b", "c")
    assert run.transport.requested == ["a", "b"]


@pytest.mark.parametrize(
    ("ahead_s", "played", "looks"),
    [
        (1.0, [8_000], 2), (1.0, [8_001], 1), (0.5, [0, 8_000, 12_000, 12_001], 4), (1e-9, [15_999], 2),
        (30.0, [0], 1), (float("inf"), [0], 1), (0.0, [0], 0),
    ],
)  # fmt: skip
def test_next_request_waits_until_less_than_ahead_s_is_left_to_play(
    ahead_s: float, played: list[int], looks: int
) -> None:
    """Of 16,000 frames; the check before the first segment is not counted."""
    sink = MemorySink(*([0] if ahead_s else []), *played)
    session(segment(SECOND * 2), segment(SECOND), sink=sink, ahead_s=ahead_s).run(
        FinishedSegments([request(), request()])
    )
    assert sink.looks - bool(ahead_s) == looks


def test_failure_before_audio_is_retried_and_reported() -> None:
    unavailable = ServerError("it failed")
    unavailable.status = 503
    run = Run(failing([Sent()], NetworkError("it failed")), failing([Sent()], unavailable), segment(SECOND))
    run.run("Hello there.")
    assert run.sink.pcm == SECOND
    assert run.waits == [0.5, 1.0]
    assert run.session.resent == 24
    assert run.warnings == ["it failed; trying again in 0.5 s", "it failed; trying again in 1.0 s"]


def test_unsent_request_is_not_counted_as_resent() -> None:
    run = Run(NetworkError("cannot connect"), segment(SECOND))
    run.run("Hello there.")
    assert (run.session.resent, run.waits) == (0, [0.5])


def test_last_error_is_raised() -> None:
    run = Run(NetworkError("a"), NetworkError("b"), errors.RateLimited("c"))
    with pytest.raises(errors.RateLimited):
        run.run("Hello.")
    assert len(run.transport.requested) == 3
    assert run.transport.closed == 3


class Pipe(MemorySink):
    """A sink that cannot be rewound."""

    @property
    def can_rewind(self) -> bool:
        return False


def test_no_retry_after_audio_that_cannot_be_rewound() -> None:
    run = Run(segment(SECOND), NetworkError("gone"), sink=Pipe())
    with pytest.raises(Incomplete):
        run.run("a", "b")
    run = Run(failing([Sent(), AudioChunk(SECOND)], NetworkError("gone")), sink=Pipe())
    with pytest.raises(Incomplete):
        run.run("a")
    assert run.waits == []


def test_rewound_sink_gets_no_audio_twice() -> None:
    def cut(count: int) -> list[Reply]:
        return [failing([Sent(), AudioChunk(SECOND[:999])], NetworkError("gone")) for _ in range(count)]

    run = Run(segment(b"ab"), *cut(2), segment(SECOND), segment(b"cd"))
    run.run("a", "b", "c")
    assert run.sink.pcm == b"ab" + SECOND + b"cd"
    assert run.transport.requested == ["a", "b", "b", "b", "c"]
    run = Run(segment(b"ab"), *cut(3), segment(SECOND), most=9)
    with pytest.raises(Incomplete):  # at most two rewinds in a run
        run.run("a", "b")


def test_half_sample_of_a_failed_attempt_is_discarded() -> None:
    run = Run(failing([Sent(), AudioChunk(b"x")], NetworkError("gone")), segment(b"ab"))
    run.run("a")
    assert run.sink.pcm == b"ab"


def test_cancelled_session_stops_before_the_next_event() -> None:
    cancelled: list[int] = []
    events = [Opened(Phases()), Sent(), AudioChunk(b"ab"), AudioChunk(b"cd"), Completed()]
    run = Run(events, is_cancelled=lambda: len(cancelled) > 2, on_event=lambda _: cancelled.append(1))
    with pytest.raises(Cancelled):
        run.run("a")
    assert run.sink.pcm == b"ab"


def test_cached_audio_is_written_in_order(tmp_path: Path) -> None:
    cache = AudioCache(tmp_path, 1_000_000)
    cache.put(request("b"), b"efgh")
    run = Run(segment(b"abcd"), segment(b"ij"), cache=cache)
    run.run("a", "b", "c")
    assert run.sink.pcm == b"abcdefghij"
    assert run.transport.requested == ["a", "c"]
    assert run.session.cache_hits == 1
    assert cache.get(request("a")) == CachedAudio(b"abcd")
