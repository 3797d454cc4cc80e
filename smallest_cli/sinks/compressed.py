"""The formats that libsndfile writes: FLAC, Ogg Vorbis, Opus, MP3 and G.711."""

from __future__ import annotations

import os

from smallest_cli.errors import SettingsError, UsageError
from smallest_cli.sinks.encoders import position, write_all
from smallest_cli.speech import AudioFormat

KINDS = {
    "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"), "ulaw": ("RAW", "ULAW"), "alaw": ("RAW", "ALAW"),
    "wav-ulaw": ("WAV", "ULAW"), "wav-alaw": ("WAV", "ALAW"),
}  # fmt: skip


class CompressedEncoder:
    """PCM into one of these formats. The library keeps some blocks back, the more the smaller the format."""

    def __init__(self, coding: str, descriptor: int, format: AudioFormat) -> None:
        try:
            import soundfile
        except (ImportError, OSError) as error:
            raise SettingsError(
                f"{coding} needs libsndfile, which cannot be loaded: {error}",
                hint="pip install soundfile, or use -o FILE.wav",
            ) from None
        kind, subtype = KINDS[coding]
        self._outlet = Outlet(descriptor)
        if kind == "WAV" and not self._outlet.goes_back:
            raise UsageError(
                "a WAV of G.711 states its length at its head, which a pipe cannot go back to",
                hint="use --format ulaw or alaw with -o -, or a file",
            )
        self._file = soundfile.SoundFile(
            self._outlet, "w", format.sample_rate, format.channels, subtype, format=kind
        )
        self._outlet.check()

    def write(self, pcm: bytes) -> None:
        """Encode whole frames."""
        self._outlet.check()
        self._file.buffer_write(pcm, "int16")
        self._outlet.check()

    def finish(self) -> None:
        """Write the blocks that were kept back, and what the format needs at its end."""
        self._file.close()
        self._outlet.check()


class Outlet:
    """The file that libsndfile sees. It writes through, and keeps an error until it is asked for.

    The library calls it from C, where an exception would be printed and lost. Where the descriptor
    cannot go back, changes to what is written already (lengths in a header) are left out.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._start = position(descriptor)
        self._at = self._end = 0
        self._error: OSError | None = None

    @property
    def goes_back(self) -> bool:
        """Whether what was written can be changed."""
        return self._start is not None

    def check(self) -> None:
        """Raise the OSError that a write met."""
        if self._error:
            raise self._error

    def write(self, data: bytes) -> int:
        data = bytes(data)
        try:
            if self._error:
                return len(data)
            if self._at == self._end:
                write_all(self._descriptor, data)
            elif self._start is not None:
                os.pwrite(self._descriptor, data, self._start + self._at)
        except OSError as error:
            self._error = error
        self._at += len(data)
        self._end = max(self._end, self._at)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, _: int = -1) -> bytes:
        return b""

    def flush(self) -> None:
        pass
