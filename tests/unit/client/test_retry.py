"""When a segment is asked for again, after how long, and at what cost. Time and luck are values here."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallest_cli.client.retry import Retries
from smallest_cli.errors import (
    AuthError,
    NetworkError,
    RateLimited,
    RemoteError,
    RequestError,
    SecurityError,
    ServerError,
)
from smallest_cli.models import AudioChunk, Completed, Event, Sent

CHARACTERS = 12
WHOLE: list[Event] = [Sent(), AudioChunk(b"ab"), Completed()]


def failed(kind: type[RemoteError], *, status: int | None = None, after: float | None = None) -> RemoteError:
    error = kind("it failed")
    error.status = status
    if after is not None:
        vars(error)["retry_after"] = after
    return error


class Service:
    """Answers each request by the next of its replies: events, and then perhaps an error."""

    def __init__(
        self,
        *replies: list[Event] | RemoteError | tuple[list[Event], RemoteError],
        rewinds: bool = False,
        characters: int = CHARACTERS,
    ) -> None:
        self.replies = list(replies)
        self.waits: list[float] = []
        self.said: list[str] = []
        self.asked = 0
        self.poured: list[Event] = []
        self.rewinds = rewinds
        self.characters = characters

    def retries(self, most: int = 2, *, luck: float = 1.0, max_wait_s: float = 60.0) -> Retries:
        return Retries(
            most, tell=self.said.append, wait=self.waits.append, luck=lambda: luck, max_wait_s=max_wait_s
        )

    @property
    def begun(self) -> bool:
        return any(isinstance(event, AudioChunk) for event in self.poured)

    def take_back(self) -> bool:
        if self.rewinds:
            self.poured = []
        return self.rewinds

    def attempt(self) -> None:
        self.asked += 1
        reply = self.replies.pop(0)
        events, error = reply if isinstance(reply, tuple) else ([], reply)
        if isinstance(error, list):
            self.poured += error
            return
        self.poured += events
        raise error


def test_a_failure_before_audio_is_tried_again_and_told() -> None:
    service = Service(failed(NetworkError), failed(ServerError, status=503), WHOLE)
    retries = service.retries()
    retries.over(service)
    assert service.poured == WHOLE
    assert service.waits == [0.5, 1.0]
    assert retries.resent == 24
    assert service.said == ["it failed; trying again in 0.5 s", "it failed; trying again in 1.0 s"]


def test_the_last_error_is_the_one_that_is_raised() -> None:
    service = Service(failed(NetworkError), failed(NetworkError), failed(RateLimited))
    with pytest.raises(RateLimited):
        service.retries().over(service)
    assert service.asked == 3


@pytest.mark.parametrize("kind", [AuthError, RequestError, SecurityError])
def test_what_would_fail_again_is_not_tried_again(kind: type[RemoteError]) -> None:
    service = Service(failed(kind))
    with pytest.raises(kind):
        service.retries().over(service)
    assert (service.asked, service.waits) == (1, [])


def test_after_the_first_audio_of_the_run_nothing_is_tried_again() -> None:
    service = Service(WHOLE, failed(NetworkError))
    retries = service.retries()
    retries.over(service)
    with pytest.raises(NetworkError):
        retries.over(service)
    service = Service(([Sent(), AudioChunk(b"ab")], failed(NetworkError)))
    with pytest.raises(NetworkError):
        service.retries().over(service)
    assert service.waits == []


def test_no_retries_means_none() -> None:
    service = Service(failed(NetworkError))
    with pytest.raises(NetworkError):
        service.retries(0).over(service)


@pytest.mark.parametrize("status", [None, 500])
def test_an_unknown_failure_is_tried_again_once(status: int | None) -> None:
    service = Service(failed(ServerError, status=status), failed(ServerError, status=status))
    with pytest.raises(ServerError):
        service.retries(5).over(service)
    assert service.asked == 2


def test_retry_after_is_the_least_wait() -> None:
    service = Service(failed(RateLimited, after=7), failed(RateLimited, after=0.1), WHOLE)
    service.retries().over(service)
    assert service.waits == [7, 1.0]


def test_a_wait_that_is_too_long_is_not_begun() -> None:
    for after, most_s in ((61, 60.0), (3, 2.0)):
        service = Service(failed(RateLimited, after=after))
        with pytest.raises(RateLimited):
            service.retries(max_wait_s=most_s).over(service)
        assert service.waits == []


SEGMENT = st.tuples(st.integers(1, 3000), st.integers(0, 5), st.floats(0, 40) | st.none())


@given(st.lists(SEGMENT, min_size=1, max_size=20), st.integers(0, 10), st.floats(0, 1))
def test_a_run_never_waits_or_pays_beyond_its_budget(
    segments: list[tuple[int, int, float | None]], most: int, luck: float
) -> None:
    service = Service()
    retries = service.retries(most, luck=luck)
    sent = 0
    for characters, failures, after in segments:
        service.replies = [
            *(failed(RateLimited, after=after) for _ in range(failures)),
            [Sent(), Completed()],
        ]
        before, sent = retries.resent, sent + characters
        with suppress(RateLimited):
            service.characters = characters
            retries.over(service)
        assert retries.resent == before or retries.resent <= max(1000, sent / 4)
    assert sum(service.waits) <= 60 + 1e-9
    assert len(service.waits) <= most
