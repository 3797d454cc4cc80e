"""Run the command and send it a signal at a point of its run, counted in calls of functions.

python -m tests.support.signal_at SIGNAL TURN speak ...

The signal comes at the TURN-th call since the first line of `smallest_cli.__main__`. Calls of Python's own
importing do not count: there, `smallest_cli.signals` defers signals. With TURN 0 the number of calls is
printed on stderr at the end, and no signal is sent.
"""

from __future__ import annotations

import atexit
import runpy
import signal
import sys
from types import FrameType


class Sender:
    """Counts calls, and sends the signal at one of them."""

    def __init__(self, number: int, turn: int) -> None:
        self._number = number
        self._turn = turn
        self.calls = 0
        self._started = False

    def on_call(self, frame: FrameType, *_: object) -> None:
        """Trace function for calls."""
        name = frame.f_code.co_filename
        if not self._started:
            self._started = name.endswith("smallest_cli/__main__.py")
        elif not name.startswith("<frozen importlib"):
            self.calls += 1
            if self.calls == self._turn:
                sys.settrace(None)
                signal.raise_signal(self._number)


def main() -> None:
    """Run the command in this process."""
    number, turn = int(sys.argv[1]), int(sys.argv[2])
    sender = Sender(number, turn)
    sys.argv[:3] = ["smallest"]
    if not turn:
        atexit.register(lambda: print(sender.calls, file=sys.stderr))
    sys.settrace(sender.on_call)
    runpy.run_module("smallest_cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
