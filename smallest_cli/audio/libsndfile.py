"""The formats that libsndfile writes: FLAC, Ogg Vorbis, Opus, MP3 and G.711. The one file that imports it.

It calls back from C, where an exception is printed and lost, a signal's too. Python delivers signals to the
main thread, so an encoder of this file is to be used on another one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import ModuleType
from typing import Any

from smallest_cli.audio.encoders import WavEncoder, position
from smallest_cli.errors import OutputError, SettingsError
from smallest_cli.files import write_all
from smallest_cli.models import AudioFormat
from smallest_cli.security import printable

KINDS = {
    "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"), "ulaw": ("RAW", "ULAW"), "alaw": ("RAW", "ALAW"),
}  # fmt: skip
# An MP3 states its length where it begins. Without that, readers take it from the first frame's bit rate.
STEADY = {"compression_level": 0.6, "bitrate_mode": "CONSTANT"}


def _load(coding: str) -> ModuleType:
    try:
        import soundfile
    except ImportError as error:
        hint = "pip install soundfile, or use -o FILE.wav"
        raise SettingsError(
            f"{coding} needs {printable(error.name)}, which is not installed", hint=hint
        ) from None
    except OSError:
        hint = "apt install libsndfile1, or use -o FILE.wav"
        raise SettingsError(f"{coding} needs libsndfile, which is not installed", hint=hint) from None
    if not soundfile.check_format(*KINDS[coding]):
        version = soundfile.__libsndfile_version__
        hint = "pip install --upgrade soundfile brings 1.2; or use another --format"
        raise SettingsError(f"libsndfile {printable(version)} cannot write {coding}", hint=hint)
    library: ModuleType = soundfile
    return library


class CompressedEncoder:
    """PCM into one of these formats. The library keeps blocks back: 0.1 s of MP3, more than 1 s of Ogg."""

    def __init__(self, coding: str, descriptor: int, format: AudioFormat) -> None:
        """Raises SettingsError where the library is missing or too old. Nothing is written yet."""
        start = position(descriptor)
        rewrite = None if start is None else partial(_write_over, descriptor, start)
        steady = STEADY if coding == "mp3" and rewrite is None else {}
        self._begin(coding, Outlet(partial(write_all, descriptor), rewrite), format, **steady)

    def _begin(self, coding: str, outlet: Outlet, format: AudioFormat, **options: object) -> None:
        library, (kind, subtype) = _load(coding), KINDS[coding]
        self._coding = coding
        self._outlet = outlet
        self._foreign: type[Exception] = library.SoundFileError
        self._open = partial(
            library.SoundFile, outlet, "w", format.sample_rate, format.channels, subtype,
            format=kind, **options,
        )  # fmt: skip
        self._file: Any = None

    def write(self, pcm: bytes) -> None:
        """Encode whole frames."""
        with self._watched():
            if self._file is None:
                self._file = self._open()
            self._file.buffer_write(pcm, "int16")

    def finish(self) -> None:
        """Write the blocks that were kept back, and what the format needs at its end."""
        with self._watched():
            if self._file is None:
                self._file = self._open()
            self._file.close()

    def drop(self) -> None:
        """Let go of the library's memory; what it still has to say is not written."""
        self._outlet.drop()
        if self._file is not None:
            with suppress(self._foreign):
                self._file.close()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Raise what a write of the library met, which it does not know of."""
        self._outlet.check()
        try:
            yield
        except self._foreign as error:
            self._outlet.check()
            raise OutputError(f"cannot encode {self._coding}: {printable(error)}") from None
        self._outlet.check()


class G711WavEncoder(CompressedEncoder):
    """G.711 in a WAV, behind a header of our own: the library writes none to a pipe."""

    def __init__(self, coding: str, descriptor: int, format: AudioFormat) -> None:
        """`coding` is wav-ulaw or wav-alaw. Raises as its base does."""
        law = coding.removeprefix("wav-")
        byte_rate = format.sample_rate * format.channels
        self._wav = WavEncoder(descriptor, partial(g711_header, law, format), byte_rate)
        self._begin(law, Outlet(self._wav.write), format)

    def finish(self) -> None:
        """State the length, of what a full disk took, too."""
        try:
            super().finish()
        finally:
            self._wav.finish()


def g711_header(law: str, format: AudioFormat, data_size: int) -> bytes:
    """The RIFF header of one byte a sample, with the number of samples that WAV asks for beside PCM."""
    tag = {"alaw": 6, "ulaw": 7}[law]
    return struct.pack(
        "<4sI4s4sIHHIIHHH4sII4sI",
        b"RIFF", min(data_size + 50, 0xFFFF_FFFF), b"WAVE",
        b"fmt ", 18, tag, format.channels, format.sample_rate, format.sample_rate * format.channels,
        format.channels, 8, 0,
        b"fact", 4, data_size // format.channels,
        b"data", data_size,
    )  # fmt: skip


def _write_over(descriptor: int, start: int, data: bytes, at: int) -> None:
    os.pwrite(descriptor, data, start + at)


class Outlet:
    """The file that libsndfile sees. It keeps an error until it is asked for, and then takes no more.

    `append` writes at the end, `rewrite` over what is there; without it such changes (lengths in a header)
    are left out.
    """

    def __init__(
        self, append: Callable[[bytes], None], rewrite: Callable[[bytes, int], None] | None = None
    ) -> None:
        self._append = append
        self._rewrite = rewrite
        self._at = self._end = 0
        self._dropped = False
        self._error: BaseException | None = None

    def check(self) -> None:
        """Raise what a write met."""
        if self._error:
            raise self._error

    def drop(self) -> None:
        """Take no more."""
        self._dropped = True

    def write(self, data: bytes) -> int:
        try:
            if not (self._error or self._dropped):
                self._pass_on(bytes(data))
        except BaseException as error:
            self._error = error
        self._at += len(data)
        self._end = max(self._end, self._at)
        return len(data)

    def _pass_on(self, data: bytes) -> None:
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
