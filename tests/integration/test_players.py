"""Real players on a real output device, and players that misbehave."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import termios
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smallest_cli.audio import wav
from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.audio.player import PLAYERS, TAIL_S, PlayerSink
from smallest_cli.errors import DeviceError
from smallest_cli.models import AudioFormat
from tests.support.command import SMALLEST, Ran, environment, smallest
from tests.support.offline import KEY, Offline, eventually, watched
from tests.support.programs import need
from tests.support.pulse import SAMPLE, Pulse, need_pulse, start_pulse, without_silence

pytestmark = pytest.mark.long

RATE = 24_000
TEXT = "Good morning. The kettle is on."


@pytest.fixture(scope="module")
def pulse() -> Iterator[Pulse]:
    need_pulse()
    with start_pulse(RATE) as running:
        yield running


def script(home: Path, source: str) -> str:
    """Write a player script. Returns the command that runs it."""
    path = home / "player.py"
    path.write_text(source)
    return f"{sys.executable} {path} {{rate}} 'two words'"


def speak(home: Path, server: Offline, *arguments: str, **env: str) -> Ran:
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": server.base_url} | env
    return smallest(home, "speak", *arguments, env=env)


def audio_env(pulse: Pulse) -> dict[str, str]:
    """Environment of the sound server, without PATH; ALSA finds `.asoundrc` through HOME."""
    env = {name: value for name, value in pulse.env.items() if name != "PATH"}
    return env | {"SDL_AUDIODRIVER": "pulseaudio", "AUDIODRIVER": "alsa"}


@pytest.mark.parametrize("name", sorted({*PLAYERS} - {"pw-play"}))
def test_real_player_plays_all_audio(name: str, pulse: Pulse, home: Path, server: Offline) -> None:
    need(name)
    with pulse.recording() as recording:
        ran = speak(home, server, TEXT, "-p", "--player", name, "-o", "a.pcm", **audio_env(pulse))
    assert (ran.code, ran.out, ran.err) == (0, b"", "")
    pcm = (home / "a.pcm").read_bytes()
    found = recording.pcm[recording.audio_start() : recording.audio_end()]
    if name in ("aplay", "paplay"):
        assert without_silence(recording.pcm) == without_silence(pcm)
    else:  # these convert and dither
        assert abs(len(found) - len(pcm)) < RATE * SAMPLE // 2


@pytest.mark.parametrize("name", sorted({*PLAYERS} - {"pw-play"}))
def test_player_plays_every_sample(name: str, pulse: Pulse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a player converts: the audio is loud at both ends, and nothing else is."""
    need(name)
    samples = array("h", random.Random(5).choices((-9000, 9000), k=RATE))
    for variable, value in audio_env(pulse).items():
        monkeypatch.setenv(variable, value)
    with pulse.recording() as recording:
        sink = PlayerSink(AudioFormat(RATE), name)
        sink.write(samples.tobytes())
        sink.close()
    assert sink.frames_played() == RATE
    loud = [9000 if each > 0 else -9000 for each in without_silence(recording.pcm) if abs(each) > 4000]
    assert loud == list(samples)


def test_pw_play_gets_a_wav_file(home: Path, server: Offline) -> None:
    """Its real output was recorded on PipeWire 0.3.65, which needs a session bus."""
    (home / "pw-play").write_text("#!/bin/sh\nprintf '%s ' \"$@\" > argv\ncat > got\n")
    (home / "pw-play").chmod(0o755)
    path = f"{home}:{os.environ['PATH']}"
    ran = speak(home, server, TEXT, "-p", "--player", "pw-play", "-o", "a.pcm", PATH=path)
    assert (ran.code, ran.err) == (0, "")
    tail = bytes(round(TAIL_S * RATE) * SAMPLE)
    assert (home / "argv").read_text() == "/dev/stdin "
    assert (home / "got").read_bytes() == wav.header(AudioFormat(RATE)) + (home / "a.pcm").read_bytes() + tail


def test_player_that_does_not_end_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smallest_cli.audio.player.STALL_S", 0.2)
    sink = PlayerSink(AudioFormat(RATE), "sh -c 'cat; exec sleep 1000'")
    sink.write(bytes(RATE))
    with pytest.raises(DeviceError, match="the player sh has not ended 0.2 s after the audio"):
        sink.close()


