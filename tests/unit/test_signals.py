"""A signal where an exception would be lost, or do harm: it is held back for a moment, and never lost."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

BEFORE = """
import os, signal, threading
from smallest_cli.errors import Interrupted
from smallest_cli.signals import catch_signals, uninterrupted

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(10):
        pass

"""
AFTER = """
catch_signals()
done = []
try:
    act()
    done.append("held")
    threading.Event().wait(30)
    print("lost")
except Interrupted as interruption:
    print(*done, interruption.signal_number)
"""
PLACES = {
    "a finalizer": """
class Kept:
    def __del__(self):
        interrupt()

def act():
    Kept()
""",
    "Python's own importing": """
body = "os.kill(os.getpid(), signal.SIGINT)\\nfor _ in range(10):\\n    pass"

def act():
    exec(compile(body, "<frozen importlib._bootstrap>", "exec"))
""",
    "what must be done and noted": """
def act():
    with uninterrupted():
        interrupt()
""",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_signal_is_held_back_and_not_lost(place: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + PLACES[place] + AFTER],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("held 2\n", "")


def test_elsewhere_it_is_raised_at_once() -> None:
    code = BEFORE + "def act():\n    interrupt()\n" + AFTER
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_one_that_does_not_end_a_wait_is_seen_all_the_same() -> None:
    """As if it came between Python's last look and the wait: here it comes to another thread."""
    code = (
        BEFORE
        + "import queue, sys\n"
        + "def act():\n"
        + "    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
        + "    print('waits', flush=True)\n"
        + "    queue.Queue().get(timeout=100)\n"
        + "    print('lost', flush=True)\n"
        + "threading.Thread(target=lambda: threading.Event().wait(), daemon=True).start()\n"
        + AFTER
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "waits\n"
        child.send_signal(signal.SIGINT)
        try:
            assert child.communicate(timeout=20)[0] == "2\n"
        finally:
            child.kill()
