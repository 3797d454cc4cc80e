"""A failed segment of a long text is requested again, without a seam in the file."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import frames
from tests.support.fault_cases import ALL, DATED, FEW, WS
from tests.support.fault_server import SEGMENT, FaultServer, Script, Step, counter, fault_server
from tests.support.fault_server.steps import (
    CHUNK,
    GOOD,
    Audio,
    Close,
    End,
    Fin,
    HalfMessage,
    Message,
    Reply,
    Rst,
    Stall,
    Status,
    Text,
)
from tests.support.invariants import Run, assert_invariants
from tests.support.runs import speak

SENTENCES = ("The first sentence.", "A second one is here.", "And a third.", "This is the fourth.")
LONG = " ".join(SENTENCES)
SPLIT = ("--split", "25")
CUT = (Reply(), FEW, Rst())
FAULTS: dict[str, tuple[Sequence[str], Script]] = {
    "reset": (ALL, CUT),
    "closed": (ALL, (Reply(), FEW, Fin())),
    "closed in a message": (ALL, (Reply(), FEW, HalfMessage(), Fin())),
    "stalled": (ALL, (Reply(), FEW, Stall())),
    "no end marker": (("ws", "sse"), (Reply(), Audio(), Fin())),
    "half a sample": (("ws", "sse"), (Reply(), Audio(2 * CHUNK, short=1), End())),
    "unreadable": (("ws", "sse"), (Reply(), FEW, Text(b"{no"), Fin())),
    "error message": (("ws", "sse"), (Reply(), FEW, Message({"status": "error", "message": "Oh"}), Fin())),
    "close 1011": (WS, (Reply(), FEW, Close(1011))),
    "close 1013": (WS, (Reply(), FEW, Close(1013))),
    "refused before its audio": (ALL, (Status(503),)),
    "result to wait": (ALL, (Status(429, headers=DATED),)),
}
JOBS = [(name, via) for name, (vias, _) in FAULTS.items() for via in vias]


def speak_text(
    folder: Path, server: FaultServer, via: str, *arguments: str, text: str = LONG, **more: Any
) -> Run:
    wait = ("--completion-wait", "0") if via == "ws" else ()
    return speak(folder, server, text, "--via", via, "--timeout", "0.5", *wait, *arguments, **more)


@pytest.mark.parametrize(("name", "via"), JOBS)
@pytest.mark.parametrize("failing", [0, 2])
def test_failed_segment_is_repeated_without_seam(name: str, via: str, failing: int, tmp_path: Path) -> None:
    fault = FAULTS[name][1]
    if via == "ws" and failing and isinstance(fault[0], Status):
        fault = (Fin(),)  # a socket that is open is refused by closing it
    scripts = [*[GOOD] * failing, fault, GOOD]
    with fault_server(*scripts, seed=77) as server:
        run = speak_text(tmp_path, server, via, *SPLIT)
        samples = assert_invariants(run, server)
    assert run.code == 0, run.err
    assert samples == 4 * SEGMENT
    requested = [each.text.strip() for each in server.requests]
    assert [text for at, text in enumerate(requested) if text not in requested[:at]] == list(SENTENCES)
    if not (via == "ws" and name in ("refused before its audio", "result to wait")):
        assert b"trying again" in run.err


@pytest.mark.parametrize("via", ALL)
def test_repeated_segment_is_reported_and_counted(via: str, tmp_path: Path) -> None:
    with fault_server(GOOD, CUT, GOOD) as server:
        run = speak_text(tmp_path, server, via, *SPLIT, "--json")
    result = json.loads(run.out)
    assert result["characters_resent"] == len(SENTENCES[1]) + 1
    assert result["segments"] == 4
    assert server.characters == result["characters"] + result["characters_resent"]
    assert run.err.count(b"\n") == 1
    assert b"smallest: " in run.err
    assert b"; trying again in " in run.err


@pytest.mark.parametrize("via", ["sse", "http"])
@pytest.mark.parametrize("end", [Fin(), Rst()], ids=["closed", "reset"])
@pytest.mark.parametrize("retries", [0, 2])
def test_request_on_a_kept_connection_is_repeated_by_the_retry_policy_only(
    via: str, end: Step, retries: int, tmp_path: Path
) -> None:
    """The service reads the second request and closes: it may have been billed."""
    with fault_server(GOOD, (end,), GOOD) as server:
        run = speak_text(tmp_path, server, via, *SPLIT, "--json", "--retries", str(retries))
    result = json.loads(run.out)
    resent = len(SENTENCES[1]) + 1 if retries else 0
    assert (run.code, len(server.requests)) == ((0, 5) if retries else (9, 2))
    assert result.get("characters_resent", 0) == resent
    assert (b"; trying again in " in run.err) == bool(retries)


@pytest.mark.parametrize("via", ALL)
def test_segment_is_repeated_twice_at_most(via: str, tmp_path: Path) -> None:
    for cuts, code, samples, requested in ((2, 0, 4 * SEGMENT, 6), (3, 9, SEGMENT + 2 * CHUNK, 4)):
        folder = tmp_path / str(cuts)
        folder.mkdir()
        with fault_server(GOOD, *[CUT] * cuts, GOOD) as server:
            run = speak_text(folder, server, via, *SPLIT, "--retries", "9")
            assert assert_invariants(run, server) == samples
        assert (run.code, len(server.requests)) == (code, requested)


@pytest.mark.parametrize("via", ALL)
def test_no_repeat_beyond_the_budget(via: str, tmp_path: Path) -> None:
    text = "word " * 220 + "end."
    with fault_server(CUT, GOOD) as server:
        run = speak_text(tmp_path, server, via, "--split", "0", text=text)
        assert assert_invariants(run, server, budget=1) == 2 * CHUNK
    assert run.code == 9
    assert b"out.wav.part" in run.err
    with fault_server(CUT, GOOD) as server:
        run = speak_text(tmp_path, server, via, "--split", "0", "--retries", "0", "-o", "b.wav")
        assert (run.code, len(server.requests)) == (9, 1)


@pytest.mark.parametrize("via", ALL)
def test_single_segment_is_repeated(via: str, tmp_path: Path) -> None:
    with fault_server(CUT, GOOD) as server:
        run = speak_text(tmp_path, server, via, text="Short.")
        assert assert_invariants(run, server, budget=2) == SEGMENT
    assert run.code == 0


def test_repeat_after_a_close_that_refuses_the_early_request_sends_none_early(tmp_path: Path) -> None:
    def close_on_second_request(sock: socket.socket) -> None:
        frames.upgrade(sock)
        while True:
            own_id = frames.read_message(sock)["request_id"]
            audio = frames.chunk(counter(0, SEGMENT // 2), external_request_id=own_id)
            sock.sendall(audio)
            if select.select([sock], [], [], 0.2)[0]:
                sock.sendall(frames.close(1013))
                return
            sock.sendall(audio + frames.message(status="complete", external_request_id=own_id))

    with fault_server(close_on_second_request) as server:
        run = speak_text(tmp_path, server, "ws", *SPLIT)
    assert run.code == 0, run.err
    assert len((tmp_path / "out.wav").read_bytes()) == 44 + 2 * 4 * SEGMENT


def test_early_request_that_a_close_behind_complete_refuses_is_asked_for_again(tmp_path: Path) -> None:
    def close_behind_complete(sock: socket.socket) -> None:
        frames.upgrade(sock)
        while True:
            own_id = frames.read_message(sock)["request_id"]
            sock.sendall(frames.chunk(counter(0, SEGMENT), external_request_id=own_id))
            is_early = select.select([sock], [], [], 0.2)[0]
            sock.sendall(frames.message(status="complete", external_request_id=own_id))
            if is_early:
                frames.read_message(sock)
                sock.sendall(frames.close(1013))
                return

    with fault_server(close_behind_complete) as server:
        run = speak_text(tmp_path, server, "ws", *SPLIT, piped=True)
    assert run.code == 0, run.err
    assert len(run.out) == 2 * 4 * SEGMENT
    assert run.err.count(b"\n") == 1
    assert b"--via sse" in run.err


def test_repeat_keeps_the_paragraph_pause(tmp_path: Path) -> None:
    with fault_server(GOOD, CUT, GOOD) as server:
        run = speak_text(tmp_path, server, "ws", "--pause", "0.1", text="One paragraph.\n\nAnother.")
    assert run.code == 0
    assert len((tmp_path / "out.wav").read_bytes()) == 44 + 2 * (2 * SEGMENT + 2400)


def test_failed_repeat_keeps_completed_segments(tmp_path: Path) -> None:
    with fault_server(GOOD, CUT, (Status(400),)) as server:
        run = speak_text(tmp_path, server, "sse", *SPLIT)
        assert assert_invariants(run, server, budget=3) == SEGMENT
    assert run.code == 9
    assert b"400" in run.err


@pytest.mark.parametrize("via", ALL)
def test_no_repeat_into_a_pipe(via: str, tmp_path: Path) -> None:
    with fault_server(GOOD, CUT, GOOD) as server:
        run = speak_text(tmp_path, server, via, *SPLIT, piped=True)
        assert assert_invariants(run, server, budget=2) == SEGMENT + 2 * CHUNK
    assert run.code == 9


@pytest.mark.parametrize("via", ALL)
def test_no_repeat_into_file_and_pipe(via: str, tmp_path: Path) -> None:
    with fault_server(GOOD, CUT, GOOD) as server:
        run = speak_text(tmp_path, server, via, *SPLIT, "-o", "-")
    assert (run.code, len(server.requests)) == (9, 2)
    assert len(run.out) == 2 * (SEGMENT + 2 * CHUNK)
    assert run.part.read_bytes()[44:] == run.out


@pytest.mark.parametrize("extension", ["wav", "pcm"])
def test_repeat_into_two_files(extension: str, tmp_path: Path) -> None:
    with fault_server(GOOD, CUT, GOOD) as server:
        run = speak_text(tmp_path, server, "ws", *SPLIT, "-o", f"other.{extension}")
    assert run.code == 0, run.err
    other = (tmp_path / f"other.{extension}").read_bytes()
    data = run.target.read_bytes()
    assert other == (data if extension == "wav" else data[44:])
    assert len(data) == 44 + 2 * 4 * SEGMENT


@pytest.mark.parametrize("extension", ["flac", "mp3", "ulaw"])
def test_no_repeat_into_buffering_formats(extension: str, tmp_path: Path) -> None:
    with fault_server(GOOD, CUT, GOOD) as server:
        run = speak_text(tmp_path, server, "ws", *SPLIT, "-o", f"out.{extension}", piped=False)
    assert (run.code, len(server.requests)) == (9, 2)
    assert (tmp_path / f"out.{extension}.part").stat().st_size > 44


@pytest.mark.parametrize("via", ALL)
def test_no_retry_wait_beyond_max_time(via: str, tmp_path: Path) -> None:
    with fault_server((Status(503, headers=b"Retry-After: 20\r\n"),)) as server:
        run = speak_text(tmp_path, server, via, "--max-time", "5")
        assert assert_invariants(run, server, budget=1) == 0
    assert run.code == 8
    assert b"trying again" not in run.err


def test_stream_repeats_a_failed_sentence(tmp_path: Path) -> None:
    with fault_server(GOOD, CUT, GOOD) as server:
        run = speak_text(tmp_path, server, "ws", *SPLIT, command="stream")
        assert assert_invariants(run, server) == 4 * SEGMENT
    assert run.code == 0