@pytest.mark.parametrize(
    ("player", "problem", "hint"),
    [
        (
            "mpv",
            "player not found: mpv",
            "known players: ffplay, aplay, paplay, mpv, pw-play, play, sox; or use -o FILE",
        ),
        (
            "foo",
            "player not found: foo",
            "give its arguments: it must play s16le at 24000 Hz from stdin; known",
        ),
        ("true", "true exited with status 0 before the end of the audio", "give its arguments: it must play"),
        ("false -x", "false exited with status 1 before the end of the audio", "use -o FILE"),
    ],
)
def test_failed_player_says_what_is_missing(
    player: str, problem: str, hint: str, home: Path, server: Offline
) -> None:
    (home / "bin").mkdir()
    for name in ("true", "false"):
        (home / "bin" / name).symlink_to(need(name))
    ran = speak(home, server, TEXT, "-p", "--player", player, PATH=str(home / "bin"))
    assert (ran.code, ran.out) == (11, b"")
    assert problem in ran.lines[0]
    assert hint in ran.lines[1]


def test_player_does_not_get_the_key(home: Path, server: Offline) -> None:
    command = script(home, "import sys; open('env', 'wb').write(open('/proc/self/environ', 'rb').read());"
                     "sys.stdin.buffer.read()")  # fmt: skip
    ran = speak(
        home, server, TEXT, "-p", "--player", command, SMALLEST_API_KEY_FILE="k", SMALLEST_VOICE="mia"
    )
    assert (ran.code, ran.err) == (0, "")
    assert b"SMALLEST_VOICE=mia" in (home / "env").read_bytes()
    assert b"API_KEY" not in (home / "env").read_bytes()


@pytest.mark.parametrize("lead", ["0.5", "500ms"])
def test_player_command_gets_audio_and_rate_but_no_text(lead: str, home: Path, server: Offline) -> None:
    command = script(home, "import sys; open('got', 'wb').write(sys.stdin.buffer.read()); open('argv', 'w')"
                     ".write(repr(sys.argv[1:]))")  # fmt: skip
    ran = speak(home, server, TEXT, "-p", "--player", command, "-o", "a.pcm", "-r", "8000",
                "--lead-silence", lead)  # fmt: skip
    assert (ran.code, ran.out, ran.err) == (0, b"", "")
    assert (home / "argv").read_text() == "['8000', 'two words']"
    pcm = (home / "a.pcm").read_bytes()
    assert (home / "got").read_bytes() == bytes(8000) + pcm  # the lead silence is not written to the file


def test_player_that_reads_no_audio_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smallest_cli.audio.player.STALL_S", 0.2)
    destination = Destination(None, player="sleep 1000")
    timed_out = pytest.raises(DeviceError, match="the player sleep has read no audio for")
    with timed_out, open_sinks([destination], AudioFormat()) as sink:
        sink.write(bytes(100_000))
        sink.close()


def test_player_command_is_not_run_by_a_shell(home: Path, server: Offline) -> None:
    command = script(home, "import sys; sys.stdin.buffer.read()") + " ; touch hacked $(touch hacked)"
    assert speak(home, server, TEXT, "-p", "--player", command).code == 0
    assert not (home / "hacked").exists()


def test_player_can_be_set_in_the_config_file(home: Path, server: Offline) -> None:
    command = script(home, "import sys; open('got', 'wb').write(sys.stdin.buffer.read())")
    config = home / "config" / "config.toml"
    config.parent.mkdir()
    config.write_text(f'player = "{command}"\n')
    config.chmod(0o600)
    assert speak(home, server, TEXT, "-p").code == 0
    assert any((home / "got").read_bytes())
    for value, message in (("a\\u0000b", "player holds a NUL"), (" ", "player is empty")):
        config.write_text(f'player = "{value}"\n')
        ran = speak(home, server, TEXT, "-p")
        assert (ran.code, ran.out, len(ran.lines)) == (3, b"", 1)
        assert ran.lines[0].endswith(f"config.toml: {message}")
    config.write_text("player = '\"'\n")
    ran = speak(home, server, TEXT, "-p")
    assert (ran.code, ran.out, len(ran.lines)) == (3, b"", 1)
    assert ran.lines[0].endswith('config.toml: player: " is not a valid command: No closing quotation')
    assert speak(home, server, TEXT, "-p", "--player", '"').code == 2


