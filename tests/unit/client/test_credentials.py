"""Key precedence, saved keys and key files; no message, repr or traceback shows a key."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smallest_cli.client.credentials import (
    credentials_path,
    find_key,
    forget_keys,
    origin_of,
    read_key_file,
    store_key,
    vendor_path,
)
from smallest_cli.errors import MissingKeyError, OutputError, SettingsError, SmallestError
from smallest_cli.security import Secret
from smallest_cli.settings import DEFAULT_BASE_URL
from tests.support.audio import in_background, make_fifo

KEY = "sk_0123456789abcdefghijklmnop"


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment in which no key is set."""
    before = set(os.listdir("/proc/self/fd"))
    yield {"HOME": str(tmp_path), "SMALLEST_CONFIG_DIR": str(tmp_path / "config")}
    assert set(os.listdir("/proc/self/fd")) <= before  # descriptors of other tests may be closed meanwhile


def key_file(path: Path, content: str | bytes = KEY, mode: int = 0o600) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return str(path)


def write_vendor_file(environ: dict[str, str], text: str) -> None:
    vendor_path(environ).parent.mkdir(exist_ok=True)
    vendor_path(environ).write_text(text)


def refusal(call: Callable[[], object], kind: type[SmallestError] = SettingsError) -> SmallestError:
    """Return the error of a call, and check that neither it nor its traceback holds a key."""
    with pytest.raises(SmallestError) as caught:
        call()
    assert type(caught.value) is kind
    assert str(caught.value).isprintable()
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caught.value.hint
    assert not any(part in shown for part in (KEY, KEY[:8], KEY[-8:]))
    return caught.value


# Precedence


def test_key_precedence(environ: dict[str, str], tmp_path: Path) -> None:
    """Sources are added from the lowest precedence up; each one overrides the previous."""
    refusal(lambda: find_key(None, DEFAULT_BASE_URL, environ), MissingKeyError)
    found = []

    def look(named: str | None = None) -> None:
        key, warnings = find_key(named, DEFAULT_BASE_URL, environ)
        found.append((key.reveal(), key.source))
        assert warnings == []

    write_vendor_file(environ, json.dumps({"api_key": "of-the-vendor"}))
    look()
    store_key(DEFAULT_BASE_URL, Secret("of-login", "x"), environ)
    look()
    environ["SMALLEST_API_KEY_FILE"] = key_file(tmp_path / "a", "of-a-file-in-the-environment")
    look()
    environ["SMALLEST_API_KEY"] = "of-the-environment"
    look()
    look(key_file(tmp_path / "b", "of-a-file-by-flag"))
    assert found == [
        ("of-the-vendor", str(vendor_path(environ))), ("of-login", str(credentials_path(environ))),
        ("of-a-file-in-the-environment", "SMALLEST_API_KEY_FILE"), ("of-the-environment", "SMALLEST_API_KEY"),
        ("of-a-file-by-flag", "--api-key-file"),
    ]  # fmt: skip


def test_given_key_file_without_key_is_error(environ: dict[str, str], tmp_path: Path) -> None:
    environ["SMALLEST_API_KEY"] = KEY
    refusal(lambda: find_key(str(tmp_path / "nowhere"), DEFAULT_BASE_URL, environ))
    environ["SMALLEST_API_KEY_FILE"] = str(tmp_path / "nowhere")
    environ["SMALLEST_API_KEY"] = ""
    store_key(DEFAULT_BASE_URL, Secret(KEY, "x"), environ)
    error = refusal(lambda: find_key(None, DEFAULT_BASE_URL, environ))
    assert str(error).startswith("cannot read the key file (SMALLEST_API_KEY_FILE) /")
    assert str(error).endswith("nowhere: No such file or directory")


