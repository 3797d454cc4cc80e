"""A program that plays raw PCM from its stdin, for machines without PortAudio.

It is started from a list, never by a shell, and is given sound alone. A queue and a thread as for the
loudspeaker: a player takes sound as slowly as it plays. Its pipe is small, so that it
cannot hold much unheard.
"""

from __future__ import annotations

import os
import queue
import select
import shlex
import signal
import subprocess
import threading
import time
from contextlib import suppress

from smallest_cli.errors import DeviceError, UsageError
from smallest_cli.models import AudioFormat
from smallest_cli.security import os_error_text, printable

PRESETS = {
    "ffplay": "ffplay -loglevel error -nodisp -autoexit -fflags nobuffer -flags low_delay -probesize 32"
    " -analyzeduration 0 -f s16le -sample_rate {rate} -i -",
    "aplay": "aplay -q -t raw -f S16_LE -r {rate} -c 1 -",
    "paplay": "paplay --raw --format=s16le --rate={rate} --channels=1 --latency-msec=100",
    "play": "play -q --buffer 1024 -t raw -r {rate} -e signed -b 16 -c 1 -",
    "sox": "sox -q --buffer 1024 -t raw -r {rate} -e signed -b 16 -c 1 - -d",
}
"""Bare names, and the flags with which these players start at once (ffplay waits for 1.8 s without)."""
PIPE_BYTES = 4096
SAID_BYTES = 2000
LOOK_EVERY_S = 0.1
ENDING_S = 0.2
STUCK_S = 60.0
"""Players take sound in pieces of a second or two, unless somebody paused them. What one has taken it
may play for as long as it likes."""


def player_command(player: str, rate: int) -> list[str]:
    """The program, which may be below `~`, and its arguments; `{rate}` stands for the sample rate in Hz.

    Raises UsageError.
    """
    try:
        words = shlex.split(PRESETS.get(player.strip(), player))
    except ValueError as error:
        raise UsageError(f"--player: {printable(player, 60)} cannot be read: {printable(error)}") from None
    if not words:
        raise UsageError("--player names no program", hint=f"try {', '.join(PRESETS)}")
    words[0] = os.path.expanduser(words[0])
    return [word.replace("{rate}", str(rate)) for word in words]


class PlayerSink:
    """Plays PCM through a program. One that ends before the sound does, or badly, is a DeviceError."""

    def __init__(self, format: AudioFormat, player: str) -> None:
        """Raises UsageError for a command that cannot be read, DeviceError where it does not start."""
        command = player_command(player, format.sample_rate)
        self._name = printable(command[0], 60)
        self._format = format
        self._taken = self._written = 0
        self._began = 0.0
        self._stopped: float | None = None
        self._failure: DeviceError | None = None
        self._cancelled = False
        try:
            # A group of its own: Ctrl-C is for us to pass on, and whatever the program starts ends with it.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                process_group=0,
                pipesize=PIPE_BYTES,
            )
        except FileNotFoundError:
            raise DeviceError(
                f"there is no player {self._name}", hint=f"try {', '.join(PRESETS)}, or use -o FILE"
            ) from None
        except OSError as error:
            raise DeviceError(f"the player {self._name} does not start: {os_error_text(error)}") from None
        if self._process.stdin is None or self._process.stderr is None:  # as their types have it
            raise DeviceError(f"the player {self._name} takes no sound")
        self._pipe, self._errors = self._process.stdin, self._process.stderr
        self._said = b""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._over = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def write(self, pcm: bytes) -> None:
        """Queue whole frames; does not wait. Raises DeviceError where the player has ended."""
        self._check()
        self._taken += len(pcm) // self._format.frame_size
        self._queue.put(pcm)

    def frames_played(self) -> int:
        """Frames that were played, at the most: no more than were taken, nor than time has passed.

        All of them where the player has taken them and ended well. Raises DeviceError where it ended badly.
        """
        self._check()
        if self._over.is_set() and not self._cancelled:
            return self._taken
        now = self._stopped or time.monotonic()
        passed = round((now - self._began) * self._format.sample_rate) if self._began else 0
        return min(self._written // self._format.frame_size, passed)

    @property
    def can_rewind(self) -> bool:
        """Never: what was played was heard."""
        return False

    def rewind(self, frames: int) -> None:
        """Never asked for."""
        raise NotImplementedError

    def close(self) -> None:
        """Return when the player has ended by itself. Raises DeviceError where it ended badly."""
        self._queue.put(None)
        while not self._over.wait(LOOK_EVERY_S):
            pass  # a signal that comes just before a wait without end would not be seen
        self._check()

    def abort(self) -> None:
        """End the player at once, and what it has started."""
        self._stopped = self._stopped or time.monotonic()
        self._cancelled = True
        self._queue.put(None)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._over.is_set():
                return
            self._send(number)
            self._over.wait(ENDING_S)

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _check(self) -> None:
        if self._failure:
            raise self._failure

    def _listen(self) -> None:
        """What a player complains of is for the message of its end, and is nobody's while it plays."""
        with suppress(OSError), self._errors:
            while said := os.read(self._errors.fileno(), SAID_BYTES):
                self._said = (self._said + said)[-SAID_BYTES:]

    # On the thread

    def _run(self) -> None:
        try:
            whole = self._pour()
            code = self._process.wait()
            if not self._cancelled and (code or not whole):
                self._failure = self._ended(code, whole)
        except TimeoutError:
            self._failure = DeviceError(
                f"the player {self._name} has taken no sound for {STUCK_S:g} s", hint="use -o FILE"
            )
            self._send(signal.SIGKILL)
            self._process.wait()
        finally:
            self._over.set()

    def _pour(self) -> bool:
        """Whether all of the sound was taken. Raises TimeoutError where none is for long."""
        pipe = self._pipe
        os.set_blocking(pipe.fileno(), False)
        try:
            while (pcm := self._next()) is not None:
                self._began = self._began or time.monotonic()
                left = memoryview(pcm)
                while left and not self._cancelled:
                    if not select.select([], [pipe], [], STUCK_S)[1]:
                        raise TimeoutError
                    count = os.write(pipe.fileno(), left[:PIPE_BYTES])
                    self._written += count
                    left = left[count:]
            return not self._gone()
        except BrokenPipeError:
            return False
        finally:
            with suppress(OSError):
                pipe.close()

    def _next(self) -> bytes | None:
        """The next sound; a player that ends meanwhile is noticed without one."""
        while not self._gone():
            with suppress(queue.Empty):
                return self._queue.get(timeout=LOOK_EVERY_S)
        return None

    def _gone(self) -> bool:
        return self._process.poll() is not None

    def _ended(self, code: int, whole: bool) -> DeviceError:
        how = f"signal {-code}" if code < 0 else f"status {code}"
        when = "" if whole else " before the sound did"
        self._listener.join(ENDING_S)  # what it started may keep its stderr open
        lines = self._said.decode(errors="replace").split("\n")
        last = next((f": {printable(line.strip(), 120)}" for line in reversed(lines) if line.strip()), "")
        return DeviceError(f"the player {self._name} ended with {how}{when}{last}", hint="use -o FILE")
