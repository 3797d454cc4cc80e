"""Encoders for FLAC, Ogg Vorbis, Opus, MP3 and G.711, by libsndfile. Only this module imports it.

The library calls back from C, where exceptions are printed and lost, those of signals too. Python delivers
signals to the main thread, so these encoders must be used on another one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import ModuleType
from typing import Any

from smallest_cli.audio.encoders import Encoder, WavEncoder, position
from smallest_cli.audio.wav import ALAW, ULAW, header
from smallest_cli.errors import OutputError, SettingsError
from smallest_cli.extras import install_command
from smallest_cli.files import rewrite_all, write_all
from smallest_cli.models import AudioFormat
from smallest_cli.security import printable

KINDS = {
    "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"), "ulaw": ("RAW", "ULAW"), "alaw": ("RAW", "ALAW"),
}  # fmt: skip
# For MP3 without a length header, players estimate the length from the bit rate of the first frame.
CONSTANT_BIT_RATE = {"compression_level": 0.6, "bitrate_mode": "CONSTANT"}


def _load(coding: str) -> ModuleType:
    try:
        import soundfile
    except ImportError as error:
        hint = f"{install_command('soundfile')}, or use -o FILE.wav"
        raise SettingsError(
            f"{coding} needs {printable(error.name)}, which is not installed", hint=hint
        ) from None
    except OSError:
        hint = "apt install libsndfile1, or use -o FILE.wav"
        raise SettingsError(f"{coding} needs libsndfile, which is not installed", hint=hint) from None
    if not soundfile.check_format(*KINDS[coding]):
        version = soundfile.__libsndfile_version__
        hint = f"{install_command('--upgrade', 'soundfile')} brings 1.2; or use another --format"
        raise SettingsError(f"libsndfile {printable(version)} cannot write {coding}", hint=hint)
    library: ModuleType = soundfile
    return library


class CompressedEncoder(Encoder):
    """Encodes a format of KINDS. The library buffers: 0.1 s of MP3, more than 1 s of Ogg."""

    def __init__(self, coding: str, descriptor: int, format: AudioFormat) -> None:
        """Raises SettingsError if the library is missing or too old. Writes nothing yet."""
        start = position(descriptor)
        rewrite = None if start is None else lambda data, at: rewrite_all(descriptor, data, start + at)
        options = CONSTANT_BIT_RATE if coding == "mp3" and start is None else {}
        self._prepare(coding, SinkFile(partial(write_all, descriptor), rewrite), format, **options)

    def _prepare(self, coding: str, outlet: SinkFile, format: AudioFormat, **options: object) -> None:
        library, (kind, subtype) = _load(coding), KINDS[coding]
        self._coding = coding
        self._outlet = outlet
        self._library_error: type[Exception] = library.SoundFileError
        self._open = partial(
            library.SoundFile, outlet, "w", format.sample_rate, format.channels, subtype,
            format=kind, **options,
        )  # fmt: skip
        self._file: Any = None

    def write(self, pcm: bytes) -> None:
        """Encode whole frames."""
        with self._translated():
            if self._file is None:
                self._file = self._open()
            self._file.buffer_write(pcm, "int16")

    def finish(self) -> None:
        """Write what is buffered, and the end of the format."""
        with self._translated():
            if self._file is None:
                self._file = self._open()
            self._file.close()

    def drop(self) -> None:
        """Free the library's memory without writing what is buffered."""
        self._outlet.drop()
        if self._file is not None:
            with suppress(self._library_error):
                self._file.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise a stored write error, which the library does not report."""
        self._outlet.check()
        try:
            yield
        except self._library_error as error:
            self._outlet.check()
            raise OutputError(f"cannot encode {self._coding}: {printable(error)}") from None
        self._outlet.check()


class G711WavEncoder(CompressedEncoder):
    """Encodes G.711 in a WAV, with our own header: the library writes none to a pipe."""

    def __init__(self, coding: str, descriptor: int, format: AudioFormat) -> None:
        """`coding` is wav-ulaw or wav-alaw. Raises as its base does."""
        law = coding.removeprefix("wav-")
        law_header = partial(header, format, coding={"alaw": ALAW, "ulaw": ULAW}[law])
        self._wav = WavEncoder(descriptor, law_header, format.sample_rate * format.channels)
        self._prepare(law, SinkFile(self._wav.write), format)

    def finish(self) -> None:
        """Write the length of the audio written, also after a full disk."""
        try:
            super().finish()
        finally:
            self._wav.finish()


class SinkFile:
    """The file object that libsndfile writes to. It stores an error until `check`, and ignores later writes.

    `append` writes at the end, `rewrite` over existing bytes; without `rewrite` such changes (lengths in a
    header) are ignored.
    """

    def __init__(
        self, append: Callable[[bytes], None], rewrite: Callable[[bytes, int], object] | None = None
    ) -> None:
        self._append = append
        self._rewrite = rewrite
        self._at = self._end = 0
        self._dropped = False
        self._error: BaseException | None = None

    def check(self) -> None:
        """Raise the stored write error, if any."""
        if self._error:
            raise self._error

    def drop(self) -> None:
        """Ignore later writes."""
        self._dropped = True

    def write(self, data: bytes) -> int:
        try:
            if not (self._error or self._dropped):
                self._write(bytes(data))
        except BaseException as error:
            self._error = error
        self._at += len(data)
        self._end = max(self._end, self._at)
        return len(data)

    def _write(self, data: bytes) -> None:
        if self._at == self._end:
            self._append(data)
        elif self._rewrite:
            self._rewrite(data, self._at)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, _: int = -1) -> bytes:
        return b""

    def flush(self) -> None:
        pass