def test_missing_key_hint_lists_all_ways(environ: dict[str, str]) -> None:
    error = refusal(lambda: find_key(None, DEFAULT_BASE_URL, environ), MissingKeyError)
    assert (str(error), error.exit_code) == ("no API key", 3)
    for way in ("SMALLEST_API_KEY ", "SMALLEST_API_KEY_FILE", "--api-key-file FILE", "smallest login"):
        assert way in error.hint


# Saved keys and their origin


@pytest.mark.parametrize(
    ("base_url", "same"),
    [
        ("https://api.smallest.ai", True), ("https://api.smallest.ai:443/", True),
        ("wss://API.smallest.ai/prefix", True), ("http://api.smallest.ai", False),
        ("https://api.smallest.ai:8443", False), ("https://api.smallest.ai.example", False),
        ("https://smallest.ai", False),
    ],
)  # fmt: skip
def test_saved_key_is_sent_to_its_origin_only(base_url: str, same: bool, environ: dict[str, str]) -> None:
    store_key(DEFAULT_BASE_URL, Secret(KEY, "x"), environ)
    write_vendor_file(environ, json.dumps({"api_key": KEY}))
    if same:
        assert find_key(None, base_url, environ)[0].reveal() == KEY
        return
    error = refusal(lambda: find_key(None, base_url, environ), MissingKeyError)
    stored = "the stored one is for https://api.smallest.ai"
    assert str(error) == f"no API key for {origin_of(base_url)}: {stored}"
    environ["SMALLEST_API_KEY"] = KEY
    assert find_key(None, base_url, environ)[0].reveal() == KEY


def test_saved_keys_file_is_private_and_complete(environ: dict[str, str]) -> None:
    before = os.umask(0)
    try:
        path = store_key(DEFAULT_BASE_URL, Secret(KEY, "x"), environ)
        store_key("http://127.0.0.1:9", Secret("other", "x"), environ)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["credentials.json"]
    assert json.loads(path.read_text()) == {DEFAULT_BASE_URL: KEY, "http://127.0.0.1:9": "other"}
    assert forget_keys(environ) == path
    assert forget_keys(environ) is None


def test_config_folder_that_cannot_be_created(environ: dict[str, str], tmp_path: Path) -> None:
    environ["SMALLEST_CONFIG_DIR"] = key_file(tmp_path / "file", "")
    shown = str(refusal(lambda: store_key(DEFAULT_BASE_URL, Secret(KEY, "x"), environ), OutputError))
    assert shown.endswith(f"{tmp_path / 'file'} is not a directory")
    assert forget_keys(environ) is None


def test_invalid_credentials_file_is_refused(environ: dict[str, str]) -> None:
    path = store_key(DEFAULT_BASE_URL, Secret(KEY, "x"), environ)
    for text in (KEY, f'["{KEY}"]', f'{{"{KEY}": 1}}', f'{{"a": "{KEY}"', "", "[" * 50_000, '{"a":' * 10_000):
        path.write_text(text)
        error = refusal(lambda: find_key(None, DEFAULT_BASE_URL, environ))
        assert str(error) == f"{path} was not written by smallest login"
        assert error.hint == "smallest logout removes it"
    path.chmod(0o644)
    error = refusal(lambda: find_key(None, DEFAULT_BASE_URL, environ))
    assert str(error) == f"{path} is readable by other users"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "1",
        "{}",
        '{"api_key": 1}',
        '{"api_key": ""}',
        '{"key": "sk_012345"}',
        "\udcff",
        "[" * 50_000,
    ],
)
def test_vendor_file_without_key_is_ignored(text: str, environ: dict[str, str]) -> None:
    write_vendor_file(environ, "")
    vendor_path(environ).write_bytes(text.encode(errors="surrogateescape"))
    assert str(refusal(lambda: find_key(None, DEFAULT_BASE_URL, environ), MissingKeyError)) == "no API key"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_vendor_path_without_a_regular_file_is_ignored(
    make: Callable[[Path], None], environ: dict[str, str]
) -> None:
    write_vendor_file(environ, "")
    vendor_path(environ).unlink()
    make(vendor_path(environ))
    assert str(refusal(lambda: find_key(None, DEFAULT_BASE_URL, environ), MissingKeyError)) == "no API key"


