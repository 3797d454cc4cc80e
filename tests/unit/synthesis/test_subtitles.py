"""Subtitles: rendering, properties of the cues, and the files that the command writes, read by ffprobe."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import wave
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smallest_cli.models import VIAS, WordTiming
from smallest_cli.security import Secret
from smallest_cli.synthesis.subtitles import (
    COLUMNS,
    LINES,
    NOT_FIRST,
    NOT_LAST,
    Cue,
    SpokenSegment,
    cues_of,
    lines,
    render,
)
from smallest_cli.text.graphemes import display_width
from tests.support.command import SMALLEST, Ran, environment, smallest, speak
from tests.support.fault_cases import FEW
from tests.support.fault_server import SEGMENT, FaultServer, fault_server
from tests.support.fault_server.steps import GOOD, Audio, Checkpoint, End, Message, Reply, Rst
from tests.support.offline import KEY, Offline
from tests.support.programs import need

TEXT = "First one here. Second is 5 < 6 & more.\n\nAfter a pause a third."
LONG = (
    "This sentence is so long that no two lines of forty-two columns hold it, and so it is shown as more "
    "cues than one, each with its part of the time."
)
CUES = [
    Cue(0, 1.5, "Hello <b>there</b> & --> you.", (Cue(0, 0.5, "Hello"), Cue(0.5, 1.5, "there"))),
    Cue(3661.0, 3662.0004, "Bye."),
]
GOLDEN = {
    "srt": "1\n00:00:00,000 --> 00:00:01,500\nHello <\u200bb>there<\u200b/b> & -\u200b-> you.\n\n"
    "2\n01:01:01,000 --> 01:01:02,000\nBye.\n",
    "vtt": "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello &lt;b&gt;there&lt;/b&gt; &amp; --&gt; you.\n\n"
    "01:01:01.000 --> 01:01:02.000\nBye.\n",
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_cues_as_srt_and_vtt(kind: str) -> None:
    assert render(CUES, kind) == GOLDEN[kind]


def test_cues_as_json() -> None:
    words = [{"start": 0, "end": 0.5, "text": "Hello"}, {"start": 0.5, "end": 1.5, "text": "there"}]
    assert json.loads(render(CUES, "json")) == [
        {"start": 0, "end": 1.5, "text": CUES[0].text, "words": words},
        {"start": 3661.0, "end": 3662.0004, "text": "Bye."},
    ]


def test_words_as_cues() -> None:
    assert render(CUES[:1], "srt", by_word=True) == (
        "1\n00:00:00,000 --> 00:00:00,500\nHello\n\n2\n00:00:00,500 --> 00:00:01,500\nthere\n"
    )


def test_incomplete_segment_has_no_cue() -> None:
    segments = [SpokenSegment("A.", 0, 100, complete=True), SpokenSegment("B.", 100, 50)]
    assert cues_of(segments, 100) == [Cue(0, 1, "A.")]


texts = st.text(st.sampled_from("ab c,.–é日本<&-> "), min_size=1, max_size=300).map(
    lambda text: " ".join(text.split())
)
segments = st.lists(
    st.tuples(texts.filter(bool), st.integers(0, 5000), st.integers(1, 500_000)), min_size=1, max_size=6
)


def parsed(vtt: str) -> list[tuple[int, int, str]]:
    """Start and end in ms, and the text, of every cue."""
    found = []
    for block in vtt.removeprefix("WEBVTT\n\n").split("\n\n"):
        times, *rows = block.rstrip("\n").split("\n")
        numbers = [int(each) for each in re.findall(r"\d+", times)]
        start, end = (
            ((hours * 60 + minutes) * 60 + seconds) * 1000 + ms
            for hours, minutes, seconds, ms in (numbers[:4], numbers[4:])
        )
        text = "\n".join(rows).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        found.append((start, end, text))
    return found


@given(segments)
def test_cues_are_ordered_do_not_overlap_and_lose_no_text(drawn: list[tuple[str, int, int]]) -> None:
    at, spoken = 0, []
    for text, pause, frames in drawn:
        spoken.append(SpokenSegment(text, at + pause, frames, complete=True))
        at = spoken[-1].end
    cues = cues_of(spoken, 1000)
    found = parsed(render(cues, "vtt"))
    times = [time for start, end, _ in found for time in (start, end)]
    assert times == sorted(times)
    assert all(start < end for start, end, _ in found)
    joined = "".join("".join(text.split()) for _, _, text in found)
    assert joined == "".join("".join(text.split()) for text, _, _ in drawn)


@given(texts)
def test_lines_fit_the_width_and_lose_no_text(text: str) -> None:
    rows = lines(text)
    assert all(display_width(row) <= COLUMNS for row in rows)
    assert "".join("".join(rows).split()) == "".join(text.split())


LONG_WORDS = {
    "an address": "See https://example.org/" + "b" * 37,
    "an address among words": f"Read it there, {'b' * 50} and nowhere else, {'c' * 90} nor here.",
    "chinese": "今天天气很好，我们一起去公园散步，然后在湖边的小店里喝茶聊天。" * 3,
    "thai": "วันนี้อากาศดีมากเราจึงไปเดินเล่นที่สวนสาธารณะด้วยกันแล้วนั่งดื่มชาที่ร้านเล็กๆริมทะเลสาบจนพระอาทิตย์ตกดิน" * 2,
}


def rows_of(text: str, *, by_word: bool = False) -> list[list[str]]:
    """The rows of every cue of a text."""
    cue = Cue(0, 60, text, (Cue(0, 60, text),))
    return [shown.split("\n") for _, _, shown in parsed(render([cue], "vtt", by_word=by_word))]


@pytest.mark.parametrize("by_word", [False, True])
@pytest.mark.parametrize("name", LONG_WORDS)
def test_long_word_is_split_without_blanks(name: str, by_word: bool) -> None:
    text = LONG_WORDS[name]
    cues = rows_of(text, by_word=by_word)
    assert all(row in text and display_width(row) <= COLUMNS for rows in cues for row in rows)
    assert all(len(rows) <= LINES for rows in cues)


long_words = st.lists(st.text(st.sampled_from("ab,é日本คี้"), min_size=1, max_size=130), min_size=1, max_size=9)


@given(long_words.map(" ".join))
def test_cues_are_parts_of_the_text_in_at_most_two_lines(text: str) -> None:
    cues = rows_of(text)
    assert all(row in text and display_width(row) <= COLUMNS for rows in cues for row in rows)
    assert all(len(rows) <= LINES for rows in cues)
    assert "".join(row for rows in cues for row in rows).replace(" ", "") == text.replace(" ", "")


JAPANESE = st.text(
    st.sampled_from("あ漢ア、。！？「」『（）…ーっャ" * 2 + "かさたなはまやらわ日本語"),
    min_size=1,
    max_size=150,
)
JOINED = re.compile(r"\s*[、。，．！？」』）】…ーっャ,.!?)»]\s*|\s*[（「『【«]\s*")


@given(JAPANESE | st.lists(st.sampled_from(["oui", "!", "«", "»", "?", "Bonjour"]), min_size=1).map(" ".join))
@example("彼は「" * 40)
@example("すごーーい！と言った、そして「はい」と答えた。" * 9)
def test_lines_follow_the_rules_of_japanese_line_breaking(text: str) -> None:
    """No line begins with a closing mark or small kana, or ends with an opening one, if it can be avoided."""
    rows = lines(text)
    assert "".join("".join(rows).split()) == "".join(text.split())
    assert all(display_width(row) <= COLUMNS for row in rows)
    if max((len(run[0]) for run in re.finditer(f"({JOINED.pattern})+", text)), default=0) > 5:
        return  # a run that may be longer than a line
    assert not any(row[0] in NOT_FIRST for row in rows[1:]), rows
    assert not any(row[-1] in NOT_LAST for row in rows[:-1]), rows


@pytest.mark.parametrize(
    ("text", "first_two"),
    [
        ("日" * 21 + "、" + "月" * 20 + "。", ["日" * 11, "日" * 10 + "、"]),
        ("日" * 10 + "「" + "月" * 10 + "」", ["日" * 10 + "「月", "月" * 9 + "」"]),
        ("チ" * 12 + "ャー" + "チ" * 9, ["チ" * 11, "チャー" + "チ" * 9]),
        ("日" * 30 + " 、" + "月" * 30, ["日" * 16, "日" * 14 + " 、"]),
        (
            "Il a dit « oui ! » à tous, puis : « Bonjour ! »",
            ["Il a dit « oui ! » à tous,", "puis : « Bonjour ! »"],
        ),
    ],
)
def test_line_breaks_beside_punctuation(text: str, first_two: list[str]) -> None:
    assert lines(text)[:2] == first_two


RUNS = [
    "今天天气很好，",
    "天气 很好 ",
    "word ",
    "b",
    "》",
    "「",
    "« ! ",
    "\U0001f1ee\U0001f1f3",
    "👩\u200d",
    "a\u200d",
]
RUNS += ["e\u0301", "\u0301", "हिन्दी", "क्", "ที่", "\u200b", "\ufe0f", "»🏽"]


@pytest.mark.parametrize("by_word", [False, True])
@pytest.mark.parametrize("run", RUNS)
def test_subtitles_take_linear_time(run: str, by_word: bool) -> None:
    """Quadratic time would exceed the test timeout."""
    text = (run * (25_000 // len(run))).strip()
    cues = rows_of(text, by_word=by_word)
    assert all(display_width(row) <= COLUMNS for rows in cues for row in rows)
    assert all(len(rows) <= LINES for rows in cues)
    assert "".join(row for rows in cues for row in rows).replace(" ", "") == text.replace(" ", "")


def test_combining_marks_have_no_width() -> None:
    assert [display_width(each) for each in ("ที่", "हिन्दु", "é", "日")] == [1, 4, 1, 2]


@given(st.lists(st.tuples(st.floats(-5, 50), st.floats(-5, 50)), min_size=1, max_size=9))
def test_word_times_are_clamped_to_their_segment(times: list[tuple[float, float]]) -> None:
    words = [WordTiming(f"w{number}", start, end) for number, (start, end) in enumerate(times)]
    (cue,) = cues_of([SpokenSegment("x", 24_000, 240_000, words, complete=True)], 24_000)
    edges = [edge for word in cue.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert cue.start == 1 <= edges[0]
    assert edges[-1] <= 11 == cue.end


HOSTILE_WORDS = {
    "a\ud800b\udfff": "ab",
    "a\0b\x1b[2Jc\x9bmd\x7f": "abcd",
    "\u202eab\u2066": "ab",
    "1\r\n\r\n2\x0b3\u2028\u2029\x854": "1 2 3 4",
    " \n ": None,
    "": None,
}


@pytest.mark.parametrize("kind", ["srt", "vtt", "json"])
def test_control_characters_of_words_are_not_written(kind: str) -> None:
    words = [WordTiming(word, number, number + 1) for number, word in enumerate(HOSTILE_WORDS)]
    cues = cues_of([SpokenSegment("Text.", 0, 12_000, words, complete=True)], 1000)
    assert [word.text for word in cues[0].words] == [word for word in HOSTILE_WORDS.values() if word]
    for by_word in (False, True):
        written = render(cues, kind, by_word=by_word).encode().decode()
        assert written.replace("\n", "").isprintable()
        assert kind == "json" or "\n\n\n" not in written


def test_key_between_sequences_of_a_word_is_redacted() -> None:
    """Removing the sequences must not join what was not found before."""
    Secret(KEY, "a test")
    word = WordTiming("\x1b[1m".join(KEY), 0, 1)
    (cue,) = cues_of([SpokenSegment("Text.", 0, 1000, [word], complete=True)], 1000)
    assert [each.text for each in cue.words] == ["[key]"]


# The command


def test_subtitle_modules_are_loaded_only_on_request(home: Path, server: Offline) -> None:
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": server.base_url, "PYTHONPROFILEIMPORTTIME": "1"}
    loaded = {}
    for more in ([], ["--subtitles", "a.srt"]):
        ran = smallest(home, "speak", "Hello there.", "-o", "a.wav", *more, env=env)
        assert ran.code == 0
        loaded[len(more)] = {line.rpartition(".")[2] for line in ran.lines if "smallest_cli." in line}
    ours = {"captions", "subtitles", "sentences"}
    assert ours <= loaded[2]
    assert not ours & loaded[0]


def length(path: Path) -> float:
    with wave.open(str(path)) as reader:
        return reader.getnframes() / reader.getframerate()


@pytest.mark.parametrize("via", VIAS)
def test_cues_are_sentences_and_the_last_ends_with_the_audio(via: str, home: Path, server: Offline) -> None:
    ran = speak(home, server, TEXT, "--via", via, "-o", "a.wav", "--subtitles", "a.json", "--pause", "0.7")
    assert (ran.code, ran.out, ran.err) == (0, b"", "")
    cues = json.loads((home / "a.json").read_text())
    assert [cue["text"] for cue in cues] == [
        "First one here.",
        "Second is 5 < 6 & more.",
        "After a pause a third.",
    ]
    assert cues[0]["start"] == 0
    assert cues[1]["start"] == cues[0]["end"]
    assert cues[2]["start"] - cues[1]["end"] == pytest.approx(0.7)
    assert cues[2]["end"] == pytest.approx(length(home / "a.wav"), abs=1e-6)
    assert sorted(path.name for path in home.glob("a.*")) == ["a.json", "a.wav"]


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_ffprobe_reads_the_cues(kind: str, home: Path, server: Offline) -> None:
    ffprobe = need("ffprobe")
    assert speak(home, server, TEXT, LONG, "-o", "a.wav", "--subtitles", f"a.{kind}").code == 0
    show = ["-of", "json", "-show_packets", "-show_entries", "packet=pts_time,duration_time"]
    done = subprocess.run(
        [ffprobe, "-v", "error", *show, f"a.{kind}"], cwd=home, capture_output=True, check=True
    )
    packets = json.loads(done.stdout)["packets"]
    assert (done.stderr, len(packets)) == (b"", 5)
    end = float(packets[-1]["pts_time"]) + float(packets[-1]["duration_time"])
    assert end == pytest.approx(length(home / "a.wav"), abs=0.001)


def test_cue_word_writes_one_cue_per_word(home: Path, server: Offline) -> None:
    ran = speak(home, server, TEXT, "-v", "meher", "-o", "a.wav", "--subtitles", "a.vtt", "--cue", "word")
    assert (ran.code, ran.err) == (0, "")
    found = parsed((home / "a.vtt").read_text())
    assert [text for _, _, text in found] == [
        word for word in TEXT.split() if word != "<"
    ]  # it is not spoken
    times = [time for start, end, _ in found for time in (start, end)]
    assert times == sorted(times)
    assert found[-1][1] / 1000 <= length(home / "a.wav") + 0.001


def test_json_lists_the_words_of_each_sentence(home: Path, server: Offline) -> None:
    arguments = ["-v", "meher", "-o", "a.wav", "--subtitles", "a.json", "--cue", "word"]
    assert speak(home, server, "One two. Three.", *arguments).code == 0
    cues = json.loads((home / "a.json").read_text())
    assert [[word["text"] for word in cue["words"]] for cue in cues] == [["One", "two."], ["Three."]]
    assert cues[0]["end"] <= cues[1]["words"][0]["start"]


def test_subtitles_of_streamed_text(home: Path, server: Offline) -> None:
    arguments = ["-o", "a.wav", "--subtitles", "a.json"]
    ran = speak(home, server, *arguments, command="stream", stdin=b"One. Two is more.")
    assert (ran.code, ran.err) == (0, "")
    cues = json.loads((home / "a.json").read_text())
    assert [cue["text"] for cue in cues] == ["One.", "Two is more."]
    assert cues[-1]["end"] == pytest.approx(length(home / "a.wav"), abs=1e-6)


REFUSED = {
    "an unknown extension": (["--subtitles", "a.txt"], "is not a .srt, .vtt or .json file"),
    "an unset variable": (["--subtitles", ""], "--subtitles is empty"),
    "stdout": (["--subtitles", "-"], "is not a .srt"),
    "a cue without a file": (["--cue", "word"], "--cue requires --subtitles"),
    "words over sse": (["--subtitles", "a.srt", "--cue", "word", "--via", "sse"], "over ws only"),
    "words over http": (["--subtitles", "a.srt", "--cue", "word", "--via", "http"], "over ws only"),
    "voice without timings": (["--subtitles", "a.srt", "--cue", "word", "-v", "magnus"], "has no word times"),
    "unsupported language": (["--subtitles", "a.srt", "--cue", "word", "-l", "fr"], "English and Hindi"),
    "the text's own file": (["--subtitles", "text.srt", "-f", "text.srt"], "the text is read from it"),
    "an output": (["--subtitles", "same.srt", "-o", "same.srt", "--format", "wav"], "named twice"),
    "an existing file": (["--subtitles", "text.srt", "--no-clobber"], "exists"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_options_are_refused_before_any_request(name: str, home: Path, server: Offline) -> None:
    arguments, message = REFUSED[name]
    (home / "text.srt").write_text("Old.")
    before = len(server.log())
    words = [] if "-f" in arguments else ["Hello."]
    ran = speak(home, server, *words, "-o", "a.wav", *arguments)
    assert (ran.code, ran.out) == (2, b"")
    assert message in ran.lines[0]
    assert len(server.log()) == before
    assert [path.name for path in home.glob("*.*")] == ["text.srt"]
    assert (home / "text.srt").read_text() == "Old."


def test_subtitles_with_server_buffering_are_refused(home: Path, server: Offline) -> None:
    arguments = ["--buffering", "server", "--subtitles", "a.srt", "-o", "a.wav"]
    assert speak(home, server, "Hello.", *arguments, command="stream").code == 2


def test_missing_folder_is_an_output_error(home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = speak(home, server, "Hello.", "-o", "a.wav", "--subtitles", "nowhere/a.srt")
    assert (ran.code, len(server.log())) == (10, before)
    assert not (home / "a.wav").exists()


def test_missing_word_timings_are_reported_and_the_audio_is_complete(home: Path, server: Offline) -> None:
    """`--force` stands for an unknown voice, whose lack of timings only shows during the run."""
    arguments = ["-v", "magnus", "--force", "-o", "a.wav", "--subtitles", "a.srt", "--cue", "word"]
    ran = speak(home, server, "Hello there.", *arguments)
    assert (ran.code, ran.out) == (9, b"")
    assert "the audio is complete" in ran.lines[0]
    assert length(home / "a.wav") > 0.5
    assert [path.name for path in home.glob("a.*")] == ["a.wav"]


FAILS = (Reply(), FEW, Rst())
WORD = Message({"status": "word_timestamp", "data": {"word": "Said", "start": 0.01, "end": 0.02}})


def speak_with_faults(home: Path, server: FaultServer, *arguments: str) -> Ran:
    waits = ["--timeout", "2", *([] if {"sse", "http"} & {*arguments} else ["--completion-wait", "0"])]
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": server.base_url}
    return smallest(home, "speak", TEXT, "-o", "a.wav", *waits, *arguments, env=env)


@pytest.mark.parametrize("partial", ["keep", "discard"])
def test_failure_keeps_the_old_file_and_names_the_partial_one(partial: str, home: Path) -> None:
    (home / "a.srt").write_text("Old.")
    with fault_server(GOOD, FAILS) as server:
        ran = speak_with_faults(home, server, "--subtitles", "a.srt", "--partial", partial, "--retries", "0")
    assert ran.code == 9
    assert (home / "a.srt").read_text() == "Old."
    kept = home / "a.srt.part"
    assert kept.exists() == (partial == "keep") == ("partial subtitles saved to" in ran.err)
    if partial == "keep":
        assert "First one here." in kept.read_text()
        assert "Second" not in kept.read_text()


def test_signal_keeps_the_cues_of_complete_sentences(home: Path) -> None:
    with fault_server(GOOD, (Reply(), FEW, Checkpoint())) as server:
        env = environment(home, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url)
        command = [*SMALLEST, "speak", TEXT, "-o", "a.wav", "--subtitles", "a.srt"]
        with subprocess.Popen(command, cwd=home, env=env, stderr=subprocess.PIPE, text=True) as running:
            assert server.reached.wait(30)
            running.send_signal(signal.SIGINT)
            _, stderr = running.communicate(timeout=30)
        server.release.set()
    assert running.returncode == -signal.SIGINT
    assert "partial subtitles saved to" in stderr
    assert sorted(path.name for path in home.glob("a.*")) == ["a.srt.part", "a.wav.part"]
    assert (home / "a.srt.part").read_text().endswith(",200\nFirst one here.\n")


@pytest.mark.parametrize("via", VIAS)
def test_retried_segment_has_one_cue(via: str, home: Path) -> None:
    with fault_server(GOOD, FAILS, GOOD) as server:
        ran = speak_with_faults(home, server, "--subtitles", "a.json", "--via", via, "--pause", "0")
    assert (ran.code, len(server.requests)) == (0, 4)
    cues = json.loads((home / "a.json").read_text())
    each = SEGMENT / 24_000
    assert [round(cue["start"] / each, 3) for cue in cues] == [0, 1, 2]
    assert cues[-1]["end"] == pytest.approx(3 * each, abs=1e-6) == length(home / "a.wav")


def test_words_of_a_failed_attempt_are_discarded(home: Path) -> None:
    good = (Reply(), WORD, Audio(), End())
    with fault_server(good, (Reply(), WORD, *FAILS[1:]), good) as server:
        ran = speak_with_faults(home, server, "--subtitles", "a.json", "--cue", "word")
    assert (ran.code, len(server.requests)) == (0, 4)
    cues = json.loads((home / "a.json").read_text())
    assert [len(cue["words"]) for cue in cues] == [1, 1, 1]


@pytest.mark.parametrize("kind", ["srt", "vtt", "json"])
def test_lone_surrogate_in_a_word_does_not_end_the_run(kind: str, home: Path) -> None:
    data = {"word": "Sa\ud800id", "start": 0.01, "end": 0.02}
    script = (Reply(), Message({"status": "word_timestamp", "data": data}), Audio(), End())
    with fault_server(script) as server:
        ran = speak_with_faults(home, server, "--subtitles", f"a.{kind}", "--cue", "word", "--verbose")
    assert (ran.code, "bug" in ran.err) == (0, False), ran.err
    assert (home / f"a.{kind}").read_text("utf-8").count("Said") == 3
