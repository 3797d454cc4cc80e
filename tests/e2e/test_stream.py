"""`smallest stream` as a person meets it: text that is written bit by bit, and sound before its end."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import threading
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from smallest_cli.text.markdown import PlainText
from smallest_cli.text.normalize import normalize
from smallest_cli.text.stream import SegmentStream, TextReader, cut
from tests.support import ROOT, frames
from tests.support.command import LAUNCH, SMALLEST, Ran, environment, smallest, speak
from tests.support.fault_server import Handler, answer, fault_server
from tests.support.offline import KEY, Offline, eventually, launch, start_offline

STORY = ["The cat sat", " down. It looked", " at Dr. Smith, who was 3.", "5 metres away. Then it slept"]
SENTENCES = ["The cat sat down. ", "It looked at Dr. Smith, who was 3.5 metres away. ", "Then it slept"]
SOUND = bytes(range(200)) * 20

stream = partial(speak, command="stream")


@pytest.fixture(scope="module")
def server() -> Iterator[Offline]:
    with start_offline(concurrency=3, buffered_complete_wait_ms=200) as offline:
        yield offline


@contextmanager
def streaming(
    home: Path, base_url: str, *arguments: str, command: Sequence[str] = (*SMALLEST, "stream"), **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A `stream` whose stdin stays open; its stdout is raw PCM."""
    env = environment(home, SMALLEST_API_KEY=KEY, PYTHONPATH=str(ROOT))
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    words = [*command, "--base-url", base_url, *arguments]
    with subprocess.Popen(words, env=env, cwd=home, bufsize=0, **options) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def write(process: subprocess.Popen[bytes], text: str | bytes) -> None:
    assert process.stdin
    process.stdin.write(text.encode() if isinstance(text, str) else text)
    process.stdin.flush()


def hear(process: subprocess.Popen[bytes], byte_count: int = 1) -> bytes:
    assert process.stdout
    heard = b""
    while len(heard) < byte_count and (more := process.stdout.read(byte_count - len(heard))):
        heard += more
    return heard


def said(server: Offline, since: int = 0) -> list[str]:
    return [entry["text"] for entry in server.log()[since:]]


def spoken_in_vain(home: Path, silent: Offline) -> Ran:
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": silent.base_url}
    return smallest(home, "speak", "Hm.", "-o", "no.wav", "--timeout", "1", "--retries", "0", env=env)


def spoken_alone(home: Path, server: Offline, text: str) -> bytes:
    env = {"SMALLEST_API_KEY": KEY}
    return smallest(
        home, "speak", "--base-url", server.base_url, "--pause", "0", text, "-o", "-", env=env
    ).out


# What is heard, and when


def test_the_first_sentence_is_heard_before_the_second_is_written(home: Path, server: Offline) -> None:
    before = len(server.log())
    with streaming(home, server.base_url) as process:
        write(process, "The first sentence. Now")
        first = spoken_alone(home, server, "The first sentence. ")
        assert hear(process, len(first)) == first
        write(process, " comes the second.")
        assert process.stdin
        process.stdin.close()
        assert hear(process, 10_000_000) == spoken_alone(home, server, "Now comes the second.")
        assert process.wait(20) == 0
        assert process.stderr
        assert process.stderr.read() == b""
    assert "The first sentence. " in said(server, before)


def test_the_samples_are_those_of_the_same_segments_through_speak(home: Path, server: Offline) -> None:
    ran = stream(home, server, stdin="".join(STORY).encode())
    assert (ran.code, ran.err) == (0, "")
    alone = stream(home, server, "".join(STORY))
    assert alone.out == ran.out
    whole = spoken_alone(home, server, "".join(STORY))
    assert ran.out == whole


@pytest.mark.parametrize("via", ["sse", "http"])
def test_every_transport_will_do(via: str, home: Path, server: Offline) -> None:
    ran = stream(home, server, "--via", via, "-o", "out.wav", stdin=b"One sentence. And another.")
    assert (ran.code, ran.out, ran.err) == (0, b"", "")
    with wave.open(str(home / "out.wav")) as sound:
        assert sound.getnframes() > 24_000


