"""Timing figures from event timestamps, given in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallest_cli.models import AudioChunk, Completed, Event, Opened, Phases, Sent, WordTiming
from smallest_cli.synthesis.timeline import MILLISECOND, Timeline


def at(ms: float) -> int:
    return round(ms * MILLISECOND)


def opened(ms: float, phases: Phases | None = None) -> Event:
    return Opened(phases or Phases(), at_ns=at(ms))


def sent(ms: float) -> Event:
    return Sent(at_ns=at(ms))


def audio(ms: float) -> Event:
    return AudioChunk(b"ab", at_ns=at(ms))


def word(ms: float) -> Event:
    return WordTiming("a", 0, 1, at_ns=at(ms))


def done(ms: float) -> Event:
    return Completed(at_ns=at(ms))


def timeline_of(events: Iterable[Event]) -> Timeline:
    timeline = Timeline()
    for event in events:
        timeline.on_event(event)
    return timeline


ONE = [opened(10), sent(20), word(25), audio(120), audio(150), word(151), audio(220), audio(230), done(630)]
TWO = [*ONE, opened(630), sent(1_000), audio(1_050), audio(1_070), done(1_075)]


def figures(timeline: Timeline) -> tuple[float | None, float, float, float]:
    """First audio, longest gap, longest wait for the end, busy time: in milliseconds."""
    longest = (timeline.longest_gap_ns, timeline.longest_tail_ns, timeline.busy_ns)
    gap, tail, busy = (ns / MILLISECOND for ns in longest)
    return timeline.ttfb_ms, gap, tail, busy


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], (None, 0, 0, 0)), (ONE[:1], (None, 0, 0, 0)), (ONE[:3], (None, 0, 0, 0)),
        (ONE[:4], (100, 0, 0, 100)),  # neither connecting nor a word counts
        (ONE[:5], (100, 30, 0, 130)), (ONE[:-1], (100, 70, 0, 210)), (ONE, (100, 70, 400, 210)),
        (TWO, (100, 70, 400, 280)),  # the time between two requests is neither a gap nor busy time
        ([sent(5), done(9)], (None, 0, 0, 0)),
    ],
)  # fmt: skip
def test_figures_from_timestamps(
    events: list[Event], expected: tuple[float | None, float, float, float]
) -> None:
    assert figures(timeline_of(events)) == expected


def test_ttfb_counts_from_the_first_request() -> None:
    """A failed attempt counts as waiting time but not as busy time."""
    timeline = timeline_of([opened(0), sent(10), opened(500), sent(510), audio(600), done(610)])
    assert figures(timeline) == (590, 0, 10, 90)


def test_phases_are_those_of_the_first_connection() -> None:
    first, second = Phases(1, 2, 3, 4), Phases(5, 6, 7, 8)
    assert timeline_of([]).phases is None
    assert timeline_of([opened(0, first), sent(1), opened(2, second)]).phases is first


@pytest.mark.parametrize(("seconds", "factor"), [(0.28, 1.0), (2.8, 0.1), (0.14, 2.0), (0.0, 0.0)])
def test_real_time_factor_is_busy_time_per_second_of_audio(seconds: float, factor: float) -> None:
    assert timeline_of(TWO).real_time_factor(seconds) == pytest.approx(factor)


def test_overlapping_request_adds_no_gap_and_no_double_wait() -> None:
    """Over ws the second request is sent while the first is received, and `complete` comes late."""
    first = [opened(0), sent(10), audio(110), audio(150)]
    second = [Sent(at_ns=at(120), segment=1), AudioChunk(b"ab", at_ns=at(200), segment=1)]
    late = [done(4_150), AudioChunk(b"ab", at_ns=at(4_160), segment=1)]
    timeline = timeline_of([*first[:3], second[0], first[3], second[1], *late])
    assert figures(timeline) == (100, 3_960, 4_000, 4_150)
    timeline = timeline_of([*first[:3], second[0], first[3], second[1]])
    assert figures(timeline) == (100, 40, 0, 190)


@given(st.lists(st.tuples(st.sampled_from([opened, sent, audio, word, done]), st.integers(0, 50))))
def test_figures_stay_in_range_for_any_event_order(steps: list[tuple[object, int]]) -> None:
    """The first event is a request; after it, events may come in any order."""
    now, events = 1_000, [sent(1_000)]
    for make, ms in steps:
        now += ms
        events.append(make(now))
    timeline = timeline_of(events)
    first, gap, tail, busy = figures(timeline)
    assert first is None or 0 <= first <= now - 1_000
    for figure in (gap, tail, busy):
        assert 0 <= figure <= now - 1_000
