"""Type into a real shell on a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

TIMEOUT_S = 20.0
PROMPT = "<ready>"
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[=>]|\r")
"""Control sequences of a line editor."""


class Keyboard:
    """A shell in `folder` with the prompt PROMPT, where `smallest` prints its arguments, each in brackets."""

    def __init__(self, terminal: int, tabs: int, folder: Path) -> None:
        self.folder = folder
        self._terminal = terminal
        self._tabs = tabs
        self._seen = ""

    def wait_for(self, pattern: str) -> str:
        """Read the screen up to and with `pattern`. Returns what was read."""
        until = time.monotonic() + TIMEOUT_S
        while not (found := re.search(pattern, self._seen)):
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise AssertionError(f"no {pattern!r} in {self._seen!r}")
            self._seen = CONTROLS.sub(
                "", self._seen + os.read(self._terminal, 65_536).decode(errors="replace")
            )
        shown, self._seen = self._seen[: found.end()], self._seen[found.end() :]
        return shown

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def press_until(self, keys: str, pattern: str) -> str:
        """Press keys, again if nothing comes of it. Returns what was read up to `pattern`."""
        for _ in range(5):
            self.press(keys)
            if select.select([self._terminal], [], [], 2.0)[0]:
                break
        return self.wait_for(pattern)

    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._terminal)[3] & termios.ECHO)

    def run(self, line: str) -> list[str]:
        """Type a line with its TABs and press Enter. Returns the arguments of the command."""
        self.press(line)
        self.press("\r")
        shown = self.wait_for(r"\[end\]\s")
        self.wait_for(PROMPT)
        return re.findall(r"\[word:(.*?)\]", shown)

    def look(self, line: str, pattern: str) -> str:
        """Type a line, press TAB until `pattern` is listed, then press Enter. Returns what was shown."""
        self.press(line + "\t" * self._tabs)
        shown = self.wait_for(pattern)
        self.press("\r")
        self.wait_for(r"\[end\]\s")
        self.wait_for(PROMPT)
        return shown


@contextmanager
def at_keyboard(command: list[str], env: Mapping[str, str], folder: Path) -> Iterator[Keyboard]:
    """Start a shell and wait for its prompt."""
    ours, theirs = pty.openpty()
    settings = {**env, "TERM": "dumb", "COLUMNS": "200", "LINES": "200"}
    shell = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=settings, cwd=folder, start_new_session=True
    )
    os.close(theirs)
    try:
        keyboard = Keyboard(ours, 2 if Path(command[0]).name == "bash" else 1, folder)
        keyboard.wait_for(PROMPT)
        yield keyboard
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