def test_text_that_stops_in_mid_sentence_is_spoken_all_the_same(home: Path, server: Offline) -> None:
    with streaming(home, server.base_url, "--flush-ms", "200") as process:
        write(process, "And then it simply")
        wanted = spoken_alone(home, server, "And then it simply")
        assert hear(process, len(wanted)) == wanted


def test_the_first_piece_may_end_at_a_clause(home: Path, server: Offline) -> None:
    with streaming(home, server.base_url, "--first-chunk-chars", "10", "--flush-ms", "60000") as process:
        write(process, "Once upon a time, there")
        wanted = spoken_alone(home, server, "Once upon a time, ")
        assert hear(process, len(wanted)) == wanted


@pytest.mark.parametrize("api", ["unified", "v3.1", "v2"])
def test_the_service_may_cut_the_text(api: str, home: Path, server: Offline) -> None:
    ran = stream(
        home, server, "--buffering", "server", "--drain", "0.5", "--api", api, "-v", "magnus",
        stdin="".join(STORY).encode(),
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.out) > 2 * 24_000


def test_what_the_service_cuts_is_counted_too(home: Path, server: Offline) -> None:
    text = "".join(STORY)
    ran = stream(
        home, server, "--buffering", "server", "--drain", "0.5", "--json", "--verbose", "-o", "out.wav",
        stdin=text.encode(),
    )  # fmt: skip
    assert json.loads(ran.out)["characters"] == len(text)
    assert f"  {len(text)} characters" in ran.lines[-1]


def test_the_service_cuts_what_arrives_before_the_end_of_it(home: Path) -> None:
    with (
        start_offline(buffered_complete_wait_ms=100) as server,
        streaming(home, server.base_url, "--buffering", "server", "--drain", "0.5") as process,
    ):
        write(process, "This is a sentence that is long enough. ")
        assert hear(process, 10_000)
        write(process, "And this is one more.")
        assert process.stdin
        process.stdin.close()
        assert hear(process, 10_000_000)
        assert process.wait(20) == 0


def test_a_writer_may_think_for_longer_than_any_time_out(home: Path) -> None:
    """A run that gives up on another service, after a second, is the time that it thinks."""
    buffered = ("--buffering", "server", "--drain", "0.5", "--timeout", "0.3")
    with (
        start_offline(fail=["stall:0"]) as silent,
        start_offline(buffered_complete_wait_ms=100) as server,
        streaming(home, server.base_url, *buffered) as process,
    ):
        for text in ("One sentence. ", "And another. "):
            assert spoken_in_vain(home, silent).code == 7
            write(process, text)
            assert hear(process)
        assert process.stdin
        process.stdin.close()
        assert hear(process, 10_000_000)
        assert process.wait(20) == 0


@pytest.mark.parametrize("seconds", ["4294968", "1e10", "1e300"])
def test_any_quiet_may_mean_the_end(seconds: str, home: Path) -> None:
    """Even one that no call of the system can wait for: the service's close ends it sooner."""
    with start_offline(idle_timeout_s=1, buffered_complete_wait_ms=50) as server:
        ran = stream(home, server, "--buffering", "server", "--drain", seconds, stdin=b"Hello there.")
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.out) > 10_000


def test_what_dangles_may_wait_for_ever(home: Path, server: Offline) -> None:
    with streaming(home, server.base_url, "--flush-ms", "9" * 20) as process:
        write(process, "The first sentence. And")
        assert hear(process, 10_000)
        wanted = spoken_alone(home, server, "The first sentence. ") + spoken_alone(home, server, "And so on.")
        write(process, " so on.")
        assert process.stdin
        process.stdin.close()
        assert len(hear(process, 10_000_000)) == len(wanted) - 10_000
        assert process.wait(20) == 0


def test_nothing_that_is_written_is_nothing_to_speak(home: Path, server: Offline) -> None:
    for stdin in (b"", b" \n\n "):
        ran = stream(home, server, "-o", "out.wav", stdin=stdin)
        assert (ran.code, ran.out, list(home.iterdir())) == (2, b"", [])
    ran = stream(home, server, "-o", "out.wav", "--buffering", "server", stdin=b"")
    assert ran.code == 2


# What is sent


