"""The pump: whole frames out of whatever pieces come, and no silence taken for success."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallest_cli import errors
from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.errors import (
    Incomplete,
    NetworkError,
    ProtocolError,
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
    WordTiming,
)
from smallest_cli.synthesis.pipeline import Pump, Spoken, play
from tests.support.memory_sink import MemorySink

FORMAT = AudioFormat(8_000)
SECOND = bytes(range(250)) * 64


def request(text: str = "Hello.") -> SpeechRequest:
    return SpeechRequest(text, "meher", format=FORMAT)


def segment(*pieces: bytes, request_id: str | None = None) -> list[Event]:
    """What a transport gives for one request."""
    return [Opened(Phases()), Sent(), *map(AudioChunk, pieces), Completed(request_id)]


def broken(events: Iterable[Event], error: Exception) -> Iterator[Event]:
    yield from events
    raise error


def pour(*groups: Iterable[Event], sink: MemorySink | None = None) -> Spoken:
    spoken = Spoken(FORMAT)
    pump = Pump(sink or MemorySink(), spoken)
    for events in groups:
        pump.pour(events)
    return spoken


# Whole frames


@given(
    st.lists(st.lists(st.binary(max_size=9), max_size=8).filter(any), min_size=1, max_size=4),
    st.sampled_from([AudioFormat(8_000), AudioFormat(8_000, channels=2)]),
)
def test_odd_cuts_are_joined_to_whole_frames(groups: list[list[bytes]], format: AudioFormat) -> None:
    shelf = MemorySink()
    pump = Pump(shelf, Spoken(format))
    for pieces in groups:
        pieces.append(bytes(-sum(map(len, pieces)) % format.frame_size))
        pump.pour(segment(*pieces))
    assert shelf.pcm == b"".join(map(b"".join, groups))
    assert all(len(written) % format.frame_size == 0 and written for written in shelf.writes)
    assert (pump.spoken.byte_count, pump.spoken.segments) == (len(shelf.pcm), len(groups))


def test_a_frame_is_passed_on_as_soon_as_it_is_whole() -> None:
    shelf = MemorySink()
    seen = []
    pump = Pump(shelf, Spoken(FORMAT))

    def events() -> Iterator[Event]:
        for piece in (b"a", b"bc", b"d", b"", b"ef"):
            yield AudioChunk(piece)
            seen.append(shelf.pcm)
        yield Completed()

    pump.pour(events())
    assert seen == [b"", b"ab", b"abcd", b"abcd", b"abcdef"]


@pytest.mark.parametrize("groups", [[[b"a"]], [[b"ab", b"c"]], [[b"a", b"b", b"c"]], [[b"ab", b"c"], [b"d"]]])
def test_half_a_sample_at_the_end_is_a_failure_and_no_part_of_the_next(groups: list[list[bytes]]) -> None:
    shelf = MemorySink()
    with pytest.raises((ProtocolError, Incomplete), match="half a sample"):
        pour(*(segment(*pieces) for pieces in groups), sink=shelf)
    assert shelf.pcm in (b"", b"ab")


# No silence is taken for success

NOTHING: dict[str, tuple[list[Event], type[RemoteError], str]] = {
    "no audio": (segment(request_id="r"), ServerError, "the service sent no audio"),
    "only empty audio": (segment(b"", b""), ServerError, "the service sent no audio"),
    "words without audio": ([Sent(), WordTiming("a", 0, 1), Completed()], ServerError, "sent no audio"),
    "nothing after the request": ([Opened(Phases()), Sent()], ProtocolError, "before its end was announced"),
    "empty audio and no end": ([Sent(), AudioChunk(b"")], ProtocolError, "before its end was announced"),
}


@pytest.mark.parametrize("case", NOTHING)
def test_a_segment_without_sound_is_a_failure(case: str) -> None:
    events, kind, words = NOTHING[case]
    with pytest.raises(kind, match=words) as caught:
        pour(events)
    assert type(caught.value) is kind
    assert (caught.value.request_id == "r") == (case == "no audio")
    with pytest.raises(Incomplete, match=f"{words}, after 1.0 s of audio"):
        pour(segment(SECOND), events)


def test_audio_without_its_end_is_incomplete() -> None:
    with pytest.raises(Incomplete, match=r"before its end was announced, after 2\.0 s"):
        pour([Sent(), AudioChunk(SECOND), AudioChunk(SECOND)])


def test_several_segments_in_one_stream_each_have_their_end() -> None:
    spoken = pour([*segment(SECOND, request_id="a"), *segment(SECOND, request_id="b")])
    assert (spoken.segments, spoken.request_ids, spoken.seconds) == (2, ["a", "b"], 2.0)
    with pytest.raises(Incomplete, match="the service sent no audio"):
        pour([*segment(SECOND), *segment()])
    with pytest.raises(Incomplete, match="before its end"):
        pour([*segment(SECOND), Sent()])


# A failure of the other side, before and after the first audio

KINDS = [errors.AuthError, errors.RateLimited, NetworkError, ServerError, errors.SecurityError]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [[], [Opened(Phases()), Sent()], [Sent(), AudioChunk(b"a")]])
def test_before_the_first_frame_the_error_is_itself(kind: type[RemoteError], before: list[Event]) -> None:
    error = kind("it broke", hint="mend it", request_id="r")
    with pytest.raises(kind) as caught:
        pour(broken(before, error))
    assert caught.value is error


@pytest.mark.parametrize("kind", KINDS)
def test_after_it_the_run_is_incomplete_and_says_how_much_there_is(kind: type[RemoteError]) -> None:
    error = kind("it broke", hint="mend it", request_id="r")
    streams: list[list[Iterable[Event]]] = [
        [broken([Sent(), AudioChunk(SECOND), AudioChunk(SECOND[:8_000])], error)],
        [segment(SECOND + SECOND[:8_000]), broken([], error)],
    ]
    for groups in streams:
        with pytest.raises(Incomplete, match=r"^it broke, after 1\.5 s of audio$") as caught:
            pour(*groups)
        assert caught.value.exit_code == 9
        assert (caught.value.hint, caught.value.request_id) == ("mend it", "r")
        assert caught.value.__cause__ is error


SHORTAGES = [
    RuntimeError("can't start new thread"),
    MemoryError(),
    *(OSError(number, os.strerror(number)) for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)),
]


@pytest.mark.parametrize("error", SHORTAGES, ids=repr)
def test_a_machine_with_no_more_to_give_ends_a_run_as_a_failure_of_the_other_side_does(
    error: Exception,
) -> None:
    with pytest.raises(SettingsError, match="^this machine has no more to give: ") as told:
        pour(broken([Sent()], error))
    assert (told.value.exit_code, told.value.hint) == (3, "see ulimit -a")
    with pytest.raises(Incomplete, match=r"^this machine has no more to give: .+, after 1\.0 s of audio$"):
        pour(segment(SECOND), broken([], error))
    with pytest.raises(Incomplete, match="no more to give"):
        play(scarce(error), answers(segment(SECOND)), MemorySink(), Spoken(FORMAT))


def scarce(error: Exception) -> Iterator[SpeechRequest]:
    yield request()
    raise error


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(errno.EBADF, "bad")], ids=repr)
def test_what_is_a_bug_stays_one_after_audio_too(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        pour(segment(SECOND), broken([], error))
    assert caught.value is error


def test_what_had_come_is_kept_beside_the_name(tmp_path: Path) -> None:
    destination = Destination(str(tmp_path / "out.pcm"), "pcm")
    with pytest.raises(Incomplete) as caught, open_sinks([destination], FORMAT) as sink:
        Pump(sink, Spoken(FORMAT)).pour(broken([Sent(), AudioChunk(SECOND + b"x")], NetworkError("gone")))
    assert caught.value.partial
    assert caught.value.partial.read_bytes() == SECOND


def test_a_sink_that_fails_is_no_failure_of_the_service() -> None:
    with pytest.raises(errors.OutputError), open_sinks([Destination("/dev/full", "pcm")], FORMAT) as sink:
        Pump(sink, Spoken(FORMAT)).pour(segment(SECOND))


# A whole script


def answers(*groups: Iterable[Event]) -> Callable[[SpeechRequest], Iterable[Event]]:
    left = iter(groups)
    return lambda _: next(left)


def test_segments_and_silences_are_joined_in_their_order() -> None:
    shelf = MemorySink()
    begun: list[tuple[str, int]] = []
    spoken = Spoken(FORMAT)
    play(
        [request("One."), Silence(0.001), request("Two."), Silence(0), request("Three!")],
        answers(segment(b"abcd", request_id="1"), segment(b"ef"), segment(b"gh", request_id="3")),
        shelf,
        spoken,
        begin=lambda request, frame: begun.append((request.text, frame)),
    )
    assert shelf.pcm == b"abcd" + bytes(16) + b"efgh"
    assert begun == [("One.", 0), ("Two.", 10), ("Three!", 11)]
    assert (spoken.segments, spoken.characters, spoken.request_ids) == (3, 14, ["1", "3"])


def test_nothing_is_asked_for_after_a_failure() -> None:
    asked: list[str] = []

    def ask(request: SpeechRequest) -> Iterable[Event]:
        asked.append(request.text)
        return segment() if len(asked) == 2 else segment(SECOND)

    with pytest.raises(Incomplete):
        play([request("a"), request("b"), request("c")], ask, MemorySink(), Spoken(FORMAT))
    assert asked == ["a", "b"]


@pytest.mark.parametrize(
    ("ahead_s", "heard", "looks"),
    [
        (1.0, [8_000], 2), (1.0, [8_001], 1), (0.5, [0, 8_000, 12_000, 12_001], 4), (1e-9, [15_999], 2),
        (30.0, [0], 1), (float("inf"), [0], 1), (0.0, [0], 0),
    ],
)  # fmt: skip
def test_the_next_segment_waits_until_less_than_ahead_is_to_be_heard(
    ahead_s: float, heard: list[int], looks: int
) -> None:
    """Of 16,000 frames; the look before the first segment is not counted."""
    shelf = MemorySink(*([0] if ahead_s else []), *heard)
    play(
        [request(), request()],
        answers(segment(SECOND * 2), segment(SECOND)),
        shelf,
        Spoken(FORMAT),
        ahead_s=ahead_s,
    )
    assert shelf.looks - bool(ahead_s) == looks
