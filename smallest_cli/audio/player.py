"""Playback by a program that reads raw PCM from stdin, for machines without PortAudio.

The program is started without a shell. A thread writes to it, since it reads only as fast as it plays; the
pipe is small, so that little audio is written and not yet played.
"""

from __future__ import annotations

import os
import queue
import select
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress

from smallest_cli.audio import wav
from smallest_cli.audio.audio_queue import AudioQueue
from smallest_cli.audio.sink import PlaybackSink
from smallest_cli.errors import DeviceError, UsageError
from smallest_cli.models import AudioFormat
from smallest_cli.security import child_environment, os_error_text, printable
from smallest_cli.signals import running_s, stopped_with_us, wait_running

PLAYERS = {
    # It waits 1.8 s without these flags; `-fflags nobuffer` would drop the first 60 ms.
    "ffplay": "-loglevel error -nodisp -autoexit -flags low_delay -probesize 32 -analyzeduration 0"
    " -f s16le -sample_rate {rate} -i -",
    "aplay": "-q -t raw -f S16_LE -r {rate} -c 1 -",
    "paplay": "--raw --format=s16le --rate={rate} --channels=1 --latency-msec=100",
    # Its PipeWire output drops samples at both ends; most systems with PipeWire provide PulseAudio, too.
    "mpv": "--no-config --no-terminal --no-video --cache=no --ao=pulse, --demuxer=rawaudio"
    " --demuxer-rawaudio-rate={rate} --demuxer-rawaudio-channels=1 -",
    "pw-play": "/dev/stdin",  # what `-` means depends on its version
    "play": "-q --buffer 1024 -t raw -r {rate} -e signed -b 16 -c 1 -",
    "sox": "-q --buffer 1024 -t raw -r {rate} -e signed -b 16 -c 1 - -d",
}
"""Known players with arguments that make them play s16le, mono, from stdin, and start at once."""
READS_WAV = ("pw-play",)
DROPS_END = ("ffplay", "pw-play")
"""Players that drop the end of the audio (60 ms, 5 ms): silence follows it."""
TAIL_S = 0.2
PIPE_BYTES = 4096
MAX_STDERR = 2000
POLL_S = 0.1
TERMINATE_S = 0.2
CHECK_TIMEOUT_S = 5.0
STALL_S = 60.0
"""A player that reads nothing for this long has stalled; players read every second or two."""


def player_command(player: str, rate: int) -> list[str]:
    """Return the program and its arguments: `~` is expanded, and `{rate}` replaced by the rate in Hz.

    Raises UsageError.
    """
    try:
        words = shlex.split(player)
    except ValueError as error:
        problem = f"{printable(player, 60)} is not a valid command: {printable(error)}"
        raise UsageError(f"--player: {problem}") from None
    if not words:
        raise UsageError("--player is without a program", hint=f"try {', '.join(PLAYERS)}")
    words += PLAYERS.get(player.strip(), "").split()
    words[0] = os.path.expanduser(words[0])
    return [word.replace("{rate}", str(rate)) for word in words]


def working_players() -> Iterator[str]:
    """Yield the known players that run here: one found on PATH may still be broken."""
    for name in PLAYERS:
        with suppress(OSError, subprocess.SubprocessError):
            command, env = [name, "--help"], child_environment()
            subprocess.run(command, capture_output=True, timeout=CHECK_TIMEOUT_S, check=True, env=env)
            yield name


