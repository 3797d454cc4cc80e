"""Text in: from words, files and a real stdin, whole, and never more than was asked for."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smallest_cli.errors import UsageError
from smallest_cli.text.input import read_texts
from tests.support.audio import in_background, make_fifo

BOM = "\ufeff".encode()


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before  # what others left may go meanwhile


def written(folder: Path, *contents: str | bytes) -> list[str]:
    """Files, by their names."""
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


def test_files_are_texts_in_their_order(tmp_path: Path) -> None:
    first, second = written(tmp_path, "One.\r\n\n", "Zwei, drüben. 🙂")
    assert read_texts([], [second, first, second], 100) == [
        "Zwei, drüben. 🙂",
        "One.\r\n\n",
        "Zwei, drüben. 🙂",
    ]


def test_a_file_may_be_a_fifo(tmp_path: Path) -> None:
    """As `-f <(program)` names one."""
    fifo = make_fifo(tmp_path)
    with in_background(lambda: fifo.write_text("Hello.")):
        assert read_texts([], [str(fifo)], 100) == ["Hello."]


@pytest.mark.parametrize(
    ("content", "text"),
    [(BOM + b"Hello.", "Hello."), (BOM, ""), (b"", ""), (BOM + BOM, "\ufeff"), (b"a" + BOM, "a\ufeff")],
)
def test_a_byte_order_mark_is_no_text(content: bytes, text: str, tmp_path: Path) -> None:
    assert read_texts([], written(tmp_path, content), 100) == [text]


@pytest.mark.parametrize(
    ("content", "byte"),
    [
        (b"\xff", 1), (b"caf\xe9", 4), ("é".encode() + b"\xe9", 3), (BOM + b"abc\xff", 7), (b"a\xe2\x82", 2),
        ("Hello.".encode("utf-16"), 1), (b"\xed\xa0\x80", 1), (b"\xc0\x80", 1),
    ],
)  # fmt: skip
def test_what_is_not_utf_8_names_the_first_wrong_byte(content: bytes, byte: int, tmp_path: Path) -> None:
    error = refusal([], written(tmp_path, content))
    assert str(error) == f"{tmp_path}/0.txt is not UTF-8 text: byte {byte}"
    assert "iconv" in error.hint


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "No such file or directory"), (".", "Is a directory"), ("0.txt/a", "Not a directory"),
        ("a\x1b[31m", "No such file or directory"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_one_clear_line(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = written(tmp_path, "Hello.")
    error = refusal([], [*good, name])
    assert str(error) == f"cannot read {name}: {words}".replace("\x1b", r"\x1b")
    assert error.exit_code == 2
    assert str(refusal([], [*good, ""])) == "--file is empty"


def test_words_and_files_together_are_refused_and_nothing_is_read(tmp_path: Path) -> None:
    for words in (["Hello."], [""]):
        assert (
            str(refusal(words, [str(tmp_path / "nowhere")])) == "text was given twice: as words and as --file"
        )


# Never more than was asked for


@pytest.mark.parametrize("character", ["a", "é", "語", "🙂"])
@pytest.mark.parametrize("mark", [b"", BOM])
def test_the_bound_is_in_characters_whatever_their_size(character: str, mark: bytes, tmp_path: Path) -> None:
    [path] = written(tmp_path, mark + character.encode() * 10)
    assert read_texts([], [path], 10) == [character * 10]
    error = refusal([], [path], 9)
    assert str(error) == "the text is longer than 9 characters"
    assert "--max-chars" in error.hint
    assert read_texts([character * 10], [], 10) == [character * 10]
    refusal([character * 10], [], 9)
    assert read_texts([], [path], 0) == [character * 10]


def test_the_bound_is_for_all_texts_together(tmp_path: Path) -> None:
    files = written(tmp_path, "abc", "def", "ghi")
    assert read_texts([], files, 9) == ["abc", "def", "ghi"]
    refusal([], files, 8)
    assert read_texts(["abc", "de"], [], 6) == ["abc de"]
    refusal(["abc", "de"], [], 5)


def test_a_text_without_end_is_not_read_to_it() -> None:
    assert str(refusal([], ["/dev/zero"])) == "the text is longer than 100 characters"


@pytest.mark.parametrize("max_chars", [10**10, 10**19, 10**400])
def test_a_bound_that_no_memory_holds_is_a_bound_like_any(max_chars: int, tmp_path: Path) -> None:
    files = written(tmp_path, "Hello.", BOM + b"a" * 1_000_000)
    assert read_texts([], files, max_chars) == ["Hello.", "a" * 1_000_000]


# Stdin, in a process of its own

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
    """What is read, or said, in a locale that is not UTF-8."""
    command = ["sh", "-c", f'exec "$0" "$@" {redirect}', sys.executable, "-c", READ, str(max_chars), *files]
    env = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True, env=env).stdout.decode()


@pytest.mark.parametrize("files", [(), ("-",)])
def test_stdin_is_read_where_it_is_named_or_nothing_is(files: tuple[str, ...]) -> None:
    assert read(*files, given=BOM + "Grüße.\n".encode()) == '["Gr\\u00fc\\u00dfe.\\n"]\n'
    assert read(*files, given=b"") == '[""]\n'
    assert read(*files, given=b"a\xff") == (
        "2 stdin is not UTF-8 text: byte 2; convert it first: iconv -f ENCODING -t UTF-8\n"
    )


def test_stdin_is_one_of_several_files(tmp_path: Path) -> None:
    one, two = written(tmp_path, "one", "two")
    assert read(one, "-", two, given=b"in between") == '["one", "in between", "two"]\n'
    assert read(one, given=b"not asked for") == '["one"]\n'


def test_a_stdin_without_end_is_not_read_to_it() -> None:
    said = read(redirect="</dev/zero", max_chars=1_000)
    assert said.startswith("2 the text is longer than 1000 characters; ")


@pytest.mark.parametrize("files", [(), ("-",)])
def test_a_stdin_that_gives_no_text_is_one_clear_line(files: tuple[str, ...]) -> None:
    assert read(*files, redirect="<&-") == NO_TEXT
    assert read(*files, redirect="0>/dev/null") == "2 cannot read stdin: Bad file descriptor; \n"


@pytest.mark.parametrize("files", [(), ("-",)])
def test_a_terminal_is_not_waited_for(files: tuple[str, ...]) -> None:
    parent, child = pty.openpty()
    command = [sys.executable, "-c", READ, "100", *files]
    done = subprocess.run(command, stdin=child, stdout=subprocess.PIPE, check=True)
    os.close(child)
    os.close(parent)
    assert done.stdout.decode() == NO_TEXT
