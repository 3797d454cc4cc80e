"""A simulated keyboard: a real shell on a terminal of its own, keys pressed one after the other."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 20.0
PROMPT = "<ready>"
ECHO = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[=>]|\r")
"""What a line editor sends to move about."""


class Keyboard:
    """A shell whose prompt is PROMPT, and in which `smallest` prints what it was given, each in brackets."""

    def __init__(self, terminal: int, tabs: int) -> None:
        self._terminal = terminal
        self._tabs = tabs
        self._seen = ""

    def wait_for(self, pattern: str) -> str:
        """All that is shown up to `pattern`, which is taken away with it."""
        until = time.monotonic() + PATIENCE_S
        while not (found := re.search(pattern, self._seen)):
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise AssertionError(f"no {pattern!r} in {self._seen!r}")
            self._seen = ECHO.sub("", self._seen + os.read(self._terminal, 65_536).decode(errors="replace"))
        shown, self._seen = self._seen[: found.end()], self._seen[found.end() :]
        return shown

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def run(self, line: str) -> list[str]:
        """Type a line with its TABs, press Enter: the words that the command was given."""
        self.press(line)
        self.press("\r")
        shown = self.wait_for(r"\[end\]\s")
        self.wait_for(PROMPT)
        return re.findall(r"\[word:(.*?)\]", shown)

    def look(self, line: str, pattern: str) -> str:
        """Type a line, press TAB until a list is shown and wait for `pattern` in it; then press Enter."""
        self.press(line + "\t" * self._tabs)
        shown = self.wait_for(pattern)
        self.press("\r")
        self.wait_for(r"\[end\]\s")
        self.wait_for(PROMPT)
        return shown


@contextmanager
def at_keyboard(command: list[str], env: Mapping[str, str], folder: Path) -> Iterator[Keyboard]:
    """A shell that has shown its prompt. It is ended with its terminal."""
    ours, theirs = pty.openpty()
    settings = {**env, "TERM": "dumb", "COLUMNS": "200", "LINES": "200"}
    shell = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=settings, cwd=folder, start_new_session=True
    )
    os.close(theirs)
    try:
        keyboard = Keyboard(ours, 2 if command[0] == "bash" else 1)
        keyboard.wait_for(PROMPT)
        yield keyboard
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