class PlayerSink(PlaybackSink):
    """Plays PCM by a program. DeviceError if it ends early or with an error."""

    def __init__(self, format: AudioFormat, player: str) -> None:
        """Raises UsageError for an invalid command, DeviceError if it does not start."""
        command = player_command(player, format.sample_rate)
        self._name = printable(command[0], 60)
        self._hint = "use -o FILE"
        known = f"known players: {', '.join(PLAYERS)}"
        if len(command) == 1:  # no arguments, and not known
            must = f"it must play s16le at {format.sample_rate} Hz from stdin"
            self._hint = f"give its arguments: {must}; {known}"
        self._format = format
        self._queued = self._written = 0
        self._head = wav.header(format) if player.strip() in READS_WAV else b""
        drops_end = player.strip() in DROPS_END
        self._tail = bytes(round(TAIL_S * format.sample_rate) * format.frame_size * drops_end)
        self._began = 0.0
        self._stopped: float | None = None
        self._failure: DeviceError | None = None
        self._cancelled = False
        try:
            # A process group of its own, so that Ctrl-C does not reach it and its children can be signalled.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=child_environment(),
                process_group=0,
                pipesize=PIPE_BYTES,
            )
        except FileNotFoundError:
            from difflib import get_close_matches

            hint = f"{known}; or {self._hint}" if len(command) > 1 else self._hint
            nearest = get_close_matches(command[0], PLAYERS, 1)
            if nearest and nearest[0] != command[0]:
                hint = f"did you mean {nearest[0]}? {hint}"
            raise DeviceError(f"player not found: {self._name}", hint=hint) from None
        except OSError as error:
            raise DeviceError(f"the player {self._name} does not start: {os_error_text(error)}") from None
        if self._process.stdin is None or self._process.stderr is None:  # for the type checker
            raise DeviceError(f"the player {self._name} has no stdin")
        stopped_with_us.add(self._process.pid)
        self._pipe, self._errors = self._process.stdin, self._process.stderr
        self._stderr = b""
        self._stderr_reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._stderr_reader.start()
        self._ended = threading.Event()
        self._queue: AudioQueue[bytes | None] = AudioQueue(self._ended.is_set)
        threading.Thread(target=self._run, daemon=True).start()

    def write(self, pcm: bytes) -> None:
        """Queue whole frames; waits only if very many are. Raises DeviceError if the player has ended."""
        self._check()
        self._queued += len(pcm) // self._format.frame_size
        self._queue.put(self._head + pcm)
        self._head = b""

    def frames_played(self) -> int:
        """Return the frames played, as far as is known: those written, and no more than the time allows.

        All of them once the player has ended. Raises DeviceError if it failed.
        """
        self._check()
        if self._ended.is_set() and not self._cancelled:
            return self._queued
        now = self._stopped or running_s()
        passed = round((now - self._began) * self._format.sample_rate) if self._began else 0
        return min(self._written // self._format.frame_size, self._queued, passed)

    def close(self) -> None:
        """Wait until the player has ended. Raises DeviceError if it failed."""
        self._queue.put(self._tail)
        self._queue.put(None)
        while not self._ended.wait(POLL_S):
            pass  # bounded waits, since a signal that comes just before one is handled only after it
        self._check()

    def abort(self) -> None:
        """End the player and its children at once."""
        self._stopped = self._stopped or running_s()
        self._cancelled = True
        self._queue.put(None)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._ended.is_set():
                return
            self._kill(number)
            self._ended.wait(TERMINATE_S)

    def _kill(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _check(self) -> None:
        if self._failure:
            raise self._failure

    def _read_stderr(self) -> None:
        """Keep the end of the player's stderr for the message of a failure."""
        with suppress(OSError), self._errors:
            while data := os.read(self._errors.fileno(), MAX_STDERR):
                self._stderr = (self._stderr + data)[-MAX_STDERR:]

    # The methods below run on the thread.

    def _run(self) -> None:
        try:
            complete = self._write_queue()
            if not wait_running(self._wait, self._queued / self._format.sample_rate + STALL_S):
                raise TimeoutError(f"has not ended {STALL_S:g} s after the audio")
            code = self._process.returncode
            if not self._cancelled and (code or not complete):
                self._failure = self._exit_error(code, complete)
        except TimeoutError as error:
            self._failure = DeviceError(f"the player {self._name} {error}", hint=self._hint)
            self._kill(signal.SIGKILL)
            self._process.wait()
        finally:
            stopped_with_us.discard(self._process.pid)
            self._ended.set()

    def _wait(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None

    def _write_queue(self) -> bool:
        """Write to the player; return whether it read everything. Raises TimeoutError if it stalls."""
        pipe = self._pipe
        os.set_blocking(pipe.fileno(), False)
        try:
            while (pcm := self._next()) is not None:
                self._began = self._began or running_s()
                left = memoryview(pcm)
                while left and not self._cancelled:
                    if not wait_running(lambda left_s: select.select([], [pipe], [], left_s)[1], STALL_S):
                        raise TimeoutError(f"has read no audio for {STALL_S:g} s")
                    count = os.write(pipe.fileno(), left[:PIPE_BYTES])
                    self._written += count
                    left = left[count:]
            return self._process.poll() is None
        except BrokenPipeError:
            return False
        finally:
            with suppress(OSError):
                pipe.close()

    def _next(self) -> bytes | None:
        """Return the next audio; None at the end, or if the player has ended."""
        while self._process.poll() is None:
            with suppress(queue.Empty):
                return self._queue.get(timeout=POLL_S)
        return None

    def _exit_error(self, code: int, complete: bool) -> DeviceError:
        how = f"signal {-code}" if code < 0 else f"status {code}"
        when = "" if complete else " before the end of the audio"
        self._stderr_reader.join(TERMINATE_S)  # a child of it may keep its stderr open
        lines = self._stderr.decode(errors="replace").split("\n")
        last = next((f": {printable(line.strip(), 120)}" for line in reversed(lines) if line.strip()), "")
        return DeviceError(f"the player {self._name} exited with {how}{when}{last}", hint=self._hint)
