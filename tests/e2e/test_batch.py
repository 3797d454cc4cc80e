"""`smallest batch`: a table of texts, a file for each row; errors are reported before any request."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import unicodedata
import wave
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smallest_cli.files import collision_key, safe_name, unique_names
from smallest_cli.models import VIAS
from tests.support import ROOT
from tests.support.audio import in_background, make_fifo
from tests.support.command import SMALLEST, Ran, environment, smallest, speak
from tests.support.fault_server import FaultServer, fault_server
from tests.support.fault_server.steps import Audio, End, Reply, Status
from tests.support.offline import KEY, Offline, eventually, start_offline


def batch(
    home: Path, server: Offline | FaultServer, *arguments: str, table: str = "in.csv", **env: str
) -> Ran:
    return speak(home, server, table, "-d", "out", *arguments, command="batch", **env)


def write_table(home: Path, *rows: str, name: str = "in.csv", header: str = "id,text") -> None:
    (home / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def requests_with(server: Offline, word: str) -> list[str]:
    return [each["text"] for each in server.log() if word in each["text"]]


def manifest(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / "out" / "manifest.jsonl").read_text().splitlines()]


def files(home: Path) -> list[str]:
    return sorted(name for name in os.listdir(home / "out") if name != "manifest.jsonl")


def files_of(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir() if path.is_file())


# Rows and files


@pytest.mark.parametrize("via", VIAS)
def test_every_row_becomes_a_file(via: str, home: Path, server: Offline) -> None:
    write_table(home, "one,Good morning.", 'two,"The kettle, it is on."')
    ran = batch(home, server, "--via", via, "--json")
    assert (ran.code, ran.err) == (0, "")
    result = json.loads(ran.out)
    assert (result["done"], result["failed"], result["skipped"]) == (2, 0, 0)
    assert result["files"] == ["out/one.wav", "out/two.wav"]
    assert result["characters"] == len("Good morning.") + len("The kettle, it is on.")
    assert result["characters_resent"] == 0
    assert files(home) == ["one.wav", "two.wav"]
    assert speak(home, server, "Good morning.", "-o", "alone.wav").code == 0
    assert (home / "alone.wav").read_bytes() == (home / "out" / "one.wav").read_bytes()
    with wave.open(str(home / "out" / "two.wav")) as file:
        assert file.getnframes() > 1000


def test_row_columns_set_voice_speed_and_format(home: Path, server: Offline) -> None:
    rows = [
        "a\tSame words.\t\t\t1.0\t",
        "b\tSame words.\tmagnus\ten\t2.0\tflac",
        "c\tSame words.\t\t\t\tulaw",
    ]
    write_table(home, *rows, name="in.tsv", header="id\ttext\tvoice\tlanguage\tspeed\tformat")
    assert batch(home, server, table="in.tsv").code == 0
    assert files(home) == ["a.wav", "b.flac", "c.ulaw"]
    assert (home / "out" / "b.flac").read_bytes()[:4] == b"fLaC"


def test_jsonl_table_and_naming(home: Path, server: Offline) -> None:
    lines = [{"text": "Say: hello/there!"}, {"text": "Say: hello/there!", "speed": 2}]
    (home / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert batch(home, server, "--naming", "index", table="in.jsonl").code == 0
    assert files(home) == ["0001.wav", "0002.wav"]
    assert batch(home, server, "--naming", "text", table="in.jsonl").code == 0
    named = [name for name in files(home) if name.startswith("Say-hello-there")]
    assert len(named) == 2


def test_pause_between_paragraphs_of_a_row(home: Path, server: Offline) -> None:
    (home / "in.jsonl").write_text(json.dumps({"id": "a", "text": "One.\n\nTwo."}) + "\n")
    lengths = []
    for pause in ("0", "1"):
        result = json.loads(batch(home, server, "--pause", pause, "--json", table="in.jsonl").out)
        lengths.append(result["seconds"])
    assert lengths[1] - lengths[0] == pytest.approx(1.0)


def test_jobs_run_concurrently(home: Path, server: Offline) -> None:
    write_table(home, *(f"n{number},Number {number} of several." for number in range(9)))
    ran = batch(home, server, "--jobs", "3")
    assert (ran.code, ran.err, len(files(home))) == (0, "", 9)
    assert Counter(requests_with(server, "of several")).most_common(1)[0][1] == 1


def test_429_reduces_concurrency(home: Path) -> None:
    with start_offline(concurrency=1, first_byte_ms=20) as server:
        write_table(home, *(f"n{number},Number {number} of a crowd." for number in range(8)))
        ran = batch(home, server, "--jobs", "4", "--json")
        result = json.loads(ran.out)
        refused = [each for each in server.log() if each["status"] != "complete"]
    assert (ran.code, result["done"]) == (0, 8)
    assert 1 <= len(refused) <= 3
    assert result["characters"] == 8 * len("Number 0 of a crowd.")
    assert result["characters_resent"] == len(refused) * len("Number 0 of a crowd.")
    assert len(files(home)) == 8


def test_progress_bar_on_a_terminal(home: Path, server: Offline) -> None:
    write_table(home, "one,Good morning.", "two,Good night.")
    ours, theirs = pty.openpty()
    command = [*SMALLEST, "batch", "in.csv", "--base-url", server.base_url, "-d", "out"]
    env = environment(home, SMALLEST_API_KEY=KEY, TERM="xterm")
    with subprocess.Popen(command, env=env, cwd=home, stderr=theirs, stdout=subprocess.DEVNULL) as speaker:
        os.close(theirs)
        stderr = b""
        try:
            while data := os.read(ours, 65_536):
                stderr += data
        except OSError:
            pass
    os.close(ours)
    assert speaker.returncode == 0
    assert b"2/2" in stderr
    assert b"2 done" in stderr


def test_resent_characters_are_counted_separately(home: Path) -> None:
    write_table(home, "a,Good morning.", "b,Good night.")
    with start_offline(fail=["status:429"], fail_times=1) as server:
        ran = batch(home, server, "--json", "--verbose")
    result = json.loads(ran.out)
    assert (result["done"], result["characters"], result["characters_resent"]) == (2, 24, 13)
    assert "24 characters (13 sent again)" in ran.err


# Resuming


def test_resume_runs_missing_and_changed_rows(home: Path, server: Offline) -> None:
    rows = [f"{name},This is {name} to resume." for name in ("ann", "bob", "cyd", "dan", "eve")]
    write_table(home, *rows)
    assert batch(home, server).code == 0
    (home / "out" / "bob.wav").unlink()
    (home / "out" / "cyd.wav").write_bytes(b"x")
    damaged = bytearray((home / "out" / "dan.wav").read_bytes())
    damaged[-1] ^= 1
    (home / "out" / "dan.wav").write_bytes(damaged)
    rows[4] = "eve,This is Eva to resume."
    write_table(home, *rows)
    result = json.loads(batch(home, server, "--resume", "--json").out)
    assert (result["done"], result["skipped"]) == (4, 1)
    assert requests_with(server, "ann to resume") == ["This is ann to resume."]
    result = json.loads(batch(home, server, "--resume", "--json").out)
    assert (result["done"], result["skipped"]) == (0, 5)
    result = json.loads(batch(home, server, "--resume", "--yes", "--json", "--speed", "1.5").out)
    assert (result["done"], result["skipped"]) == (5, 0)


def test_finished_rows_are_not_paid_for_again_unasked(home: Path, server: Offline) -> None:
    write_table(home, "a,Paid for once.", "b,Paid for as well.")
    assert batch(home, server).code == 0
    before = len(requests_with(server, "Paid for"))
    ran = batch(home, server)
    assert (ran.code, ran.lines) == (
        2,
        [
            "smallest: 2 rows of 31 characters would be paid for again",
            "  speak only the others with --resume, or all with --yes",
        ],
    )
    assert batch(home, server, "--resume").code == 0
    assert len(requests_with(server, "Paid for")) == before
    assert batch(home, server, "--yes").code == 0
    assert len(requests_with(server, "Paid for")) == before + 2


@pytest.mark.parametrize(("more", "rate"), [((), 8000), (("-r", "16000"), 16_000)])
def test_headerless_g711_is_telephone_audio(
    more: tuple[str, ...], rate: int, home: Path, server: Offline
) -> None:
    write_table(home, "a,Good morning.,ulaw", "b,Good morning.,wav", header="id,text,format")
    assert batch(home, server, *more).code == 0
    spoken = json.loads(speak(home, server, "Good morning.", "-o", "a.al", "--json", *more).out)
    assert spoken["sample_rate"] == rate
    for path in (home / "a.al", home / "out" / "a.ulaw"):
        assert len(path.read_bytes()) == round(spoken["seconds"] * rate)
    with wave.open(str(home / "out" / "b.wav")) as file:
        assert file.getframerate() == (rate if more else 24_000)


def resumed(home: Path, server: Offline | FaultServer, *arguments: str) -> tuple[int, int]:
    """Resume a batch. Returns the number of rows that were spoken and skipped."""
    result = json.loads(batch(home, server, "--resume", "--json", *arguments).out)
    return result["done"], result["skipped"]


def test_name_collision_of_a_new_row_keeps_existing_file(home: Path, server: Offline) -> None:
    write_table(home, "a/b,Good morning.")
    assert batch(home, server).code == 0
    write_table(home, "a/b,Good morning.", "a:b,Good night.")
    assert resumed(home, server) == (1, 1)
    assert files(home)[-1] == "a_b.wav"
    assert len(files(home)) == 2


def test_rows_named_by_text_may_move(home: Path, server: Offline) -> None:
    alike = "A beginning of forty characters and more, "
    rows = ["Good morning.", f"{alike}one.", f"{alike}two.", "Said twice.", "Said twice."]
    write_table(home, *(f'"{row}"' for row in rows), header="text")
    assert batch(home, server, "--naming", "text").code == 0
    assert len(files(home)) == 5
    write_table(home, *(f'"{row}"' for row in ["Good night.", *rows]), header="text")
    assert resumed(home, server, "--naming", "text") == (1, 5)
    assert [line["id"] for line in manifest(home)] == [None] * 6
    write_table(home, *(f'"{row}"' for row in rows[1:]), header="text")
    assert resumed(home, server, "--naming", "text") == (0, 4)


def test_failed_row_keeps_its_earlier_file(home: Path) -> None:
    with start_offline(max_text=30) as server:
        write_table(home, "a,Good morning.")
        assert batch(home, server).code == 0
        write_table(home, f"a,{'word ' * 10}")
        assert batch(home, server).code == 13
        write_table(home, "a,Good morning.")
        assert resumed(home, server) == (0, 1)


def test_no_clobber_keeps_foreign_files(home: Path, server: Offline) -> None:
    write_table(home, "a,Good morning.", "b,Good night.")
    (home / "out").mkdir()
    (home / "out" / "a.wav").write_text("precious")
    before = len(server.log())
    for more in ([], ["--resume"], ["--dry-run"], ["--dry-run", "--resume"]):
        ran = batch(home, server, "--no-clobber", *more)
        assert (ran.code, ran.out) == (2, b"")
        assert ran.lines[0] == "smallest: in.csv: row 2: out/a.wav exists"
    assert len(server.log()) == before
    assert (home / "out" / "a.wav").read_text() == "precious"
    assert not (home / "out" / "b.wav").exists()


def test_no_clobber_replaces_own_unchanged_files(home: Path, server: Offline) -> None:
    write_table(home, "a,Good morning.")
    assert batch(home, server, "--no-clobber").code == 0
    write_table(home, "a,Good evening.", "b,Good night.")
    assert batch(home, server, "--no-clobber").code == 2
    assert resumed(home, server, "--no-clobber") == (2, 0)
    (home / "out" / "a.wav").write_text("precious")
    ran = batch(home, server, "--no-clobber", "--resume")
    assert (ran.code, (home / "out" / "a.wav").read_text()) == (2, "precious")


def test_kill_loses_no_finished_row(home: Path) -> None:
    write_table(home, *(f"n{number},Number {number} of those killed." for number in range(12)))
    with start_offline(concurrency=2, first_byte_ms=30) as server:
        command = [*SMALLEST, "batch", "in.csv", "--base-url", server.base_url, "-d", "out"]
        env = environment(home, SMALLEST_API_KEY=KEY)
        with subprocess.Popen([*command, "--jobs", "2"], env=env, cwd=home) as speaker:
            path = home / "out" / "manifest.jsonl"
            eventually(lambda: path.exists() and path.read_bytes().count(b"\n") >= 4)
            speaker.kill()
        assert speaker.returncode == -signal.SIGKILL
        before = {line["id"]: line["file"] for line in manifest(home)}
        with path.open("a") as file:
            file.write('{"id": "n11", "status": "do')  # as after a crash of the machine
        ran = batch(home, server, "--resume", "--json")
        assert ran.code == 0
        result = json.loads(ran.out)
        assert (result["done"], result["skipped"]) == (12 - len(before), len(before))
        times = Counter(each["text"] for each in server.log() if each["status"] == "complete")
        result = json.loads(batch(home, server, "--resume", "--json").out)
        assert (result["done"], result["skipped"]) == (0, 12)
    for number in range(12):
        if f"n{number}" in before:
            assert times[f"Number {number} of those killed."] == 1
    assert files(home) == sorted(f"n{number}.wav" for number in range(12))


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interrupt_leaves_a_correct_manifest(jobs: str, home: Path) -> None:
    write_table(home, *(f"n{number},Number {number} of those interrupted." for number in range(12)))
    with start_offline(concurrency=2, realtime_factor=8) as server:
        command = [*SMALLEST, "batch", "in.csv", "--base-url", server.base_url, "-d", "out"]
        env = environment(home, SMALLEST_API_KEY=KEY)
        with subprocess.Popen(
            [*command, "--jobs", jobs, "--json"],
            env=env,
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as speaker:
            path = home / "out" / "manifest.jsonl"
            eventually(lambda: path.exists() and path.read_bytes().count(b"\n") >= 2)
            speaker.send_signal(signal.SIGINT)
            out, stderr = speaker.communicate(timeout=20)
        assert speaker.returncode == -signal.SIGINT
        result = json.loads(out)
        done = sum(line["status"] == "done" for line in manifest(home))
        assert stderr.splitlines()[:2] == [
            "smallest: interrupted",
            f"  {done} of 12 rows done; continue with the same options and --resume",
        ]
        assert (result["done"], result["untried"], result["exit"]) == (done, 12 - done, 130)
        assert result["hint"] == f"{done} of 12 rows done; continue with the same options and --resume"
        assert ("/out/n" in stderr) == any(name.endswith(".part") for name in files(home))
        done = {line["file"] for line in manifest(home) if line["status"] == "done"}
        assert {name for name in files(home) if not name.endswith(".part")} == done
        for name in files(home):
            with wave.open(str(home / "out" / name)) as file:
                assert len(file.readframes(file.getnframes())) == file.getnframes() * 2 > 0
        assert batch(home, server, "--resume").code == 0
    assert files(home) == sorted(f"n{number}.wav" for number in range(12))


def test_resume_removes_stale_part_files(home: Path, server: Offline) -> None:
    write_table(home, "a,Good morning.")
    (home / "out").mkdir()
    for name in ("a.wav.part", "a.wav.0123abcd.part", "a.wav.notours.part", "b.wav.part"):
        (home / "out" / name).write_bytes(b"RIFF")
    assert batch(home, server, "--resume").code == 0
    assert files(home) == ["a.wav", "a.wav.notours.part", "b.wav.part"]


def test_part_beside_a_complete_file_is_removed(home: Path, server: Offline) -> None:
    write_table(home, "a,Good morning.")
    assert batch(home, server).code == 0
    for name in ("a.wav.part", "a.wav.0123abcd.part", "a.wav.notours.part", "b.wav.part"):
        (home / "out" / name).write_bytes(b"RIFF")
    assert resumed(home, server) == (0, 1)
    assert files(home) == ["a.wav", "a.wav.notours.part", "b.wav.part"]


def test_interrupt_does_not_wait_for_the_service(home: Path) -> None:
    write_table(home, *(f"n{number},Number {number} of those stalled." for number in range(16)))
    with start_offline(concurrency=16, first_byte_ms=60_000) as server:
        command = [*SMALLEST, "batch", "in.csv", "--base-url", server.base_url, "-d", "out"]
        env = environment(home, SMALLEST_API_KEY=KEY)
        with subprocess.Popen(
            [*command, "--jobs", "16", "--timeout", "60"],
            env=env,
            cwd=home,
            stderr=subprocess.PIPE,
            text=True,
        ) as speaker:
            eventually(lambda: len([*(home / "out").glob("*.part")]) == 16)
            speaker.send_signal(signal.SIGINT)
            _, stderr = speaker.communicate(timeout=20)
    assert speaker.returncode == -signal.SIGINT
    assert stderr.splitlines()[:2] == [
        "smallest: interrupted",
        "  0 of 16 rows done; continue with the same options and --resume",
    ]
    assert manifest(home) == []
    assert not [name for name in files(home) if not name.endswith(".part")]


def assert_interrupted(home: Path, server: Offline, how: str, *options: str, part: str) -> None:
    """Run a batch of one row under `launch HOW`: it must end by the signal and name the part file."""
    ran = smallest(
        home, "batch", "in.csv", "--base-url", server.base_url, "-d", "out", *options,
        env={"SMALLEST_API_KEY": KEY, "PYTHONPATH": str(ROOT)},
        command=[SMALLEST[0], "-m", "tests.support.launch", how],
    )  # fmt: skip
    assert ran.code == -signal.SIGTERM, ran.err
    assert ran.lines == [
        "smallest: interrupted",
        "  0 of 1 row done; continue with the same options and --resume",
        f"  partial audio saved to {home}/out/{part}",
    ]


@pytest.mark.parametrize("coding", ["wav", "flac"])
def test_late_signal_does_not_complete_a_row(coding: str, home: Path, server: Offline) -> None:
    """The old file stays, and the manifest does not claim the new one."""
    write_table(home, "a,Said once.")
    assert batch(home, server, "--format", coding).code == 0
    before, audio = manifest(home), (home / "out" / f"a.{coding}").read_bytes()
    write_table(home, "a,Said in quite another way.")
    assert_interrupted(home, server, "late-signal", "--format", coding, part=f"a.{coding}.part")
    assert (manifest(home), (home / "out" / f"a.{coding}").read_bytes()) == (before, audio)
    assert resumed(home, server, "--format", coding) == (1, 0)
    assert files(home) == [f"a.{coding}"]
    assert (home / "out" / f"a.{coding}").read_bytes() != audio


def test_signal_during_a_write_names_the_part(home: Path, server: Offline) -> None:
    write_table(home, "a,Said once.")
    assert_interrupted(home, server, "signal-in-writing", part="a.wav.part")
    assert files(home) == ["a.wav.part"]


# Failures


def test_some_failed_rows_exit_13(home: Path) -> None:
    with start_offline(max_text=30) as server:
        rows = [f"n{number},{'word ' * (20 if number % 2 else 2)}" for number in range(50)]
        write_table(home, *rows)
        ran = batch(home, server, "--json")
    assert ran.code == 13
    result = json.loads(ran.out)
    assert (result["done"], result["failed"], result["exit"]) == (25, 25, 13)
    assert sum(line.startswith("smallest: row ") for line in ran.lines) == 20
    assert ran.lines[0].startswith("smallest: row 3 (n1): ")
    assert "smallest: and 5 more" in ran.lines
    assert "smallest: 25 of 50 rows failed" in ran.lines
    assert result["hint"] == "run the same command with --resume to speak only what is missing"
    failed = [line for line in manifest(home) if line["status"] == "failed"]
    assert {line["exit"] for line in failed} == {5}
    assert len(files(home)) == 25


def test_rejected_key_stops_the_batch(home: Path) -> None:
    with start_offline(token="sk_another_one_of_25_chars") as server:
        write_table(home, *(f"n{number},Number {number}." for number in range(20)))
        ran = batch(home, server)
        assert len(server.log()) <= 1
    assert (ran.code, len(ran.lines) <= 3) == (4, True)


def test_fatal_error_reports_finished_rows(home: Path) -> None:
    write_table(home, "r1,Number one.", "r2,Number two.", "r3,Number three.")
    good = (Reply(), Audio(), End())
    with fault_server(good, (Status(402),), good) as server:
        ran = batch(home, server, "--json", "--via", "sse")
        result = json.loads(ran.out)
        assert (ran.code, result["exit"], "402" in result["error"]) == (4, 4, True)
        assert (result["done"], result["failed"], result["untried"]) == (1, 0, 2)
        assert (result["files"], result["characters"]) == (["out/r1.wav"], len("Number one."))
        assert result["hint"].endswith("1 of 3 rows done; continue with the same options and --resume")
        assert f"  {result['hint']}" in ran.lines
        assert resumed(home, server, "--via", "sse") == (2, 1)


def test_failed_row_is_reported_before_a_fatal_error(home: Path) -> None:
    write_table(home, "r1,Number one.", "r2,Number two.")
    with start_offline(fail=["status:422", "status:402"]) as server:
        ran = batch(home, server, "--json")
    result = json.loads(ran.out)
    assert (ran.code, result["done"], result["failed"], result["untried"]) == (4, 0, 1, 1)
    assert ran.lines[0].startswith("smallest: row 2 (r1): ")


def test_five_failures_in_a_row_end_the_batch(home: Path) -> None:
    write_table(home, *(f"n{number},Number {number}." for number in range(40)))
    with start_offline() as gone:
        pass
    ran = batch(home, gone, "--retries", "0", "--json")
    result = json.loads(ran.out)
    assert (ran.code, result["failed"], result["untried"]) == (13, 5, 35)
    assert "35 not attempted" in ran.err
    assert [line["exit"] for line in manifest(home)] == [7] * 5


BAD = {
    "no text column": ("id,words\na,b\n", ["no text column", "unknown column words"]),
    "an id twice": ("id,text\na,b\nc,d\na,e\n", ["row 4 has the id of row 2"]),
    "a speed": ("id,text,speed\na,b,1\nc,d,fast\ne,f,3\n", ["row 3: speed fast", "row 4: speed 3"]),
    "a format": ("id,text,format\na,b,wave\n", ["row 2: --format: wave"]),
    "an empty text": ("id,text\na, \n", ["row 2 has no text"]),
    "a row too short": ("id,text\na\n", ["row 2 has 1 cell for 2 columns"]),
    "a quote": ('id,text\na,b\nc,"d\n', ["row 3 cannot be parsed: a quote is never closed"]),
    "a quoted part": ('id,text\na,"b" c\n', ["row 2 cannot be parsed: a closing quote is followed by text"]),
    "lines": ('id,text\na,"b\n\nb"\n\nc,\n', ["row 4 (line 6) has no text"]),
    "a comma": ("id,text,,\na,Hello, world,\n", ["row 2 has 3 cells for 2 columns"]),
    "a typo": ("id,txt\na,b\n", ["no text column", "unknown column txt (did you mean text?)"]),
    "no ids": ("text\nhello\n", ["no id column"]),
    "no rows": ("id,text\n", ["has no rows"]),
    "a clash": ("id,text,voice,model\na,b,meher,lightning_v3.1\n", ["row 2: meher is a voice of"]),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_table_sends_no_request(name: str, home: Path, server: Offline) -> None:
    content, words = BAD[name]
    (home / "in.csv").write_text(content)
    before = len(server.log())
    ran = batch(home, server)
    assert (ran.code, ran.out) == (2, b"")
    assert all(word in ran.lines[0] for word in words), ran.err
    assert len(server.log()) == before
    assert not (home / "out").exists()


def test_spreadsheet_csv_is_read(home: Path, server: Offline) -> None:
    lines = ["ID,Text,Voice", 'a,"He stderr ""good morning"".\nThen he left.",', "b,Good night.,", ""]
    (home / "in.csv").write_bytes("\ufeff".encode() + "\r\n".join(lines).encode())
    result = json.loads(batch(home, server, "--json").out)
    assert result["files"] == ["out/a.wav", "out/b.wav"]


def test_cell_length_is_limited_by_max_chars(home: Path, server: Offline) -> None:
    long = "word " * 30_000
    write_table(home, f"a,{long}")
    plan = json.loads(batch(home, server, "--dry-run", "--json").out)
    assert plan["characters"] == len(long.strip())
    assert "longer than 9 characters" in batch(home, server, "--dry-run", "--max-chars", "9").err


def test_jsonl_keys_ignore_case(home: Path, server: Offline) -> None:
    (home / "in.jsonl").write_text('{"ID": "a", " Text ": "Good morning."}\n')
    assert json.loads(batch(home, server, "--json", table="in.jsonl").out)["files"] == ["out/a.wav"]
    (home / "in.jsonl").write_text('{"ID": "a", "id": "b", "text": "Good morning."}\n')
    assert "row 1: column id is given twice" in batch(home, server, table="in.jsonl").lines[0]


@pytest.mark.parametrize("delimiter", ",;\t|")
@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("name", ["in.csv", "in.tsv"])
def test_delimiter_is_that_of_the_header(
    name: str, marked: bool, delimiter: str, home: Path, server: Offline
) -> None:
    """As spreadsheets write them where the comma is the decimal mark."""
    rows = [
        ["ID", "Text", "Speed", "Format", "", ""],
        ["a", '"Yes; no, ""so"""', '"1,2"', " MP3 ", "", ""],
        [""] * 6,
    ]
    rows += [["b", "Good night.", " ", "", "", ""]]
    content = "\r\n".join([f"sep={delimiter}"] * marked + [delimiter.join(row) for row in rows])
    (home / name).write_bytes(f"\ufeff{content}".encode())
    ran = batch(home, server, "--naming", "index", "--json", table=name)
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["files"] == ["out/0001.mp3", "out/0002.wav"]
    assert [(line["row"], line["id"]) for line in manifest(home)] == [(2, "a"), (4, "b")]
    assert {'Yes; no, "so"', "Good night."} <= {each["text"] for each in server.log()}


