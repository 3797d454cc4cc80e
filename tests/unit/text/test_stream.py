"""Arriving text to segments: nothing is lost, nothing unspeakable is sent, pauses stand where they belong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallest_cli.models import Silence, SpeechRequest
from smallest_cli.text.segments import write_script
from smallest_cli.text.stream import ArrivingSegments, CleanFragments, SegmentStream, TextReader
from tests.support.cuts import cut

TEMPLATE = SpeechRequest("", "meher")
SPEAKERS = {"ALICE": TEMPLATE, "BOB": SpeechRequest("", "blake")}
RELEASE = None
"""Stands for a time without more text."""


def spoken(
    *fragments: str | None, speakers: dict[str, SpeechRequest] | None = None, **options: Any
) -> list[str]:
    """Return the texts of the segments, and silences as {seconds}, taken as soon as they are ready."""
    segments = SegmentStream(TEMPLATE, speakers, **options)
    found: list[str] = []
    for fragment in fragments:
        if fragment is None:
            segments.release()
        else:
            segments.feed(fragment)
        found += taken(segments)
    segments.flush()
    return found + taken(segments)


def taken(segments: SegmentStream) -> list[str]:
    found = []
    while item := segments.take():
        if isinstance(item, Silence):
            found.append(f"{{{item.seconds:g}}}")
        else:
            name = f"<{item.speaker} {item.voice}>" if item.speaker else ""
            found.append(name + item.text.strip())
    return found


@pytest.mark.parametrize(
    ("fragments", "segments"),
    [
        (["Great job! ", RELEASE, " 🎉"], ["Great job!"]),
        (["Great job! ", RELEASE, " 🎉 More."], ["Great job!", "🎉 More."]),
        (["Great 🎉 job."], ["Great 🎉 job."]),
        (["Hello there", RELEASE, "."], ["Hello", "there."]),
        (["What?", RELEASE, "!"], ["What?"]),
        (["It is inter", RELEASE, "esting."], ["It is", "interesting."]),
        (["Pi is 3.", RELEASE, "14 or so."], ["Pi is", "3.14 or so."]),
        (["That is all.", RELEASE, " Or not."], ["That is all.", "Or not."]),
        (["A complete line\n", RELEASE, "another"], ["A complete line", "another"]),
        (["One.\n\n* * *\n\nTwo.\n\n---\n\n...\n\n\u200b"], ["One.", "{0.4}", "Two."]),
        (["# Title\n\nText.\n\n\n\nMore."], ["# Title", "{0.4}", "Text.", "{0.4}", "More."]),
        (["Wait [pause 1s]", " for it."], ["Wait", "{1}", "for it."]),
        (["One.\n\n[pause 2s]End [pause 3s]"], ["One.", "{2}", "{0.4}", "End", "{3}"]),
        (["\n\nStart."], ["Start."]),
        (["- one\n- two\n"], ["- one", "- two"]),
        (["..."], []),
        (["Title\r", "\nText\r\n\r", "\nEnd"], ["Title", "Text", "{0.4}", "End"]),
    ],
)  # fmt: skip
def test_segments_and_pauses(fragments: Sequence[str | None], segments: list[str]) -> None:
    assert spoken(*fragments, pause_s=0.4) == segments


@pytest.mark.parametrize(
    ("fragments", "segments"),
    [
        (["Great job!", RELEASE, " 🎉"], ["Great job!"]),
        (
            ["It is inter", RELEASE, "esting. Pi is 3.", RELEASE, "14"],
            ["It is", "interesting.", "Pi is", "3.14"],
        ),
        (["See [the ", RELEASE, "docs](http://a.b) now."], ["See", "the docs now."]),
        (["A **bold", RELEASE, "** word"], ["A", "bold word"]),
        (["A complete line\n", RELEASE, "another"], ["A complete line", "another"]),
    ],
)
def test_text_of_markdown_is_released_up_to_a_blank_outside_open_marks(
    fragments: Sequence[str | None], segments: list[str]
) -> None:
    assert spoken(*fragments, strip_markdown=True) == segments


def test_markdown_structure_ends_segments() -> None:
    text = "# Shopping\n\nYou need:\n\n- apples\n- pears\n\nThat is all.\n\n| a | b |\n|---|---|\n| c | d |\n"
    wanted = [
        *("Shopping", "{0.4}", "You need:", "{0.4}", "apples", "pears"),
        *("{0.4}", "That is all.", "{0.4}", "a", "b", "c", "d"),
    ]
    assert spoken(text, strip_markdown=True, pause_s=0.4) == wanted
    assert spoken(*text, strip_markdown=True, pause_s=0.4) == wanted


def test_speakers_of_a_dialogue() -> None:
    text = "ALICE: Hi Bob. How are you?\nBOB: Fine.\n\nThey left.\n\n**ALICE:** Bye."
    wanted = ["<ALICE meher>Hi Bob. How are you?", "<BOB blake>Fine.", "They left.", "<ALICE meher>Bye."]
    assert spoken(text, speakers=SPEAKERS, strip_markdown=True) == wanted
    script = write_script([text.replace("*", "")], TEMPLATE, split=250, pause_s=0, speakers=SPEAKERS)
    assert [each.speaker for each in script.requests] == ["ALICE", "BOB", None, "ALICE"]
    assert [each.voice for each in script.requests] == ["meher", "blake", "meher", "meher"]


def test_every_line_is_a_segment_by_line() -> None:
    assert spoken("12:05 started\n12:06 and\n\n", "went on. And on.\n", by_line=True) == [
        "12:05 started",
        "12:06 and",
        "went on. And on.",
    ]


def test_lines_that_were_read_before_a_time_are_dropped_and_counted() -> None:
    segments = SegmentStream(TEMPLATE, by_line=True)
    for at in range(5):
        segments.feed(f"Line {at}.\n", float(at))
    assert segments.drop_older(3.0) == 3
    assert taken(segments) == ["Line 3.", "Line 4."]


def test_pauses_are_removed_from_the_buffer_of_the_service() -> None:
    fragments = CleanFragments(TextReader(["Hi there. [pau", "se 1s] Bye", '.<break time="1s"/>', " [pause"]))
    found = ""
    while not fragments.ended:
        found += fragments.next(None) or ""
    assert (" ".join(found.split()), fragments.pauses) == ("Hi there. Bye. [pause", 2)


def test_ready_sentences_are_sent_together() -> None:
    """Sentences that arrive while one plays become one request, with one completion wait."""
    assert spoken("One. Two. Three. Four is a little longer. Five. ", limit=40) == [
        "One. Two. Three.",
        "Four is a little longer. Five.",
    ]


def test_removed_and_dropped_characters_are_counted() -> None:
    segments = SegmentStream(TEMPLATE)
    segments.feed("\x1b[1mBold\x1b[0m\x07.\n\n* * *\n\n<prosody>")
    segments.flush()
    assert taken(segments) == ["Bold.", "<prosody>"]
    assert (segments.removed, segments.dropped, len(list(segments.warnings))) == (3, 5, 1)


def arriving(texts: list[str], segments: SegmentStream) -> list[SpeechRequest]:
    source = ArrivingSegments(TextReader(texts), segments, flush_s=30)
    sent = []
    while not source.ended:
        item = source.next()
        if isinstance(item, SpeechRequest):
            sent.append(item)
        elif item is None and not source.ended:
            source.wait(30)
    return sent


def letters(texts: list[str]) -> str:
    return "".join(filter(str.isalnum, "".join(texts)))


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet="ab. ,!?。।\n*_#`[]()\u0301\u200d👨🇮क्ष3…\x00-", max_size=300),
    st.lists(st.integers(1, 20), max_size=30),
    st.integers(1, 60),
    st.booleans(),
)
def test_segments_hold_the_complete_input(text: str, sizes: list[int], limit: int, strip: bool) -> None:
    sent = arriving(cut(text, sizes), SegmentStream(TEMPLATE, limit=limit, strip_markdown=strip))
    complete = spoken(text, limit=limit, strip_markdown=strip)
    assert letters([each.text for each in sent]) == letters(complete)
    if not strip:
        assert letters(complete) == letters([text])
    assert all(any(map(str.isalnum, each.text)) for each in sent)


@given(
    st.lists(st.sampled_from(["a", "b", ". ", "\n", "!", "🎉", "-", "\x1b[1m"]), max_size=60),
    st.lists(st.integers(1, 5)),
)
def test_fragments_for_the_service_are_clean_and_speakable(pieces: list[str], sizes: list[int]) -> None:
    text = "".join(pieces)
    fragments = CleanFragments(TextReader(cut(text, sizes)))
    found = []
    while not fragments.ended:
        if (fragment := fragments.next(None)) is not None:
            found.append(fragment)
    assert all(any(map(str.isalnum, each)) for each in found)
    assert fragments.characters == len("".join(found))
    assert "\x1b" not in "".join(found)
    assert letters(found) == letters([text.replace("\x1b[1m", "")])


def test_command_imports_the_text_steps_after_it_began_to_connect() -> None:
    steps = {f"smallest_cli.text.{name}" for name in ("stream", "sentences", "boundaries", "layout", "clean")}
    code = f"import sys, smallest_cli.cli.commands.stream; sys.exit(' '.join({steps} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).stderr == b"\n"
