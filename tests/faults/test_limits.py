"""A service that never comes to an end: audio without limit, and messages that say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from smallest_cli.audio.wav import UNKNOWN_DATA_SIZE, header
from smallest_cli.models import AudioFormat
from tests.support.fault_cases import ALL
from tests.support.fault_server import Step, fault_server
from tests.support.fault_server.steps import (
    RATE,
    Audio,
    EmptyAudio,
    End,
    HalfMessage,
    KeepAlive,
    Raw,
    Reply,
    Stall,
)
from tests.support.frames import frame
from tests.support.invariants import assert_invariants
from tests.support.runs import speak

TEXT = "Good morning."
LIMIT_S = 30 + len(TEXT)
MORE = Audio(samples=(LIMIT_S + 1) * RATE, chunk=RATE)


@pytest.mark.parametrize("via", ALL)
@pytest.mark.parametrize("command", ["speak", "stream"])
def test_more_audio_than_the_text_can_be_ends_incomplete(via: str, command: str, tmp_path: Path) -> None:
    unknown_length = header(AudioFormat(RATE), UNKNOWN_DATA_SIZE)
    with fault_server((Reply("chunked", wav=unknown_length), MORE, End())) as server:
        run = speak(tmp_path, server, TEXT, "--via", via, command=command)
    assert run.code == 9
    assert f"more than {LIMIT_S} s of audio for this text" in run.err.decode()
    samples = assert_invariants(run, server, budget=1)
    assert (LIMIT_S - 1) * RATE <= samples <= (LIMIT_S + 1) * RATE


BUFFERED = (
    "--buffering",
    "server",
    "--via",
    "ws",
    "--drain",
    "0.3",
    "--timeout",
    "0.5",
    "--completion-wait",
    "0",
)


@pytest.mark.parametrize(
    ("steps", "code", "says"),
    [
        ([EmptyAudio()], 7, "no end of the audio within"),
        ([KeepAlive()], 7, "no end of the audio within"),
        ([Audio(), EmptyAudio()], 9, "no end of the audio within"),
        ([Audio(), End(), KeepAlive()], 9, "no end of the audio within"),
        ([Audio(), End(), EmptyAudio()], 0, ""),
        ([Audio(), End(), End()], 9, "sent no audio"),
        ([Audio(), End(), Stall()], 0, ""),
        ([Audio(), End(), HalfMessage(), Stall()], 9, "no end of the audio within"),
        ([Audio(), End(), Raw(frame(b"{", fin=False)), Stall()], 9, "no end of the audio within"),
        ([Audio(), End(), Raw(b"\x81"), Stall()], 9, "no end of the audio within"),
        ([MORE, End()], 9, "more than"),
    ],
)
def test_only_audio_and_end_markers_move_the_deadline_of_a_conversation(
    steps: list[Step], code: int, says: str, tmp_path: Path
) -> None:
    with fault_server((Reply(), *steps), ()) as server:
        run = speak(tmp_path, server, TEXT, *BUFFERED, command="stream")
    assert (run.code, says in run.err.decode()) == (code, True), run.err
    assert_invariants(run, server)
