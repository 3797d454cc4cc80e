"""Reading text from arguments, files and stdin, up to the maximum length."""

from __future__ import annotations

import gzip
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smallest_cli.errors import UsageError
from smallest_cli.text.input import describe_binary, read_texts
from tests.support.audio import in_background, make_fifo

BOM = "\ufeff".encode()


@pytest.fixture(autouse=True)
def no_leaked_descriptors() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before  # descriptors of other tests may be closed meanwhile


def write_files(folder: Path, *contents: str | bytes) -> list[str]:
    """Write files and return their paths."""
    paths = [folder / f"{number}.txt" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [str(path) for path in paths]


def refusal(words: list[str], files: list[str], max_chars: int = 100) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read_texts(words, files, max_chars)
    assert str(caught.value).isprintable()
    return caught.value


# Words and files


@pytest.mark.parametrize(
    ("words", "text"),
    [(["Hello."], "Hello."), (["Hello", "there."], "Hello there."), ([""], ""), (["-5", "°C"], "-5 °C")],
)
def test_words_are_joined_by_a_blank(words: list[str], text: str) -> None:
    assert read_texts(words, [], 100) == [text]


def test_files_are_read_in_order(tmp_path: Path) -> None:
    first, second = write_files(tmp_path, "One.\r\n\n", "Zwei, drüben. 🙂")
    assert read_texts([], [second, first], 100) == ["Zwei, drüben. 🙂", "One.\r\n\n"]


@pytest.mark.parametrize("second", ["0.txt", "./0.txt", "link.txt", "hard.txt"])
def test_same_file_twice_is_a_usage_error(
    second: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path, "One.", "Two.")
    os.symlink("0.txt", "link.txt")
    os.link("0.txt", "hard.txt")
    error = refusal([], ["0.txt", "1.txt", second])
    twice = "0.txt is given twice" if second == "0.txt" else f"0.txt and {second} are the same source"
    assert (str(error), error.exit_code) == (f"--file: {twice}", 2)


def test_fifo_twice_is_a_usage_error(tmp_path: Path) -> None:
    fifo = make_fifo(tmp_path)
    assert str(refusal([], [str(fifo), str(fifo)])) == f"--file: {fifo} is given twice"


def test_file_may_be_a_fifo(tmp_path: Path) -> None:
    """As given by `-f <(program)`."""
    fifo = make_fifo(tmp_path)
    with in_background(lambda: fifo.write_text("Hello.")):
        assert read_texts([], [str(fifo)], 100) == ["Hello."]


@pytest.mark.parametrize(
    ("content", "text"),
    [(BOM + b"Hello.", "Hello."), (BOM, ""), (b"", ""), (BOM + BOM, "\ufeff"), (b"a" + BOM, "a\ufeff")],
)
def test_one_leading_byte_order_mark_is_removed(content: bytes, text: str, tmp_path: Path) -> None:
    assert read_texts([], write_files(tmp_path, content), 100) == [text]


@pytest.mark.parametrize(
    ("content", "byte"),
    [
        (b"\xff", 1), (b"caf\xe9", 4), ("é".encode() + b"\xe9", 3), (BOM + b"abc\xff", 7), (b"a\xe2\x82", 2),
        ("Hello.".encode("utf-16"), 1), (b"\xed\xa0\x80", 1), (b"\xc0\x80", 1),
    ],
)  # fmt: skip
def test_invalid_utf8_error_names_the_first_invalid_byte(content: bytes, byte: int, tmp_path: Path) -> None:
    error = refusal([], write_files(tmp_path, content))
    assert str(error) == f"{tmp_path}/0.txt is not UTF-8 text: byte {byte}"
    assert "iconv" in error.hint


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("Hello.".encode("utf-16"), "UTF-16"),
        ("Hello.".encode("utf-16-be"), "UTF-16BE"),
        ("Grüße.\n".encode("utf-16-le"), "UTF-16LE"),
        ("Hello.".encode("utf-32"), "UTF-32"),
        ("Hello.".encode("utf-32-le"), "UTF-32LE"),
        (gzip.compress(b"Hello.", mtime=0), "gzip data"),
        (b"PK\x03\x04\x14\0\6\0", "a zip archive or an office document"),
        (b"%PDF-1.7\n", "a PDF file"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "a WAV file"),
        ("Привет, мир".encode("utf-16-le"), "binary data"),
        (bytes(1024), "binary data"),
        ("Füße".encode("cp1252"), "text in another encoding"),
        ("Füße".encode()[:-2] + b" x", "text in another encoding"),
    ],
)
def test_bytes_that_are_not_text_are_described(content: bytes, kind: str, tmp_path: Path) -> None:
    assert describe_binary(content) == kind
    error = refusal([], write_files(tmp_path, content), 10_000)
    assert " is not UTF-8 text: byte " in str(error)
    encoding = kind if kind.startswith("UTF") else "ENCODING"
    assert error.hint.endswith(f"iconv -f {encoding} -t UTF-8")
    assert (f"it looks like {kind}; " in error.hint) == (kind != "text in another encoding")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"Hello.", BOM + b"Hello.", b"Be\x00ll\x07s and \x1bwhistles.", b"RIFFs and jazz", b"a",
        "日本語".encode() * 200, "Füße 🙂".encode()[:-1], "語".encode()[:1],
        b"\x1b[1mBold\x1b[0m" * 9, b"\b_" * 99,
    ],
)  # fmt: skip
def test_text_is_not_described_as_binary(content: bytes) -> None:
    assert describe_binary(content[:1024]) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "No such file or directory"), (".", "Is a directory"), ("0.txt/a", "Not a directory"),
        ("a\x1b[31m", "No such file or directory"),
    ],
)  # fmt: skip
def test_unreadable_file_is_a_usage_error_with_its_reason(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = write_files(tmp_path, "Hello.")
    error = refusal([], [*good, name])
    assert str(error) == f"cannot read {name}: {words}".replace("\x1b", r"\x1b")
    assert error.exit_code == 2
    assert str(refusal([], [*good, ""])) == "--file is empty"


@pytest.mark.parametrize("words", [["caf\udce9"], ["Hello", "\udcff\udcfe"], ["a\ud800"]])
def test_words_that_are_not_utf8_are_refused(words: list[str]) -> None:
    error = refusal(words, [])
    assert str(error).startswith("the text is not valid UTF-8: ")
    assert r"\ud" in str(error)


def test_words_and_files_together_are_refused_before_reading(tmp_path: Path) -> None:
    for words in (["Hello."], [""]):
        assert (
            str(refusal(words, [str(tmp_path / "nowhere")])) == "text was given twice: as words and as --file"
        )


# Maximum length


@pytest.mark.parametrize("character", ["a", "é", "語", "🙂"])
@pytest.mark.parametrize("mark", [b"", BOM])
def test_max_chars_counts_characters_not_bytes(character: str, mark: bytes, tmp_path: Path) -> None:
    [path] = write_files(tmp_path, mark + character.encode() * 10)
    assert read_texts([], [path], 10) == [character * 10]
    error = refusal([], [path], 9)
    assert str(error) == "the text is longer than 9 characters"
    assert "--max-chars" in error.hint
    assert read_texts([character * 10], [], 10) == [character * 10]
    refusal([character * 10], [], 9)
    assert read_texts([], [path], 0) == [character * 10]


def test_max_chars_applies_to_all_texts_together(tmp_path: Path) -> None:
    files = write_files(tmp_path, "abc", "def", "ghi")
    assert read_texts([], files, 9) == ["abc", "def", "ghi"]
    refusal([], files, 8)
    assert read_texts(["abc", "de"], [], 6) == ["abc de"]
    refusal(["abc", "de"], [], 5)


def test_endless_file_is_refused_at_the_limit() -> None:
    assert str(refusal([], ["/dev/zero"])) == "the text is longer than 100 characters"


@pytest.mark.parametrize("max_chars", [10**10, 10**19, 10**400])
def test_huge_max_chars_is_accepted(max_chars: int, tmp_path: Path) -> None:
    files = write_files(tmp_path, "Hello.", BOM + b"a" * 1_000_000)
    assert read_texts([], files, max_chars) == ["Hello.", "a" * 1_000_000]


# Stdin, in a child process

READ = """
import json, sys
from smallest_cli.errors import UsageError
from smallest_cli.text.input import read_texts
try:
    print(json.dumps(read_texts([], sys.argv[2:], int(sys.argv[1]))))
except UsageError as error:
    print(f"{error.exit_code} {error}; {error.hint}")
"""
NO_TEXT = '2 no text; give it as words, with -f FILE, or on stdin: smallest speak "Hello"\n'


def read(*files: str, given: bytes = b"", redirect: str = "", max_chars: int = 100) -> str:
    """Return the texts read, or the error, in a locale that is not UTF-8."""
    command = ["sh", "-c", f'exec "$0" "$@" {redirect}', sys.executable, "-c", READ, str(max_chars), *files]
    env = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True, env=env).stdout.decode()