@settings(max_examples=150, deadline=None)
@given(
    st.text(alphabet="ab. ,!?。।\n*_#`[]()\u0301\u200d👨🇮क्ष3…\x00", max_size=300),
    st.lists(st.integers(1, 20), max_size=30),
    st.integers(1, 60),
    st.booleans(),
)
def test_what_is_sent_is_what_was_read(text: str, cuts: list[int], limit: int, strip: bool) -> None:
    fragments, rest = [], text
    for size in cuts:
        fragments.append(rest[:size])
        rest = rest[size:]
    plain = PlainText()
    wanted = plain.feed(text) + plain.flush() if strip else text
    cutter = SegmentStream(limit=limit, first_limit=None, strip_markdown=strip, by_line=False)
    arrivals = TextReader([*fragments, rest])
    sent = list(cut(arrivals, cutter, flush_s=30, keep_open=lambda: None))
    assert "".join(sent).rstrip() == " ".join(normalize(wanted).paragraphs)
    assert all(piece.strip() for piece in sent)


def test_what_is_ready_goes_together() -> None:
    """While one segment is heard, several sentences come: they are one request, and one completion wait."""
    cutter = SegmentStream(limit=40, first_limit=None, strip_markdown=False, by_line=False)
    cutter.feed("One. Two. Three. Four is a little longer. Five. ")
    assert [cutter.take(), cutter.take(), cutter.take(), cutter.take()] == [
        "One. Two. Three. ",
        "Four is a little longer. Five. ",
        "",
        "",
    ]


def test_markdown_from_a_pipe_is_not_read_aloud(home: Path, server: Offline) -> None:
    before = len(server.log())
    text = b"# Eggs\n\nYou **must** see [this page](https://a.b).\n\n- one\n- two\n"
    assert stream(home, server, "-o", "out.wav", stdin=text).code == 0
    assert "".join(said(server, before)).strip() == "Eggs You must see this page. one two"
    assert stream(home, server, "-o", "out.wav", "--no-strip-markdown", stdin=b"**must**").code == 0
    assert said(server)[-1] == "**must**"


# No more than so much


@pytest.mark.parametrize(
    ("line", "spoken"),
    [("A word and a word.", ("A word and a word. " * 10)), ("a word and a word", "a word and a word " * 11)],
)
def test_what_stands_before_the_bound_is_spoken_and_kept(
    line: str, spoken: str, home: Path, server: Offline
) -> None:
    before = len(server.log())
    ran = stream(
        home, server, "-o", "out.wav", "--max-chars", "200", "--json", stdin=f"{line}\n".encode() * 100
    )
    assert ran.code == 9
    eventually(lambda: "".join(said(server, before)).startswith(spoken))  # it notes what we have left behind
    assert len("".join(said(server, before))) <= 200
    told = json.loads(ran.out)
    with wave.open(str(home / "out.wav.part")) as sound:
        assert sound.getnframes() / sound.getframerate() == pytest.approx(told["audio_seconds"])
    assert told["audio_seconds"] > 1
    assert [path.name for path in home.iterdir()] == ["out.wav.part"]


def test_it_stops_at_the_bound_though_the_text_goes_on(home: Path, server: Offline) -> None:
    with streaming(home, server.base_url, "--max-chars", "20") as process:
        write(process, "The first sentence. ")
        first = spoken_alone(home, server, "The first sentence. ")
        assert hear(process, len(first)) == first
        write(process, "And. ")
        assert hear(process) == b""
        assert process.wait(20) == 9


def test_what_is_played_up_to_the_bound_is_heard(home: Path, server: Offline) -> None:
    player = "sh -c 'cat > heard.pcm' {rate}"
    ran = stream(home, server, "One. Two. Three.", "--max-chars", "10", "-p", "--player", player)
    assert ran.code == 9
    assert (home / "heard.pcm").read_bytes() == spoken_alone(home, server, "One. Two. ")


