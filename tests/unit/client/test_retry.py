"""When a failed request is sent again, after how long, and at what cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallest_cli.client.retry import Attempt, Budget, RetryPolicy
from smallest_cli.errors import (
    AuthError,
    NetworkError,
    RateLimited,
    RemoteError,
    RequestError,
    SecurityError,
    ServerError,
)

CHARACTERS = 12


def failed(kind: type[RemoteError], *, status: int | None = None, after: float | None = None) -> RemoteError:
    error = kind("it failed")
    error.status = status
    if after is not None:
        vars(error)["retry_after"] = after
    return error


def next_wait(
    error: RemoteError, *, most: int = 2, random: float = 1.0, max_wait_s: float = 60.0, **spent: float
) -> float | None:
    attempt = Attempt(error, CHARACTERS, **spent)  # type: ignore[arg-type]
    return RetryPolicy(most, max_wait_s, lambda: random).next_wait(attempt, Budget())


def test_waits_double_from_half_a_second_up_to_30() -> None:
    error = failed(NetworkError)
    assert [next_wait(error, most=9, retries=retries) for retries in range(8)] == [
        0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0,
    ]  # fmt: skip
    assert next_wait(error, random=0.5) == 0.25


@pytest.mark.parametrize("kind", [AuthError, RequestError, SecurityError])
def test_errors_that_would_repeat_are_not_retried(kind: type[RemoteError]) -> None:
    assert next_wait(failed(kind)) is None


def test_retries_are_limited() -> None:
    assert next_wait(failed(NetworkError), most=0) is None
    assert next_wait(failed(NetworkError), retries=1) is not None
    assert next_wait(failed(NetworkError), retries=2) is None


@pytest.mark.parametrize("status", [None, 500])
def test_ambiguous_server_error_is_retried_once(status: int | None) -> None:
    error = failed(ServerError, status=status)
    assert Attempt(error, CHARACTERS).is_ambiguous
    assert next_wait(error, most=5) is not None
    assert next_wait(error, most=5, retries=1, ambiguous=1) is None
    assert next_wait(failed(ServerError, status=503), most=5, retries=1, ambiguous=1) is not None


def test_retry_after_is_the_minimum_wait() -> None:
    assert next_wait(failed(RateLimited, after=7)) == 7
    assert next_wait(failed(RateLimited, after=0.1), retries=1) == 1.0


def test_overlong_wait_is_not_started() -> None:
    assert next_wait(failed(RateLimited, after=61)) is None
    assert next_wait(failed(RateLimited, after=3), max_wait_s=2.0) is None
    assert next_wait(failed(RateLimited, after=30), waited_s=31.0) is None


def test_budget_is_1000_characters_or_a_quarter_of_those_sent() -> None:
    budget = Budget()
    budget.add_sent(1_000)
    assert budget.take(1_000)
    assert not budget.take(1)
    budget.add_sent(7_000)
    assert budget.take(1_000)
    assert not budget.allows(1)
    assert budget.resent == 2_000
    budget.charge(5)
    assert budget.resent == 2_005


SEGMENT = st.tuples(st.integers(1, 3000), st.integers(0, 5), st.floats(0, 40) | st.none())


@given(st.lists(SEGMENT, min_size=1, max_size=20), st.integers(0, 10), st.floats(0, 1))
def test_waits_and_resent_characters_stay_within_the_budget(
    segments: list[tuple[int, int, float | None]], most: int, random: float
) -> None:
    policy, budget = RetryPolicy(most, random=lambda: random), Budget()
    waits: list[float] = []
    sent = 0
    for characters, failures, after in segments:
        budget.add_sent(characters)
        sent += characters
        for _ in range(failures):
            error = failed(RateLimited, after=after)
            attempt = Attempt(error, characters, len(waits), 0, sum(waits))
            wait_s = policy.next_wait(attempt, budget)
            if wait_s is None or not budget.take(characters):
                break
            waits.append(wait_s)
            assert budget.resent <= max(1000, sent / 4)
    assert sum(waits) <= 60 + 1e-9
    assert len(waits) <= most
