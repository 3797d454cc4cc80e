"""`smallest stream`: text that arrives in pieces, and audio before its end."""

from __future__ import annotations

import json
import os
import pty
import re
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
from websockets.exceptions import ConnectionClosed

from tests.support import ROOT, frames
from tests.support.command import LAUNCH, SMALLEST, Ran, environment, smallest, speak
from tests.support.fault_server import Handler, answer, fault_server
from tests.support.offline import KEY, Offline, eventually, launch, start_offline

STORY = ["The cat sat", " down. It looked", " at Dr. Smith, who was 3.", "5 metres away. Then it slept"]
SENTENCES = ["The cat sat down. ", "It looked at Dr. Smith, who was 3.5 metres away. ", "Then it slept"]
AUDIO = bytes(range(200)) * 20

stream = partial(speak, command="stream")


@pytest.fixture(scope="module")
def server() -> Iterator[Offline]:
    with start_offline(concurrency=3, buffered_complete_wait_ms=200) as offline:
        yield offline


@contextmanager
def streaming(
    home: Path, base_url: str, *arguments: str, command: Sequence[str] = (*SMALLEST, "stream"), **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Start `stream` with stdin open; its stdout is raw PCM."""
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


def read_audio(process: subprocess.Popen[bytes], byte_count: int = 1) -> bytes:
    assert process.stdout
    audio = b""
    while len(audio) < byte_count and (more := process.stdout.read(byte_count - len(audio))):
        audio += more
    return audio


def sent_texts(server: Offline, since: int = 0) -> list[str]:
    return [entry["text"] for entry in server.log()[since:]]


def speak_until_timeout(home: Path, stalled: Offline) -> Ran:
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": stalled.base_url}
    return smallest(home, "speak", "Hm.", "-o", "no.wav", "--timeout", "1", "--retries", "0", env=env)


def speak_alone(home: Path, server: Offline, text: str) -> bytes:
    env = {"SMALLEST_API_KEY": KEY}
    return smallest(
        home, "speak", "--base-url", server.base_url, "--pause", "0", text, "-o", "-", env=env
    ).out


# Order of input and audio


def test_first_sentence_plays_before_second_arrives(home: Path, server: Offline) -> None:
    before = len(server.log())
    with streaming(home, server.base_url) as process:
        write(process, "The first sentence. Now")
        first = speak_alone(home, server, "The first sentence. ")
        assert read_audio(process, len(first)) == first
        write(process, " comes the second.")
        assert process.stdin
        process.stdin.close()
        assert read_audio(process, 10_000_000) == speak_alone(home, server, "Now comes the second.")
        assert process.wait(20) == 0
        assert process.stderr
        assert process.stderr.read() == b""
    assert "The first sentence. " in sent_texts(server, before)


def test_stream_gives_the_samples_of_speak(home: Path, server: Offline) -> None:
    ran = stream(home, server, stdin="".join(STORY).encode())
    assert (ran.code, ran.err) == (0, "")
    alone = stream(home, server, "".join(STORY))
    assert alone.out == ran.out
    complete = speak_alone(home, server, "".join(STORY))
    assert ran.out == complete


@pytest.mark.parametrize("via", ["sse", "http"])
def test_sse_and_http_transports(via: str, home: Path, server: Offline) -> None:
    ran = stream(home, server, "--via", via, "-o", "out.wav", stdin=b"One sentence. And another.")
    assert (ran.code, ran.out, ran.err) == (0, b"", "")
    with wave.open(str(home / "out.wav")) as file:
        assert file.getnframes() > 24_000


def test_unfinished_sentence_is_flushed_after_silence(home: Path, server: Offline) -> None:
    with streaming(home, server.base_url, "--flush-ms", "200") as process:
        write(process, "And then it simply")
        wanted = speak_alone(home, server, "And then it ")
        assert read_audio(process, len(wanted)) == wanted


def test_first_segment_may_end_at_a_clause(home: Path, server: Offline) -> None:
    with streaming(home, server.base_url, "--first-chunk-chars", "10", "--flush-ms", "60000") as process:
        write(process, "Once upon a time, there")
        wanted = speak_alone(home, server, "Once upon a time, ")
        assert read_audio(process, len(wanted)) == wanted


@pytest.mark.parametrize("api", ["unified", "v3.1", "v2"])
def test_server_buffering_over_every_api(api: str, home: Path, server: Offline) -> None:
    ran = stream(
        home, server, "--buffering", "server", "--drain", "0.5", "--api", api, "-v", "magnus",
        stdin="".join(STORY).encode(),
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.out) > 2 * 24_000


def test_server_buffering_counts_characters(home: Path, server: Offline) -> None:
    text = "".join(STORY)
    ran = stream(
        home, server, "--buffering", "server", "--drain", "0.5", "--json", "--verbose", "-o", "out.wav",
        stdin=text.encode(),
    )  # fmt: skip
    assert json.loads(ran.out)["characters"] == len(text)
    assert f"  {len(text)} characters" in ran.lines[-1]


def test_server_buffering_plays_before_end_of_input(home: Path) -> None:
    with (
        start_offline(buffered_complete_wait_ms=100) as server,
        streaming(home, server.base_url, "--buffering", "server", "--drain", "0.5") as process,
    ):
        write(process, "This is a sentence that is long enough. ")
        assert read_audio(process, 10_000)
        write(process, "And this is one more.")
        assert process.stdin
        process.stdin.close()
        assert read_audio(process, 10_000_000)
        assert process.wait(20) == 0


def test_input_pause_longer_than_timeout(home: Path) -> None:
    """The pause is as long as a run against a stalled server takes, which is its timeout of a second."""
    buffered = ("--buffering", "server", "--drain", "0.5", "--timeout", "0.3")
    with (
        start_offline(fail=["stall:0"]) as stalled,
        start_offline(buffered_complete_wait_ms=100) as server,
        streaming(home, server.base_url, *buffered) as process,
    ):
        for text in ("One sentence. ", "And another. "):
            assert speak_until_timeout(home, stalled).code == 7
            write(process, text)
            assert read_audio(process)
        assert process.stdin
        process.stdin.close()
        assert read_audio(process, 10_000_000)
        assert process.wait(20) == 0


@pytest.mark.parametrize("seconds", ["4294968", "1e10", "1e300"])
def test_very_long_drain_time(seconds: str, home: Path) -> None:
    """Longer than a system call can wait: the service ends the connection sooner."""
    with start_offline(idle_timeout_s=1, buffered_complete_wait_ms=50) as server:
        ran = stream(home, server, "--buffering", "server", "--drain", seconds, stdin=b"Hello there.")
    assert (ran.code, len(ran.out) > 10_000) == (9, True)  # an error is not the end of a stream
    assert ran.lines[0].startswith("smallest: Connection timed out")


def test_very_long_flush_time(home: Path, server: Offline) -> None:
    with streaming(home, server.base_url, "--flush-ms", "9" * 20) as process:
        write(process, "The first sentence. And")
        assert read_audio(process, 10_000)
        wanted = speak_alone(home, server, "The first sentence. ") + speak_alone(home, server, "And so on.")
        write(process, " so on.")
        assert process.stdin
        process.stdin.close()
        assert len(read_audio(process, 10_000_000)) == len(wanted) - 10_000
        assert process.wait(20) == 0


def test_empty_input_exits_2(home: Path, server: Offline) -> None:
    for stdin in (b"", b" \n\n "):
        ran = stream(home, server, "-o", "out.wav", stdin=stdin)
        assert (ran.code, ran.out, list(home.iterdir())) == (2, b"", [])
    ran = stream(home, server, "-o", "out.wav", "--buffering", "server", stdin=b"")
    assert ran.code == 2


# Segments


def test_markdown_from_pipe_is_stripped(home: Path, server: Offline) -> None:
    before = len(server.log())
    text = b"# Eggs\n\nYou **must** see [this page](https://a.b).\n\n- one\n- two\n"
    assert stream(home, server, "-o", "out.wav", stdin=text).code == 0
    assert "".join(sent_texts(server, before)).strip() == "EggsYou must see this page.onetwo"
    assert stream(home, server, "-o", "out.wav", "--no-strip-markdown", stdin=b"**must**").code == 0
    assert sent_texts(server)[-1] == "**must**"


# Maximum text length


@pytest.mark.parametrize(
    ("line", "spoken"),
    [("A word and a word.", ("A word and a word." * 10)), ("a word and a word", "a word and a word " * 11)],
)
def test_text_before_max_chars_is_spoken_and_kept(
    line: str, spoken: str, home: Path, server: Offline
) -> None:
    before = len(server.log())
    ran = stream(
        home, server, "-o", "out.wav", "--max-chars", "200", "--json", stdin=f"{line}\n".encode() * 100
    )
    assert ran.code == 9
    eventually(
        lambda: "".join(sent_texts(server, before)).startswith(spoken)
    )  # the log entry of an aborted request comes late
    assert len("".join(sent_texts(server, before))) <= 200
    result = json.loads(ran.out)
    with wave.open(str(home / "out.wav.part")) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(result["audio_seconds"])
    assert result["audio_seconds"] > 1
    assert [path.name for path in home.iterdir()] == ["out.wav.part"]


def test_run_ends_at_max_chars_with_input_open(home: Path, server: Offline) -> None:
    with streaming(home, server.base_url, "--max-chars", "20") as process:
        write(process, "The first sentence. ")
        first = speak_alone(home, server, "The first sentence. ")
        assert read_audio(process, len(first)) == first
        write(process, "And. ")
        assert read_audio(process) == b""
        assert process.wait(20) == 9


def test_audio_before_max_chars_is_played(home: Path, server: Offline) -> None:
    player = "sh -c 'cat > audio.pcm' {rate}"
    ran = stream(home, server, "One. Two. Three.", "--max-chars", "10", "-p", "--player", player)
    assert ran.code == 9
    assert (home / "audio.pcm").read_bytes() == speak_alone(home, server, "One. Two. ")


@pytest.mark.parametrize("max_chars", [4, 20])
def test_first_sentence_longer_than_max_chars_sends_no_request(
    max_chars: int, home: Path, server: Offline
) -> None:
    before = len(server.log())
    text = "This is a sentence that is too long."
    ran = stream(home, server, text, "-o", "out.wav", "--max-chars", str(max_chars))
    assert (ran.code, ran.lines[0]) == (
        2,
        f"smallest: the first sentence is longer than {max_chars} characters",
    )
    assert "--max-chars" in ran.lines[1]
    assert (sent_texts(server, before), list(home.iterdir())) == ([], [])


def test_text_of_exactly_max_chars_succeeds(home: Path, server: Offline) -> None:
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
                ("--max-chars", "9"), ("--strip-markdown",), ("--follow",), ("--cache",),
            )
        ),
    ],
)  # fmt: skip
def test_options_without_effect_are_refused(
    arguments: tuple[str, ...], word: str, home: Path, server: Offline
) -> None:
    before = len(server.log())
    ran = stream(home, server, "One. Two.", "-o", "out.wav", *arguments)
    assert (ran.code, ran.lines[0].startswith("smallest: "), word in ran.lines[0]) == (2, True, True), ran.err
    assert len(server.log()) == before


# Failures


def test_invalid_utf8_is_replaced_with_one_warning(home: Path, server: Offline) -> None:
    before = len(server.log())
    start = "A word. " * 128  # bytes that are not UTF-8 are refused in the first KiB
    ran = stream(home, server, "-o", "out.wav", stdin=start.encode() + b"Caf\xe9 and caf\xe9. The end \xc3")
    assert (ran.code, len(ran.lines)) == (0, 1)
    assert "UTF-8" in ran.err
    assert "".join(sent_texts(server, before)) == f"{start}Caf\ufffd and caf\ufffd. The end \ufffd"


def test_characters_split_between_reads_are_joined(home: Path, server: Offline) -> None:
    before = len(server.log())
    with streaming(home, server.base_url, "-o", "out.wav") as process:
        for byte in "Smörgås, नमस्ते।".encode():
            write(process, bytes([byte]))
        assert process.stdin
        process.stdin.close()
        assert process.wait(20) == 0
    assert "".join(sent_texts(server, before)) == "Smörgås, नमस्ते।"


def test_control_characters_are_removed_with_one_warning(home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = stream(home, server, "-o", "out.wav", stdin=b"Be\x00ll\x07s and \x1bwhistles.")
    assert (ran.code, len(ran.lines)) == (0, 1)
    assert "3 control characters" in ran.err
    assert "".join(sent_texts(server, before)) == "Bells and whistles."


def test_killed_server_between_sentences_exits_9(home: Path) -> None:
    child, result = launch({"token": KEY})
    with child, streaming(home, result["base_url"], "--retries", "0") as process:
        write(process, "The first sentence. Now")
        assert read_audio(process, 1000)
        child.kill()
        child.wait(20)
        assert process.stdin
        with suppress(BrokenPipeError):  # it may have ended already, while it waited for `complete`
            write(process, " comes the second. And")
        process.stdin.close()
        read_audio(process, 10_000_000)
        assert process.wait(20) == 9
        assert process.stderr
        assert process.stderr.read().startswith(b"smallest: ")


def test_failure_within_a_sentence_exits_9_and_keeps_part(home: Path) -> None:
    with start_offline(fail=["close:1011:2"]) as server:
        ran = stream(home, server, "-o", "out.wav", stdin=b"This sentence will not be audio to its end.")
    assert (ran.code, ran.out) == (9, b"")
    assert "out.wav.part" in ran.err
    assert not (home / "out.wav").exists()


def test_idle_close_reconnects(home: Path) -> None:
    with (
        start_offline(idle_timeout_s=0.2, concurrency=3) as server,
        streaming(home, server.base_url) as process,
    ):
        write(process, "The first sentence. ")
        first = speak_alone(home, server, "The first sentence. ")
        assert read_audio(process, len(first)) == first
        assert server.log()
        with server.open() as other, pytest.raises(ConnectionClosed):
            while True:  # until the idle timeout, which ends the connection of `stream` earlier
                other.recv(timeout=20)
        write(process, "The second. ")
        second = speak_alone(home, server, "The second. ")
        assert read_audio(process, len(second)) == second
        assert process.stdin
        process.stdin.close()
        assert process.wait(20) == 0
        assert process.stderr
        assert process.stderr.read() == b""


def test_first_503_is_retried(home: Path) -> None:
    with start_offline(fail=["status:503"], fail_times=1) as server:
        ran = stream(home, server, "One sentence.", "-o", "out.wav", "--via", "ws")
        assert (ran.code, ran.err) == (0, "")
        assert sent_texts(server)[-1:] == ["One sentence."]
    assert (home / "out.wav").exists()


def test_rejected_key_exits_before_any_text(home: Path) -> None:
    with (
        start_offline(token="sk_another_one_of_25_chars") as server,
        streaming(home, server.base_url, "-o", "out.wav", "--via", "ws") as process,
    ):
        assert process.wait(20) == 4


def handle_one_request(sock: socket.socket) -> None:
    """Handler: answer one request and close. Keep-alive messages are ignored."""
    frames.upgrade(sock)
    while "text" not in frames.read_message(sock):
        pass
    sock.sendall(frames.chunk(AUDIO) + frames.COMPLETE)


@contextmanager
def service_lost_while_idle(
    home: Path, status: bytes, then: Handler, *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `stream` until its service has closed after a sentence and refused a reconnect with `status`.

    `then` handles the connection after that.
    """
    was_refused = threading.Event()

    def refuse(sock: socket.socket) -> None:
        answer(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")(sock)
        was_refused.set()

    launcher = [*LAUNCH, "hasty", "stream"]
    options = ("-o", "out.wav", "--via", "ws", *arguments)
    with (
        fault_server(handle_one_request, refuse, then) as server,
        streaming(home, server.base_url, *options, command=launcher) as process,
    ):
        write(process, "The first sentence. ")
        assert was_refused.wait(20)
        yield process


@pytest.mark.parametrize("retries", ["0", "2"])
def test_service_lost_while_idle_is_reconnected(retries: str, home: Path) -> None:
    with service_lost_while_idle(home, b"503 Down", handle_one_request, "--retries", retries) as process:
        write(process, "The second. ")
        assert process.stdin
        process.stdin.close()
        assert process.wait(20) == 0
    with wave.open(str(home / "out.wav")) as file:
        assert file.readframes(10_000) == 2 * AUDIO


def test_service_lost_for_good_exits_9_and_keeps_part(home: Path) -> None:
    down = answer(b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n")
    with service_lost_while_idle(home, b"503 Down", down, "--retries", "0", "--json") as process:
        write(process, "The second. ")
        assert process.stdin
        process.stdin.close()
        assert json.loads(read_audio(process, 10_000))["partial"] == str(home / "out.wav.part")
        assert process.wait(20) == 9
    with wave.open(str(home / "out.wav.part")) as file:
        assert file.readframes(10_000) == AUDIO


def test_key_rejected_while_idle_exits_at_once(home: Path) -> None:
    with service_lost_while_idle(home, b"401 No", handle_one_request, "--json") as process:
        result = json.loads(read_audio(process, 10_000))
        assert (result["exit"], result["partial"]) == (9, str(home / "out.wav.part"))
        assert "SMALLEST_API_KEY" in result["hint"]
        assert process.wait(20) == 9


def test_closed_pipe_ends_quietly(home: Path, server: Offline) -> None:
    with streaming(home, server.base_url) as process:
        write(process, "The first sentence. ")
        read_audio(process, 1000)
        assert process.stdout
        process.stdout.close()
        write(process, "The second sentence. And the third one. ")
        assert process.wait(20) == -signal.SIGPIPE
        assert process.stderr
        assert process.stderr.read() == b""


def test_ctrl_c_keeps_partial_audio(home: Path, server: Offline) -> None:
    with streaming(home, server.base_url, "-o", "out.wav", "-o", "-") as process:
        write(process, "The first sentence. And")
        read_audio(process, 1000)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT
        assert process.stderr
        assert b"out.wav.part" in process.stderr.read()
    with wave.open(str(home / "out.wav.part")) as file:
        assert file.getnframes() > 500


def test_endless_sentence_is_split_and_not_buffered(home: Path, server: Offline) -> None:
    """100 MB are written; the reader of the audio takes a little and leaves."""
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
            assert read_audio(process, 4_800)
        memory = Path(f"/proc/{process.pid}/status").read_text()
        peak_kb = int(memory.partition("VmHWM:")[2].split()[0])
        assert peak_kb < 60_000
        assert all(len(each) <= 250 for each in sent_texts(server)[-3:])


# Terminals


def test_line_from_terminal_is_spoken_on_enter(home: Path, server: Offline) -> None:
    parent, child = pty.openpty()
    try:
        with streaming(home, server.base_url, stdin=child) as process:
            os.close(child)
            os.write(parent, b"no full stop here\n")
            wanted = speak_alone(home, server, "no full stop here")
            assert read_audio(process, len(wanted)) == wanted
            os.write(parent, b"and *stars* stay\n")
            wanted = speak_alone(home, server, "and *stars* stay")
            assert read_audio(process, len(wanted)) == wanted
            os.write(parent, b"\x04")
            assert process.wait(20) == 0
    finally:
        os.close(parent)


def test_follow_prints_text_as_it_plays(home: Path, server: Offline) -> None:
    ran = stream(home, server, "-o", "out.wav", "--follow", stdin="".join(STORY).encode())
    assert (ran.code, ran.out) == (0, b"")
    assert ran.lines == [each.strip() for each in SENTENCES]


def test_follow_escapes_unprintable_characters(home: Path, server: Offline) -> None:
    ran = stream(home, server, "-o", "out.wav", "--follow", stdin="A क्\u200dष and the end.".encode())
    assert (ran.code, ran.err) == (0, "A क्\\u200dष and the end.\n")


def test_follow_prints_no_unplayed_text(home: Path) -> None:
    limits = ("--timeout", "0.3", "--completion-wait", "0", "--retries", "0")
    with start_offline(fail=["stall:0"]) as server:
        ran = stream(home, server, "-o", "out.wav", "--follow", *limits, stdin="".join(STORY).encode())
    assert ran.code == 7
    assert ran.lines[0].startswith("smallest: no audio")


def test_follow_ends_its_line_before_an_error(home: Path) -> None:
    with start_offline(fail=["close:1011:2"]) as server:
        options = ("--follow", "--retries", "0")
        ran = stream(home, server, "-o", "out.wav", *options, stdin="".join(STORY).encode())
    assert ran.code == 9
    assert ran.lines[0] == SENTENCES[0].strip()
    assert ran.lines[1].startswith("smallest: ")


def test_follow_draws_no_progress_line(home: Path, server: Offline) -> None:
    parent, child = pty.openpty()
    with streaming(home, server.base_url, "-o", "out.wav", "--follow", "One. Two.", stderr=child) as process:
        os.close(child)
        result = b""
        with os.fdopen(parent, "rb", buffering=0) as screen, suppress(OSError):  # the other side is closed
            while more := screen.read(65_536):
                result += more
    assert process.returncode == 0
    # The last drawing of each line, without its styles: a progress line would be an extra line or drawing.
    drawn = [
        re.sub(r"\x1b\[\d*m", "", line.rpartition("\r\x1b[K")[2]) for line in result.decode().split("\r\n")
    ]
    assert [line.split("  ")[0] for line in drawn] == ["One.", "Two.", "out.wav", ""]


def test_follow_prints_text_played_after_the_last_request(home: Path, server: Offline) -> None:
    ran = stream(home, server, "--follow", "-p", "--player", "sh -c 'cat > /dev/null' {rate}", "One. Two.")
    assert (ran.code, ran.err) == (0, "One.\nTwo.\n")


def test_completion_wait_is_named_when_it_pauses_playback(home: Path) -> None:
    with start_offline(complete_wait_ms=400) as server:
        ran = stream(home, server, "-o", "out.wav", "--via", "ws", "--verbose", stdin="".join(STORY).encode())
    assert ran.code == 0
    assert ran.err.count("--completion-wait") == 1


# Kinds of stdin


@pytest.mark.parametrize("command", ["speak", "stream"])
def test_non_blocking_stdin_loses_no_text(command: str, home: Path, server: Offline) -> None:
    before = len(server.log())
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    env = environment(home, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url)
    with subprocess.Popen([*SMALLEST, command, "-o", "a.wav"], stdin=read_end, env=env, cwd=home) as process:
        os.close(read_end)
        os.write(write_end, b"It comes late. ")
        threading.Event().wait(1)  # the pace of the writer: the command has found an empty pipe by then
        os.write(write_end, b"And this is the end.")
        os.close(write_end)
        assert process.wait(30) == 0
    assert "".join(sent_texts(server, before)) == "It comes late. And this is the end."


def test_stdin_read_error_is_not_end_of_text(home: Path, server: Offline) -> None:
    """Audio so far is kept as a partial file, and the old file is not replaced."""
    (home / "a.wav").write_bytes(b"old")
    env = environment(home, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url)
    parent, child = pty.openpty()
    with subprocess.Popen(
        [*SMALLEST, "stream", "-o", "a.wav"], stdin=child, stderr=subprocess.PIPE, env=env, cwd=home
    ) as process:
        os.close(child)
        os.write(parent, b"One sentence.\n")
        before = len(server.log())
        eventually(lambda: len(server.log()) > before)
        os.close(parent)  # reads fail with EIO from here on
        assert process.stderr
        err = process.stderr.read().decode()
        assert process.wait(30) == 2
    assert err.startswith("smallest: cannot read stdin: Input/output error, after 14 characters of text")
    assert (home / "a.wav").read_bytes() == b"old"
    assert (home / "a.wav.part").exists()
