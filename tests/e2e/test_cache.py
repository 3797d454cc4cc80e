"""`--cache`: a repeated request is answered from disk, and entries hold nothing private."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from smallest_cli.models import VIAS
from tests.support.command import SMALLEST, Ran, environment, smallest
from tests.support.fault_server import fault_server
from tests.support.fault_server.steps import GOOD, Status
from tests.support.offline import KEY, Offline, start_offline

TEXT = "Good morning. The kettle is on."


def speak(home: Path, server: Offline, *arguments: str, command: str = "speak", **env: str) -> Ran:
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_CACHE_DIR": str(home / "cache")} | env
    return smallest(home, command, "--base-url", server.base_url, *arguments, env=env)


def parse_result(ran: Ran) -> dict[str, Any]:
    assert (ran.code, ran.err) == (0, "")
    return dict(json.loads(ran.out))


def entries(home: Path) -> list[Path]:
    return sorted((home / "cache" / "speech").iterdir())


@pytest.mark.parametrize("via", VIAS)
def test_repeated_request_sends_nothing(via: str, home: Path, server: Offline) -> None:
    first = parse_result(speak(home, server, TEXT, "--cache", "--via", via, "-o", "a.wav", "--json"))
    before = len(server.log())
    again = parse_result(speak(home, server, TEXT, "--cache", "--via", via, "-o", "b.wav", "--json"))
    assert len(server.log()) == before
    assert (home / "a.wav").read_bytes() == (home / "b.wav").read_bytes()
    assert (first["cached"], again["cached"]) == (0, again["segments"])
    assert first["ttfb_ms"] > 0
    assert again["ttfb_ms"] is None


def test_fully_cached_run_does_not_connect(home: Path) -> None:
    with start_offline() as server:
        assert speak(home, server, TEXT, "--cache", "-o", "a.wav").code == 0
    ran = speak(home, server, TEXT, "--cache", "-o", "b.wav", "--verbose")
    assert ran.code == 0
    assert "first audio cached" in ran.err
    assert "1 cached" in ran.err


def account(home: Path, server: Offline, *arguments: str) -> Ran:
    return smallest(home, *arguments, "--base-url", server.base_url, env={"SMALLEST_API_KEY": KEY})


def create_dictionary(home: Path, server: Offline) -> str:
    created = account(home, server, "dict", "create", "kettle=kitten", "--json")
    assert created.code == 0, created.err
    return str(json.loads(created.out)["id"])


def update_dictionary(home: Path, server: Offline, id: str, pronunciation: str) -> None:
    ran = account(home, server, "dict", "update", id, f"kettle={pronunciation}")
    assert ran.code == 0, ran.err


def test_updated_dictionary_misses_the_cache(home: Path, server: Offline) -> None:
    id = create_dictionary(home, server)
    cached = []
    for pronunciation in ("kitten", "teapot", "kitten"):
        update_dictionary(home, server, id, pronunciation)
        result = parse_result(speak(home, server, TEXT, "--cache", "--dict", id, "-o", "a.wav", "--json"))
        cached.append(result["cached"])
    assert cached == [0, 0, result["segments"]]


def test_batch_resume_speaks_again_after_a_dictionary_was_updated(home: Path, server: Offline) -> None:
    id = create_dictionary(home, server)
    (home / "in.csv").write_text("id,text\none,The kettle is on.\n")
    done = []
    for pronunciation in ("kitten", "kitten", "teapot"):
        update_dictionary(home, server, id, pronunciation)
        ran = speak(home, server, "in.csv", "-d", "out", "--resume", "--dict", id, "--json", command="batch")
        done.append(parse_result(ran)["done"])
    assert done == [1, 0, 1]


def test_nothing_is_cached_if_the_dictionaries_cannot_be_read(home: Path) -> None:
    with fault_server((Status(404),), GOOD) as server:
        ran = smallest(
            home, "speak", "--base-url", server.base_url, TEXT, "--cache", "--dict", "d", "-o", "a.wav",
            env={"SMALLEST_API_KEY": KEY, "SMALLEST_CACHE_DIR": str(home / "cache")},
        )  # fmt: skip
    assert ran.code == 0
    assert ran.lines[0].startswith("smallest: warning: nothing is cached, as the dictionaries cannot be read")
    assert not (home / "cache" / "speech").exists()


@pytest.mark.parametrize(
    "other", [("-s", "1.5"), ("-r", "8000"), ("-v", "magnus"), ("-l", "en"), ("--dict", "d")]
)
def test_options_that_change_audio_miss_the_cache(
    other: tuple[str, ...], home: Path, server: Offline
) -> None:
    assert parse_result(speak(home, server, TEXT, "--cache", "-o", "a.wav", "--json"))["cached"] == 0
    before = len(server.log())
    ran = speak(home, server, TEXT, "--cache", "-o", "b.wav", "--json", *other)
    assert len(server.log()) == before + 1 or ran.code == 5
    with start_offline() as elsewhere:
        assert parse_result(speak(home, elsewhere, TEXT, "--cache", "-o", "c.wav", "--json"))["cached"] == 0


def test_cache_is_off_by_default(home: Path, server: Offline) -> None:
    assert speak(home, server, TEXT, "-o", "a.wav").code == 0
    assert not (home / "cache").exists()
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text("cache = true\n")
    (home / "config" / "config.toml").chmod(0o600)
    assert speak(home, server, TEXT, "-o", "a.wav").code == 0
    assert len(entries(home)) == 1
    assert parse_result(speak(home, server, TEXT, "-o", "a.wav", "--no-cache", "--json"))["cached"] == 0
    assert parse_result(speak(home, server, TEXT, "-o", "a.wav", "--json"))["cached"] == 1


def test_incomplete_segment_is_not_cached(home: Path) -> None:
    with start_offline(fail=["close:1011:2"], fail_times=1) as server:
        assert speak(home, server, TEXT, "--cache", "--retries", "0", "-o", "a.wav").code == 9
        assert entries(home) == []
        assert parse_result(speak(home, server, TEXT, "--cache", "-o", "a.wav", "--json"))["cached"] == 0
    assert len(entries(home)) == 1


@pytest.mark.parametrize("damage", ["short", "flipped", "empty", "no head", "nested", "FIFO", "folder"])
def test_damaged_entry_is_a_miss(damage: str, home: Path, server: Offline) -> None:
    assert speak(home, server, TEXT, "--cache", "-o", "a.wav").code == 0
    (path,) = entries(home)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    wrong = {"short": data[:-10], "flipped": data, "empty": b"", "no head": b"\n" + data}
    if damage in ("FIFO", "folder"):
        path.unlink()
        (os.mkfifo if damage == "FIFO" else os.mkdir)(path)
        assert parse_result(speak(home, server, TEXT, "--cache", "-o", "b.wav", "--json"))["cached"] == 0
        return
    path.write_bytes(wrong.get(damage, b"[" * 100_000 + b"\n" + data))
    assert parse_result(speak(home, server, TEXT, "--cache", "-o", "b.wav", "--json"))["cached"] == 0
    assert (home / "a.wav").read_bytes() == (home / "b.wav").read_bytes()
    assert parse_result(speak(home, server, TEXT, "--cache", "-o", "b.wav", "--json"))["cached"] == 1


def test_entries_hold_no_key_and_no_text(home: Path, server: Offline) -> None:
    assert speak(home, server, TEXT, "--cache", "-o", "a.wav").code == 0
    folder = home / "cache" / "speech"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (path,) = entries(home)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(path.name) <= set("0123456789abcdef")
    head, _, pcm = path.read_bytes().partition(b"\n")
    assert set(json.loads(head)) == {"sha256", "words"}
    assert (home / "a.wav").read_bytes().endswith(pcm)
    for word in (KEY, "kettle", "meher", server.base_url):
        assert word.encode() not in path.read_bytes()


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_cache_folder_open_to_others_is_refused(mode: int, home: Path, server: Offline) -> None:
    (home / "cache" / "speech").mkdir(parents=True)
    (home / "cache" / "speech").chmod(mode)
    ran = speak(home, server, TEXT, "--cache", "-o", "a.wav")
    assert (ran.code, "is open to other users" in ran.lines[0]) == (3, True)


@pytest.mark.parametrize("command", ["speak", "stream", "batch"])
def test_cache_folder_that_cannot_be_created_only_warns(command: str, home: Path, server: Offline) -> None:
    (home / "out").mkdir()
    (home / "file").write_bytes(b"")
    (home / "texts.csv").write_text("id,text\none,First.\ntwo,Second.\n")
    arguments = ["texts.csv", "-d", "out", "--jobs", "2"] if command == "batch" else [TEXT]
    ran = speak(
        home, server, *arguments, "--cache", *([] if command == "batch" else ["-o", "out/one.wav"]),
        command=command, SMALLEST_CACHE_DIR=str(home / "file"),
    )  # fmt: skip
    assert ran.code == 0, ran.err
    folder = home / "file" / "speech"
    (warning,) = [line for line in ran.lines if "warning" in line]
    assert warning.startswith(f"smallest: warning: cannot cache in {folder}: ")
    assert (home / "out" / "one.wav").stat().st_size > 1000


def test_concurrent_processes_write_one_entry(home: Path, server: Offline) -> None:
    env = environment(home, SMALLEST_API_KEY=KEY, SMALLEST_CACHE_DIR=str(home / "cache"))
    command = [*SMALLEST, "speak", "--base-url", server.base_url, TEXT, "--cache"]
    running = [subprocess.Popen([*command, "-o", f"{n}.wav"], env=env, cwd=home) for n in range(3)]
    assert [each.wait(50) for each in running] == [0, 0, 0]
    assert len(entries(home)) == 1
    assert len({(home / f"{n}.wav").read_bytes() for n in range(3)}) == 1


def test_least_recently_used_entry_is_evicted(home: Path, server: Offline) -> None:
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text("cache = true\ncache_max_mb = 1\n")
    (home / "config" / "config.toml").chmod(0o600)
    long = "This sentence goes on for quite a while, so that it takes some space on the disk. "
    options = ["-r", "44100", "--split", "0", "--json", "-o", "a.wav"]
    assert parse_result(speak(home, server, f"First. {long}", *options))["cached"] == 0
    for number in range(3):
        assert parse_result(speak(home, server, f"Number {number}. {long}", *options))["cached"] == 0
        assert sum(path.stat().st_size for path in entries(home)) <= 1_000_000
    assert parse_result(speak(home, server, f"First. {long}", *options))["cached"] == 0
    assert parse_result(speak(home, server, f"First. {long}", *options))["cached"] == 1


def test_info_and_clear(home: Path, server: Offline) -> None:
    env = {"SMALLEST_CACHE_DIR": str(home / "cache")}
    assert parse_result(smallest(home, "cache", "info", "--json", env=env))["segments"] == 0
    assert speak(home, server, TEXT, "--cache", "-o", "a.wav").code == 0
    info = parse_result(smallest(home, "cache", "info", "--json", env=env))
    assert (info["segments"], info["bytes"]) == (1, entries(home)[0].stat().st_size)
    assert info["max_bytes"] == 500_000_000
    assert b"segments\t1\n" in smallest(home, "cache", "info", env=env).out
    (home / "cache" / "speech" / "letter.txt").write_text("Not ours.")
    assert parse_result(smallest(home, "cache", "clear", "--json", env=env))["segments"] == 1
    assert [path.name for path in entries(home)] == ["letter.txt"]


def test_folder_named_like_an_entry_is_not_removed(home: Path, server: Offline) -> None:
    env = {"SMALLEST_CACHE_DIR": str(home / "cache")}
    assert speak(home, server, TEXT, "--cache", "-o", "a.wav").code == 0
    for name in ("0" * 64, "f" * 64):
        (home / "cache" / "speech" / name).mkdir()
    info = parse_result(smallest(home, "cache", "info", "--json", env=env))
    (size,) = (path.stat().st_size for path in entries(home) if path.is_file())
    assert (info["segments"], info["bytes"]) == (1, size)
    assert parse_result(smallest(home, "cache", "clear", "--json", env=env)) == {"segments": 1, "bytes": size}
    assert [path.name for path in entries(home)] == ["0" * 64, "f" * 64]


def test_stream_and_batch_use_the_cache(home: Path, server: Offline) -> None:
    assert parse_result(speak(home, server, "A row.", "--cache", "-o", "a.wav", "--json"))["cached"] == 0
    (home / "in.csv").write_text("id,text\na,A row.\n")
    assert (
        parse_result(speak(home, server, "in.csv", "-d", "out", "--cache", "--json", command="batch"))[
            "cached"
        ]
        == 1
    )
    assert (home / "a.wav").read_bytes() == (home / "out" / "a.wav").read_bytes()
    ran = speak(home, server, "A row.", "--cache", "-o", "b.wav", "--json", command="stream")
    assert parse_result(ran)["cached"] == 1


@pytest.mark.parametrize("cue", ["sentence", "word"])
def test_subtitles_from_cached_segments(cue: str, home: Path, server: Offline) -> None:
    cached = []
    for name in ("a", "b"):
        files = ["-o", f"{name}.wav", "--subtitles", f"{name}.srt", "--cue", cue]
        cached.append(parse_result(speak(home, server, TEXT, "--cache", *files, "--json"))["cached"])
    assert cached == [0, 2]
    assert (home / "a.srt").read_bytes() == (home / "b.srt").read_bytes() != b""