@pytest.mark.parametrize("files", [(), ("-",)])
def test_stdin_is_read_for_a_dash_or_without_arguments(files: tuple[str, ...]) -> None:
    assert read(*files, given=BOM + "Grüße.\n".encode()) == '["Gr\\u00fc\\u00dfe.\\n"]\n'
    assert read(*files, given=b"") == '[""]\n'
    assert read(*files, given=b"a\xff") == (
        "2 stdin is not UTF-8 text: byte 2; convert it first: iconv -f ENCODING -t UTF-8\n"
    )


def test_stdin_can_be_one_of_several_files(tmp_path: Path) -> None:
    one, two = write_files(tmp_path, "one", "two")
    assert read(one, "-", two, given=b"in between") == '["one", "in between", "two"]\n'
    assert read(one, given=b"not asked for") == '["one"]\n'


def test_stdin_twice_is_a_usage_error(tmp_path: Path) -> None:
    (path,) = write_files(tmp_path, "one")
    hint = "; give each source once\n"
    assert read("-", "-", given=b"Hello.") == f"2 --file: stdin is given twice{hint}"
    assert (
        read("-", "/dev/stdin", given=b"Hello.")
        == f"2 --file: stdin and /dev/stdin are the same source{hint}"
    )
    assert read(path, "-", redirect=f"<{path}") == f"2 --file: {path} and stdin are the same source{hint}"


def test_endless_stdin_is_refused_at_the_limit() -> None:
    output = read(redirect="</dev/zero", max_chars=1_000)
    assert output.startswith("2 the text is longer than 1000 characters; ")


@pytest.mark.parametrize("files", [(), ("-",)])
def test_closed_or_unreadable_stdin_message(files: tuple[str, ...]) -> None:
    assert read(*files, redirect="<&-") == NO_TEXT
    assert read(*files, redirect="0>/dev/null") == "2 cannot read stdin: Bad file descriptor; \n"


@pytest.mark.parametrize("files", [(), ("-",)])
def test_terminal_stdin_is_not_read(files: tuple[str, ...]) -> None:
    parent, child = pty.openpty()
    command = [sys.executable, "-c", READ, "100", *files]
    done = subprocess.run(command, stdin=child, stdout=subprocess.PIPE, check=True)
    os.close(child)
    os.close(parent)
    assert done.stdout.decode() == NO_TEXT