def test_quotes_in_a_tsv_are_text(home: Path, server: Offline) -> None:
    texts = ['"I am in the hall.', '"Stop!" she cried.', 'It is 5"', "Go."]
    write_table(
        home, *(f"n{number}\t{text}" for number, text in enumerate(texts)), name="in.tsv", header="id\ttext"
    )
    before = len(server.log())
    assert batch(home, server, table="in.tsv").code == 0
    assert [each["text"] for each in server.log()[before:]] == texts


@pytest.mark.parametrize("source", ["-", "/dev/stdin", "fifo"])
@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl"])
def test_table_is_read_from_a_pipe_with_its_format(
    format: str, source: str, home: Path, server: Offline
) -> None:
    contents = {
        "csv": 'id,text\na,"Good, day."\n',
        "tsv": "id\ttext\na\tGood, day.\n",
        "jsonl": '\n{"id": "a", "text": "Good, day."}\n',
    }
    content = contents[format]
    fifo = make_fifo(home)
    more = ("--input-format", format, "--naming", "text")
    with in_background((lambda: fifo.write_text(content)) if source == "fifo" else lambda: None):
        ran = speak(home, server, source, "-d", "out", *more, command="batch", stdin=content.encode())
    assert (ran.code, ran.out, ran.err) == (0, b"", "")
    assert files(home) == ["Good-day.wav"]
    assert [line["row"] for line in manifest(home)] == [2]


