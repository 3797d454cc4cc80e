"""Atomic file writes (to a temporary file that is renamed), and safe file names."""

from __future__ import annotations

import errno
import os
import select
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from smallest_cli.errors import OutputError, SettingsError, UsageError
from smallest_cli.security import os_error_text, printable, translate_os_errors
from smallest_cli.settings import NO_HOME
from smallest_cli.signals import uninterrupted

NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of `link` on a file system without hard links."""
NOT_REPLACEABLE = (errno.EBUSY, errno.EPERM, errno.EACCES, errno.EXDEV, errno.EROFS)
"""Errors of a rename where the file itself may still be writable."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SAFE_OPEN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags for a file that another user may have replaced, by a link or a FIFO."""
ACL = "system.posix_acl_access"
COPIED_AT_ONCE = 1 << 20
MAX_LINKS = 40


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


def rewrite_all(descriptor: int, data: bytes, at: int) -> None:
    """Write all of `data` at an offset, after short writes, too. Raises OSError."""
    left = memoryview(data)
    while left:
        count = os.pwrite(descriptor, left, at)
        left, at = left[count:], at + count


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, after short writes and to a non-blocking descriptor, too. Raises OSError."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def copy_all(source: int, target: int) -> None:
    """Copy a file from its start to the position of another descriptor. Raises OSError."""
    os.lseek(source, 0, os.SEEK_SET)
    while data := os.read(source, COPIED_AT_ONCE):
        write_all(target, data)


