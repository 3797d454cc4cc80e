"""The audio of one request: how much, how fast, and what makes it complete."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import get_args

import pytest

from smallest_cli.errors import DeadlineExceeded, ProtocolError, UnusableAudio
from smallest_cli.models import AudioFormat, Phases, SpeechRequest
from smallest_cli.network.connection import Connection
from smallest_cli.transports.reception import FREE_AUDIO_S, STALL_WINDOW_S, Reception, Witness

FORMAT = AudioFormat(8_000)
SECOND = bytes(FORMAT.byte_rate)
REQUEST = SpeechRequest("Hello.", "meher", format=FORMAT)
AUDIO_WITNESSES = [each for each in get_args(Witness) if each != "quiet end"]


@pytest.fixture
def connection() -> Iterator[Connection]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Connection(ours, Phases(), clock=lambda: 0)


@pytest.fixture
def reception(connection: Connection) -> Reception:
    return Reception(REQUEST, connection)


@pytest.mark.parametrize("witness", AUDIO_WITNESSES)
def test_any_witness_completes_whole_frames(witness: Witness, reception: Reception) -> None:
    reception.add(b"abcd")
    assert reception.accept(witness)


def test_nothing_is_complete_without_a_witness(reception: Reception) -> None:
    reception.add(b"abcd")
    assert not reception.accept(None)


@pytest.mark.parametrize("witness", AUDIO_WITNESSES)
@pytest.mark.parametrize("pieces", [[], [b""], [b"a"], [b"ab", b"c"], [b"a", b"b", b"c"]])
def test_no_audio_and_half_a_sample_are_never_complete(
    witness: Witness, pieces: list[bytes], reception: Reception
) -> None:
    for piece in pieces:
        reception.add(piece)
    with pytest.raises(UnusableAudio, match="half a sample" if any(pieces) else "sent no audio") as caught:
        reception.accept(witness, request_id="r")
    assert caught.value.request_id == "r"


def test_each_segment_of_a_conversation_needs_audio(reception: Reception) -> None:
    reception.add(SECOND)
    assert reception.accept("end marker")
    reception.begin_segment()
    with pytest.raises(UnusableAudio, match="sent no audio"):
        reception.accept("end marker")
    assert reception.accept("quiet end")


def test_only_a_frame_extends_a_deadline(reception: Reception) -> None:
    assert [reception.add(piece) for piece in (b"", b"a", b"ab", SECOND)] == [False, False, True, True]


def test_audio_is_limited_by_the_text(connection: Connection) -> None:
    reception = Reception(REQUEST, connection)
    for _ in range(int(FREE_AUDIO_S) + len(REQUEST.text)):
        reception.add(SECOND)
    with pytest.raises(ProtocolError, match="more than 36 s of audio") as caught:
        reception.add(b"ab")
    assert not caught.value.retryable


def test_limit_of_a_conversation_grows_with_its_text_and_not_with_its_segments(reception: Reception) -> None:
    reception.expect("x" * 10)
    with pytest.raises(ProtocolError, match="more than 46 s of audio"):
        for _ in range(int(FREE_AUDIO_S) + len(REQUEST.text) + 11):
            reception.add(SECOND)
            reception.begin_segment()


def test_audio_slower_than_a_tenth_of_real_time_has_stalled(
    reception: Reception, connection: Connection
) -> None:
    reception.add(SECOND)
    with pytest.raises(DeadlineExceeded, match=r"only 0\.0 s of audio came within 60 s"):
        for _ in range(int(STALL_WINDOW_S)):
            connection.waited_s += 1
            reception.add(b"ab")


def test_time_that_was_not_spent_waiting_is_no_stall(reception: Reception, connection: Connection) -> None:
    connection.waited_s = 1000.0  # before the first audio
    for _ in range(35):
        connection.waited_s += 9
        reception.add(SECOND)
