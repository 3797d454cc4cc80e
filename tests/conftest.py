"""Fixtures and marks of every test; the suite can be started from any directory."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from smallest_cli import security
from smallest_cli.errors import plural
from tests.support.offline import Offline, start_offline

TESTS = Path(__file__).parent
LONG = ("faults",)
"""Folders whose tests take minutes: `make test` leaves them out."""


def pytest_configure() -> None:
    """Restore default signal handlers: a suite in the background of a script inherits ignored signals."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder, before `-m` selects."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        item.add_marker(folder)
        if folder in LONG:
            item.add_marker("long")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was skipped and which package would run it, one line for each reason."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(each.longrepr[-1]).removeprefix("Skipped: ") for each in skipped)
    for reason, count in sorted(reasons.items()):
        verb = reason.replace("needs", "need", 1) if count > 1 and reason.startswith("needs ") else reason
        separator = " " if reason.startswith("needs ") else ": "
        terminalreporter.write_line(f"skipped: {plural(count, 'test')}{separator}{verb}")


@pytest.fixture(autouse=True)
def no_known_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of other tests in this process are not redacted in this one."""
    monkeypatch.setattr(security, "_fragments", set())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Home and working directory of a command."""
    return tmp_path


@pytest.fixture(scope="session")
def server() -> Iterator[Offline]:
    """The offline server, shared by all tests of a worker that need no special one.

    Its log grows: read it from the length that it had before.
    """
    with start_offline(concurrency=3) as offline:
        yield offline
