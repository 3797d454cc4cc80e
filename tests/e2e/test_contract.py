"""The contract of `smallest speak`: requests, outputs, messages, retries, exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import stat
import subprocess
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from smallest_cli.models import APIS, VIAS
from tests.support.command import SMALLEST, environment, smallest, speak
from tests.support.fault_server import answer, fault_server
from tests.support.offline import KEY, Offline, start_offline
from tests.support.pulse import need_pulse, start_pulse

TEXT = "Good morning. The kettle is on."
LONG = " ".join(
    f"This is sentence number {number}, and it goes on for a little while." for number in range(60)
)


def samples(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        return file.readframes(file.getnframes())


# Requests


@pytest.mark.parametrize("via", VIAS)
@pytest.mark.parametrize("api", APIS)
def test_every_api_over_every_transport(api: str, via: str, home: Path, server: Offline) -> None:
    older = ["--consistency", "0.7", "--similarity", "0.1", "--enhancement", "2"] if api == "v2" else []
    ran = speak(home, server, TEXT, "--api", api, "--via", via, "-v", "magnus", "-o", "out.wav", *older)
    assert (ran.code, ran.out, ran.err) == (0, b"", "")
    plain = speak(home, server, TEXT, "-v", "magnus", "-o", "plain.wav")
    assert plain.code == 0
    assert samples(home / "out.wav") == samples(home / "plain.wav")


@pytest.mark.parametrize("status", ["404", "410"])
def test_discontinued_api_is_reported(status: str, home: Path) -> None:
    with start_offline(legacy=status) as server:
        for via in VIAS:
            ran = speak(home, server, TEXT, "--api", "v3.1", "--via", via, "-o", "out.wav")
            assert (ran.code, ran.out) == (5, b"")
            assert status in ran.lines[0]
            assert status == "404" or "drop --api" in ran.err


def test_pause_between_paragraphs(home: Path, server: Offline) -> None:
    one = speak(home, server, "-o", "one.wav", stdin=b"First.\n\nSecond.")
    assert one.code == 0
    none = speak(home, server, "-o", "none.wav", "--pause", "0", stdin=b"First.\n\nSecond.")
    assert none.code == 0
    apart = len(samples(home / "one.wav")) - len(samples(home / "none.wav"))
    assert apart == round(0.4 * 24_000) * 2
    speak(home, server, "-o", "a.wav", "First.")
    speak(home, server, "-o", "b.wav", "Second.")
    assert samples(home / "none.wav") == samples(home / "a.wav") + samples(home / "b.wav")


def test_split_option_limits_segments(home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = speak(home, server, LONG[:600].strip(), "--split", "0", "-o", "out.wav", "--json")
    assert json.loads(ran.out)["segments"] == 1
    ran = speak(home, server, LONG[:600].strip(), "--split", "100", "-o", "out.wav", "--json")
    assert json.loads(ran.out)["segments"] >= 6
    read_screen = [entry["text"] for entry in server.log()[before + 1 :]]
    assert "".join(read_screen) == LONG[:600].strip()
    assert max(map(len, read_screen)) <= 100


def test_dry_run_sends_no_request(home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = speak(home, server, LONG, "--dry-run", "--json")
    plan = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert (plan["characters"], plan["voice"], plan["model"]) == (len(LONG), "meher", "lightning_v3.1_pro")
    assert len(plan["segments"]) > 10
    assert "".join(each["text"] for each in plan["segments"]) == LONG
    ran = smallest(home, "speak", TEXT, "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    assert b"characters\t31\n" in ran.out
    assert len(server.log()) == before
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_stdout_escapes_what_its_encoding_lacks(encoding: str, home: Path) -> None:
    words = ("speak", "--local", "--dry-run", "Grüße, नमस्ते")
    ran = smallest(home, *words, env={"PYTHONIOENCODING": encoding})
    assert (ran.code, ran.err) == (0, "")
    assert "\\u0928" in ran.out.decode(encoding)


def test_dry_run_checks_output_paths(home: Path) -> None:
    (home / "folder.wav").mkdir()
    for path, words in (("nowhere/x.wav", "no such directory"), ("folder.wav", "it is a directory")):
        ran = smallest(home, "speak", TEXT, "--dry-run", "-o", path)
        assert (ran.code, ran.out) == (10, b"")
        assert ran.lines[0].startswith(f"smallest: cannot write {path}: {words}")
    assert smallest(home, "speak", TEXT, "--dry-run", "-o", "new.wav").code == 0
    assert not (home / "new.wav").exists()


@pytest.mark.parametrize(
    ("name", "words", "hint"),
    [
        ("folder", "folder is a directory, not a file to write", "name a file: folder/speech.wav"),
        ("y.wav/", "y.wav/ is a directory, not a file to write", "name a file: y.wav/speech.wav"),
        ("plain", "plain has no extension that names a format", "use --format, or an extension: .wav"),
        ("x.xyz", "x.xyz: unknown extension .xyz", "use --format, or an extension: .wav"),
    ],
)
def test_unknown_output_format_is_explained(name: str, words: str, hint: str, home: Path) -> None:
    (home / "folder").mkdir()
    ran = smallest(home, "speak", TEXT, "-o", name)
    assert (ran.code, ran.lines[0]) == (2, f"smallest: {words}")
    assert ran.lines[1].startswith(f"  {hint}")


def test_voice_question_mark_lists_voices(home: Path) -> None:
    ran = smallest(home, "speak", "-v", "?")
    assert (ran.code, ran.err) == (0, "")
    assert b"meher\t" in ran.out
    assert ran.out.count(b"\n") > 200


# Outputs


def test_several_outputs_get_equal_samples(home: Path, server: Offline) -> None:
    ran = speak(home, server, TEXT, "-o", "a.wav", "-o", "b.pcm", "-o", "-", "-o", "c.flac")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == samples(home / "a.wav") == (home / "b.pcm").read_bytes()
    assert (home / "c.flac").read_bytes().startswith(b"fLaC")


def test_failed_output_does_not_affect_others(home: Path, server: Offline) -> None:
    complete = speak(home, server, TEXT).out
    ran = speak(home, server, TEXT, "-o", "/dev/full", "--format", "pcm", "-o", "b.pcm")
    assert (ran.code, "/dev/full" in ran.lines[0]) == (10, True)
    assert (home / "b.pcm").read_bytes() == complete
    (home / "b.pcm").unlink()
    ran = speak(home, server, TEXT, "-o", "-", "-o", "b.pcm", "-o", "nowhere/c.pcm")
    assert (ran.code, ran.out) == (10, b"")
    assert list(home.glob("*.pcm*")) == []


def test_speaker_file_and_pipe_get_equal_samples(home: Path, server: Offline) -> None:
    need_pulse()
    with start_pulse() as pulse, pulse.recording() as recording:
        env = pulse.env | {"SMALLEST_API_KEY": KEY, "SMALLEST_CONFIG_DIR": str(home)}
        command = [*SMALLEST, "speak", "--base-url", server.base_url, TEXT, "-p", "-o", "out.wav", "-o", "-"]
        done = subprocess.run(command, env=env, cwd=home, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == samples(home / "out.wav")
    before, found, after = bytes(recording.pcm).partition(done.stdout.strip(b"\0"))
    assert found
    assert not any(before)
    assert not any(after)


def test_missing_output_device_sends_no_request(home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = speak(home, server, TEXT, "--play", PULSE_SERVER="unix:/nowhere")
    assert (ran.code, ran.out, len(ran.lines)) == (11, b"", 2)
    assert "-o FILE" in ran.err
    assert len(server.log()) == before


def test_partial_option_keeps_or_discards(home: Path) -> None:
    with start_offline(fail=["close:1011:3"]) as server:
        ran = speak(home, server, TEXT, "-o", "out.wav", "--partial", "discard")
        assert (ran.code, list(home.iterdir())) == (9, [])
        ran = speak(home, server, TEXT, "-o", "out.wav", "--json")
        result = json.loads(ran.out)
        assert (ran.code, result["exit"], Path(result["partial"]).name) == (9, 9, "out.wav.part")
        assert result["audio_seconds"] == pytest.approx(len(samples(home / "out.wav.part")) / 48_000)


def test_no_clobber_keeps_existing_file(home: Path, server: Offline) -> None:
    (home / "out.wav").write_bytes(b"old")
    ran = speak(home, server, TEXT, "-o", "out.wav", "--no-clobber")
    assert (ran.code, (home / "out.wav").read_bytes()) == (2, b"old")


def test_slow_reader_limits_requests_ahead(home: Path, server: Offline) -> None:
    """The reader takes a byte and waits: only a pipe buffer and the seconds of --ahead are requested."""
    before = len(server.log())
    command = [
        *SMALLEST,
        "speak",
        "--base-url",
        server.base_url,
        "--ahead",
        "1",
        "-o",
        "-",
        "-o",
        "out.wav",
        LONG,
    ]
    env = environment(home, SMALLEST_API_KEY=KEY)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=home
    ) as speaker:
        assert speaker.stdout
        speaker.stdout.read(1)
        speaker.send_signal(signal.SIGINT)
        speaker.stdout.close()
        _, err = speaker.communicate(timeout=20)
    assert speaker.returncode == -signal.SIGINT
    assert b"out.wav.part" in err
    assert len(server.log()) - before <= 3


def test_input_file_is_not_overwritten(home: Path, server: Offline) -> None:
    (home / "text.pcm").write_text(TEXT)
    (home / "link.wav").symlink_to("text.pcm")
    for target in ("text.pcm", "link.wav"):
        for arguments in (("-f", "text.pcm"), ("-f", "link.wav")):
            ran = speak(home, server, *arguments, "-o", target)
            assert (ran.code, "the text is read from it" in ran.lines[0]) == (2, True)
    with (home / "text.pcm").open("rb") as stdin:
        command = [*SMALLEST, "speak", "--base-url", server.base_url, "-o", "text.pcm"]
        env = environment(home, SMALLEST_API_KEY=KEY)
        done = subprocess.run(command, stdin=stdin, env=env, cwd=home, capture_output=True, check=False)
    assert done.returncode == 2
    assert (home / "text.pcm").read_text() == TEXT


def test_key_and_settings_files_are_not_overwritten(home: Path, server: Offline) -> None:
    own = home / "own"
    own.mkdir(mode=0o700)
    for name in ("config.toml", "credentials.json", "key.txt", "named.txt"):
        (own / name).touch(0o600)
    (own / "key.txt").write_text(KEY)
    (home / "link.pcm").symlink_to(own / "config.toml")
    env = {"SMALLEST_CONFIG_DIR": str(own), "SMALLEST_API_KEY_FILE": str(own / "named.txt")}
    paths = ("own/config.toml", "own/credentials.json", "own/key.txt", "own/named.txt", "link.pcm")
    for written in (*(("-o", path) for path in paths), ("-o", "new.pcm", "--subtitles", paths[1])):
        ran = speak(home, server, TEXT, "--api-key-file", "own/key.txt", "--format", "pcm", *written, **env)
        assert (ran.code, "the settings or a key are read from it" in ran.lines[0]) == (2, True), written
    assert (own / "key.txt").read_text() == KEY


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_alias_of_stdout_is_not_replaced(name: str, home: Path, server: Offline) -> None:
    (home / "kept").write_bytes(b"old")
    with (home / "kept").open("ab") as kept:
        done = subprocess.run(
            [*SMALLEST, "speak", TEXT, "--base-url", server.base_url, "-o", name],
            env=environment(home, SMALLEST_API_KEY=KEY), stdout=kept, cwd=home, timeout=50, check=False,
        )  # fmt: skip
    assert done.returncode == 0
    assert (home / "kept").read_bytes()[:3] == b"old"
    assert (home / "kept").stat().st_size > 1000


# Messages


def test_failure_after_last_sample_reports_audio_seconds(home: Path, server: Offline) -> None:
    player = "sh -c 'cat > /dev/null; exit 3'"
    ran = speak(home, server, TEXT, "--play", "--player", player, "-o", "out.wav", "--json")
    result = json.loads(ran.out)
    assert (ran.code, result["exit"]) == (11, 11)
    assert result["audio_seconds"] == pytest.approx(len(samples(home / "out.wav")) / 48_000)


def test_json_reports_a_signal(home: Path) -> None:
    with start_offline(fail=["stall:3"]) as server:
        command = [*SMALLEST, "speak", TEXT, "--base-url", server.base_url, "-o", "out.wav", "--json"]
        env = environment(home, SMALLEST_API_KEY=KEY)
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=home
        ) as run:
            while not any(part.stat().st_size > 1000 for part in home.glob("*.part")):
                assert run.poll() is None
            run.send_signal(signal.SIGTERM)
            out, _ = run.communicate(timeout=20)
    result = json.loads(out)
    assert run.returncode == -signal.SIGTERM
    assert (result["error"], result["exit"], Path(result["partial"]).name) == (
        "interrupted",
        143,
        "out.wav.part",
    )
    # The signal may come between the write of a block of 160 ms and its count.
    assert result["audio_seconds"] == pytest.approx(len(samples(home / "out.wav.part")) / 48_000, abs=0.161)


@contextmanager
def terminal() -> Iterator[tuple[int, Callable[[], str]]]:
    """Yield the child side of a terminal, and a function that reads the screen until all close it."""
    parent, child = pty.openpty()
    closed = False

    def read_screen() -> str:
        nonlocal closed
        os.close(child)
        closed = True
        result = b""
        try:
            while data := os.read(parent, 65_536):
                result += data
        except OSError:
            pass  # the other side is closed
        return result.decode()

    try:
        yield child, read_screen
    finally:
        os.close(parent)
        if not closed:
            os.close(child)


def test_terminal_gets_one_summary_line(home: Path, server: Offline) -> None:
    with terminal() as (tty, read_screen):
        command = [*SMALLEST, "speak", "--base-url", server.base_url, TEXT, "-o", "out.wav"]
        env = environment(home, SMALLEST_API_KEY=KEY, TERM="xterm")
        done = subprocess.run(command, env=env, cwd=home, stdout=subprocess.PIPE, stderr=tty, check=True)
        line = read_screen().splitlines()[-1]
    assert done.stdout == b""
    assert line.split("  ")[0].endswith("out.wav")
    for part in ("first audio", "total", "31 characters"):
        assert part in line


def test_audio_is_not_written_to_a_terminal(home: Path, server: Offline) -> None:
    with terminal() as (tty, read_screen):
        command = [*SMALLEST, "speak", "--base-url", server.base_url, TEXT, "-o", "-"]
        env = environment(home, SMALLEST_API_KEY=KEY)
        done = subprocess.run(command, env=env, stdout=tty, stderr=subprocess.PIPE, check=False)
        assert read_screen() == ""
    assert done.returncode == 2
    assert b"terminal" in done.stderr


def test_debug_prints_events_and_no_key(home: Path, server: Offline) -> None:
    ran = speak(home, server, TEXT, "-o", "out.wav", "--debug", "--via", "ws")
    assert (ran.code, ran.out) == (0, b"")
    assert f"base_url = {server.base_url} from --base-url" in ran.lines
    for setting in ("voice = meher", "timeout = 15.0", "language = not set"):
        assert f"{setting} from default" in ran.lines
    events = [line.split(" ms  ", 1)[1] for line in ran.lines if re.match(r" +\d+\.\d{3} ms  ", line)]
    assert re.fullmatch(
        r"connected  dns [\d.]+ ms  tcp [\d.]+ ms  tls [\d.]+ ms  upgrade [\d.]+ ms", events[0]
    )
    assert (events[1], events[2]) == ("request sent", "7680 bytes of audio")
    assert re.fullmatch(r"complete  request id \S+", events[-1])
    assert KEY not in ran.err


@pytest.mark.parametrize("via", VIAS)
def test_unknown_voice_hint_names_the_list(via: str, home: Path, server: Offline) -> None:
    ran = speak(home, server, TEXT, "-v", "unknown", "-m", "lightning_v3.1", "--via", via, "-o", "out.wav")
    assert (ran.code, ran.lines[1]) == (5, "  list voices: smallest voices")


def test_rate_limit_message_is_equal_on_all_transports(home: Path) -> None:
    hints = set()
    with start_offline(fail=["status:429"]) as server:
        for via in VIAS:
            ran = speak(home, server, TEXT, "--via", via, "--retries", "0", "-o", "out.wav")
            hints.add((ran.code, ran.lines[1]))
    assert len(hints) == 1


def test_end_of_short_key_is_not_printed(home: Path) -> None:
    with start_offline(token="sk_another_one_of_25_chars") as server:
        ran = speak(home, server, TEXT, "-o", "out.wav", SMALLEST_API_KEY="short")
    assert (ran.code, ran.lines[1]) == (4, "  the key is from SMALLEST_API_KEY")


def test_debug_prints_words_and_reused_connection(home: Path, server: Offline) -> None:
    ran = speak(
        home, server, "One. Two.", "--split", "5", "-o", "out.wav", "--debug", "--subtitles", "out.srt"
    )
    assert ran.code == 0
    assert "  the connection is still open" in ran.err
    ran = speak(home, server, "One.", "-o", "out.wav", "--debug", "--subtitles", "a.srt", "--cue", "word")
    assert re.search(r' ms  word "One\.?"  \d+ to \d+ ms\n', ran.err)


@pytest.mark.parametrize("command", ["speak", "stream"])
def test_segments_join_to_the_text_and_are_not_blank(command: str, home: Path, server: Offline) -> None:
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": server.base_url}
    for split in (1, 5, 6):
        before = len(server.log())
        arguments = ("world this", "-o", "out.wav", "--split", str(split), "--via", "http")
        ran = smallest(home, command, *arguments, env=env)
        assert (ran.code, ran.err) == (0, "")
        sent = [entry["text"] for entry in server.log()[before:]]
        assert all(text.strip() for text in sent)
        assert "".join(sent).replace(" ", "") == "worldthis"
        assert split == 1 or ("".join(sent) == "world this" and max(map(len, sent)) <= split)


# Retries


def test_retry_after_is_the_minimum_wait(home: Path) -> None:
    with start_offline(fail=["status:429:1"], fail_times=1) as server:
        ran = speak(home, server, TEXT, "-o", "out.wav", "--via", "sse", "--json")
        result = json.loads(ran.out)
        assert (ran.code, result["characters_resent"]) == (0, len(TEXT))
        assert "trying again" in ran.err
        assert len(server.log()) == 2


def test_zero_retries_sends_one_request(home: Path) -> None:
    with start_offline(fail=["status:503"]) as server:
        ran = speak(home, server, TEXT, "-o", "out.wav", "--via", "http", "--retries", "0")
        assert (ran.code, len(server.log())) == (8, 1)


def test_no_retry_after_audio_in_a_pipe(home: Path) -> None:
    with start_offline(fail=["error:3"]) as server:
        assert speak(home, server, TEXT).code == 9
        assert len(server.log()) == 1


def test_max_time_limits_the_run(home: Path) -> None:
    with start_offline(fail=["stall:0"]) as server:
        ran = speak(home, server, TEXT, "-o", "out.wav", "--max-time", "0.5")
        assert (ran.code, "--max-time" in ran.lines[0]) == (7, True)


# Every exit code: this table is its documentation


@dataclass(frozen=True)
class Case:
    """How an exit code is produced: arguments, environment and server configuration."""

    code: int
    arguments: tuple[str, ...]
    behaviour: dict[str, object]
    env: dict[str, str]


def case(code: int, *arguments: str, env: dict[str, str] | None = None, **behaviour: object) -> Case:
    return Case(code, arguments, behaviour, env or {})


CODES = {
    "complete": case(0, TEXT, "-o", "out.wav"),
    "an option that does not exist": case(2, TEXT, "--louder"),
    "empty text": case(2, "", "-o", "out.wav"),
    "an empty model": case(2, TEXT, "-m", "", "-o", "out.wav"),
    "an empty language": case(2, TEXT, "-l", "", "-o", "out.wav"),
    "two services": case(2, TEXT, "--local", "-o", "out.wav"),
    "voice and model of two pools": case(2, TEXT, "-v", "meher", "-m", "lightning_v3.1", "-o", "out.wav"),
    "Opus at 44100": case(2, TEXT, "-r", "44100", "-o", "out.opus"),
    "formats that clash": case(2, TEXT, "--format", "mp3", "-o", "out.wav"),
    "an option of another API": case(2, TEXT, "--consistency", "0.5", "-o", "out.wav"),
    "no key": case(3, TEXT, "-o", "out.wav", env={"SMALLEST_API_KEY": ""}),
    "a key with a line end in it": case(3, TEXT, "-o", "out.wav", env={"SMALLEST_API_KEY": "sk_a\nb"}),
    "a key that is rejected": case(4, TEXT, "-o", "out.wav", token="sk_another_one_of_25_chars"),
    "no credit": case(4, TEXT, "-o", "out.wav", fail=["status:402"]),
    "a voice that does not exist": case(5, TEXT, "-v", "unknown", "-m", "lightning_v3.1", "-o", "out.wav"),
    "a request that is refused": case(5, TEXT, "-o", "out.wav", fail=["status:422"]),
    "too many at once": case(6, TEXT, "-o", "out.wav", "--retries", "0", fail=["status:429"]),
    "silence": case(7, TEXT, "-o", "out.wav", "--timeout", "0.3", "--retries", "0", fail=["stall:0"]),
    "the service broke down": case(8, TEXT, "-o", "out.wav", "--retries", "0", fail=["status:500"]),
    "cut off after audio": case(9, TEXT, "-o", "out.wav", fail=["close:1011:2"]),
    "an error after audio": case(9, TEXT, "-o", "out.wav", fail=["error:2"]),
    "a full disk": case(10, TEXT, "-o", "/dev/full", "--format", "pcm"),
    "a folder that does not exist": case(10, TEXT, "-o", "nowhere/out.wav"),
    "no output device": case(11, TEXT, "-p", env={"PULSE_SERVER": "unix:/nowhere"}),
}


@pytest.mark.parametrize("name", CODES)
def test_exit_codes(name: str, home: Path, server: Offline) -> None:
    wanted = CODES[name]
    with start_offline(**wanted.behaviour) if wanted.behaviour else nullcontext(server) as service:
        ran = speak(home, service, *wanted.arguments, **wanted.env)
    assert ran.code == wanted.code
    assert "Traceback" not in ran.err
    if wanted.code:
        lines = [line for line in ran.lines if not line.startswith("smallest: warning: ")]
        assert lines[0].startswith("smallest: ")
        assert all(line.startswith("  ") for line in lines[1:])
        assert not (home / "out.wav").exists()


def test_redirect_exits_12(home: Path) -> None:
    with fault_server(
        answer(b"HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
    ) as peer:
        for via in VIAS:
            ran = smallest(
                home, "speak", TEXT, "--base-url", peer.base_url, "--via", via, "-o", "out.wav",
                env={"SMALLEST_API_KEY": KEY},
            )  # fmt: skip
            assert (ran.code, "redirect" in ran.lines[0]) == (12, True)


@pytest.mark.parametrize(
    ("text", "mode", "word"),
    [
        ("voice = [", 0o600, "TOML"),
        ('voice = "meher"', 0o666, "other users"),
        ("timeout = true", 0o600, "timeout"),
    ],
)
def test_invalid_settings_file_exits_3(text: str, mode: int, word: str, home: Path, server: Offline) -> None:
    config = home / "config"
    config.mkdir()
    (config / "config.toml").write_text(text)
    (config / "config.toml").chmod(mode)
    ran = speak(home, server, TEXT, "-o", "out.wav")
    assert (ran.code, word in ran.lines[0]) == (3, True)


def test_invalid_boolean_variable_exits_3(home: Path) -> None:
    ran = smallest(home, "speak", TEXT, "-o", "out.wav", env={"SMALLEST_LOCAL": "maybe"})
    assert (ran.code, ran.lines[0].startswith("smallest: SMALLEST_LOCAL: maybe is")) == (3, True)


def test_base_url_option_overrides_local_variable(home: Path, server: Offline) -> None:
    before = len(server.log())
    assert speak(home, server, TEXT, "-o", "out.wav", SMALLEST_LOCAL="1").code == 0
    assert len(server.log()) == before + 1


def test_closed_stdout_exits_2(home: Path, server: Offline) -> None:
    command = f"exec {SMALLEST[0]} -m smallest_cli speak --base-url {server.base_url} hello -o - >&-"
    env = environment(home, SMALLEST_API_KEY=KEY)
    done = subprocess.run(["sh", "-c", command], env=env, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert b"stdout is closed" in done.stderr


def test_fifo_is_written_in_place(home: Path, server: Offline) -> None:
    os.mkfifo(home / "fifo.wav")
    command = [*SMALLEST, "speak", "--base-url", server.base_url, TEXT, "-o", "fifo.wav"]
    env = environment(home, SMALLEST_API_KEY=KEY)
    with subprocess.Popen(command, env=env, cwd=home) as speaker:
        data = (home / "fifo.wav").read_bytes()
    assert speaker.returncode == 0
    assert data.startswith(b"RIFF")
    assert stat.S_ISFIFO((home / "fifo.wav").stat().st_mode)