@pytest.mark.parametrize("most", [4, 20])
def test_a_first_sentence_beyond_the_bound_is_not_asked_for(most: int, home: Path, server: Offline) -> None:
    before = len(server.log())
    text = "This is a sentence that is too long."
    ran = stream(home, server, text, "-o", "out.wav", "--max-chars", str(most))
    assert (ran.code, ran.lines[0]) == (2, f"smallest: the first sentence is longer than {most} characters")
    assert "--max-chars" in ran.lines[1]
    assert (said(server, before), list(home.iterdir())) == ([], [])


def test_a_text_that_just_fits_is_complete(home: Path, server: Offline) -> None:
    ran = stream(home, server, "-o", "out.wav", "--max-chars", "9", stdin=b"One. Two.\n\n")
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--drain", "3"), "--drain"),
        *(
            (("--buffering", "server", *option), option[0])
            for option in (
                ("--split", "250"), ("--first-chunk-chars", "10"), ("--flush-ms", "1500"),
                ("--max-chars", "9"), ("--strip-markdown",), ("--echo",), ("--cache",),
            )
        ),
    ],
)  # fmt: skip
def test_what_would_not_be_done_is_refused(
    arguments: tuple[str, ...], word: str, home: Path, server: Offline
) -> None:
    before = len(server.log())
    ran = stream(home, server, "One. Two.", "-o", "out.wav", *arguments)
    assert (ran.code, ran.lines[0].startswith(f"smallest: {word} ")) == (2, True), ran.err
    assert len(server.log()) == before


# What goes wrong


