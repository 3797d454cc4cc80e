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


@pytest.mark.parametrize("context", CONTEXTS)
def test_signal_is_deferred_and_not_lost(context: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + CONTEXTS[context] + AFTER],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("held 2\n", "")


def test_signal_is_raised_immediately_elsewhere() -> None:
    code = BEFORE + "def act():\n    interrupt()\n" + AFTER
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("2\n", "")


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
