"""Clone a voice: check the recording, encode the upload, wait until the voice is ready (waves/api.md, 7)."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path

from smallest_cli.client.api import AccountClient
from smallest_cli.errors import DeadlineExceeded, ServerError, UsageError
from smallest_cli.models import Clone
from smallest_cli.protocol.resources import CLONE_MAX_BYTES, CLONE_SECONDS, CLONE_TYPES
from smallest_cli.security import printable, translate_os_errors

POLL_INTERVAL_S = 2.0
MAX_UNLISTED_POLLS = 3


def read_sample(path: str) -> bytes:
    """Read a recording and check its size, type and length. Raises UsageError.

    The length is checked for WAV and MP3 only: libsndfile reads neither WebM nor MP4.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in CLONE_TYPES:
        raise UsageError(f"{printable(path)} is not one of {' '.join(CLONE_TYPES)}")
    with translate_os_errors(UsageError, "read", path), open(path, "rb") as file:
        data = file.read(CLONE_MAX_BYTES + 1)
    if len(data) > CLONE_MAX_BYTES:
        raise UsageError(f"{printable(path)} is larger than {CLONE_MAX_BYTES >> 20} MB")
    if suffix in (".wav", ".mp3"):
        _check_length(path, data)
    return data


def _check_length(path: str, data: bytes) -> None:
    import soundfile  # imports numpy

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as recording:
            seconds = recording.frames / recording.samplerate
    except soundfile.LibsndfileError:
        raise UsageError(f"{printable(path)} is not a readable audio file") from None
    minimum, maximum = CLONE_SECONDS
    if not minimum <= seconds <= maximum:
        hint = f"use {minimum:g} to {maximum:g} s of clean speech"
        raise UsageError(f"{printable(path)} is {seconds:.1f} s long", hint=hint)


def encode_clone(sample: bytes, file_name: str, fields: Mapping[str, str]) -> tuple[bytes, str]:
    """Return a multipart body and its content type. Raises UsageError for text that is not Unicode."""
    from urllib3.filepost import encode_multipart_formdata

    for value in fields.values():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{printable(value, 60)} is not UTF-8 text") from None
    # A file name may hold bytes that are not text; the service needs only its suffix.
    sent_name = file_name.encode(errors="replace").decode()
    content_type = CLONE_TYPES[Path(file_name).suffix.lower()]
    return encode_multipart_formdata({**fields, "file": (sent_name, sample, content_type)})


def wait_for_clone(account: AccountClient, clone: Clone, timeout: float) -> Clone:
    """Poll until the service has finished, successfully or not, and return the clone as it lists it.

    `timeout` is in seconds. Raises DeadlineExceeded after it, ServerError where the service does not list
    the clone in three polls, and other RemoteErrors.
    """
    deadline = time.monotonic() + timeout
    unlisted = 0
    while clone.status in ("pending", "processing"):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceeded(
                f"the voice {printable(clone.id)} was still {clone.status} after {timeout:g} s"
            )
        time.sleep(min(remaining, POLL_INTERVAL_S))
        listed = next((each for each in account.clones() if each.id == clone.id), None)
        if listed:
            clone, unlisted = listed, 0
            continue
        unlisted += 1
        if unlisted == MAX_UNLISTED_POLLS:
            raise ServerError(f"the service does not list the voice {printable(clone.id)}, which it made")
    return clone
