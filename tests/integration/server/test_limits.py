"""What clients store is limited, and a log that cannot be written fails no request."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest

from smallest_cli.server.account_api import MAX_ITEMS, MAX_STORED, MAX_WORD_CHARS
from tests.support.offline import (
    HTTP,
    SMALLEST,
    WS,
    Offline,
    hello,
    pcm_of,
    start_offline,
    start_serve,
)

pytestmark = pytest.mark.long

DICTIONARIES = "/waves/v1/pronunciation-dicts"
CLONES = "/waves/v1/voice-cloning"
FIELDS = {"displayName": "Name"}


def items(*words: tuple[str, str]) -> dict[str, Any]:
    return {"items": [{"word": word, "pronunciation": said} for word, said in words]}


def new_dictionary(server: Offline, *words: tuple[str, str]) -> str:
    return str(server.post(DICTIONARIES, items(*words)).json()["id"])


# Dictionaries and clones


@pytest.mark.parametrize(
    "words",
    [
        [("w" * (MAX_WORD_CHARS + 1), "x")],
        [("w", "x" * (MAX_WORD_CHARS + 1))],
        [(f"w{number}", "x") for number in range(MAX_ITEMS + 1)],
        [(f"{number} " * 400, "x" * 1_000) for number in range(300)],
        [],
        [("", "x")],
    ],
)
def test_dictionary_size_is_limited(server: Offline, words: list[tuple[str, str]]) -> None:
    id = new_dictionary(server, ("a", "b"))
    assert server.post(DICTIONARIES, items(*words)).status_code == 400
    replaced = server.ask("PUT", DICTIONARIES, json=items(*words) | {"id": id})
    assert (replaced.status_code == 200) == (not words)  # a dictionary can be emptied
    assert server.ask("DELETE", DICTIONARIES, json={"id": id}).ok


def test_numbers_of_dictionaries_and_clones_are_limited() -> None:
    with start_offline() as server:
        for _ in range(MAX_STORED):
            id = new_dictionary(server, ("a", "b"))
            assert server.ask("POST", CLONES, data=FIELDS, files={"file": b"x"}).ok
        assert server.post(DICTIONARIES, items(("a", "b"))).status_code == 400
        assert server.ask("POST", CLONES, data=FIELDS, files={"file": b"x"}).status_code == 400
        assert server.ask("DELETE", DICTIONARIES, json={"id": id}).ok
        assert new_dictionary(server, ("a", "b"))
        assert len(server.ask("GET", CLONES).json()["data"]) == MAX_STORED


def test_largest_dictionary_is_used(server: Offline) -> None:
    words = [(f"w{number}", "yes") for number in range(MAX_ITEMS - 1)]
    id = new_dictionary(server, ("x", "y" * MAX_WORD_CHARS), *words)
    spoken = server.post(HTTP["unified"], hello(text="w7 w70", pronunciation_dicts=[id]))
    assert spoken.content == server.post(HTTP["unified"], hello(text="yes yes")).content


@pytest.mark.parametrize("second", ["a", "b"])
def test_pronunciations_cannot_grow_without_limit(server: Offline, second: str) -> None:
    """Each word is replaced once, by one dictionary; what gets too long is refused."""
    ids = [new_dictionary(server, ("a", "b b")), new_dictionary(server, (second, "c " * 90))]
    spoken = server.post(HTTP["unified"], hello(text="a", pronunciation_dicts=ids * 15_000))
    assert spoken.content == server.post(HTTP["unified"], hello(text="b b")).content
    too_long = hello(text="a " * 3_000, pronunciation_dicts=[new_dictionary(server, ("a", "c " * 90))])
    assert server.post(HTTP["unified"], too_long).status_code == 500


def test_too_many_dictionaries_in_use_are_refused(server: Offline) -> None:
    words = [[(f"w{each}x{number}", "x") for number in range(MAX_ITEMS)] for each in range(2)]
    ids = [new_dictionary(server, *each) for each in words]
    assert server.post(HTTP["unified"], hello(pronunciation_dicts=ids)).status_code == 500
    assert server.post(HTTP["unified"], hello(pronunciation_dicts=ids[:1])).ok


def test_dictionary_words_are_case_sensitive_and_verbatim(server: Offline) -> None:
    id = new_dictionary(server, ("SQL", "sequel"), ("a.b", "dot"), ("İ", r"\1 \g<0>"))
    for given, said in (("SQL sql", "sequel sql"), ("a.b axb", "dot axb"), ("i İ", r"i \1 \g<0>")):
        spoken = server.post(HTTP["unified"], hello(text=given, pronunciation_dicts=[id]))
        assert spoken.content == server.post(HTTP["unified"], hello(text=said)).content


def test_clone_fields_and_files_are_limited(server: Offline) -> None:
    kept = server.ask("POST", CLONES, data=FIELDS | {"description": "x" * 10**6}, files={"file": b"x"})
    assert len(kept.json()["data"]["description"]) < 10_000
    for size, status in ((6 << 20, 400), (12 << 20, 413)):
        assert server.ask("POST", CLONES, data=FIELDS, files={"file": bytes(size)}).status_code == status
    large_field = server.ask("POST", CLONES, data=FIELDS | {"tags": "x" * (12 << 20)}, files={"file": b"x"})
    assert large_field.status_code == 413


# The log


def test_full_disk_ends_the_log_only() -> None:
    with start_offline(log="/dev/full", concurrency=2) as server:
        for _ in range(2):
            assert server.post(HTTP["unified"], hello()).ok
            assert pcm_of(server.say(hello(), WS["unified"]))
        stderr = server.log_path.parent / "stderr"
        assert stderr.read_text() == "smallest: warning: the log /dev/full ends: No space left on device\n"
        stderr.write_text("")


def test_audio_that_cannot_be_spooled_is_an_error() -> None:
    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    long = hello(text="Far too long. " * 300, sample_rate=44_100)
    with start_serve(preexec_fn=limit_files) as server:
        assert server.post(HTTP["unified"], long).json()["error"] == "InternalServerError"
        assert server.post(HTTP["unified"], hello()).ok
        server.process.terminate()
        assert isinstance(server.process, subprocess.Popen)
        assert server.process.stderr
        assert b"Traceback" not in server.process.stderr.read()


def test_log_to_a_fifo_without_reader_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(fifo := tmp_path / "fifo")
    ran = subprocess.run([*SMALLEST, "serve", "--log", str(fifo)], capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stdout) == (10, "")
    assert ran.stderr.startswith(f"smallest: cannot write the log {fifo}: ")


def test_reader_of_the_log_that_leaves_or_stops_reading_blocks_nothing(tmp_path: Path) -> None:
    os.mkfifo(fifo := tmp_path / "fifo")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with start_serve("--log", str(fifo)) as server:
        for _ in range(4):
            assert server.post(HTTP["unified"], hello(text="Hi," + " " * 30_000 + "you.")).ok
    os.close(reader)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with start_serve("--log", str(fifo)) as server:
        os.close(reader)
        for _ in range(2):
            assert server.post(HTTP["unified"], hello()).ok
