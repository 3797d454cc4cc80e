"""A file that is whole or as it was before: written beside its name, synced, and put in its place."""

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

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system says that has no hard links."""


def sync(descriptor: int) -> None:
    """Wait until what was written is on the disk; of what has none, a pipe say, nothing is waited for."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):
            raise


def write_all(descriptor: int, data: bytes) -> None:
    """Every byte of `data`, over short writes and a descriptor that would not block."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def _sync_folder(folder: Path) -> None:
    """Have a new name on the disk, too. A folder that may be written and not read is left to the system."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


class FileTarget:
    """A path to write to. `descriptor` is the file beside it, or the thing itself where that is no file.

    A link is followed, and stays. A FIFO or a device is written in place. An existing file keeps its
    mode, and is replaced only by `commit`. Raises OutputError, before anything is written.
    """

    def __init__(self, path: str, *, clobber: bool = True) -> None:
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
                raise OutputError(f"cannot write {printable(path)}: it is read-only")
            self.descriptor = self._open_part(0o666 if old is None else stat.S_IMODE(old.st_mode))
            if old is not None:
                with suppress(PermissionError):  # a file system without modes
                    os.fchmod(self.descriptor, stat.S_IMODE(old.st_mode))

    def _status(self) -> os.stat_result | None:
        try:
            status = os.stat(self._name or self._final)
        except FileNotFoundError:
            if not self._final.parent.is_dir():
                folder = printable(self._final.parent)
                raise OutputError(
                    f"cannot write {printable(self._name)}: there is no folder {folder}"
                ) from None
            return None
        if stat.S_ISDIR(status.st_mode):
            raise OutputError(f"cannot write {printable(self._name)}: it is a folder")
        return status

    def _open_part(self, mode: int) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        for suffix in (".part", f".{os.urandom(4).hex()}.part"):
            self._part = self._final.with_name(self._final.name + suffix)
            with suppress(FileExistsError):
                return os.open(self._part, flags, mode)
        raise OutputError(f"cannot write {printable(self._name)}: {printable(self._part)} is in the way")

    def write(self, data: bytes) -> None:
        """Write all of it. Raises OutputError."""
        with self._translated():
            write_all(self.descriptor, data)

    def commit(self) -> None:
        """Sync, and take the name. Raises OutputError, or UsageError where the name was taken meanwhile;
        the old file is then as it was."""
        with self._translated():
            if self._part is None:
                self._close()
                return
            if self.descriptor >= 0:
                sync(self.descriptor)
                self._close()
            self._take_name(self._part)
            self._part = None
        try:
            _sync_folder(self._final.parent)
        except OSError as error:
            name = printable(self._name)
            raise OutputError(
                f"{name} is whole, but may not outlast a power cut: {os_error_text(error)}"
            ) from None

    def _close(self) -> None:
        """Once: its number may be another file's from then on."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _take_name(self, part: Path) -> None:
        if self._clobber:
            os.replace(part, self._final)
            return
        try:
            os.link(part, self._final)  # unlike a rename, this never replaces what came there meanwhile
        except FileExistsError:
            raise self._exists() from None
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            self._reserve_name(part)
            return
        part.unlink()

    def _reserve_name(self, part: Path) -> None:
        """Take the name by an empty file first, which is made only where there is none, and replace that."""
        with uninterrupted():
            try:
                reserved = os.open(self._final, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                raise self._exists() from None
            try:
                os.close(reserved)
                os.replace(part, self._final)
            except OSError:
                with suppress(OSError):
                    self._final.unlink()
                raise

    def _exists(self) -> UsageError:
        return UsageError(f"{printable(self._name)} exists", hint="leave --no-clobber away to replace it")

    def abandon(self, keep: bool) -> Path | None:
        """Leave the old file alone; keep what was written beside it, or remove that too."""
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
            raise OutputError(f"cannot write {printable(self._name)}: {os_error_text(error)}") from None
        except UnicodeError:
            raise OutputError(f"cannot write {printable(self._name)}: no file can have that name") from None


def check_target(path: str) -> None:
    """Raise what writing to `path` would, as far as that can be known, and leave no trace.

    What is no file may wait for its other end, so it is not opened.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        mode = stat.S_IFREG
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        FileTarget(path).abandon(False)
    elif not os.access(path, os.W_OK):
        raise OutputError(f"cannot write {printable(path)}: it is read-only")


def write_whole(path: str, data: bytes) -> None:
    """Write `data` as a `FileTarget` is written: all of it, or the old file stays. Raises OutputError."""
    target = FileTarget(path)
    try:
        target.write(data)
        target.commit()
    except BaseException:
        target.abandon(False)
        raise


LONGEST = 60
LONGEST_BYTES = 150
"""Of 255 that file systems take; a mark against collisions, the ending and `.part` come on top."""
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in range(10)}
)


def safe_name(wanted: str) -> str:
    """A name of letters, digits, `-`, `_` and single dots, never empty, hidden or a Windows device."""
    shown = "".join(
        c if unicodedata.category(c)[0] in "LNM" or c in "-_." else "_"
        for c in unicodedata.normalize("NFC", wanted)
    )
    while ".." in shown:
        shown = shown.replace("..", ".")
    shown = shown[:LONGEST].encode("utf-8")[:LONGEST_BYTES].decode("utf-8", "ignore").strip(".")
    stem = unicodedata.normalize("NFKC", shown.partition(".")[0]).casefold()
    if not shown or stem in _RESERVED or shown[0] == "-" or unicodedata.category(shown[0])[0] == "M":
        return f"_{shown}"
    return shown


def same_place(name: str) -> str:
    """Equal for two names that some file system takes for one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def unique_names(wanted: Sequence[tuple[str, str]]) -> list[str]:
    """A safe name for each (wanted name, id): the first plain, what collides with it told apart by its id.

    So a row that is added behind the others renames none of them.
    """
    names: dict[str, str] = {}
    marks: defaultdict[str, Iterator[int]] = defaultdict(count)
    for base, id in wanted:
        name = plain = safe_name(base)
        while same_place(name) in names:
            name = f"{plain}-{_mark(id, next(marks[id]))}"
        names[same_place(name)] = name
    return list(names.values())


def _mark(id: str, number: int) -> str:
    """Another for each number, for rows that are the same."""
    return hashlib.sha256(f"{number} {id}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
