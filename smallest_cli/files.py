"""Atomic file writes (to a temporary file that is renamed), and safe file names."""

from __future__ import annotations

import errno
import hashlib
import os
import select
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from smallest_cli.errors import OutputError, UsageError
from smallest_cli.security import os_error_text, printable
from smallest_cli.signals import uninterrupted

NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of `link` on a file system without hard links."""


def sync(descriptor: int) -> None:
    """Call fsync; do nothing where it is not supported, e.g. for a pipe. Raises OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):
            raise


def read_some(descriptor: int, size: int) -> bytes:
    """Read up to `size` bytes, b"" at end of file. Waits for data on a non-blocking descriptor, too."""
    while True:
        try:
            return os.read(descriptor, size)
        except BlockingIOError:
            select.select([descriptor], [], [])


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, after short writes and to a non-blocking descriptor, too. Raises OSError."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def atomic_write(path: Path, data: bytes, *, mode: int = 0o666, durable: bool = False) -> None:
    """Write a file atomically, creating its folder. Raises OSError; the old file is then unchanged.

    `mode` is that of the file, before the umask; a new folder is accessible to the same users. `durable`
    waits until the data is on disk. For a path given by the user, see `FileTarget`.
    """
    path.parent.mkdir(mode=mode | (mode & 0o444) >> 2, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.urandom(4).hex()}.part")
    descriptor = os.open(part, NEW_FILE, mode)
    try:
        try:
            write_all(descriptor, data)
            if durable:
                sync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


class FileTarget:
    """An output path given by the user. Opening it raises OutputError if it cannot be written.

    `descriptor` is a temporary file in the same directory, which `commit` renames: an existing file is only
    replaced by a complete one, and keeps its mode. Links are followed. A FIFO or a device is opened directly.
    """

    def __init__(self, path: str, *, clobber: bool = True) -> None:
        """Raises UsageError for an existing file unless `clobber`."""
        self._name = path
        self._clobber = clobber
        with self._translated():
            self._final = Path(os.path.realpath(path))
            self._part: Path | None = None
            old = self._status()
            self.is_file = self.is_ours = old is None or stat.S_ISREG(old.st_mode)
            if not self.is_file:
                self.descriptor = os.open(path, os.O_WRONLY)
                return
            if old is not None and not clobber:
                raise self._exists()
            if old is not None and not os.access(self._final, os.W_OK):
                raise self._error("it is read-only")
            self.descriptor = self._open_part(0o666 if old is None else stat.S_IMODE(old.st_mode))
            if old is not None:
                with suppress(PermissionError):  # a file system without modes
                    os.fchmod(self.descriptor, stat.S_IMODE(old.st_mode))

    def _error(self, reason: str) -> OutputError:
        return OutputError(f"cannot write {printable(self._name)}: {reason}")

    def _exists(self) -> UsageError:
        return UsageError(f"{printable(self._name)} exists", hint="drop --no-clobber to replace it")

    def _status(self) -> os.stat_result | None:
        try:
            status = os.stat(self._name or self._final)
        except FileNotFoundError:
            if not self._final.parent.is_dir():
                raise self._error(f"no such directory: {printable(self._final.parent)}") from None
            return None
        if stat.S_ISDIR(status.st_mode):
            raise self._error("it is a directory")
        return status

    def _open_part(self, mode: int) -> int:
        for suffix in (".part", f".{os.urandom(4).hex()}.part"):
            self._part = self._final.with_name(self._final.name + suffix)
            with suppress(FileExistsError):
                return os.open(self._part, NEW_FILE, mode)
        raise self._error(f"{printable(self._part)} exists")

    def write(self, data: bytes) -> None:
        """Write all of `data`. Raises OutputError."""
        with self._translated():
            write_all(self.descriptor, data)

    def commit(self) -> None:
        """Sync and rename the file. May be called again after a signal.

        Raises OutputError, or UsageError without `clobber` if the path exists by now; it is then unchanged.
        """
        with self._translated():
            if self._part is None:
                self._close()
                return
            if self.descriptor >= 0:
                sync(self.descriptor)
                self._close()
            self._rename(self._part)
            self._part = None
        try:
            self._sync_folder()
        except OSError as error:
            raise OutputError(
                f"{printable(self._name)} is complete, but its name may be lost in a power failure:"
                f" {os_error_text(error)}"
            ) from None

    def _close(self) -> None:
        """Close only once: the descriptor number may be reused for another file."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _rename(self, part: Path) -> None:
        if self._clobber:
            os.replace(part, self._final)
            return
        try:
            os.link(part, self._final)  # unlike a rename, this fails if the name was taken meanwhile
        except FileExistsError:
            raise self._exists() from None
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            self._rename_without_link(part)
            return
        part.unlink()

    def _rename_without_link(self, part: Path) -> None:
        """Reserve the name with an empty file, created exclusively, and replace that file."""
        with uninterrupted():
            try:
                os.close(os.open(self._final, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                raise self._exists() from None
            try:
                os.replace(part, self._final)
            except OSError:
                with suppress(OSError):
                    self._final.unlink()
                raise

    def _sync_folder(self) -> None:
        """Sync the directory entry; skipped for a folder without read permission."""
        try:
            descriptor = os.open(self._final.parent, os.O_RDONLY)
        except PermissionError:
            return
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)

    def abandon(self, keep: bool) -> Path | None:
        """Leave the old file unchanged. Return the partial file if `keep`, else remove it."""
        with suppress(OSError):
            self._close()
        part, self._part = self._part, None
        if part is None:
            return None
        if keep:
            return part if part.exists() else None
        with suppress(OSError):
            part.unlink()
        return None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(os_error_text(error)) from None
        except UnicodeError:
            raise self._error("invalid file name") from None


def check_target(path: str) -> None:
    """Check that `path` can be written, without changing anything. Raises OutputError.

    A FIFO or a device is not opened, since that may block until its other end is opened.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        mode = stat.S_IFREG
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        FileTarget(path).abandon(False)
    elif not os.access(path, os.W_OK):
        raise OutputError(f"cannot write {printable(path)}: it is read-only")


