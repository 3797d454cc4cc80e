"""A recording to clone a voice from, looked at before anything is sent (waves/api.md, 7)."""

from __future__ import annotations

from pathlib import Path

from smallest_cli import protocol
from smallest_cli.errors import UsageError
from smallest_cli.security import reason, safe


def read_sample(path: str) -> bytes:
    """The bytes of a recording of the right size, type and length. Raises UsageError.

    The length is known of what libsndfile reads; of WebM and MP4 only the service can tell.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in protocol.CLONE_TYPES:
        raise UsageError(f"{safe(path)} is not one of {' '.join(protocol.CLONE_TYPES)}")
    try:
        with open(path, "rb") as file:
            data = file.read(protocol.CLONE_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"cannot read {safe(path)}: {reason(error)}") from None
    if len(data) > protocol.CLONE_LARGEST:
        raise UsageError(f"{safe(path)} is larger than {protocol.CLONE_LARGEST >> 20} MB")
    if suffix in (".wav", ".mp3"):
        _check_length(path, data)
    return data


def _check_length(path: str, data: bytes) -> None:
    import io

    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            seconds = sound.frames / sound.samplerate
    except soundfile.LibsndfileError:
        raise UsageError(f"{safe(path)} is no recording that can be read") from None
    least, most = protocol.CLONE_SECONDS
    if not least <= seconds <= most:
        raise UsageError(
            f"{safe(path)} is {seconds:.1f} s long",
            hint=f"clone from {least:g} to {most:g} s of clean speech",
        )
