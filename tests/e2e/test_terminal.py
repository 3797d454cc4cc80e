"""The terminal is usable after Ctrl-Z and any end, and shows no key."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.command import SMALLEST, environment
from tests.support.keyboard import PROMPT, at_keyboard
from tests.support.offline import KEY, Offline, eventually
from tests.support.programs import need

TEXT = "'Good morning. The kettle is on.'"
RUNS = {
    "speak": (f"speak {TEXT} -o a.wav", "s of audio"),
    "stream": (f"stream {TEXT} -o a.wav", "s of audio"),
    "batch": ("batch a.csv -d out --naming index", "1/1"),
    "bench": (f"bench {TEXT} -n 2 --warmup 0 --no-calibrate --yes", "in flight"),
}


@pytest.mark.parametrize("name", RUNS)
def test_progress_does_not_hide_the_cursor(name: str, home: Path, server: Offline) -> None:
    """Nothing would show it again after Ctrl-Z or SIGKILL."""
    arguments, drawn = RUNS[name]
    (home / "a.csv").write_text("text\nHello.\n")
    command = " ".join([*SMALLEST, arguments])
    env = environment(home, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url, TERM="xterm")
    terminal = [need("script"), "-qec", command, "/dev/null"]
    done = subprocess.run(terminal, cwd=home, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, drawn in done.stdout) == (0, True), done.stdout
    assert "\x1b[?25l" not in done.stdout


def test_key_typed_after_ctrl_z_and_fg_is_not_shown(home: Path) -> None:
    rc = home / "rc"
    rc.write_text(f"PS1='{PROMPT} '\n")
    command = ["bash", "--noprofile", "--rcfile", str(rc), "-i"]
    with at_keyboard(command, environment(home), home) as shell:
        shell.press(f"{' '.join(SMALLEST)} login --no-check\r")
        shell.wait_for("not shown")
        shell.press_until("\x1a", PROMPT)  # one that comes just before the read is handled only after it
        shell.press("fg\r")
        shell.wait_for("smallest_cli login")
        eventually(lambda: not shell.echoes())
        shell.press(f"{KEY}\r")
        shown = shell.wait_for("saved the key")
    assert KEY not in shown
    assert KEY in (home / "config" / "credentials.json").read_text()
