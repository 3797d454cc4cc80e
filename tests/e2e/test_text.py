"""Text as users give it: marks, speakers, pauses, lines, encodings; what is sent for it, and what is not."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.command import smallest, speak
from tests.support.offline import KEY, Offline, start_offline

stream = partial(speak, command="stream")
TEMPLATE = ("-v", "meher", "-o", "out.wav")
DIALOGUE = "ALICE: Hello Bob. [pause 500ms] How are you?\nBOB: I am fine.\n\nThey went home."
SPEAKERS = ("--speaker", "ALICE=meher", "--speaker", "BOB=magnus")


@pytest.fixture(scope="module")
def server() -> Iterator[Offline]:
    with start_offline(concurrency=3, buffered_complete_wait_ms=100) as offline:
        yield offline


def requests(server: Offline, since: int) -> list[tuple[str, str]]:
    """Return the voice and text of each request."""
    return [(entry["voice"], entry["text"].strip()) for entry in server.log()[since:]]


def texts(server: Offline, since: int) -> list[str]:
    return [text for _, text in requests(server, since)]


UNSPEAKABLE = "Chapter one ends here.\n\n* * *\n\n---\n\n...\n\n🎉\n\n\u200b\n\nChapter two 🎉 begins."


@pytest.mark.parametrize("via", ["ws", "sse", "http"])
@pytest.mark.parametrize("command", ["speak", "stream"])
def test_text_that_cannot_be_spoken_is_not_sent(command: str, via: str, home: Path, server: Offline) -> None:
    before = len(server.log())
    options = ("--via", via, "--completion-wait", "50") if via == "ws" else ("--via", via)
    ran = speak(home, server, *TEMPLATE, *options, "--verbose", command=command, stdin=UNSPEAKABLE.encode())
    assert ran.code == 0, ran.err
    assert texts(server, before) == ["Chapter one ends here.", "Chapter two 🎉 begins."]
    assert command == "stream" or "dropped 13 characters that cannot be spoken" in ran.err


def test_text_that_cannot_be_spoken_is_not_sent_to_the_buffer_of_the_service(
    home: Path, server: Offline
) -> None:
    before = len(server.log())
    ran = stream(
        home, server, *TEMPLATE, "--buffering", "server", "--drain", "0.5", "--verbose",
        stdin=b"Hello \x1b[1mthere\x1b[0m.",
    )  # fmt: skip
    assert (ran.code, texts(server, before)) == (0, ["Hello there."])
    assert "removed 2 control characters" in ran.err
    ran = stream(home, server, *TEMPLATE, "--buffering", "server", "--drain", "0.5", stdin="🎉 ...".encode())
    assert (ran.code, ran.lines[0]) == (2, "smallest: nothing to speak: the text has no letter or digit")


@pytest.mark.parametrize("text", ["...", "🎉", "\u200b", "* * *", "[pause 1s]"])
@pytest.mark.parametrize("command", ["speak", "stream"])
def test_text_without_a_word_is_a_usage_error(command: str, text: str, home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = speak(home, server, *TEMPLATE, command=command, stdin=text.encode())
    assert (ran.code, ran.lines[0].startswith("smallest: nothing to speak"), texts(server, before)) == (
        2,
        True,
        [],
    )
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("command", ["speak", "stream"])
def test_dialogue_has_a_voice_for_each_speaker(command: str, home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = speak(
        home, server, *TEMPLATE, *SPEAKERS, "--pause", "0", "--subtitles", "out.srt",
        command=command, stdin=DIALOGUE.encode(),
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    assert requests(server, before) == [
        ("meher", "Hello Bob."),
        ("meher", "How are you?"),
        ("magnus", "I am fine."),
        ("meher", "They went home."),
    ]
    subtitles = (home / "out.srt").read_text().splitlines()
    assert subtitles[2::4] == [
        "ALICE: Hello Bob.",
        "ALICE: How are you?",
        "BOB: I am fine.",
        "They went home.",
    ]


def test_pauses_are_silence_that_is_neither_sent_nor_counted(home: Path, server: Offline) -> None:
    before = len(server.log())
    text = 'One two three. [pause 1.5s]Four five.<break time="500ms"/> Six.'
    ran = speak(home, server, *TEMPLATE, "--subtitles", "out.json", "--json", text)
    assert texts(server, before) == ["One two three.", "Four five.", "Six."]
    assert json.loads(ran.out)["characters"] == len("One two three.Four five.Six.")
    first, second, third = json.loads((home / "out.json").read_text())
    assert second["start"] - first["end"] == pytest.approx(1.5)
    assert third["start"] - second["end"] == pytest.approx(0.5)
    with wave.open(str(home / "out.wav")) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(third["end"])


@pytest.mark.parametrize("command", ["speak", "stream"])
@pytest.mark.parametrize(
    ("options", "text", "message"),
    [
        ((), "One [pause 11s] two", "[pause 11s] is longer than 10 s"),
        (("--speaker", "BOB"), "x", "--speaker: BOB is not of the form NAME=VOICE"),
        (("--speaker", "A=meher", "--speaker", "A=blake"), "x", "--speaker: A is given twice"),
        (("--speaker", "A=mehr"), "x", "--speaker: unknown voice 'mehr' (did you mean meher, mihir?)"),
    ],
)
def test_bad_pauses_and_speakers_are_usage_errors_before_any_request(
    command: str, options: tuple[str, ...], text: str, message: str, home: Path, server: Offline
) -> None:
    before = len(server.log())
    ran = speak(home, server, *TEMPLATE, *options, text, command=command)
    assert (ran.code, ran.lines[0]) == (2, f"smallest: {message}")
    assert texts(server, before) == []


def test_other_tags_and_unknown_speakers_are_warnings(home: Path, server: Offline) -> None:
    text = "<speak>Hello <emphasis>you</emphasis></speak>\n\nHOST: Hi."
    ran = speak(home, server, *TEMPLATE, *SPEAKERS, stdin=text.encode(), command="speak")
    assert (ran.code, len(ran.lines)) == (0, 2)
    assert "<speak> is read as text" in ran.lines[0]
    assert "HOST: begins a line" in ran.lines[1]


def test_dry_run_shows_the_segments(home: Path) -> None:
    ran = smallest(home, "speak", "--dry-run", "--json", DIALOGUE, *SPEAKERS)
    plan = json.loads(ran.out)
    fields = ("voice", "speaker", "text", "pause")
    assert [tuple(map(each.get, fields)) for each in plan["segments"]] == [
        ("meher", "ALICE", "Hello Bob.", 0.0),
        ("meher", "ALICE", "How are you?", 0.5),
        ("magnus", "BOB", "I am fine.", 0.0),
        ("meher", None, "They went home.", 0.4),
    ]  # fmt: skip
    assert (plan["characters"], plan["price_usd"]) == (
        47,
        pytest.approx(37 * 0.195e-4 + 10 * 0.175e-4, abs=1e-6),
    )
    lines = smallest(home, "speak", "--dry-run", DIALOGUE, *SPEAKERS).out.decode().splitlines()
    assert lines[-3:] == ["BOB (magnus): I am fine.", "(pause 0.4 s)", "They went home."]


def test_lines_of_a_log_are_segments(home: Path, server: Offline) -> None:
    before = len(server.log())
    log = b"12:05:33 [1] Server *started*\n12:05:34 # of users: 3\n"
    ran = stream(home, server, *TEMPLATE, "--lines", stdin=log)
    assert (ran.code, texts(server, before)) == (
        0,
        ["12:05:33 [1] Server *started*", "12:05:34 # of users: 3"],
    )
    ran = stream(home, server, *TEMPLATE, "--max-lag", "2", stdin=log)
    assert (ran.code, ran.lines[0]) == (2, "smallest: --max-lag requires --lines")


def test_lines_that_are_too_old_are_dropped_with_a_count(home: Path, server: Offline) -> None:
    before = len(server.log())
    log = "".join(f"Line number {number} of the log came in.\n" for number in range(20))
    player = "sh -c 'sleep 1; cat >/dev/null' {rate}"
    ran = stream(home, server, "--lines", "--max-lag", "0.5", "-p", "--player", player, stdin=log.encode())
    sent = texts(server, before)
    assert ran.code == 0
    assert 0 < len(sent) < 20
    assert ran.lines == [f"smallest: warning: dropped {20 - len(sent)} lines older than 0.5 s"]


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ("Hello there.".encode("utf-16"), "it looks like UTF-16"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "it looks like gzip"),
        (b"caf\xe9 au lait", "convert it first"),
    ],
)
def test_stream_of_bytes_that_are_not_text_is_refused(
    data: bytes, hint: str, home: Path, server: Offline
) -> None:
    before = len(server.log())
    ran = stream(home, server, *TEMPLATE, stdin=data)
    assert (ran.code, texts(server, before), list(home.iterdir())) == (2, [], [])
    assert ran.lines[0].startswith("smallest: stdin is not UTF-8 text: byte ")
    assert hint in ran.lines[1]


@pytest.mark.parametrize("command", ["speak", "stream"])
def test_only_the_text_of_subtitles_is_spoken(command: str, home: Path, server: Offline) -> None:
    before = len(server.log())
    cues = "1\n00:00:01,000 --> 00:00:02,000\n<i>Hello there.</i>\n\n2\n00:00:03,000 --> 00:00:04,000\nBye.\n"
    ran = speak(home, server, *TEMPLATE, stdin=cues.encode(), command=command)
    assert (ran.code, texts(server, before)) == (0, ["Hello there.", "Bye."])
    assert ran.lines == [
        "smallest: warning: stdin has subtitles: their text is spoken, not their numbers and times"
    ]


def test_cache_and_resume_know_the_voice_of_a_speaker(home: Path, server: Offline) -> None:
    for voice in ("magnus", "meher", "magnus"):
        ran = speak(home, server, *TEMPLATE, "--cache", "--json", "--speaker", f"A={voice}", "A: Hello.")
        assert ran.code == 0
    assert json.loads(ran.out)["cached"] == 1
    assert [voice for voice, _ in requests(server, 0)][-2:] == ["magnus", "meher"]
    (home / "rows.csv").write_text("id,text\none,A: Hello.\n")
    done = []
    for voice in ("magnus", "magnus", "meher"):
        options = ("--base-url", server.base_url, "--resume", "--yes", "--json", "--speaker", f"A={voice}")
        ran = smallest(home, "batch", "rows.csv", "-d", "out", *options, env={"SMALLEST_API_KEY": KEY})
        done.append(json.loads(ran.out)["done"])
    assert done == [1, 0, 1]
