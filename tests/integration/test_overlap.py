"""Processes that play at the same time: `--overlap`. The player is a script that logs what it plays."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pytest

from tests.support.command import SMALLEST, environment
from tests.support.fault_server import fault_server
from tests.support.fault_server.steps import CHUNK, GOOD, Audio, Checkpoint, End, Reply
from tests.support.offline import KEY, Offline, child_of, eventually, watched
from tests.support.pulse import SAMPLE, need_pulse, start_pulse

pytestmark = pytest.mark.long

TEXT = "Good morning. The kettle is on."
PLAYER = """import os
name, log = os.environ["RUN"], os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(log, f"{name} begins\\n".encode())
while os.read(0, 4096):
    os.write(log, f"{name} plays\\n".encode())
if os.path.exists(f"{name}-may-end"):
    os.write(log, f"{name} has all\\n".encode())
    open(f"{name}-may-end").read()
os.write(log, f"{name} ends\\n".encode())
"""
WAITS = "smallest: warning: waiting until process {} has finished playing\n"


class Room:
    """A directory in which commands play. `log` has the order of events of all players."""

    def __init__(self, home: Path, base_url: str) -> None:
        self.home = home
        (home / "player.py").write_text(PLAYER)
        (home / "config").mkdir()
        (home / "config" / "config.toml").write_text(f"player = '{sys.executable} {home / 'player.py'}'\n")
        self.env = environment(home, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=base_url)
        self.running: list[subprocess.Popen[str]] = []

    def start(self, name: str, command: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start a command whose player logs `name`."""
        running = subprocess.Popen(
            [*SMALLEST, *command.split(), *arguments],
            cwd=self.home,
            env=self.env | {"RUN": name} | env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.running.append(running)
        return running

    def start_held(self, name: str, *arguments: str, command: str = "speak") -> subprocess.Popen[str]:
        """Start a run that plays until `let_end`, and wait until it has requested everything."""
        os.mkfifo(self.home / f"{name}-may-end")
        held = self.start(name, command, TEXT, "-p", *arguments)
        eventually(lambda: f"{name} has all" in self.log)
        return held

    def let_end(self, name: str) -> None:
        """Let the player of a run end."""
        (self.home / f"{name}-may-end").write_text("")

    @property
    def log(self) -> list[str]:
        path = self.home / "log"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def order(self) -> list[str]:
        """The log, in which audio that comes in several pieces is one event."""
        return self.order_of("begins", "plays", "ends")

    def order_of(self, *events: str) -> list[str]:
        """Some events of the log."""
        return [line for line, _ in groupby(line for line in self.log if line.endswith(events))]

    def end(self, running: subprocess.Popen[str]) -> tuple[int, str]:
        """Close stdin, wait for the end. Returns the exit code and stderr."""
        _, message = running.communicate(timeout=50)
        return running.returncode, message


@pytest.fixture
def room(home: Path, server: Offline) -> Iterator[Room]:
    with opened(home, server.base_url) as room:
        yield room


@contextmanager
def opened(home: Path, base_url: str) -> Iterator[Room]:
    room = Room(home, base_url)
    try:
        yield room
    finally:
        for running in room.running:
            running.kill()
            running.communicate()


def played(*names: str) -> list[str]:
    """The order of events if the runs play one after the other."""
    return [f"{name} {event}" for name in names for event in ("begins", "plays", "ends")]


def requests_of(server: Offline) -> int:
    return len(server.log())


@pytest.mark.parametrize(
    "command",
    [
        "speak Hello. -p",
        "speak Hello. -p --overlap wait",
        "speak Hello. -p --cache",
        "speak Hello. -p --via ws -o b.wav",
        "voices play magnus",
        "stream Hello. -p",
        "stream Hello. -p --buffering server",
    ],
)
def test_second_run_waits_before_it_sends_anything(command: str, room: Room, server: Offline) -> None:
    first = room.start_held("a", "--pause", "0.1")
    sent = requests_of(server)
    second = room.start("b", command)
    assert second.stderr
    line = second.stderr.readline()
    if command.startswith("voices"):  # it prints the voice first
        line = second.stderr.readline()
    assert line == WAITS.format(first.pid)
    assert requests_of(server) == sent
    released = time.perf_counter_ns()
    room.let_end("a")
    assert room.end(first) == (0, "")
    assert room.end(second)[0] == 0
    received = [entry["received_ns"] for entry in server.log()[sent:] if entry["text"] == "Hello."]
    assert min(received, default=released) >= released
    if command.startswith("stream"):  # its player starts with it
        assert [event for event in room.order if event != "b begins"] == [*played("a"), *played("b")[1:]]
    else:
        assert room.order == played("a", "b")


def test_line_that_grew_too_old_while_it_waited_is_dropped(room: Room, server: Offline) -> None:
    first = room.start_held("a")
    sent = requests_of(server)
    second = room.start("b", "stream", "-p", "--lines", "--max-lag", "0.4")
    assert second.stdin
    second.stdin.write("Good morning.\n")
    second.stdin.flush()
    assert second.stderr
    assert second.stderr.readline() == WAITS.format(first.pid)
    for _ in range(6):  # each takes some 0.1 s
        room.end(room.start("c", "speak", "Hello.", "--dry-run"))
    room.let_end("a")
    assert room.end(first) == (0, "")
    eventually(lambda: "a ends" in room.log)
    second.stdin.write("Good night.\n")
    code, message = room.end(second)
    assert (code, message) == (0, "smallest: warning: dropped 1 line older than 0.4 s\n")
    assert [entry["text"] for entry in server.log()[sent:]] == ["Good night."]


def test_many_runs_play_one_after_the_other(room: Room) -> None:
    names = "abcde"
    runs = [room.start(name, "speak", f"{TEXT}\n\n{TEXT}", "-p", "-q") for name in names]
    assert [room.end(run) for run in runs] == [(0, "")] * len(runs)
    order = [event.split()[0] for event in room.order_of("begins")]
    assert room.order == played(*order)
    assert sorted(order) == sorted(names)


def test_ctrl_c_ends_a_run_that_waits(room: Room, server: Offline) -> None:
    first = room.start_held("a")
    sent = requests_of(server)
    second = room.start("b", "speak", "Hello.", "-p", "-o", "b.wav")
    assert second.stderr
    second.stderr.readline()
    second.send_signal(signal.SIGINT)
    assert room.end(second) == (-signal.SIGINT, "smallest: interrupted\n")
    assert not list(room.home.glob("b.wav*"))
    assert requests_of(server) == sent
    third = room.start("c", "speak", "Hello.", "-p", "-q")
    room.let_end("a")
    assert [room.end(first), room.end(third)] == [(0, "")] * 2
    assert room.order == played("a", "c")


@pytest.mark.parametrize("command", ["speak Hello. -p", "stream Hello. -p", "voices play magnus"])
def test_max_time_limits_the_wait_and_timeout_does_not(command: str, room: Room, server: Offline) -> None:
    first = room.start_held("a")
    sent = requests_of(server)
    second = room.start("b", command, "--max-time", "1.5", "--timeout", "0.5")
    code, message = room.end(second)
    assert (code, message.splitlines()[-1]) == (7, "smallest: the run took longer than --max-time allows")
    assert requests_of(server) == sent
    room.let_end("a")
    assert room.end(first) == (0, "")


def test_interrupted_run_ends_as_after_a_lost_device(room: Room) -> None:
    """The file is complete, as is that of the second run, which a third interrupts."""
    first = room.start_held("a", "-o", "a.wav", "--subtitles", "a.srt")
    second = room.start_held("b", "-o", "b.wav", "--subtitles", "b.srt", "--overlap", "interrupt")
    assert room.end(first) == (11, f"smallest: process {second.pid} interrupted the playback\n")
    third = room.start("c", "speak -p -o c.wav --subtitles c.srt --overlap interrupt", TEXT)
    assert room.end(second) == (11, f"smallest: process {third.pid} interrupted the playback\n")
    assert room.end(third) == (0, "")
    assert room.order == [*played("a")[:2], *played("b")[:2], *played("c")]
    sizes = {(room.home / f"{name}.wav").stat().st_size for name in "abc"}
    assert len(sizes) == 1
    assert len({(room.home / f"{name}.srt").read_text() for name in "abc"}) == 1


def test_run_that_only_plays_ends_when_it_is_interrupted(room: Room, server: Offline) -> None:
    """It requests nothing more; a run that waits does not come before the one that interrupts."""
    first = room.start_held("a", command="stream")
    waiting = room.start("w", "speak", "Hello.", "-p")
    assert waiting.stderr
    waiting.stderr.readline()
    second = room.start("b", "stream", TEXT, "-p", "--overlap", "interrupt")
    code, message = room.end(first)
    assert (code, message) == (11, f"smallest: process {second.pid} interrupted the playback\n")
    assert [room.end(second), room.end(waiting)] == [(0, ""), (0, "")]
    events = [event for event in room.order if event not in ("a begins", "b begins")]
    assert events == ["a plays", *played("b")[1:], *played("w")]


def test_interrupted_stream_continues_its_file(room: Room) -> None:
    first = room.start("a", "stream", "-p", "-o", "a.wav", "--lines")
    assert first.stdin
    line = "Good morning, all of you. " * 30 + "\n"
    first.stdin.write(line)
    first.stdin.flush()
    eventually(lambda: "a plays" in room.log)
    second = room.start("b", "speak", "Hello.", "-p", "--overlap", "interrupt")
    assert room.end(second) == (0, "")
    first.stdin.write(line)
    code, message = room.end(first)
    assert (code, message) == (11, f"smallest: process {second.pid} interrupted the playback\n")
    alone = room.start("c", "stream", "-o", "c.wav", "--lines")
    assert alone.stdin
    alone.stdin.write(2 * line)
    assert room.end(alone) == (0, "")
    assert (room.home / "a.wav").read_bytes() == (room.home / "c.wav").read_bytes()


def test_interrupted_device_is_a_lost_device(room: Room) -> None:
    need_pulse()
    with start_pulse() as pulse, pulse.recording() as recording:
        env = {name: value for name, value in pulse.env.items() if name != "PATH"}
        arguments = (TEXT * 4, "-p", "--device", "pulse", "-o", "a.wav")
        first = room.start("a", "speak", *arguments, **env | {"SMALLEST_CONFIG_DIR": "none"})
        recording.wait_for_audio(SAMPLE)
        runtime = env["XDG_RUNTIME_DIR"]
        second = room.start("b", "speak", TEXT, "-p", "--overlap", "interrupt", XDG_RUNTIME_DIR=runtime)
        assert room.end(second) == (0, "")
        assert room.end(first) == (11, f"smallest: process {second.pid} interrupted the playback\n")
    assert (room.home / "a.wav").exists()


def test_mixed_runs_play_at_the_same_time(room: Room) -> None:
    first = room.start_held("a")
    second = room.start_held("b", "--overlap", "mix")
    for name, run in (("a", first), ("b", second)):
        room.let_end(name)
        assert room.end(run) == (0, "")
    assert room.order == [*played("a")[:2], *played("b")[:2], "a ends", "b ends"]


def test_killed_run_leaves_no_lock(room: Room) -> None:
    """Its player still runs, and has no descriptor of the lock."""
    first = room.start_held("a")
    with watched(child_of(first.pid)) as wait:
        first.kill()
        second = room.start("b", "speak", "Hello.", "-p")
        assert room.end(second) == (0, "")
        room.let_end("a")
        wait()


def test_idle_stream_holds_no_lock(room: Room) -> None:
    first = room.start("a", "stream", "-p")
    for count in (1, 2):
        assert first.stdin
        first.stdin.write("Good morning.\n\n")
        first.stdin.flush()
        eventually(lambda: room.order.count("a plays") == count)  # noqa: B023
        second = room.start("b", "speak", "Hello.", "-p", "-q")
        assert room.end(second) == (0, "")
        assert first.poll() is None
    assert room.end(first) == (0, "")
    assert room.order == ["a begins", "a plays", *played("b"), "a plays", *played("b"), "a ends"]


@pytest.mark.parametrize("buffering", ["sentence", "server"])
def test_streams_take_turns(buffering: str, room: Room) -> None:
    runs = {name: room.start(name, "stream", "-p", "-q", "--buffering", buffering) for name in "ab"}
    for count in (1, 2):
        for name, run in runs.items():
            assert run.stdin
            run.stdin.write("Good morning. How are you?\n\n")
            run.stdin.flush()
            eventually(lambda: room.order.count(f"{name} plays") == count)  # noqa: B023
    assert [room.end(run) for run in runs.values()] == [(0, "")] * 2
    assert room.order_of("plays") == ["a plays", "b plays"] * 2


@pytest.mark.parametrize("via", ["sse", "ws"])
def test_other_runs_play_between_the_lines_of_a_stream(via: str, home: Path) -> None:
    first_line = (Reply("chunked"), Audio(CHUNK), Checkpoint(), Audio(3 * CHUNK), End())
    with fault_server(first_line, GOOD) as server, opened(home, server.base_url) as room:
        first = room.start("a", "stream", "-p", "-q", "--lines", "--via", via)
        assert first.stdin
        first.stdin.write("One.\nTwo.\nThree.\nFour.\nFive.\n")
        first.stdin.close()
        first.stdin = None
        assert server.reached.wait(30)
        second = room.start("b", "speak", "Hello.", "-p")
        assert second.stderr
        assert second.stderr.readline() == WAITS.format(first.pid)
        server.release.set()
        assert [room.end(second), room.end(first)] == [(0, ""), (0, "")]
    assert room.order == ["a begins", "a plays", *played("b"), "a plays", "a ends"]


@pytest.mark.parametrize("place", ["no directory", "open to others", "of files"])
def test_without_a_place_for_the_lock_it_plays_and_warns_once(place: str, room: Room) -> None:
    folder = room.home / "cache" / "playback"
    folder.mkdir(mode=0o700, parents=True)
    if place == "no directory":
        folder.rmdir()
        folder.write_text("")
    elif place == "open to others":
        folder.chmod(0o755)
    else:
        (folder / "playing").mkdir()
    room.env["SMALLEST_CACHE_DIR"] = str(folder.parent)
    first = room.start("a", "stream", "-p")
    for count in (1, 2):
        assert first.stdin
        first.stdin.write("Good morning.\n\n")
        first.stdin.flush()
        eventually(lambda: room.log.count("a plays") >= count)  # noqa: B023
    code, message = room.end(first)
    assert (code, len(message.splitlines())) == (0, 1)
    assert message.startswith(f"smallest: warning: cannot lock {folder}")
    assert message.endswith("; other processes may play at the same time\n")


def test_lock_is_private(room: Room) -> None:
    """XDG_RUNTIME_DIR is used only if it is a private directory."""
    runtime, cache = room.home / "runtime", room.home / ".cache" / "smallest" / "playback"
    runtime.mkdir(mode=0o755)
    room.env["XDG_RUNTIME_DIR"] = str(runtime)
    assert room.end(room.start("a", "speak", "Hello.", "-p")) == (0, "")
    assert not list(runtime.iterdir())
    assert modes(cache) == {0o700, 0o600}
    runtime.chmod(0o700)
    assert room.end(room.start("b", "speak", "Hello.", "-p")) == (0, "")
    assert modes(runtime / "smallest") == {0o700, 0o600}


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(each.stat().st_mode) for each in (folder, *folder.iterdir())}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "--overlap", "never"], "'never' is not one of 'wait', 'interrupt', 'mix'"),
        (["-p", "--overlap", ""], "--overlap"),
        (["-o", "a.wav", "--overlap", "mix"], "smallest: --overlap requires playback"),
    ],
)
def test_invalid_overlap_is_a_usage_error(arguments: list[str], message: str, room: Room) -> None:
    code, printed = room.end(room.start("a", "speak", TEXT, *arguments))
    assert code == 2
    assert message in printed
