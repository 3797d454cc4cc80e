"""What every test needs, wherever the suite is started from."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """A suite in the background of a script has some signals ignored, and every child would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