# Key files


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_line_end_is_stripped_from_key(end: str, tmp_path: Path) -> None:
    key, warnings = read_key_file(key_file(tmp_path / "key", KEY + end), "here")
    assert (key.reveal(), key.source, warnings) == (KEY, "here", [])


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_key_file_readable_by_others_warns(mode: int, tmp_path: Path) -> None:
    path = key_file(tmp_path / "key\x1b[31m", KEY, mode)
    key, warnings = read_key_file(path, "here")
    assert key.reveal() == KEY
    assert warnings == [f"the key file {tmp_path}/key\\x1b[31m can be read by other users"]


def test_key_file_may_be_link_or_fifo(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(key_file(tmp_path / "key"))
    assert read_key_file(str(tmp_path / "link"), "here")[0].reveal() == KEY
    fifo = make_fifo(tmp_path)
    with in_background(lambda: key_file(fifo, KEY + "\n", 0o644)):
        key, warnings = read_key_file(str(fifo), "here")
    assert (key.reveal(), warnings) == (KEY, [])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"), ("\n\r\n", "is empty"), (KEY + "\nx", "position 30"), (KEY + " ", "position 30"),
        (KEY + "\0", "position 30"), (KEY + "é", "position 30"), (KEY.encode() + b"\xff", "position 30"),
        (f'"{KEY}"', "position 1 "), ("\ufeff" + KEY, "position 1 "), (KEY * 100_000, "longer than 512"),
    ],
)  # fmt: skip
def test_invalid_key_is_refused_without_showing_it(content: str | bytes, words: str, tmp_path: Path) -> None:
    error = refusal(lambda: read_key_file(key_file(tmp_path / "key", content), "here"))
    assert str(error).startswith("the key from here ")
    assert words in str(error)


def test_unreadable_key_file_message(tmp_path: Path) -> None:
    for path, words in ((tmp_path, "Is a directory"), (tmp_path / "n\x1b", "No such file or directory")):
        error = refusal(lambda path=path: read_key_file(str(path), "--api-key-file"))
        assert str(error).startswith(f"cannot read the key file (--api-key-file) {tmp_path}")
        assert str(error).endswith(f": {words}")


READ_STDIN = """
import sys
from smallest_cli.client.credentials import read_key_file
from smallest_cli.errors import SettingsError, UsageError
try:
    key, warnings = read_key_file("-", "--api-key-file")
    print(key.reveal(), key.source, warnings)
except (SettingsError, UsageError) as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (KEY.encode(), f"{KEY} stdin []"), (KEY.encode() + b"\r\nmore\n", f"{KEY} stdin []"),
        (b"", "the key from stdin is empty"), (b"\n" + KEY.encode(), "the key from stdin is empty"),
        (b"x" * 5_000, "the key from stdin is longer than 512 characters"),
        (b"x" * 512 + b"\r\n", "x" * 512 + " stdin []"),
        (b"\xff" + KEY.encode(), "the key from stdin has a character at position 1 that is not valid"),
    ],
)  # fmt: skip
def test_dash_reads_first_line_of_stdin(given: bytes, expected: str) -> None:
    done = subprocess.run([sys.executable, "-c", READ_STDIN], input=given, capture_output=True, check=True)
    assert (done.stdout.decode(), done.stderr) == (expected + "\n", b"")


@pytest.mark.parametrize(("stdin", "expected"), [("<&-", "is empty"), ("0>/dev/null", "Bad file")])
def test_empty_or_closed_stdin_message(stdin: str, expected: str) -> None:
    command = ["sh", "-c", f'exec "$0" "$@" {stdin}', sys.executable, "-c", READ_STDIN]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert (expected in done.stdout, done.stdout.count("\n"), done.stderr) == (True, 1, "")
