"""A real loudspeaker for tests: PulseAudio in user space with a null sink, recorded at its monitor."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PACKAGES = {
    "pulseaudio": "pulseaudio",
    "parec": "pulseaudio-utils",
    "pactl": "pulseaudio-utils",
    "aplay": "alsa-utils",
}
LIBRARIES = {"libportaudio.so.2": "libportaudio2", "libasound_module_pcm_pulse.so": "libasound2-plugins"}


def need_pulse() -> None:
    """Skip by the name of what is missing; on CI, which installs it, fail."""
    missing = {package for program, package in PACKAGES.items() if not shutil.which(program)}
    for library, package in LIBRARIES.items():
        if not any(Path("/usr/lib").rglob(library)):
            missing.add(package)
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"not installed: {' '.join(sorted(missing))}")


@dataclass
class Pulse:
    """A sound server. `env` leads PortAudio and ALSA to it."""

    env: dict[str, str]
    process: subprocess.Popen[bytes]
    recorded: bytes = field(default=b"")

    @contextmanager
    def recording(self, rate: int) -> Iterator[None]:
        """Record the monitor; `recorded` is all of it, when the context has ended."""
        command = ["parec", "-d", "spk.monitor", f"--rate={rate}", "--channels=1", "--format=s16le"]
        with tempfile.TemporaryFile() as file:
            recorder = subprocess.Popen(
                [*command, "--latency-msec=5", "--raw"], env=self.env, stdout=file, stderr=subprocess.DEVNULL
            )
            try:
                while os.fstat(file.fileno()).st_size == 0:  # it records silence from its start
                    assert recorder.poll() is None
                    self._tick()
                yield
                end = os.fstat(file.fileno()).st_size
                while os.fstat(file.fileno()).st_size < end + rate // 5 and recorder.poll() is None:
                    self._tick()
            finally:
                recorder.terminate()
                recorder.wait(10)
            file.seek(0)
            self.recorded = file.read()

    def _tick(self) -> None:
        """A round trip to the server: what the loops above wait on moves with its clock."""
        subprocess.run(["pactl", "stat"], env=self.env, stdout=subprocess.DEVNULL, check=False)


@contextmanager
def start_pulse(rate: int = 24_000) -> Iterator[Pulse]:
    """A server whose one loudspeaker takes `rate` Hz mono; ended by its process id."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        socket = home / "xdg" / "pulse" / "native"
        socket.parent.mkdir(parents=True, mode=0o700)
        (home / "xdg").chmod(0o700)
        (home / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
        env = {
            "PATH": os.environ["PATH"],
            "HOME": name,
            "XDG_RUNTIME_DIR": str(home / "xdg"),
            "PULSE_SERVER": f"unix:{socket}",
        }
        # norewinds: else the null sink renders two seconds ahead, and what comes late is not found
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
            yield Pulse(env, server)
        finally:
            server.terminate()
            server.wait(10)