def test_player_in_home_is_found_and_is_not_an_output_file(home: Path, server: Offline) -> None:
    (home / "p.sh").write_text("#!/bin/sh\ncat > got\n")
    (home / "p.sh").chmod(0o755)
    ran = speak(home, server, TEXT, "-p", "--player", "~/p.sh {rate}", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["file"] == "speaker"
    assert any((home / "got").read_bytes())


def test_device_plays_after_the_lead_silence(pulse: Pulse, home: Path, server: Offline) -> None:
    arguments = ["-p", "--device", "pulse", "--lead-silence", "300ms", "-o", "a.pcm"]
    with pulse.recording() as recording:
        ran = speak(home, server, TEXT, *arguments, **audio_env(pulse))
    assert (ran.code, ran.out, ran.err) == (0, b"", "")
    pcm = (home / "a.pcm").read_bytes()
    assert pcm.strip(b"\0") in bytes(recording.pcm)
    assert recording.audio_start() >= 0.3 * RATE * SAMPLE
    ran = speak(home, server, TEXT, "-p", "--device", "nowhere", **audio_env(pulse))
    assert (ran.code, ran.out, ran.lines[0]) == (11, b"", "smallest: no output device named 'nowhere'")


WAITING_PLAYER = "import sys; sys.stdin.buffer.read(); open('go').read()"


def test_frames_played_is_kept_after_abort(home: Path) -> None:
    os.mkfifo(home / "go")
    sink = PlayerSink(AudioFormat(RATE), script(home, WAITING_PLAYER.replace("go", str(home / "go"))))
    sink.write(bytes(60 * RATE * SAMPLE))
    eventually(lambda: sink.frames_played() > 0)
    sink.abort()
    assert 0 < sink.frames_played() < 60 * RATE


def test_frames_played_reports_an_exited_player(home: Path) -> None:
    player = script(home, "import sys; sys.stdin.buffer.read(10); sys.exit(3)")
    both = [Destination(None, player=player), Destination(str(home / "a.pcm"))]
    for destinations in (both[:1], both):
        with pytest.raises(DeviceError), open_sinks(destinations, AudioFormat(RATE)) as sink:
            sink.write(bytes(60 * RATE * SAMPLE))
            while len(destinations) == 1 or sink.frames_played() < 60 * RATE:  # a file sink goes on
                sink.frames_played()
    assert (home / "a.pcm").stat().st_size == 60 * RATE * SAMPLE


FAILING = {
    "at once": ("", "status 0 before the end of the audio"),
    "with a status": (
        "import sys; sys.stdin.buffer.read(10); sys.exit(3)",
        "status 3 before the end of the audio",
    ),
    "with words": (
        "import sys; sys.exit('one\\nno \x1bcard\\n')",
        "status 1 before the end of the audio: no ",
    ),
    "by a signal": ("import os; os.kill(os.getpid(), 9)", "signal 9 before the end of the audio"),
    "at the end": ("import sys; sys.stdin.buffer.read(); sys.exit(4)", "exited with status 4"),
}


@pytest.mark.parametrize("how", FAILING)
def test_failed_player_is_reported_and_the_file_is_complete(how: str, home: Path, server: Offline) -> None:
    source, message = FAILING[how]
    player = script(home, source)
    ran = speak(home, server, TEXT, "-p", "--player", player, "-o", "a.pcm", "--subtitles", "a.srt")
    assert (ran.code, ran.out) == (11, b"")
    assert len(ran.lines) == 2
    assert ran.lines[0].startswith("smallest: the player ")
    assert "\x1b" not in ran.err
    assert message in ran.lines[0]
    assert (home / "a.pcm").stat().st_size > RATE
    assert (home / "a.srt").read_text().endswith("The kettle is on.\n")


REFUSED = {
    "no such program": (["-p", "--player", "no-such-player"], 11, "player not found: no-such-player"),
    "no words": (["-p", "--player", " "], 2, "without a program"),
    "an unset variable": (["-p", "--player", ""], 2, "--player is empty"),
    "an unset device": (["-p", "--device", ""], 2, "--device is empty"),
    "an unclosed quote": (["-p", "--player", "aplay 'x"], 2, "is not a valid command"),
    "nothing is played": (["-o", "a.wav", "--player", "aplay"], 2, "--player requires playback"),
    "silence without playback": (["-o", "a.wav", "--lead-silence", "1"], 2, "--lead-silence requires"),
    "a device too": (["-p", "--player", "aplay", "--device", "x"], 2, "cannot be combined"),
    "a long silence": (["-p", "--lead-silence", "11"], 2, "is not a time"),
    "no silence": (["-p", "--lead-silence", "nan"], 2, "is not a time"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_playback_options_send_no_request(name: str, home: Path, server: Offline) -> None:
    arguments, code, message = REFUSED[name]
    before = len(server.log())
    ran = speak(home, server, TEXT, *arguments)
    assert (ran.code, ran.out) == (code, b"")
    assert message in ran.lines[0]
    assert len(server.log()) == before


def test_follow_without_a_terminal_prints_a_line_for_each_segment(home: Path, server: Offline) -> None:
    """--follow follows the slowest sink, which is a file here."""
    ran = speak(home, server, TEXT, "-o", "a.wav", "--follow")
    assert (ran.code, ran.lines) == (0, ["Good morning.", "The kettle is on."])


def test_signal_ends_the_player_and_its_children(home: Path, server: Offline) -> None:
    """The player reads nothing and ignores SIGTERM."""
    os.mkfifo(home / "pids")
    source = (
        "import os, signal, subprocess, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        "open('pids', 'w').write(f'{os.getpid()} {child.pid}')\n"
        "time.sleep(1000)\n"
    )
    env = environment(home, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url)
    command = [*SMALLEST, "speak", TEXT * 9, "-p", "--player", script(home, source)]
    with subprocess.Popen(command, cwd=home, env=env, stderr=subprocess.PIPE, text=True) as running:
        pids = [int(pid) for pid in (home / "pids").read_text().split()]
        with watched(*pids) as wait:
            running.send_signal(signal.SIGINT)
            _, message = running.communicate(timeout=30)
            wait()
    assert (running.returncode, message) == (-signal.SIGINT, "smallest: interrupted\n")


# --follow


@pytest.mark.parametrize(("voice", "steps"), [("meher", 6), ("magnus", 2)])
def test_follow_shows_words_as_they_are_played(
    voice: str, steps: int, home: Path, server: Offline, pulse: Pulse
) -> None:
    parent, child = pty.openpty()
    env = environment(home, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url, TERM="xterm")
    command = [*SMALLEST, "speak", TEXT, "-v", voice, "-p", "--follow"]
    with subprocess.Popen(command, cwd=home, env=env | audio_env(pulse), stderr=child) as running:
        os.close(child)
        output = b""
        try:
            while data := os.read(parent, 65_536):
                output += data
        except OSError:
            pass  # the other side is closed
        os.close(parent)
    assert running.returncode == 0
    drawn = output.decode().split("\r\x1b[K")[1:]
    assert len(drawn) >= steps
    complete = [each.split("\r\n")[0].removesuffix("\x1b[0m") for each in drawn if "\x1b[2m" not in each]
    assert complete == ["Good morning.", "The kettle is on."]
    if voice == "meher":
        assert any(each.startswith("The kettle\x1b[2m is on.") for each in drawn)


LONG_TEXT = (
    "One may have said more than once that the kettle which stood upon the stove that evening was neither "
    "copper nor iron but an old and rather dented pot of tin."
)
REDRAW = "\r\x1b[K"


def set_columns(terminal: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


class Screen:
    """The output on a terminal, and the drawings of each of its lines."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self.output = ""

    def resize(self, columns: int) -> None:
        set_columns(self._terminal, columns)

    def read(self) -> bool:
        """Wait for output. Returns False at the end of the output."""
        try:
            data = os.read(self._terminal, 65_536)
        except OSError:  # the other side is closed
            return False
        self.output += data.decode()
        return bool(data)

    def wait_for_second_line(self) -> None:
        """Wait until the second line was drawn, and drawn again when more of it was played."""
        while [len(each) > 1 for each in self.lines[1:]] in ([], [False]):
            assert self.read(), self.output

    def wait_for_end(self) -> None:
        while self.read():
            pass

    @property
    def lines(self) -> list[list[str]]:
        """Every drawing of each line of the text."""
        plain = re.sub(r"\x1b\[\d*m", "", self.output)
        return [each.split(REDRAW)[1:] for each in plain.split("\r\n") if REDRAW in each]

    @property
    def text(self) -> str:
        """The final text."""
        return " ".join(each[-1] for each in self.lines)


@contextmanager
def following(home: Path, server: Offline, columns: int, source: str = WAITING_PLAYER) -> Iterator[Screen]:
    """Run `speak --follow` on a terminal; the default player runs until `go` is opened."""
    os.mkfifo(home / "go")
    player = script(home, source)
    env = environment(home, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url, TERM="xterm")
    command = [
        *SMALLEST,
        "speak",
        LONG_TEXT,
        "-v",
        "meher",
        "-p",
        "--player",
        player,
        "--follow",
        "-o",
        "a.wav",
    ]
    parent, child = pty.openpty()
    set_columns(parent, columns)
    with subprocess.Popen(command, cwd=home, env=env, stderr=child) as running:
        os.close(child)
        try:
            yield Screen(parent)
        finally:
            running.kill()
            os.close(parent)


@pytest.mark.parametrize(("before", "after"), [(30, 120), (60, 30), (30, 12)])
def test_terminal_resize_loses_and_repeats_no_word(
    before: int, after: int, home: Path, server: Offline
) -> None:
    with following(home, server, before) as screen:
        screen.wait_for_second_line()
        drawn = len(screen.lines)
        screen.resize(after)
        (home / "go").write_text("")
        screen.wait_for_end()
    assert screen.text == LONG_TEXT
    assert all(len(each) < after for line in screen.lines[drawn:] for each in line)


def test_follow_lines_fit_a_narrow_terminal(home: Path, server: Offline) -> None:
    with following(home, server, 12) as screen:
        (home / "go").write_text("")
        screen.wait_for_end()
    assert screen.text == LONG_TEXT
    assert all(len(each) < 12 for line in screen.lines for each in line)


def test_follow_does_not_show_unplayed_text_as_played(home: Path, server: Offline) -> None:
    with following(home, server, 80, "import sys; sys.stdin.buffer.read(10); sys.exit(3)") as screen:
        screen.wait_for_end()
    assert "exited with status 3" in screen.output
    assert "iron" not in re.sub(r"\x1b\[2m.*?\x1b\[0m", "", screen.output)


WITHOUT_PORTAUDIO = "import sys\nsys.modules['sounddevice'] = None\n"
FAKE_PLAYER = '#!/bin/sh\n[ "$1" = --help ] || cat > "$HOME/played.pcm"\n'


def test_first_working_player_plays_without_portaudio(home: Path, server: Offline) -> None:
    """A player that is found but does not run is passed over."""
    programs = home / "programs"
    programs.mkdir()
    for name, script in (("ffplay", "#!/bin/sh\nexit 1\n"), ("aplay", FAKE_PLAYER), ("mpv", FAKE_PLAYER)):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    (home / "sitecustomize.py").write_text(WITHOUT_PORTAUDIO)
    arguments = ("Good morning.", "--play", "-o", "out.pcm")
    ran = speak(home, server, *arguments, PYTHONPATH=str(home), PATH=f"{programs}:/usr/bin:/bin")
    assert (ran.code, len(ran.lines)) == (0, 1)
    assert ran.lines[0].startswith(
        "smallest: warning: the sounddevice package is missing: aplay plays instead ("
    )
    assert (home / "played.pcm").read_bytes() == (home / "out.pcm").read_bytes()


def test_named_device_is_not_replaced_by_a_player(home: Path, server: Offline) -> None:
    (home / "sitecustomize.py").write_text(WITHOUT_PORTAUDIO)
    ran = speak(home, server, "Good morning.", "--play", "--device", "pulse", PYTHONPATH=str(home))
    assert (ran.code, ran.lines[0]) == (11, "smallest: the sounddevice package is missing")


@pytest.mark.parametrize("more", [[], ["-o", "out.wav", "--play"]])
def test_player_implies_playback_unless_another_destination_is_given(
    more: list[str], home: Path, server: Offline
) -> None:
    player = ["--player", f"sh -c 'cat > {home}/played.pcm'"]
    env = environment(home, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=server.base_url)
    with (home / "stdout").open("wb") as stdout:
        subprocess.run(
            [*SMALLEST, "speak", "Good morning.", *player, *more],
            stdout=stdout, env=env, cwd=home, timeout=50, check=True,
        )  # fmt: skip
    assert (home / "stdout").read_bytes() == b""
    assert len((home / "played.pcm").read_bytes()) > 1000
    assert (home / "out.wav").exists() == bool(more)
