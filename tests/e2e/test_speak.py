"""`smallest speak`: exit code, stdout, stderr and files."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from smallest_cli.models import VIAS
from tests.support import ROOT
from tests.support.command import LAUNCH, SMALLEST, Ran, environment, smallest, speak
from tests.support.fault_server import fault_server
from tests.support.fault_server.steps import Audio, End, Fin, Reply
from tests.support.offline import KEY, Offline, start_offline

TEXT = "Good morning. The kettle is on, and the cat has opinions about it."


def samples(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.readframes(file.getnframes())


EMPTY = ("--output", "--file", "--voice", "--model", "--dict", "--base-url", "--ca-file", "--api-key-file")


@pytest.mark.parametrize("option", [*EMPTY, "--subtitles", "--player", "--device"])
def test_empty_option_value_is_refused(option: str, home: Path) -> None:
    ran = smallest(home, "speak", "Hello.", "--local", "-o", "out.wav", option, "")
    assert (ran.code, ran.out) == (2, b"")
    assert ran.lines == [f"smallest: {option} is empty", "  unset shell variable?"]
    assert not (home / "out.wav").exists()


# Output


def test_transports_and_sinks_give_equal_samples(home: Path, server: Offline) -> None:
    audio = set()
    for via in VIAS:
        ran = speak(home, server, TEXT, "--via", via, "-o", "out.wav")
        assert (ran.code, ran.out, ran.err) == (0, b"", "")
        audio.add(samples(home / "out.wav"))
        speak(home, server, "Something else in between.", "--via", via, "-o", "other.wav")
        ran = speak(home, server, "--via", via, "-o", "-", stdin=TEXT.encode())
        assert (ran.code, ran.err) == (0, "")
        audio.add(ran.out)
    assert len(audio) == 1
    assert 2 * 24_000 < len(audio.pop()) / 2 < 10 * 24_000


def test_pipe_gets_pcm_and_redirected_file_gets_wav(home: Path, server: Offline) -> None:
    piped = speak(home, server, TEXT).out
    env = environment(home, SMALLEST_API_KEY=KEY)
    with (home / "redirected").open("wb") as file:
        subprocess.run(
            [*SMALLEST, "speak", "--base-url", server.base_url, TEXT], stdout=file, env=env, check=True
        )
    assert samples(home / "redirected") == piped


def test_local_voice_needs_no_key(home: Path) -> None:
    ran = smallest(home, "speak", "--local", TEXT, "-o", "out.wav")
    assert (ran.code, ran.out, ran.err) == (0, b"", "")
    assert any(samples(home / "out.wav"))


def test_input_files_are_read_in_order(home: Path, server: Offline) -> None:
    (home / "a.txt").write_text("First of all,\nin two lines.\n")
    ran = speak(home, server, "-f", "a.txt", "-f", "-", "-o", "out.wav", stdin=b"And then the rest.")
    assert ran.code == 0
    texts = [entry["text"] for entry in server.log()[-2:]]
    assert [part.strip() for part in texts] == ["First of all, in two lines.", "And then the rest."]


@pytest.mark.parametrize("source", ["-f in.txt", "-"])
def test_subtitles_are_read_without_numbers_and_times(source: str, home: Path, server: Offline) -> None:
    cues = ["1", "00:00:01,000 --> 00:00:02,500", "<i>We never</i>", "speak them.", ""]
    cues += ["2", "00:00:03,000 --> 00:00:04,000", "Nor the times."]
    content = "\r\n".join(cues)
    (home / "in.txt").write_text(content)
    given = source.split() if source != "-" else []
    before = len(server.log())
    ran = speak(home, server, *given, "-o", "a.wav", stdin=content.encode())
    assert (ran.code, ran.out, len(ran.lines)) == (0, b"", 1)
    assert ran.lines[0].startswith(f"smallest: warning: {'in.txt' if given else 'stdin'} has subtitles")
    assert [each["text"] for each in server.log()[before:]] == ["We never speak them.", "Nor the times."]


@pytest.mark.parametrize("command", ["speak", "stream", "bench", "bench --text", "voices play meher --text"])
def test_words_that_are_not_utf8_are_refused(command: str, home: Path, server: Offline) -> None:
    before = len(server.log())
    name, *more = command.split()
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": server.base_url}
    ran = smallest(home, name, *more, "caf\udce9", env=env)
    assert (ran.code, ran.out) == (2, b"")
    assert ran.lines[0] == r"smallest: the text is not valid UTF-8: caf\udce9"
    assert len(server.log()) == before


def test_long_text_is_sent_in_segments(home: Path, server: Offline) -> None:
    text = " ".join(f"This is sentence number {number} of the text." for number in range(40))
    ran = speak(home, server, text, "-o", "out.wav", "--json")
    result = json.loads(ran.out)
    assert (ran.code, result["segments"], result["characters"]) == (0, len(result["request_ids"]), len(text))
    assert result["segments"] > 5
    assert result["seconds"] == pytest.approx(len(samples(home / "out.wav")) / 48_000)


def test_json_prints_one_object_on_stdout(home: Path, server: Offline) -> None:
    ran = speak(home, server, "Hello there.", "-o", "out.wav", "--json", "-v", "magnus")
    result = json.loads(ran.out)
    assert (ran.code, ran.err, ran.out.count(b"\n")) == (0, "", 1)
    assert (result["file"], result["transport"], result["voice"], result["model"]) == (
        "out.wav",
        "sse",
        "magnus",
        "lightning_v3.1",
    )
    assert result["sample_rate"] == 24_000
    assert 0 < result["ttfb_ms"] < result["total_ms"]


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100])
def test_sample_rates(rate: int, home: Path, server: Offline) -> None:
    assert speak(home, server, "Hello.", "-r", str(rate), "-o", "out.wav").code == 0
    with wave.open(str(home / "out.wav")) as file:
        assert file.getframerate() == rate


def test_verbose_prints_phases_on_stderr(home: Path, server: Offline) -> None:
    ran = speak(home, server, "Hello.", "-o", "out.wav", "--verbose")
    assert (ran.code, ran.out) == (0, b"")
    assert "upgrade" in ran.err
    assert "out.wav" in ran.err


# Failures: one line, the exit code, and the old file untouched

OLD_FILE = b"yesterday's file"


def refused_key(home: Path) -> Ran:
    with start_offline(token="sk_another_key_of_32_characters") as server:
        return speak(home, server, TEXT, "-o", "out.wav")


def no_server(home: Path) -> Ran:
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))  # bound and not listening, so that the port stays free
        url = f"http://127.0.0.1:{placeholder.getsockname()[1]}"
        env = {"SMALLEST_API_KEY": KEY}
        return smallest(home, "speak", "--base-url", url, TEXT, "-o", "out.wav", env=env)


def incomplete_stream(home: Path, via: str = "ws") -> Ran:
    with start_offline(fail=["close:1011:2"]) as server:
        return speak(home, server, TEXT, "-o", "out.wav", "--via", via)


def test_missing_key_hint_lists_key_sources_and_local(home: Path) -> None:
    ran = smallest(home, "speak", TEXT, "-o", "out.wav")
    assert (ran.code, ran.out) == (3, b"")
    for way in ("SMALLEST_API_KEY", "SMALLEST_API_KEY_FILE", "--api-key-file", "--local"):
        assert way in ran.err
    where = ("--base-url", "http://127.0.0.1:9")
    ran = smallest(home, "speak", *where, "-o", "out.wav", "--", "-5", "--base-url")
    assert ran.lines[-1].endswith(": smallest speak -o out.wav --local -- -5 --base-url")


FAILURES = {
    "a refused key": (refused_key, 4, "401"),
    "a server that is down": (no_server, 7, "cannot connect"),
    "a cut stream over ws": (incomplete_stream, 9, "audio"),
    "a cut stream over sse": (lambda home: incomplete_stream(home, "sse"), 9, "audio"),
    "a cut stream over http": (lambda home: incomplete_stream(home, "http"), 9, "audio"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failure_prints_one_line_and_keeps_old_file(name: str, home: Path) -> None:
    fail, code, word = FAILURES[name]
    target = home / "out.wav"
    target.write_bytes(OLD_FILE)
    before = target.stat()
    ran = fail(home)
    assert (ran.code, ran.out) == (code, b"")
    lines = [line for line in ran.lines if not line.startswith("smallest: warning: ")]
    assert lines[0].startswith("smallest: ")
    assert word in lines[0]
    assert all(line.startswith("  ") for line in lines[1:])
    assert "Traceback" not in ran.err
    assert KEY not in ran.err
    assert (target.read_bytes(), target.stat().st_ino, target.stat().st_mtime_ns) == (
        OLD_FILE,
        before.st_ino,
        before.st_mtime_ns,
    )
    parts = list(home.glob("*.part"))
    assert bool(parts) == (code == 9)
    if parts:
        assert parts[0].name in ran.err
        assert any(samples(parts[0]))


def test_invalid_input_sends_no_request(home: Path, server: Offline) -> None:
    before = len(server.log())
    for arguments, code, word in (
        (("", "-o", "out.wav"), 2, "empty"),
        (("  \n ", "-o", "out.wav"), 2, "empty"),
        ((TEXT, "-o", "nowhere/out.wav"), 10, "nowhere"),
        ((TEXT, "-o", "out.xyz"), 2, "xyz"),
        ((TEXT, "-s", "9", "-o", "out.wav"), 2, "speed"),
        ((TEXT, "-r", "22050", "-o", "out.wav"), 2, "22050"),
        ((TEXT, "-v", "meher", "-m", "lightning_v3.1", "-o", "out.wav"), 2, "meher"),
        ((TEXT, "-f", "a.txt", "-o", "out.wav"), 2, "twice"),
        (("-f", "missing.txt", "-o", "out.wav"), 2, "missing.txt"),
        ((TEXT, "--json"), 2, "--json"),
        ((TEXT, "--no-such-option"), 2, "--no-such-option"),
        ((TEXT, "--max-chars", "5", "-o", "out.wav"), 2, "--max-chars"),
        ((TEXT, "--quiet", "--verbose", "-o", "out.wav"), 2, "--verbose"),
        ((TEXT, "--quiet", "--debug", "-o", "out.wav"), 2, "--debug"),
        ((TEXT, "--ca-file", "nowhere.pem", "-o", "out.wav"), 3, "nowhere.pem"),
    ):
        ran = speak(home, server, *arguments)
        assert (ran.code, word in ran.err, ran.lines[0].startswith("smallest: ")) == (code, True, True), ran
        assert ran.out == b"" or "--json" in arguments
    assert len(server.log()) == before
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("via", ["sse", "http"])
def test_completion_wait_without_effect_warns(via: str, home: Path, server: Offline) -> None:
    ran = speak(home, server, TEXT, "--completion-wait", "5", "--via", via, "-o", "out.wav")
    assert (ran.code, ran.lines) == (
        0, [f"smallest: warning: --completion-wait has no effect over {via}"]
    )  # fmt: skip


def test_unknown_voice_suggests_similar_ones(home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = speak(home, server, TEXT, "-v", "mehr", "-o", "out.wav")
    assert (ran.code, ran.out) == (2, b"")
    assert ran.lines[0].startswith("smallest: unknown voice 'mehr' (did you mean meher")
    assert (list(home.iterdir()), len(server.log())) == ([], before)
    forced = speak(home, server, TEXT, "-v", "mehr", "-o", "out.wav", "--force")
    assert forced.code == 5


def test_json_failure_prints_an_object(home: Path, server: Offline) -> None:
    ran = speak(home, server, "", "-o", "out.wav", "--json")
    result = json.loads(ran.out)
    assert (ran.code, result["exit"]) == (2, 2)
    assert "empty" in result["error"]
    assert "empty" in ran.err


def test_closed_pipe_ends_quietly(home: Path, server: Offline) -> None:
    env = environment(home, SMALLEST_API_KEY=KEY)
    text = " ".join([TEXT] * 20)
    with subprocess.Popen(
        [*SMALLEST, "speak", "--base-url", server.base_url, text],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
    ) as speaker:
        assert speaker.stdout
        assert speaker.stderr
        speaker.stdout.read(1000)
        speaker.stdout.close()
        assert speaker.stderr.read() == b""
    assert speaker.returncode == -13


def test_text_after_double_dash_may_start_with_a_dash(home: Path, server: Offline) -> None:
    assert speak(home, server, "-o", "out.wav", "--", "-5 degrees").code == 0
    assert server.log()[-1]["text"] == "-5 degrees"


# Side effects and imports


def test_key_is_in_no_child_argv(home: Path) -> None:
    """Look at every process that `speak --local` has started while it waits for its reader."""
    env = environment(home, SMALLEST_API_KEY=KEY)
    with subprocess.Popen(
        [*SMALLEST, "speak", "--local", " ".join([TEXT] * 20)], stdout=subprocess.PIPE, env=env
    ) as speaker:
        assert speaker.stdout
        speaker.stdout.read(1)
        children = descendants(speaker.pid)
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children]
        speaker.stdout.close()
    assert len(children) >= 2
    assert not any(b"sk_" in command or b"token" in command for command in commands)
    assert not any(Path(f"/proc/{pid}/cmdline").exists() and running(pid) for pid in children[:1])


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def running(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return Path(f"/proc/{pid}/stat").exists()
    return True


SLOW = {"requests", "numpy", "soundfile", "sounddevice", "aiohttp", "pydantic", "rich", "urllib3", "asyncio"}
SLOW |= {"msgspec", "jinja2"}  # of bench
SLOW |= {"platformdirs", "tempfile"} if sys.platform == "linux" else set()


@pytest.mark.parametrize(
    ("via", "needed", "unneeded"),
    [
        ("ws", "websocket", {"h11", "dataclasses"}),
        ("auto", "h11", {"websocket", "hashlib"}),
        ("http", "h11", {"websocket", "hashlib"}),
    ],
)
def test_speaking_to_a_wav_imports_no_slow_module(
    via: str, needed: str, unneeded: set[str], home: Path, server: Offline
) -> None:
    env = environment(home, SMALLEST_API_KEY=KEY, PYTHONPROFILEIMPORTTIME="1")
    arguments = ["speak", "--base-url", server.base_url, TEXT, "-o", "out.wav", "--via", via]
    done = subprocess.run(
        [*SMALLEST, *arguments], env=env, cwd=home, capture_output=True, text=True, check=True
    )
    imported = [line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()]
    ours = set(imported[imported.index("smallest_cli") :])  # not those of the interpreter or of coverage
    assert {needed, "smallest_cli"} <= ours
    assert ours & (SLOW | unneeded) == set()


def test_version_and_help_are_on_stdout(home: Path) -> None:
    ran = smallest(home, "--version")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(b"smallest ")
    for arguments in (("-h",), ("speak", "--help"), ("serve", "-h")):
        ran = smallest(home, *arguments)
        assert (ran.code, ran.err) == (0, "")
        assert b"Usage" in ran.out


@pytest.mark.parametrize(
    ("thread", "code"),
    [
        pytest.param(1, 0, id="the watch for signals, which a fail does without"),
        pytest.param(2, 3, id="preconnect"),
        pytest.param(3, 3, id="resolver"),
        pytest.param(4, 0, id="none"),
    ],
)
def test_thread_exhaustion_exits_3(thread: int, code: int, home: Path) -> None:
    env = {"SMALLEST_API_KEY": KEY, "PYTHONPATH": str(ROOT)}
    with fault_server((Reply(), Audio(), End(), Fin())) as server:
        where = ("--base-url", server.base_url, "--retries", "0", "-o", "out.wav", "--json")
        words = (f"no-thread={thread}", "speak", "--split", "5", "One. Two.")
        ran = smallest(home, *words, *where, env=env, command=LAUNCH)
    result = json.loads(ran.out)
    assert ran.code == code
    assert not (home / "out.wav.part").exists()
    if code:
        assert result["error"].startswith("out of resources: can't start new thread")
        assert (result["audio_seconds"], result["partial"]) == (0, None)