def lock(descriptor: int, *, wait: bool = False, shared: bool = False) -> bool:
    """Lock an open file or folder until it is closed; return False if another process holds the lock.

    Where locks are not supported there is none, and the result is True.
    """
    try:
        import fcntl

        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(descriptor, kind | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        pass
    return True


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder while a file in it is read, changed and written. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def leads_to(path: Path, descriptor: int) -> bool:
    """Whether a path is the name of an open file. It stays so while we hold the lock that we all ask for."""
    with suppress(OSError):
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    return False


def remove_part(path: Path) -> None:
    """Remove a partial file, unless a run is writing it; one that cannot be removed stays."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | SAFE_OPEN)
        try:
            if lock(descriptor) and leads_to(path, descriptor):
                path.unlink()
        finally:
            os.close(descriptor)


def make_folder_of(path: Path, mode: int = 0o777) -> None:
    """Create the folder of a file and those above it, if missing. Raises OutputError."""
    if NO_HOME in path.parents:
        hint = "set HOME, or name a folder: SMALLEST_CONFIG_DIR, SMALLEST_CACHE_DIR"
        raise OutputError(f"cannot write {printable(path.name)}: there is no home directory", hint=hint)
    try:
        path.parent.mkdir(mode, parents=True, exist_ok=True)
    except OSError as error:
        no_folder = f"{printable(path.parent)} is not a directory"
        reason = no_folder if isinstance(error, FileExistsError) else os_error_text(error)
        raise OutputError(f"cannot write {printable(path)}: {reason}") from None


def atomic_write(path: Path, data: bytes, *, mode: int = 0o666, durable: bool = False) -> None:
    """Write a file of ours as `write_file` does, creating its folder. Raises OutputError.

    `mode` is that of a new file, before the umask; a new folder is accessible to the same users. `durable`
    waits until the data is on disk.
    """
    make_folder_of(path, mode | (mode & 0o444) >> 2)
    remove_part(path.with_name(f"{path.name}.part"))  # left by a process that was killed
    with suppress(OSError):
        if not stat.S_ISREG(os.stat(path).st_mode):
            path.unlink()  # a FIFO would block, and a device would not keep the data
    write_file(str(path), data, mode=mode, durable=durable)


def descriptor_of(path: str) -> int | None:
    """Return N for /dev/fd/N of this process and for links to it, None for another path."""
    with suppress(OSError, ValueError):
        folders = {os.path.realpath(f"/{name}/fd") for name in ("dev", "proc/self", "proc/thread-self")}
        for _ in range(MAX_LINKS):
            folder, name = os.path.split(path)
            folder = os.path.realpath(folder or os.curdir)
            if folder in folders:
                return int(name)
            path = os.path.join(folder, os.readlink(os.path.join(folder, name)))
    return None


class FileTarget:
    """An output path given by the user. Opening it raises OutputError if it cannot be written.

    `descriptor` is a temporary file in the same directory, which `commit` renames: an existing file is only
    replaced by a complete one, and keeps its owner, mode and extended attributes. Where that is not possible
    (a mount point, a directory that does not allow it, an owner that cannot be set, a file with several
    names), `commit` copies the temporary file into the existing one.
    Links are followed. A FIFO or a device is opened directly, and /dev/fd/N is descriptor N itself.
    """

    def __init__(self, path: str, *, clobber: bool = True, mode: int = 0o666, durable: bool = True) -> None:
        """Raises UsageError for an existing file unless `clobber`. See `atomic_write`."""
        self._name = path
        self._clobber = clobber
        self._durable = durable
        self._part: Path | None = None
        self._in_place = False
        with self._translated():
            if (number := descriptor_of(path)) is not None:
                self._use_descriptor(number)
                return
            self._final = Path(os.path.realpath(path))
            self._old = old = self._status()
            self.is_file = self.is_ours = old is None or stat.S_ISREG(old.st_mode)
            if not self.is_file:
                self.descriptor = os.open(path, os.O_WRONLY)
                return
            if old is None:
                self._part, self.descriptor = self._open_part(mode)
                return
            if not clobber:
                raise self._exists()
            if not os.access(self._final, os.W_OK):
                raise self._error("it is read-only")
            self._part, self.descriptor = self._open_part(stat.S_IMODE(old.st_mode))
            self._in_place |= not self._copy_attributes(self._final) or old.st_nlink > 1

    def _use_descriptor(self, number: int) -> None:
        import fcntl

        if not os.get_inheritable(number):  # not from the caller: Python marks those that it opens
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise self._error("it is open for reading only")
        self.descriptor = os.dup(number)
        self.is_file, self.is_ours = stat.S_ISREG(os.fstat(number).st_mode), False

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
        if stat.S_ISREG(status.st_mode) and not self._final.exists():
            raise self._error("it has no name any more")  # /proc/PID/fd/N of an unlinked file
        return status

    def _open_part(self, mode: int) -> tuple[Path, int]:
        """Create the temporary file, locked so that no other run removes it. Return path and descriptor."""
        name, random = self._final.name, f".{os.urandom(4).hex()}.part"
        shortened = os.fsencode(name)[: -len(random)].decode("utf-8", "ignore") + random
        for part in map(self._final.with_name, (f"{name}.part", name + random, shortened)):
            try:
                descriptor = os.open(part, NEW_FILE, mode)
            except OSError as error:
                if error.errno in (errno.EEXIST, errno.ENAMETOOLONG):
                    continue
                if self._old is None or error.errno not in NOT_REPLACEABLE:
                    raise
                import tempfile

                descriptor, temporary = tempfile.mkstemp(".part", f"{name[:50]}.")
                part, self._in_place = Path(temporary), True
            if lock(descriptor) and leads_to(part, descriptor):
                return part, descriptor
            os.close(descriptor)  # another process removes it, as it was not locked yet
        raise self._error(f"{printable(part)} exists")

    def _copy_attributes(self, source: Path | int) -> bool:
        """Copy owner, mode and extended attributes to the temporary file. Return whether it has the owner."""
        old, new = os.stat(source), os.fstat(self.descriptor)
        kept = (old.st_uid, old.st_gid) == (new.st_uid, new.st_gid)
        with suppress(OSError):
            if not kept:
                os.fchown(self.descriptor, old.st_uid, old.st_gid)
                kept = True
        with suppress(PermissionError):  # a file system without modes
            os.fchmod(self.descriptor, stat.S_IMODE(old.st_mode))
        with suppress(OSError, AttributeError):  # not on every system
            names = set(os.listxattr(source))
            for name in {ACL, *names}:
                with suppress(OSError):  # attributes of the system, or none to remove
                    if name in names:
                        os.setxattr(self.descriptor, name, os.getxattr(source, name))
                    else:  # inherited from the folder
                        os.removexattr(self.descriptor, name)
        return kept

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
            if self._durable:
                sync(self.descriptor)
            with uninterrupted():
                self._replace(self._part)
                self._part = None
            self._close()
        try:
            if self._durable:
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

    def _replace(self, part: Path) -> None:
        """Rename the temporary file, or copy it into the file where a rename is not allowed."""
        if not self._in_place and not self._has_part():
            part = self._restore_part()
        if not self._in_place:
            try:
                self._rename(part)
                return
            except OSError as error:
                if self._old is None or error.errno not in NOT_REPLACEABLE:
                    raise
        self._write_in_place()
        self._remove_part()

    def _has_part(self) -> bool:
        return self._part is not None and leads_to(self._part, self.descriptor)

    def _restore_part(self) -> Path:
        """Copy the temporary file to a new one: another program removed it, or put its own in its place."""
        lost = self.descriptor
        self._part, self.descriptor = self._open_part(0o600)
        try:
            self._copy_attributes(lost)
            copy_all(lost, self.descriptor)
            sync(self.descriptor)
            return self._part
        finally:
            os.close(lost)

    def _remove_part(self) -> None:
        if self._part is not None and self._has_part():
            with suppress(OSError):
                self._part.unlink()

    def _write_in_place(self) -> None:
        target = os.open(self._final, os.O_WRONLY | SAFE_OPEN)
        try:
            found, size = os.fstat(target), os.fstat(self.descriptor).st_size
            if not stat.S_ISREG(found.st_mode) or self._old is None or found.st_uid != self._old.st_uid:
                raise self._error("another program replaced it meanwhile")
            if not lock(target):
                raise self._error("another program has locked it")  # perhaps to write it in place, too
            try:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(target, 0, size)  # a full disk is found before a byte is changed
            except OSError as error:
                os.ftruncate(target, found.st_size)
                if error.errno in NO_SPACE:
                    raise
            copy_all(self.descriptor, target)
            os.ftruncate(target, size)
            sync(target)
        finally:
            os.close(target)

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
        kept = self._part if keep and self._has_part() else None
        if not keep:
            self._remove_part()
        self._part = None
        with suppress(OSError):
            self._close()
        return kept

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
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or descriptor_of(path) is not None:
        FileTarget(path).abandon(False)
    elif not os.access(path, os.W_OK):
        raise OutputError(f"cannot write {printable(path)}: it is read-only")


def write_file(path: str, data: bytes, *, mode: int = 0o666, durable: bool = True) -> None:
    """Write all of `data` to a path, or leave it unchanged. Raises OutputError. See `atomic_write`."""
    target = FileTarget(path, mode=mode, durable=durable)
    try:
        target.write(data)
        target.commit()
    except BaseException:
        target.abandon(False)
        raise


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that is removed at the end. Raises SettingsError where none can be created."""
    import tempfile

    with translate_os_errors(SettingsError, "create", "a temporary folder"):
        folder = tempfile.TemporaryDirectory()
    with folder as name:
        yield Path(name)


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
    import hashlib  # 3 ms, most of them to load OpenSSL

    names: dict[str, str] = {}
    numbers: defaultdict[str, Iterator[int]] = defaultdict(count)  # for rows with the same id
    for base, id in wanted:
        name = plain = safe_name(base)
        while collision_key(name) in names:
            key = f"{next(numbers[id])} {id}".encode("utf-8", "surrogatepass")
            name = f"{plain}-{hashlib.sha256(key).hexdigest()[:8]}"
        names[collision_key(name)] = name
    return list(names.values())
