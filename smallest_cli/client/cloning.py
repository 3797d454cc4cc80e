"""A recording to clone a voice from, looked at before anything is sent (waves/api.md, 7)."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

from smallest_cli.client.api import Account
from smallest_cli.errors import DeadlineExceeded, ServerError, UsageError
from smallest_cli.models import Clone
from smallest_cli.protocol.resources import CLONE_LARGEST, CLONE_SECONDS, CLONE_TYPES
from smallest_cli.security import os_error_text, printable


def read_sample(path: str) -> bytes:
    """The bytes of a recording of the right size, type and length. Raises UsageError.

    The length is known of what libsndfile reads; of WebM and MP4 only the service can tell.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in CLONE_TYPES:
        raise UsageError(f"{printable(path)} is not one of {' '.join(CLONE_TYPES)}")
    try:
        with open(path, "rb") as file:
            data = file.read(CLONE_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"cannot read {printable(path)}: {os_error_text(error)}") from None
    if len(data) > CLONE_LARGEST:
        raise UsageError(f"{printable(path)} is larger than {CLONE_LARGEST >> 20} MB")
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
        raise UsageError(f"{printable(path)} is no recording that can be read") from None
    least, most = CLONE_SECONDS
    if not least <= seconds <= most:
        raise UsageError(
            f"{printable(path)} is {seconds:.1f} s long",
            hint=f"clone from {least:g} to {most:g} s of clean speech",
        )


def encode_clone(sample: bytes, file_name: str, fields: Mapping[str, str]) -> tuple[bytes, str]:
    """A multipart body and its type, from the recording and the fields that go with it. Raises UsageError."""
    from urllib3.filepost import encode_multipart_formdata

    for value in fields.values():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{printable(value, 60)} is not UTF-8 text") from None
    suffix = file_name[file_name.rfind(".") :].lower()
    parts: dict[str, str | tuple[str, bytes, str]] = dict(fields)
    sendable = file_name.encode(errors="replace").decode()
    parts["file"] = (sendable, sample, CLONE_TYPES[suffix])
    return encode_multipart_formdata(parts)


LOOK_EVERY_S = 2.0
UNLISTED_LOOKS = 3


def wait_for_clone(account: Account, made: Clone, patience_s: float) -> Clone:
    """The clone as it is once the service is done with it, well or not. Raises RemoteError."""
    pause, until, unlisted = threading.Event(), time.monotonic() + patience_s, 0
    while made.status in ("pending", "processing"):
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded(
                f"the voice {printable(made.id)} was still {made.status} after {patience_s:g} s"
            )
        pause.wait(min(left_s, LOOK_EVERY_S))
        listed = next((each for each in account.clones() if each.id == made.id), None)
        unlisted = 0 if listed else unlisted + 1
        if unlisted == UNLISTED_LOOKS:
            raise ServerError(f"the service does not list the voice {printable(made.id)}, which it made")
        made = listed or made
    return made
