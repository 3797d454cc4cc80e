"""A real output device for tests: PulseAudio in user space with a null sink, recorded at its monitor."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.support.command import KEPT

PROGRAMS = {"pulseaudio": "pulseaudio", "parec": "pulseaudio-utils", "pactl": "pulseaudio-utils"}
LIBRARIES = {"libportaudio.so.2": "libportaudio2", "libasound_module_pcm_pulse.so": "libasound2-plugins"}
SAMPLE = 2
HUNG_S = 30.0


def need_pulse() -> None:
    """Skip and name the missing packages; on CI, which installs them, fail."""
    if missing := missing_packages():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            f"needs pulseaudio (apt install {missing})"
        )


@cache
def missing_packages() -> str:
    """Required Debian packages that are not installed."""
    missing = {package for program, package in PROGRAMS.items() if not shutil.which(program)}
    for library, package in LIBRARIES.items():
        if not any(Path("/usr/lib").rglob(library)):
            missing.add(package)
    return " ".join(sorted(missing))


class Recording:
    """The audio that a device plays, including silence: s16le mono."""

    def __init__(self, recorder: subprocess.Popen[bytes]) -> None:
        self.pcm = bytearray()
        self.arrivals: list[tuple[int, int]] = []  # monotonic ns, bytes recorded before
        self._ended = False
        self._changed = threading.Condition()
        self._recorder = recorder
        self._thread = threading.Thread(target=self._record)
        self._thread.start()

    def _record(self) -> None:
        assert self._recorder.stdout
        while pcm := os.read(self._recorder.stdout.fileno(), 65_536):
            with self._changed:
                self.arrivals.append((time.monotonic_ns(), len(self.pcm)))
                self.pcm += pcm
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, more: int) -> None:
        """Wait for `more` bytes from now on, or until the server exits."""
        with self._changed:
            target = len(self.pcm) + more
            assert self._changed.wait_for(lambda: self._ended or len(self.pcm) >= target, HUNG_S), "no audio"

    def wait_for_audio(self, more: int) -> None:
        """Wait until `more` bytes were recorded since the first sample that is not silence."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(self.pcm), HUNG_S), "all is silent"
        start = self.audio_start()
        self.wait_for(start + more - len(self.pcm))

    def audio_start(self) -> int:
        """Offset of the first sample that is not silence, in bytes."""
        return (len(self.pcm) - len(self.pcm.lstrip(b"\0"))) // SAMPLE * SAMPLE

    def audio_end(self) -> int:
        """Offset of the end of the last sample that is not silence, in bytes."""
        return -(-len(self.pcm.rstrip(b"\0")) // SAMPLE) * SAMPLE

    def arrived(self, position: int) -> int:
        """When the byte at `position` arrived, in monotonic ns."""
        return next(at for at, before in reversed(self.arrivals) if before <= position)

    def stop(self) -> None:
        """Stop the recorder; `pcm` is kept."""
        self._recorder.terminate()
        self._thread.join()
        self._recorder.wait(HUNG_S)
        if self._recorder.stdout:
            self._recorder.stdout.close()


def without_silence(pcm: bytes | bytearray) -> list[int]:
    """Samples that are not 0: a busy sound server inserts silence, but drops no sample."""
    return [sample for sample in array("h", bytes(pcm)) if sample]


@dataclass
class Pulse:
    """A sound server with one output device, `spk`. `env` makes PortAudio and ALSA use it."""

    env: dict[str, str]
    process: subprocess.Popen[bytes]
    rate: int

    @contextmanager
    def recording(self) -> Iterator[Recording]:
        """Record from before the context to a fifth of a second after it."""
        command = ["parec", "-d", "spk.monitor", f"--rate={self.rate}", "--channels=1", "--format=s16le"]
        recording = Recording(
            subprocess.Popen(
                [*command, "--latency-msec=5", "--raw"],
                env=self.env,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        )
        try:
            recording.wait_for(SAMPLE)  # it records silence from its start
            yield recording
            recording.wait_for(self.rate // 5 * SAMPLE)
        finally:
            recording.stop()

    def control(self, *words: str) -> str:
        """Run `pactl`. Returns its stdout."""
        return subprocess.run(
            ["pactl", *words], env=self.env, capture_output=True, text=True, check=True
        ).stdout


@contextmanager
def start_pulse(rate: int = 24_000) -> Iterator[Pulse]:
    """A server whose only device takes `rate` Hz mono; stopped by its process id."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        socket = home / "xdg" / "pulse" / "native"
        socket.parent.mkdir(parents=True)
        (home / "xdg").chmod(0o700)
        (home / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        env = {
            **{name: os.environ[name] for name in KEPT if name in os.environ},
            "HOME": name,
            "XDG_RUNTIME_DIR": str(home / "xdg"),
            "PULSE_SERVER": f"unix:{socket}",
        }
        # norewinds: else the null sink renders two seconds ahead, and late audio is not recorded
        sink = f"module-null-sink sink_name=spk rate={rate} channels=1 format=s16le norewinds=1"
        server = subprocess.Popen(
            [
                *("pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"),
                *("--disable-shm=yes", "-L", f"module-native-protocol-unix socket={socket} auth-anonymous=1"),
                *("-L", sink),
            ],
            env=env,
            stderr=subprocess.DEVNULL,
        )
        try:
            while subprocess.run(["pactl", "info"], env=env, capture_output=True, check=False).returncode:
                assert server.poll() is None, "pulseaudio did not start"
            yield Pulse(env, server, rate)
        finally:
            server.kill()  # it may be stopped, and would not handle SIGTERM
            server.wait(HUNG_S)
