"""Invariants of every run, for any behaviour of the service."""

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
OLD = b"the old file"
EXIT_CODES = {0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, -1, -2, -9, -13, -15}


@dataclass
class Run:
    """One finished run of the command and the directory that it wrote to."""

    folder: Path
    code: int
    out: bytes
    err: bytes
    piped: bool = False
    left_over: list[str] = field(default_factory=list)

    @property
    def target(self) -> Path:
        """The output file."""
        return self.folder / "out.wav"

    @property
    def part(self) -> Path:
        """The file of partial audio."""
        return self.folder / "out.wav.part"


def wav_samples(path: Path) -> bytes:
    """Return the PCM of a WAV file; every length in its header must be right."""
    data = path.read_bytes()
    riff, size, wave, fmt, sixteen, *_ = struct.unpack("<4sI4s4sI", data[:20])
    assert (riff, wave, fmt, sixteen) == (b"RIFF", b"WAVE", b"fmt ", 16)
    name, length = struct.unpack("<4sI", data[36:44])
    assert name == b"data"
    assert size == len(data) - 8, "the header does not state the file's length"
    assert length == len(data) - 44
    return data[44:]


def assert_counts(pcm: bytes, seed: int) -> int:
    """Check that the samples of `pcm` count up from `seed`. Returns their number."""
    assert len(pcm) % 2 == 0, "half a sample"
    wanted = counter(seed, len(pcm) // 2)
    if pcm != wanted:
        at = next(at for at in range(0, len(pcm), 2) if pcm[at : at + 2] != wanted[at : at + 2])
        raise AssertionError(f"sample {at // 2} of {len(pcm) // 2} is {pcm[at : at + 8]!r}")
    return len(pcm) // 2


def forms_of(key: str) -> list[bytes]:
    """Forms in which a key can leak: plain, base64, URL-quoted, escaped in JSON, a part."""
    forms = [key, base64.b64encode(key.encode()).decode(), quote(key), quote(key, safe="")]
    return [form.encode() for form in (*forms, json.dumps(key)[1:-1].replace("/", "\\/"), key[3:19])]


def assert_invariants(run: Run, server: FaultServer | None = None, *, budget: int | None = None) -> int:
    """Check all invariants. Returns the number of samples in the file, the part or the pipe."""
    assert run.code in EXIT_CODES, run.err
    err = run.err.decode()
    assert "Traceback" not in err, err
    assert "Exception ignored" not in err, err
    assert "Warning" not in err, err
    assert not re.search("[^\n -\x7e\xa0-\U0010ffff]", err), f"a control character: {err!r}"
    for line in err.splitlines():
        assert line.startswith(("smallest: ", "  ")), f"a line without our prefix: {line!r}"
    files = {path.name: path for path in run.folder.iterdir() if path.is_file()}
    for form in forms_of(KEY):
        assert form not in run.err
        assert form not in run.out
        assert all(form not in path.read_bytes() for path in files.values())
    assert set(files) <= {"out.wav", "out.wav.part"}, f"a stray file: {sorted(files)}"
    assert run.left_over == [], "a child process is left"
    if server is not None and budget is not None:
        assert len(server.requests) <= budget, "more requests than the budget allows"
    return _assert_audio(run, server.seed if server else 0)


def _assert_audio(run: Run, seed: int) -> int:
    if run.piped:
        return assert_counts(run.out, seed)
    assert run.out == b""
    if run.code == 0:
        assert not run.part.exists()
        return assert_counts(wav_samples(run.target), seed)
    assert run.target.read_bytes() == OLD, "the target was touched"
    if not run.part.exists():
        return 0
    assert str(run.part.name) in run.err.decode() or run.code in (-9, -2), "the part file is not named"
    return assert_counts(wav_samples(run.part), seed)
