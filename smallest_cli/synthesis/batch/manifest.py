"""`manifest.jsonl`: a line for each item, synced before the next. The last `done` line of a file counts."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from smallest_cli.errors import OutputError, UsageError
from smallest_cli.files import lock, remove_part, sync
from smallest_cli.security import printable, translate_os_errors
from smallest_cli.settings import NO_LINK, NOT_REGULAR, read_regular
from smallest_cli.synthesis.batch.items import Item

NAME = "manifest.jsonl"


class ManifestIndex:
    """What a manifest says was written, by file: row numbers change, and not every row has an id."""

    def __init__(self, data: bytes = b"") -> None:
        self._done: dict[str, dict[str, Any]] = {}
        self._last: dict[str, dict[str, Any]] = {}
        """The last of them for a name without its extension, which may be that of another format."""
        for line in data.splitlines():
            try:
                fields = json.loads(line)
                if fields["status"] == "done":
                    name = str(fields["file"])
                    self._done[name] = self._last[Path(name).stem] = fields
            except (ValueError, TypeError, KeyError, RecursionError):
                continue  # cut off by a crash, or not ours: the item counts as not done

    def is_current(self, item: Item) -> bool:
        """Whether the item was done with the same text and options, and its file is unchanged."""
        done = self._done.get(item.path.name, {})
        return done.get("key") == item.key and self.is_unchanged(item.path)

    def had_other_options(self, item: Item) -> bool:
        """Whether the item was done with options that are noted and differ, and its file is unchanged."""
        done = self._last.get(item.path.stem, {})
        path = item.path.with_name(Path(str(done.get("file", item.path))).name)
        return done.get("options", item.options) != item.options and self.is_unchanged(path)

    def is_unchanged(self, path: Path) -> bool:
        """Whether a file has the content that was last written to it."""
        done = self._done.get(path.name, {})
        try:
            return path.stat().st_size == done.get("bytes") and _digest(path) == done.get("sha256")
        except (OSError, ValueError):  # ValueError: a name that no file has
            return False


def check_folder(folder: str) -> None:
    """Raise OutputError where the folder, or one above it, is a file."""
    path = Path(folder)
    found = next((place for place in (path, *path.parents) if os.path.lexists(place)), None)
    if found and not os.path.isdir(found):
        raise OutputError(f"{printable(found)} is not a directory")


def read_index(folder: str) -> ManifestIndex:
    """The index of a folder's manifest, which is not changed. Raises OutputError."""
    path = Path(folder, NAME)
    with translate_os_errors(OutputError, "read", path), suppress(FileNotFoundError):
        return ManifestIndex(read_regular(path)[0])
    return ManifestIndex()


class Manifest:
    """The manifest of a folder, which is created if missing. One run at a time may write it.

    Raises OutputError, and UsageError while another run uses the folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self._path = self.folder / NAME
        self._lock = threading.Lock()
        with translate_os_errors(OutputError, "write", self._path):
            self.folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | NO_LINK
            self._file = os.fdopen(os.open(self._path, flags, 0o666), "r+b", buffering=0)
            if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
                self._file.close()
                raise OSError(errno.EINVAL, NOT_REGULAR)  # reading a FIFO would block
        try:
            if not lock(self._file.fileno()):
                raise UsageError(f"another batch is running in {printable(self.folder)}")
            data = self._file.read()
            if data and not data.endswith(b"\n"):
                self._file.write(b"\n")  # ends a line that a crash cut off
            self.index = ManifestIndex(data)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._file.close()

    def done(self, item: Item, seconds: float) -> None:
        """Note that the item's file is complete."""
        with translate_os_errors(OutputError, "read", item.path):
            found = {"bytes": item.path.stat().st_size, "sha256": _digest(item.path)}
        self._append(item, {"status": "done", **found, "seconds": round(seconds, 6)})

    def failed(self, item: Item, exit_code: int, error: str) -> None:
        """Note that the item failed."""
        self._append(item, {"status": "failed", "exit": exit_code, "error": printable(error)})

    def _append(self, item: Item, fields: dict[str, Any]) -> None:
        line = {
            "id": item.id, "row": item.row, "file": item.path.name, "key": item.key,
            "options": item.options, "characters": item.characters,
        }  # fmt: skip
        data = (json.dumps(line | fields) + "\n").encode()
        with translate_os_errors(OutputError, "write", self._path), self._lock:
            while data:
                data = data[self._file.write(data) or 0 :]
            sync(self._file.fileno())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


Parts = dict[str, list[Path]]


def find_parts(folder: Path) -> Parts:
    """Partial files of earlier runs, by the name of the file that each would have become."""
    found: Parts = {}
    for path in folder.glob("*.part"):
        name = re.sub(r"(\.[0-9a-f]{8})?\.part$", "", path.name)
        found.setdefault(name, []).append(path)
    return found


def remove_parts(parts: Parts, item: Item) -> None:
    """Remove the partial files of an item that is complete, except those of a live run."""
    for part in parts.pop(item.path.name, ()):
        remove_part(part)
