"""Programs that the command starts do not inherit the key."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.support.command import SMALLEST, environment, smallest
from tests.support.invariants import KEY
from tests.support.offline import Offline

GIVEN = {"SMALLEST_API_KEY": KEY, "SMALLEST_API_KEY_FILE": "/key-file", "SMALLEST_VOICE": "mia"}
DUMP = "#!/bin/sh\ncat /proc/self/environ >> dump\n"
DUMP_CHILDREN = """
import os, sys
from contextlib import suppress
sys.stdin.buffer.read()
pids = [os.getppid()]
with open("dump", "wb") as dump:
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):  # the process of an utterance has ended
            with open(f"/proc/{pid}/task/{pid}/children") as children:
                pids += map(int, children.read().split())
            if pid != os.getppid():
                with open(f"/proc/{pid}/environ", "rb") as environ:
                    dump.write(environ.read() + b"\\n")
"""


def check(dump: Path, programs: int) -> None:
    """The environment was passed on, but for the key and its file."""
    assert dump.read_bytes().count(b"SMALLEST_VOICE=mia") >= programs
    assert KEY.encode() not in dump.read_bytes()
    assert b"API_KEY" not in dump.read_bytes()


def test_player_server_and_voice(home: Path) -> None:
    (home / "player.py").write_text(DUMP_CHILDREN)
    player = f"{sys.executable} {home / 'player.py'}"
    ran = smallest(home, "speak", "--local", "Hello.", "-p", "--player", player, env=GIVEN)
    assert (ran.code, ran.err) == (0, "")
    check(home / "dump", 3)


def test_players_that_doctor_runs(home: Path, server: Offline) -> None:
    (home / "mpv").write_text(DUMP)
    (home / "mpv").chmod(0o755)
    path = f"{home}:{os.environ['PATH']}"
    ran = smallest(home, "doctor", "--base-url", server.base_url, env=GIVEN | {"PATH": path})
    assert b"mpv" in ran.out
    check(home / "dump", 1)


def test_pager(home: Path) -> None:
    (home / "pager").write_text(f"{DUMP}cat >/dev/null\n")
    (home / "pager").chmod(0o755)
    parent, child = pty.openpty()
    env = environment(home, **GIVEN, TERM="xterm", PAGER=str(home / "pager"))
    running = subprocess.run([*SMALLEST, "voices"], cwd=home, env=env, stdout=child, timeout=50, check=False)
    os.close(child)
    os.close(parent)
    assert running.returncode == 0
    check(home / "dump", 1)