@pytest.mark.parametrize("table", ["-", "/dev/stdin", "in.txt", "in"])
def test_unknown_format_of_a_table_names_the_option(table: str, home: Path, server: Offline) -> None:
    ran = batch(home, server, table=table)
    name = "stdin" if table == "-" else table
    assert (ran.code, ran.out) == (2, b"")
    assert ran.lines == [
        f"smallest: {name} is not a .csv, .tsv or .jsonl file",
        "  name its format: --input-format csv, tsv or jsonl",
    ]


def test_input_format_overrides_the_extension(home: Path, server: Offline) -> None:
    write_table(home, '{"id": "a", "text": "Good morning."}', header="")
    ran = batch(home, server, "--input-format", "jsonl")
    assert (ran.code, ran.err, files(home)) == (0, "", ["a.wav"])


def test_table_and_key_cannot_both_be_stdin(home: Path, server: Offline) -> None:
    more = ("--input-format", "csv", "--api-key-file", "-")
    ran = batch(home, server, *more, table="-")
    assert (ran.code, ran.lines[0]) == (2, "smallest: stdin cannot be both the text and the key")


def test_unknown_columns_are_ignored_with_a_warning(home: Path, server: Offline) -> None:
    write_table(home, "a,x,meher,Good morning.,", header="id,notes,voices,text,format")
    ran = batch(home, server)
    known = "notes, voices (did you mean voice?)"
    assert (ran.code, ran.lines) == (0, [f"smallest: warning: in.csv: ignoring unknown columns {known}"])
    ran = batch(home, server, "--ignore-columns", "--yes")
    assert (ran.code, ran.err) == (0, "")
    lines = [{"id": "a", "text": "Good morning.", "metadata": {"a": 1}}, {"id": "b", "text": "Good night."}]
    (home / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    ran = batch(home, server, "--yes", table="in.jsonl")
    assert (ran.code, ran.lines) == (0, ["smallest: warning: in.jsonl: ignoring unknown column metadata"])
    ran = batch(home, server, "--ignore-columns", "--quiet", "--yes", table="in.jsonl")
    assert (ran.code, ran.err) == (0, "")


def test_columns_without_a_name_are_ignored(home: Path, server: Offline) -> None:
    write_table(home, ",a,Good morning.,", ",b,Good night.,", header=",id,text,")
    assert batch(home, server).lines == []
    write_table(home, "0,a,Good morning.,", header=",id,text,")
    ran = batch(home, server, "--yes")
    assert ran.lines == ["smallest: warning: in.csv: ignoring unknown column without a name"]


def test_utf16_table_is_refused_with_a_hint(home: Path, server: Offline) -> None:
    (home / "in.csv").write_bytes("id;text\r\na;Grüße\r\n".encode("utf-16"))
    ran = batch(home, server)
    assert (ran.code, ran.lines[0]) == (2, "smallest: in.csv is not UTF-8 text: byte 1")
    assert ran.lines[1] == "  it looks like UTF-16; convert it first: iconv -f UTF-16 -t UTF-8"


def test_problems_are_reported_in_row_order(home: Path, server: Offline) -> None:
    lines = ['{"id": "a", "text": "b", "speed": 9}', "[1]", '{"id": "c", "text": ""}', "{}"]
    (home / "in.jsonl").write_text("\n".join(lines))
    write_table(home, "a,b,9", "c", "a,", 'd,e,1,"', header="id,text,speed")
    for name, numbers in {"in.jsonl": "1234", "in.csv": "2345"}.items():
        result = re.findall(r"(?:row|line) (\d)", batch(home, server, table=name).lines[0])
        assert "".join(result) == numbers


def test_invalid_utf8_and_non_object_rows_are_refused(home: Path, server: Offline) -> None:
    (home / "in.csv").write_bytes(b"id,text\na,\xff\n")
    assert "not UTF-8" in batch(home, server).lines[0]
    (home / "in.jsonl").write_text('{"id": "a", "text": "b"}\n[1]\n{"id": true, "text": "c"}\n')
    ran = batch(home, server, table="in.jsonl")
    assert (ran.code, "row 2 is not a JSON object" in ran.err, "row 3: id" in ran.err) == (2, True, True)


@pytest.mark.parametrize(
    "more",
    [
        ("word",),
        ("-o", "x.wav"),
        ("-p",),
        ("-f", "in.csv"),
        ("--max-chars", "9"),
        ("--subtitles", "x.srt"),
        ("--subtitles", ""),
        ("--player", "sox"),
        ("--player", ""),
        ("--ahead", "0"),
        ("--dir", ""),
    ],
)
def test_batch_refuses_options_of_speak(more: tuple[str, ...], home: Path, server: Offline) -> None:
    write_table(home, "a,Good morning.")
    assert batch(home, server, *more).code == 2
    assert files_of(home) == ["in.csv"]


@pytest.mark.parametrize(
    "more", [("--jobs", "1"), ("--jobs", "2"), ("--naming", "id"), ("--resume",), ("-d", "out")]
)
def test_speak_refuses_options_of_batch(more: tuple[str, ...], home: Path) -> None:
    ran = smallest(home, "speak", "hello", "--dry-run", *more)
    assert (ran.code, "No such option" in ran.lines[0]) == (2, True)


def test_output_directory_is_required(home: Path, server: Offline) -> None:
    write_table(home, "a,Good morning.")
    assert smallest(home, "batch", "in.csv").code == 2
    (home / "out").write_text("a file")
    for folder in ("out", "out/deeper"):
        for more in ([], ["--resume"], ["--dry-run"], ["--dry-run", "--resume"]):
            ran = batch(home, server, "--dir", folder, *more)
            assert (ran.code, ran.out, ran.lines) == (10, b"", ["smallest: out is not a directory"])


def test_dry_run_counts_rows_and_characters(home: Path, server: Offline) -> None:
    write_table(home, "a,Good morning.", "b,Good night.")
    ran = batch(home, server, "--dry-run", "--json")
    plan = {"rows": 2, "skipped": 0, "characters": 24, "segments": 2}
    who = {"voices": ["meher"], "models": ["lightning_v3.1_pro"]}
    assert json.loads(ran.out) == plan | who
    assert not (home / "out").exists()
    assert batch(home, server).code == 0
    write_table(home, "a,Good morning.", "b,Good bye.")
    before = len(server.log())
    ran = batch(home, server, "--dry-run", "--resume")
    assert ran.out.decode().splitlines()[:3] == ["rows\t1", "skipped\t1", "characters\t9"]
    assert len(server.log()) == before
    assert len(manifest(home)) == 2


def test_finished_rows_do_not_count_for_max_chars(home: Path, server: Offline) -> None:
    write_table(home, "a,Good morning.")
    assert batch(home, server).code == 0
    write_table(home, "a,Good morning.", "b,Good night.")
    assert batch(home, server, "--max-chars", "20").code == 2
    assert batch(home, server, "--max-chars", "20", "--resume").code == 0
    write_table(home, "a,Good\x07 day to you.")
    ran = batch(home, server)
    assert ran.lines == ["smallest: warning: removed 1 control character from the text"]


def test_directory_is_locked_by_one_run(home: Path, server: Offline) -> None:
    import fcntl

    write_table(home, "a,Good morning.")
    (home / "out").mkdir()
    with (home / "out" / "manifest.jsonl").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ran = batch(home, server)
    assert (ran.code, "another batch is running" in ran.lines[0]) == (2, True)


# File names


@given(st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=8, unique=True))
def test_file_names_are_safe_and_unique(ids: list[str]) -> None:
    names = unique_names([(id, id) for id in ids])
    assert len(set(map(collision_key, names))) == len(names)
    for name in names:
        path = Path("folder", f"{name}.wav")
        assert path.parent == Path("folder")
        assert len(f"{name}.wav.12345678.part".encode()) <= 255
        assert name[0] not in ".-"
        assert all(unicodedata.category(c)[0] in "LNM" or c in "-_." for c in name)


