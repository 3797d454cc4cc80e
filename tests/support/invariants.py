"""What must be true after every run, whatever the service did to it."""

from __future__ import annotations

import base64
import json
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from tests.support.fault_server import FaultServer, counter

KEY = "sk_canary_0123456789+/abcdefgh"
OLD = b"what was there before"
MEANINGS = {0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, -1, -2, -9, -13, -15}


@dataclass
class Run:
    """One run of the command: how it ended, and the folder that it wrote into."""

    folder: Path
    code: int
    out: bytes
    err: bytes
    piped: bool = False
    left_over: list[str] = field(default_factory=list)

    @property
    def target(self) -> Path:
        """The file that was named."""
        return self.folder / "out.wav"

    @property
    def part(self) -> Path:
        """What is kept beside it."""
        return self.folder / "out.wav.part"


def wav_samples(path: Path) -> bytes:
    """The PCM of a WAV whose header is true: every length in it is the file's."""
    data = path.read_bytes()
    riff, size, wave, fmt, sixteen, *_ = struct.unpack("<4sI4s4sI", data[:20])
    assert (riff, wave, fmt, sixteen) == (b"RIFF", b"WAVE", b"fmt ", 16)
    name, length = struct.unpack("<4sI", data[36:44])
    assert name == b"data"
    assert size == len(data) - 8, "the header does not state the file's length"
    assert length == len(data) - 44
    return data[44:]


def assert_counts(pcm: bytes, seed: int) -> int:
    """That `pcm` is whole samples of the counter from its first on; how many they are."""
    assert len(pcm) % 2 == 0, "half a sample"
    wanted = counter(seed, len(pcm) // 2)
    if pcm != wanted:
        at = next(at for at in range(0, len(pcm), 2) if pcm[at : at + 2] != wanted[at : at + 2])
        raise AssertionError(f"sample {at // 2} of {len(pcm) // 2} is {pcm[at : at + 8]!r}")
    return len(pcm) // 2


def forms_of(key: str) -> list[bytes]:
    """The shapes in which a key can leak: as it is, base64, URL-quoted, escaped in JSON."""
    whole = [key, base64.b64encode(key.encode()).decode(), quote(key), quote(key, safe="")]
    return [form.encode() for form in (*whole, json.dumps(key)[1:-1].replace("/", "\\/"), key[3:19])]


def assert_invariants(run: Run, server: FaultServer | None = None, *, budget: int | None = None) -> int:
    """Everything of the list; returns the samples that were left, in the file, beside it or in the pipe."""
    assert run.code in MEANINGS, run.err
    err = run.err.decode()
    assert "Traceback" not in err, err
    assert "Exception ignored" not in err, err
    assert "Warning" not in err, err
    assert not re.search("[^\n -\x7e\xa0-\U0010ffff]", err), f"a control character: {err!r}"
    for line in err.splitlines():
        assert line.startswith(("smallest: ", "  ")), f"whose line is this: {line!r}"
    files = {path.name: path for path in run.folder.iterdir() if path.is_file()}
    for form in forms_of(KEY):
        assert form not in run.err
        assert form not in run.out
        assert all(form not in path.read_bytes() for path in files.values())
    assert set(files) <= {"out.wav", "out.wav.part"}, f"a stray file: {sorted(files)}"
    assert run.left_over == [], "a child lives on"
    if server is not None and budget is not None:
        assert len(server.requests) <= budget, "more requests than the budget allows"
    return _assert_sound(run, server.seed if server else 0)


def _assert_sound(run: Run, seed: int) -> int:
    if run.piped:
        return assert_counts(run.out, seed)
    assert run.out == b""
    if run.code == 0:
        assert not run.part.exists()
        return assert_counts(wav_samples(run.target), seed)
    assert run.target.read_bytes() == OLD, "the target was touched"
    if not run.part.exists():
        return 0
    assert str(run.part.name) in run.err.decode() or run.code in (-9, -2), "the .part is not named"
    return assert_counts(wav_samples(run.part), seed)
