"""Messages between the processes of a load run, of the same and of other versions."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import msgpack

from smallest_cli import __version__
from smallest_cli.bench.calibration import SelfTest
from smallest_cli.bench.locust.aggregate import Aggregator
from smallest_cli.bench.locust.messages import Message, version_mismatch
from smallest_cli.bench.locust.worker_stats import WorkerStats
from smallest_cli.bench.runner import Conditions
from smallest_cli.bench.trial import Attempt
from tests.support.trials import run, trial


def sent() -> bytes:
    """The message of a worker that ran three trials."""
    whole = run()
    conditions = Conditions(**{name: getattr(whole, name) for name in Conditions.__struct_fields__})
    stats = WorkerStats(conditions, SelfTest(None))
    for n in range(3):
        stats.add(Attempt(trial(n), b"", None))
    return stats.message(last=True).encode()


def changed(**fields: Any) -> bytes:
    """The same as another version would send it, without the fields that are None."""
    values = msgpack.decode(sent()) | fields
    return msgpack.encode({name: value for name, value in values.items() if value is not None})


def test_message_of_the_same_version_is_aggregated() -> None:
    aggregator = Aggregator("locust")
    assert aggregator.add("one", Message.decode(sent())) is None
    result = aggregator.result()
    assert result is not None
    assert result.arms[0].n == 3


@pytest.mark.parametrize("version", [None, "0.0.1", "9.9.9", ""])
@pytest.mark.parametrize("arms", [{}, "in a form that this version cannot decode"])
def test_message_of_another_version_is_refused_with_both_versions(version: str | None, arms: Any) -> None:
    aggregator = Aggregator("locust")
    problem = aggregator.add("old", Message.decode(changed(version=version, arms=arms)))
    assert problem == (
        f"the worker runs smallest {version or '(unknown)'}, the master {__version__}: "
        "install the same version on both"
    )
    assert aggregator.result() is None
    aggregator.add("one", Message.decode(sent()))
    result = aggregator.result()
    assert result is not None
    assert result.run.calibration.verdict == "suspect"
    assert f"worker old: {problem}" in result.run.calibration.reasons
    assert result.arms[0].n == 3


def test_master_without_a_version_is_refused() -> None:
    assert version_mismatch(__version__, __version__) is None
    assert "the master (unknown)" in str(version_mismatch(__version__, None))