@pytest.mark.parametrize(
    "wanted",
    ["../../etc/passwd", "..", ".", "", "/", "C:\\x", "con", "NUL.txt", "COM1", "a\x00b", "~", "-rf"],
)
def test_unsafe_names_are_replaced(wanted: str) -> None:
    name = safe_name(wanted)
    assert name
    assert not set(name) & set("/\\:\x00~")
    assert ".." not in name
    assert name.partition(".")[0].lower() not in ("con", "nul", "com1")


def test_hostile_ids_stay_in_the_directory(home: Path, server: Offline) -> None:
    ids = ["../../x", "/etc/passwd", "CON", "a:b", "a/b", "A_B", "..", "-o", "=cmd()", "\u202egpj"]
    lines = [json.dumps({"id": each, "text": "Good morning."}) for each in ids]
    (home / "in.jsonl").write_text("\n".join(lines))
    before = {path for path in home.parent.rglob("*") if path.is_file()}
    ran = batch(home, server, table="in.jsonl")
    assert (ran.code, ran.err) == (0, "")
    assert len(files(home)) == len(ids)
    came = {path for path in home.parent.rglob("*") if path.is_file()} - before
    assert {path.parent for path in came} == {home / "out"}
    assert {line["id"] for line in manifest(home)} == set(ids)
    result = json.loads(batch(home, server, "--resume", "--json", table="in.jsonl").out)
    assert (result["done"], result["skipped"]) == (0, len(ids))


def test_names_that_differ_by_case_only_are_made_unique() -> None:
    names = unique_names([(id, id) for id in ("Straße", "STRASSE", "a/b", "a:b", "plain")])
    assert len({name.casefold() for name in names}) == 5
    assert names[4] == "plain"


def test_later_rows_do_not_change_earlier_names() -> None:
    ids = ["a/b", "a:b", "a_b", "Straße"]
    names = unique_names([(id, id) for id in ids])
    assert (names[0], names[3]) == ("a_b", "Straße")
    for count in range(len(ids)):
        assert unique_names([(id, id) for id in ids[:count]]) == names[:count]
    assert len(set(unique_names([("same", "same")] * 3))) == 3
