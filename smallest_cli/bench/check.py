"""Rate the audio of trials by a command of the user (`--check`), after the measurement."""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from smallest_cli.audio.wav import header
from smallest_cli.bench.results import mark_wrong_length
from smallest_cli.bench.schema import MAX, Arm
from smallest_cli.bench.trial import Trial
from smallest_cli.errors import Interrupted, OutputError, UsageError
from smallest_cli.files import write_file
from smallest_cli.models import AudioFormat
from smallest_cli.security import child_environment, os_error_text, printable
from smallest_cli.signals import running_s, stopped_with_us

TIME_LIMIT_S, POLL_S = 60.0, 0.1
TAIL_BYTES, READ_BYTES = 4096, 65_536
WAV, TEXT_FILE = "{wav}", "{text_file}"
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")  # not within a word


class CheckError(Exception):
    """Why the command gave no number."""


def parse_check(command: str) -> list[str]:
    """Return the arguments of a command; no shell runs it. Raises UsageError."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--check: {printable(command, 60)} is not a valid command: {error}") from None
    if not any(WAV in word for word in words[1:]):
        hint = "e.g. --check 'python wer.py {wav} {text_file}'"
        raise UsageError(f"--check: {printable(command, 60)} has no argument with {WAV}", hint=hint)
    words[0] = os.path.expanduser(words[0])
    if shutil.which(words[0]) is None:
        raise UsageError(f"--check: program not found: {printable(words[0], 60)}")
    return words


def check_audio(
    words: Sequence[str],
    folder: Path,
    audio: Iterable[tuple[Trial, bytes]],
    trials: Sequence[Trial],
    arms: Sequence[Arm],
    texts: Mapping[str, str],
    advance: Callable[[int], None],
) -> tuple[list[Trial], Interrupted | None]:
    """Return the trials with the number, or the failure, of each successful one that was not cancelled.

    `folder` is for files of the command, `texts` are by name, `advance` is called after each trial. A signal
    ends it early: it is returned, and the checks of the remaining trials have failed.
    """
    marked = mark_wrong_length([trial for trial in trials if trial.phase == "measure"], arms)
    good = {trial.index for trial in marked if trial.error is None and trial.cancellation is None}
    found: dict[int, dict[str, Any]] = {}
    wav, text_file, interruption = folder / "trial.wav", folder / "text.txt", None
    try:
        for trial, pcm in audio:
            if trial.index not in good:
                continue
            try:
                write_file(str(wav), header(AudioFormat(trial.rate), len(pcm)) + pcm, durable=False)
                write_file(str(text_file), texts[trial.text].encode(), durable=False)
                found[trial.index] = {"check": run_check(words, wav, text_file)}
            except (CheckError, OutputError) as error:
                found[trial.index] = {"check_error": str(error)}
            advance(1)
        found |= {index: {"check_error": "the audio was not kept"} for index in good - found.keys()}
    except Interrupted as signalled:
        interruption = signalled
        found |= {index: {"check_error": "interrupted"} for index in good - found.keys()}
    checked = [replace(each, **found.get(each.index, {})) for each in trials]  # warm-ups have index -1
    return checked, interruption


def run_check(words: Sequence[str], wav: Path, text_file: Path, limit_s: float = TIME_LIMIT_S) -> float:
    """Return the last number on the last line that the command prints. Raises CheckError."""
    command = [word.replace(WAV, str(wav)).replace(TEXT_FILE, str(text_file)) for word in words]
    null, pipe, env = subprocess.DEVNULL, subprocess.PIPE, child_environment()
    try:
        # A process group of its own, so that Ctrl-C does not reach it and its children can be ended.
        process = subprocess.Popen(command, stdin=null, stdout=pipe, env=env, process_group=0)
    except OSError as error:
        raise CheckError(f"it does not start: {os_error_text(error)}") from None
    stopped_with_us.add(process.pid)
    try:
        output = _read_tail(process, running_s() + limit_s).decode(errors="replace")
    finally:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)  # and what it has started
        if process.stdout:
            process.stdout.close()
        process.wait()
        stopped_with_us.discard(process.pid)
    if process.returncode:
        raise CheckError(f"exit status {process.returncode}")
    return parse_number(next(filter(str.strip, reversed(output.splitlines())), ""))


def _read_tail(process: subprocess.Popen[bytes], until: float) -> bytes:
    """Wait for the end of a program and return the last bytes of its stdout. Raises CheckError."""
    assert process.stdout is not None  # noqa: S101
    tail, descriptor, poll = b"", process.stdout.fileno(), select.poll()
    poll.register(descriptor, select.POLLIN)
    while running_s() < until:
        if poll.poll(POLL_S * 1000):
            if data := os.read(descriptor, READ_BYTES):
                tail = (tail + data)[-TAIL_BYTES:]
                continue
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - running_s()))
        if process.poll() is not None:  # a program that it has started may keep the pipe open
            return tail
    raise CheckError("it did not end in time")


def parse_number(line: str) -> float:
    """Return the last number in a line. Raises CheckError."""
    found = _NUMBER.findall(line)
    if not found or not abs(float(found[-1])) <= MAX:
        raise CheckError(f"no number on its last line: {printable(line, 60)!r}")
    return float(found[-1])