def write_file(path: str, data: bytes) -> None:
    """Write all of `data` to a path given by the user, or leave it unchanged. Raises OutputError."""
    target = FileTarget(path)
    try:
        target.write(data)
        target.commit()
    except BaseException:
        target.abandon(False)
        raise


MAX_NAME = 60
MAX_NAME_BYTES = 150
"""File systems allow 255; the rest is for a collision suffix, the extension and `.part`."""
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in range(10)}
)


def safe_name(wanted: str) -> str:
    """Return a name of letters, digits, `-`, `_` and single dots; never empty, hidden or a Windows device."""
    name = "".join(
        c if unicodedata.category(c)[0] in "LNM" or c in "-_." else "_"
        for c in unicodedata.normalize("NFC", wanted)
    )
    while ".." in name:
        name = name.replace("..", ".")
    name = name[:MAX_NAME].encode("utf-8")[:MAX_NAME_BYTES].decode("utf-8", "ignore").strip(".")
    stem = unicodedata.normalize("NFKC", name.partition(".")[0]).casefold()
    if not name or stem in _RESERVED or name[0] == "-" or unicodedata.category(name[0])[0] == "M":
        return f"_{name}"
    return name


def collision_key(name: str) -> str:
    """Return a key that is equal for names that some file systems treat as the same."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def unique_names(wanted: Sequence[tuple[str, str]]) -> list[str]:
    """Return a safe name for each (wanted name, id); one that collides gets a suffix made from its id.

    A row appended later does not change the names of earlier rows.
    """
    names: dict[str, str] = {}
    numbers: defaultdict[str, Iterator[int]] = defaultdict(count)  # for rows with the same id
    for base, id in wanted:
        name = plain = safe_name(base)
        while collision_key(name) in names:
            key = f"{next(numbers[id])} {id}".encode("utf-8", "surrogatepass")
            name = f"{plain}-{hashlib.sha256(key).hexdigest()[:8]}"
        names[collision_key(name)] = name
    return list(names.values())
