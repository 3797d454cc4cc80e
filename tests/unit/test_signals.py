"""Signals are deferred where an exception would be lost or unsafe, and are never lost."""

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
CONTEXTS = {
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
    "an uninterrupted block": """
def act():
    with uninterrupted():
        interrupt()
""",
}


def run(code: str) -> tuple[str, str]:
    """Run Python code. Returns its stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize("context", CONTEXTS)
def test_signal_is_deferred_and_not_lost(context: str) -> None:
    assert run(BEFORE + CONTEXTS[context] + AFTER) == ("held 2\n", "")


def test_signal_is_raised_immediately_elsewhere() -> None:
    assert run(BEFORE + "def act():\n    interrupt()\n" + AFTER) == ("2\n", "")


def test_deferred_signal_is_raised_at_the_end_of_the_run() -> None:
    code = """
from smallest_cli.signals import restore_signals

def act():
    with uninterrupted():
        interrupt()
        restore_signals()
"""
    assert run(BEFORE + code + AFTER) == ("2\n", "")


def test_signals_at_the_same_time_are_one() -> None:
    """As from a terminal that is closed: SIGHUP and SIGTERM."""
    code = """
def act():
    both = [signal.SIGHUP, signal.SIGTERM]
    signal.pthread_sigmask(signal.SIG_BLOCK, both)
    for number in both:
        os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, both)
"""
    assert run(BEFORE + code + AFTER) == ("1\n", "")


def test_signal_that_does_not_interrupt_a_wait_is_raised() -> None:
    """As if it came between Python's last check and the wait: here another thread gets it."""
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
