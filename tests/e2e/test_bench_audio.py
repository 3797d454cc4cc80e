"""`bench --check`, `--save-audio` and `--cancel-after` end to end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smallest_cli.bench.check import CheckError, parse_check, parse_number, run_check
from tests.support import ROOT
from tests.support.command import SMALLEST, Ran, environment, smallest
from tests.support.fault_server import start_fault_server
from tests.support.fault_server.steps import End, Reply, Tone
from tests.support.offline import KEY as OFFLINE_KEY
from tests.support.offline import Offline, start_offline
from tests.support.trials import KEY, RATE, bench, result
from tests.support.worlds import with_mounts

SIX = ("-n", "6", "--transport", "sse", "--conn", "warm", "--json")


@pytest.fixture(scope="module")
def server() -> Iterator[Offline]:
    with start_offline(concurrency=4) as server:
        yield server


def measure(home: Path, server: Offline, *options: str) -> Ran:
    """Measure the offline server."""
    words = ("bench", "--yes", "--no-calibrate", "--base-url", server.base_url, *options)
    return smallest(home, *words, env={"SMALLEST_API_KEY": OFFLINE_KEY})


def script(home: Path, code: str) -> str:
    """Write a Python script and return the command that runs it."""
    (home / "check.py").write_text(code)
    return f"{sys.executable} check.py"


def arm_of(ran: Any) -> dict[str, Any]:
    arm = result(ran)["arms"][0]
    assert isinstance(arm, dict)
    return arm


def test_check_gets_each_trial_and_its_number_is_a_metric(tmp_path: Path, server: Offline) -> None:
    command = script(
        tmp_path,
        "import os, sys, wave\n"
        "sound = wave.open(sys.argv[1])\n"
        "text = open(sys.argv[2].removeprefix('--text=')).read()\n"
        "keys = [name for name in os.environ if name.startswith('SMALLEST_API_KEY')]\n"
        "print(sound.getnframes(), repr(text), keys, file=open('seen', 'a'))\n"
        "print('ignored 7\\nWER: 0.25\\n')\n",
    )
    options = ("--check", f"{command} {{wav}} --text={{text_file}}", "--slo", "check.mean<0.1")
    ran = measure(tmp_path, server, *SIX, *options, "--text", "Hé there.", "--jsonl", "raw.jsonl")
    found = result(ran)
    arm = found["arms"][0]
    assert (arm["ok"], arm["metrics"]["check"]["n"], arm["metrics"]["check"]["p50"]["v"]) == (6, 6, 0.25)
    assert arm["metrics"]["check"]["p50"]["lo"] == 0.25
    assert found["slo"][0]["pass"] is False
    assert "smallest: threshold: check.mean<0.1  sse/warm/c1  0.250: FAIL" in ran.lines
    seen = set((tmp_path / "seen").read_text().splitlines())
    frames = round(arm["metrics"]["audio"]["p50"]["v"] * 24_000)
    assert seen == {f"{frames} {'Hé there.'!r} []"}


def test_failed_checks_are_counted_and_shown(tmp_path: Path, server: Offline) -> None:
    command = script(
        tmp_path,
        "import os, sys\n"
        "turn = len(os.listdir('turns'))\n"
        "open(f'turns/{turn}', 'w')\n"
        "if turn == 1: sys.exit('no model')\n"
        "print('nothing' if turn == 2 else turn)\n",
    )
    (tmp_path / "turns").mkdir()
    ran = measure(tmp_path, server, *SIX, "--check", f"{command} {{wav}}", "--jsonl", "raw.jsonl")
    arm = arm_of(ran)
    assert (arm["ok"], arm["errors"], arm["checks_failed"]) == (6, {}, 2)
    assert arm["check_message"] in ("exit status 1", "no number on its last line: 'nothing'")
    assert arm["metrics"]["check"]["n"] == 4
    raw = [json.loads(line) for line in (tmp_path / "raw.jsonl").read_text().splitlines()[1:]]
    assert sum(line["trial"]["check_error"] is not None for line in raw) == 2


def test_failed_trials_are_not_checked(tmp_path: Path) -> None:
    command = script(tmp_path, "open('ran', 'a').write('x')\nprint(1)\n")
    with start_fault_server(tmp_path, Reply(), Tone(100, peak=0), End()) as faulty:
        ran = bench(tmp_path, faulty.base_url, *SIX, "--check", f"{command} {{wav}}")
    assert (ran.code, arm_of(ran)["errors"]) == (22, {"inaudible": 6})
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("", "--check is empty"),
        (" ", "has no argument with {wav}"),
        ("python3 wer.py", "has no argument with {wav}"),
        ("{wav}", "has no argument with {wav}"),
        ("sh -c 'x {wav}", "is not a valid command"),
        ("no-such-program {wav}", "program not found"),
        ("/ {wav}", "program not found"),
    ],
)
def test_bad_check_is_refused_before_any_request(tmp_path: Path, command: str, problem: str) -> None:
    with start_fault_server(tmp_path, Reply()) as faulty:
        ran = bench(tmp_path, faulty.base_url, *SIX, "--check", command)
        assert not faulty.log_path.exists()
    assert ran.code == 2
    assert problem in ran.err


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("0.25", 0.25),
        ("WER=12.5%", 12.5),
        ("a 1 b 2", 2.0),
        ("-3", -3.0),
        ("mos: +4.", 4.0),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("2-5", 5.0),
        ("0.7 /tmp/tmp4/trial2.wav", 0.7),
    ],
)
def test_number_of_a_check_is_the_last_of_the_line(line: str, number: float) -> None:
    assert parse_number(line) == number


@pytest.mark.parametrize("line", ["", "nan", "inf", "none", "v2", "1e999", "/tmp/4.wav"[:5]])
def test_line_without_a_usable_number_fails(line: str) -> None:
    with pytest.raises(CheckError):
        parse_number(line)


def check(tmp_path: Path, code: str, limit_s: float = 20.0) -> float:
    words = parse_check(f"sh -c '{code}' sh {{wav}} {{text_file}}")
    return run_check(words, tmp_path / "a b.wav", tmp_path / "t.txt", limit_s)


def test_arguments_are_replaced_without_a_shell(tmp_path: Path) -> None:
    assert check(tmp_path, 'test "$1" = "$0" || test -n "$2" && basename "$1" >&2; echo $# 2') == 2


def test_program_left_in_the_background_does_not_hold_up_a_check(tmp_path: Path) -> None:
    assert check(tmp_path, "sleep 600 & echo $! >pid; echo 5".replace(">pid", f">{tmp_path}/pid")) == 5
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline


LASTING = ["sleep 600", "exec >&- 2>&-; sleep 600", "yes", 'trap "" TERM; sleep 600']


@pytest.mark.parametrize("code", LASTING)
def test_check_that_does_not_end_is_killed(tmp_path: Path, code: str) -> None:
    with pytest.raises(CheckError, match="did not end in time"):
        check(tmp_path, code, 0.3)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("echo 5; exit 3", "exit status 3$"),
        ("kill -9 $$", "exit status -9"),
        ("echo 5; echo", None),
        ("printf 5; exec 2>&-", None),
        ("yes 123456789 | head -c 3000000; echo; echo 5", None),
        ('printf "\\377 5"', None),
    ],
)
def test_outcomes_of_a_check(tmp_path: Path, code: str, problem: str | None) -> None:
    if problem is None:
        assert check(tmp_path, code) == 5
    else:
        with pytest.raises(CheckError, match=problem):
            check(tmp_path, code)


def test_program_that_cannot_be_started_is_a_failed_check(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF damaged")
    program.chmod(0o755)
    with pytest.raises(CheckError, match="does not start"):
        run_check(parse_check(f"{program} {{wav}}"), tmp_path / "x.wav", tmp_path / "t.txt")


def test_threshold_of_a_check_needs_the_option(tmp_path: Path, server: Offline) -> None:
    ran = measure(tmp_path, server, *SIX, "--slo", "check.mean<1")
    assert ran.code == 2
    assert "only a run with --check has such a figure" in ran.err


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("--check", "true {wav}"), "--check and --cancel-after cannot be combined: drop one"),
        (("--slo", "rtf.p50<1"), "rtf.p50<1: a run with --cancel-after has no such figure"),
    ],
)
def test_what_a_cancelled_run_cannot_have_is_refused(
    more: tuple[str, str], line: str, tmp_path: Path
) -> None:
    ran = smallest(tmp_path, "bench", "--local", "--dry-run", "--cancel-after", "0", *more)
    assert (ran.code, ran.lines[0]) == (2, f"smallest: {line}")


def test_interrupt_during_the_checks_keeps_the_measurement(tmp_path: Path, server: Offline) -> None:
    command = script(
        tmp_path,
        "import os, time\n"
        "turn = len(os.listdir('turns'))\n"
        "open(f'turns/{turn}', 'w').write(str(os.getpid()))\n"
        "print(turn)\n"
        "if turn == 2: time.sleep(600)\n",
    )
    (tmp_path / "turns").mkdir()
    words = [
        *(*SMALLEST, "bench", "--yes", "--no-calibrate", "--base-url", server.base_url, *SIX),
        *("--check", f"{command} {{wav}}", "--jsonl", "raw.jsonl"),
    ]
    env = environment(tmp_path, SMALLEST_API_KEY=OFFLINE_KEY)
    with subprocess.Popen(words, cwd=tmp_path, env=env, stdout=subprocess.PIPE) as process:
        third = tmp_path / "turns" / "2"
        while not (third.exists() and third.read_text()):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    found = json.loads(out)
    assert (found["run"]["interrupted"], found["run"]["complete"]) == (True, False)
    arm = found["arms"][0]
    assert (arm["ok"], arm["metrics"]["check"]["n"], arm["checks_failed"]) == (6, 2, 4)
    assert not Path(f"/proc/{third.read_text()}").exists()
    assert len((tmp_path / "raw.jsonl").read_text().splitlines()) >= 7


DISK = "mkdir disk; mount -t tmpfs -o size={size} tmpfs disk; cd disk"


@pytest.mark.parametrize("options", [(), ("--check", "wc -c {wav}")], ids=["plain", "check"])
def test_full_disk_keeps_the_audio_that_it_can(tmp_path: Path, options: tuple[str, ...]) -> None:
    prefix = with_mounts(DISK.format(size=160_000))
    look = '"$@"; code=$?; cp -r raw.jsonl run.json sounds ..; exit $code'
    with start_fault_server(tmp_path, Reply(), Tone(1000), End()) as faulty:
        words = [
            *(*SMALLEST, "bench", "--yes", "--no-calibrate", "--base-url", faulty.base_url, *SIX),
            *("--save-audio", "sounds", "--jsonl", "raw.jsonl", "--save", "run.json", *options),
        ]
        done = subprocess.run(
            [*prefix, "sh", "-c", look, "sh", *words],
            env=environment(tmp_path, SMALLEST_API_KEY=KEY, PYTHONPATH=str(ROOT)),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 10, done.stderr
    assert "cannot spool the audio of more trials: No space left on device" in done.stderr
    arm = json.loads(done.stdout)["arms"][0]
    assert arm["ok"] == 6
    assert json.loads((tmp_path / "run.json").read_text())["arms"][0]["ok"] == 6
    assert len((tmp_path / "raw.jsonl").read_text().splitlines()) >= 7
    written = sorted(path.stat().st_size for path in (tmp_path / "sounds").iterdir())
    assert 1 <= len(written) <= 3
    assert set(written) == {44 + 2 * RATE}
    if options:
        assert arm["metrics"]["check"]["n"] + arm["checks_failed"] == 6
        assert arm["check_message"]


def test_uncancelled_trials_are_reported(tmp_path: Path, server: Offline) -> None:
    ran = measure(tmp_path, server, *SIX, "--cancel-after", "60000", "--json")
    assert "6 trials ended before --cancel-after" in ran.err
    assert result(ran)["run"]["request"]["cancel_after_ms"] == 60_000
    assert "complete" in arm_of(ran)["metrics"]