def test_bytes_that_are_not_utf8_are_replaced_with_one_warning(home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = stream(home, server, "-o", "out.wav", stdin=b"Caf\xe9 and caf\xe9. The end \xc3")
    assert (ran.code, len(ran.lines)) == (0, 1)
    assert "UTF-8" in ran.err
    assert "".join(said(server, before)) == "Caf\ufffd and caf\ufffd. The end \ufffd"


def test_characters_cut_between_reads_are_whole(home: Path, server: Offline) -> None:
    before = len(server.log())
    with streaming(home, server.base_url, "-o", "out.wav") as process:
        for byte in "Smörgås, नमस्ते।".encode():
            write(process, bytes([byte]))
        assert process.stdin
        process.stdin.close()
        assert process.wait(20) == 0
    assert "".join(said(server, before)) == "Smörgås, नमस्ते।"


def test_control_characters_are_left_out_with_one_warning(home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = stream(home, server, "-o", "out.wav", stdin=b"Be\x00ll\x07s and \x1bwhistles.")
    assert (ran.code, len(ran.lines)) == (0, 1)
    assert "3 control characters" in ran.err
    assert "".join(said(server, before)) == "Bells and whistles."


def test_a_server_that_dies_between_two_sentences_is_9(home: Path) -> None:
    child, told = launch({"token": KEY})
    with child, streaming(home, told["base_url"], "--retries", "0") as process:
        write(process, "The first sentence. Now")
        assert hear(process, 1000)
        child.kill()
        child.wait(20)
        assert process.stdin
        with suppress(BrokenPipeError):  # it may have found out already, over the first sentence's end marker
            write(process, " comes the second. And")
        process.stdin.close()
        hear(process, 10_000_000)
        assert process.wait(20) == 9
        assert process.stderr
        assert process.stderr.read().startswith(b"smallest: ")


def test_a_server_that_fails_within_a_sentence_is_9_and_keeps_the_part(home: Path) -> None:
    with start_offline(fail=["close:1011:2"]) as server:
        ran = stream(home, server, "-o", "out.wav", stdin=b"This sentence will not be heard to its end.")
    assert (ran.code, ran.out) == (9, b"")
    assert "out.wav.part" in ran.err
    assert not (home / "out.wav").exists()


def test_a_socket_that_is_closed_in_a_silence_is_opened_again(home: Path) -> None:
    with (
        start_offline(idle_timeout_s=0.2, concurrency=3) as server,
        streaming(home, server.base_url) as process,
    ):
        write(process, "The first sentence. ")
        first = spoken_alone(home, server, "The first sentence. ")
        assert hear(process, len(first)) == first
        assert server.log()
        with server.open() as other, pytest.raises(ConnectionClosed):
            while True:  # until it is closed for its silence, as the one of `stream` was before it
                other.recv(timeout=20)
        write(process, "The second. ")
        second = spoken_alone(home, server, "The second. ")
        assert hear(process, len(second)) == second
        assert process.stdin
        process.stdin.close()
        assert process.wait(20) == 0
        assert process.stderr
        assert process.stderr.read() == b""


def test_a_service_that_is_down_at_first_is_asked_again(home: Path) -> None:
    with start_offline(fail=["status:503"], fail_times=1) as server:
        ran = stream(home, server, "One sentence.", "-o", "out.wav")
        assert (ran.code, ran.err) == (0, "")
        assert said(server)[-1:] == ["One sentence."]
    assert (home / "out.wav").exists()


def test_a_key_that_is_rejected_is_told_before_any_text_has_come(home: Path) -> None:
    with (
        start_offline(token="sk_another_one_of_25_chars") as server,
        streaming(home, server.base_url, "-o", "out.wav") as process,
    ):
        assert process.wait(20) == 4


def speak_one(sock: socket.socket) -> None:
    """Say one segment and leave; what only keeps the socket open is not answered."""
    frames.upgrade(sock)
    while "text" not in frames.read_message(sock):
        pass
    sock.sendall(frames.chunk(SOUND) + frames.COMPLETE)


@contextmanager
def lost_in_a_silence(
    home: Path, status: bytes, then: Handler, *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A `stream` that has spoken one sentence, whose service then left and answered `status` to the next
    call; `then` is what it does after that."""
    refused = threading.Event()

    def refuse(sock: socket.socket) -> None:
        answer(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")(sock)
        refused.set()

    launcher = [*LAUNCH, "hasty", "stream"]
    with (
        fault_server(speak_one, refuse, then) as server,
        streaming(home, server.base_url, "-o", "out.wav", *arguments, command=launcher) as process,
    ):
        write(process, "The first sentence. ")
        assert refused.wait(20)
        yield process


@pytest.mark.parametrize("retries", ["0", "2"])
def test_a_service_that_is_lost_in_a_silence_may_come_back(retries: str, home: Path) -> None:
    with lost_in_a_silence(home, b"503 Down", speak_one, "--retries", retries) as process:
        write(process, "The second. ")
        assert process.stdin
        process.stdin.close()
        assert process.wait(20) == 0
    with wave.open(str(home / "out.wav")) as sound:
        assert sound.readframes(10_000) == 2 * SOUND


def test_a_service_that_stays_lost_is_9_and_keeps_the_part(home: Path) -> None:
    down = answer(b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n")
    with lost_in_a_silence(home, b"503 Down", down, "--retries", "0", "--json") as process:
        write(process, "The second. ")
        assert process.stdin
        process.stdin.close()
        assert json.loads(hear(process, 10_000))["partial"] == str(home / "out.wav.part")
        assert process.wait(20) == 9
    with wave.open(str(home / "out.wav.part")) as sound:
        assert sound.readframes(10_000) == SOUND


def test_a_key_that_is_rejected_in_a_silence_is_told_at_once(home: Path) -> None:
    with lost_in_a_silence(home, b"401 No", speak_one, "--json") as process:
        told = json.loads(hear(process, 10_000))
        assert (told["exit"], told["partial"]) == (9, str(home / "out.wav.part"))
        assert "SMALLEST_API_KEY" in told["hint"]
        assert process.wait(20) == 9


def test_a_reader_that_leaves_ends_it_quietly(home: Path, server: Offline) -> None:
    with streaming(home, server.base_url) as process:
        write(process, "The first sentence. ")
        hear(process, 1000)
        assert process.stdout
        process.stdout.close()
        write(process, "The second sentence. And the third one. ")
        assert process.wait(20) == -signal.SIGPIPE
        assert process.stderr
        assert process.stderr.read() == b""


def test_ctrl_c_keeps_what_was_heard(home: Path, server: Offline) -> None:
    with streaming(home, server.base_url, "-o", "out.wav", "-o", "-") as process:
        write(process, "The first sentence. And")
        hear(process, 1000)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT
        assert process.stderr
        assert b"out.wav.part" in process.stderr.read()
    with wave.open(str(home / "out.wav.part")) as sound:
        assert sound.getnframes() > 500


def test_text_without_a_stop_is_spoken_in_cuts_and_not_hoarded(home: Path, server: Offline) -> None:
    """100 MB are offered; the reader of the sound takes a little and leaves."""
    with streaming(home, server.base_url, "--ahead", "1") as process:
        assert process.stdin
        os.set_blocking(process.stdin.fileno(), False)
        offered = 0
        text = b"word " * 13_000
        while offered < 100_000_000:
            try:
                offered += os.write(process.stdin.fileno(), text)
            except BlockingIOError:
                break
            assert hear(process, 4_800)
        memory = Path(f"/proc/{process.pid}/status").read_text()
        peak_kb = int(memory.partition("VmHWM:")[2].split()[0])
        assert peak_kb < 60_000
        assert all(len(each) <= 250 for each in said(server)[-3:])


# A person who types


def test_a_typed_line_is_spoken_on_enter(home: Path, server: Offline) -> None:
    parent, child = pty.openpty()
    try:
        with streaming(home, server.base_url, stdin=child) as process:
            os.close(child)
            os.write(parent, b"no full stop here\n")
            wanted = spoken_alone(home, server, "no full stop here")
            assert hear(process, len(wanted)) == wanted
            os.write(parent, b"and *stars* stay\n")
            wanted = spoken_alone(home, server, "and *stars* stay")
            assert hear(process, len(wanted)) == wanted
            os.write(parent, b"\x04")
            assert process.wait(20) == 0
    finally:
        os.close(parent)


def test_the_text_is_echoed_when_it_is_heard(home: Path, server: Offline) -> None:
    ran = stream(home, server, "-o", "out.wav", "--echo", stdin="".join(STORY).encode())
    assert (ran.code, ran.out) == (0, b"")
    assert ran.err == "".join(STORY) + "\n"


def test_what_a_terminal_cannot_show_takes_nothing_from_the_echo(home: Path, server: Offline) -> None:
    ran = stream(home, server, "-o", "out.wav", "--echo", stdin="A क्\u200dष and the end.".encode())
    assert (ran.code, ran.err) == (0, "A क्\\u200dष and the end.\n")


def test_what_nobody_heard_is_not_echoed(home: Path) -> None:
    limits = ("--timeout", "0.3", "--completion-wait", "0", "--retries", "0")
    with start_offline(fail=["stall:0"]) as server:
        ran = stream(home, server, "-o", "out.wav", "--echo", *limits, stdin="".join(STORY).encode())
    assert ran.code == 7
    assert ran.lines[0].startswith("smallest: no audio")


def test_the_echo_s_line_is_ended_before_anything_else_is_said(home: Path) -> None:
    with start_offline(fail=["close:1011:2"]) as server:
        ran = stream(home, server, "-o", "out.wav", "--echo", "--retries", "0", stdin="".join(STORY).encode())
    assert ran.code == 9
    assert ran.lines[0] == "".join(STORY)
    assert ran.lines[1].startswith("smallest: ")


def test_no_progress_is_drawn_over_the_echo(home: Path, server: Offline) -> None:
    parent, child = pty.openpty()
    with streaming(home, server.base_url, "-o", "out.wav", "--echo", "One. Two.", stderr=child) as process:
        os.close(child)
        told = b""
        with os.fdopen(parent, "rb", buffering=0) as screen, suppress(OSError):  # the other side is closed
            while more := screen.read(65_536):
                told += more
    assert process.returncode == 0
    assert [line.split(b"  ")[0] for line in told.splitlines()] == [b"One. Two.", b"out.wav"]


def test_what_is_played_after_the_last_was_asked_for_is_echoed(home: Path, server: Offline) -> None:
    ran = stream(home, server, "--echo", "-p", "--player", "sh -c 'cat > /dev/null' {rate}", "One. Two.")
    assert (ran.code, ran.err) == (0, "One. Two.\n")


def test_a_pause_of_the_service_is_named_with_what_shortens_it(home: Path) -> None:
    with start_offline(complete_wait_ms=400) as server:
        ran = stream(home, server, "-o", "out.wav", "--verbose", stdin="".join(STORY).encode())
    assert ran.code == 0
    assert ran.err.count("--completion-wait") == 1
