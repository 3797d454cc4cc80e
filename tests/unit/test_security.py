"""Keys never appear in output, and untrusted text cannot send control sequences to a terminal."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import re
import traceback
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallest_cli.errors import SettingsError
from smallest_cli.models import Service
from smallest_cli.security import KEY_LENGTH, SHOWN_LENGTH, Secret, escape, printable, redact_all
from tests.support import echoes

KEY = "sk_0123456789abcdefWXYZ"
SECRET = Secret(KEY, "SMALLEST_API_KEY")

fuzz = settings(deadline=None, max_examples=300)


@fuzz
@given(st.text())
def test_escape_works_per_character_and_never_shortens(text: str) -> None:
    shown = escape(text)
    assert len(shown) >= len(text)
    assert shown == "".join(map(escape, text))


def leaks(shown: str, key: str = KEY) -> bool:
    """Whether more of the key than its last four characters can be read in `shown`."""
    return any(key[at : at + 5] in shown for at in range(len(key) - 4))


# Secret

FORMATTERS: list[Callable[[Secret], Any]] = [
    repr,
    str,
    ascii,
    lambda secret: f"{secret}",
    lambda secret: f"{secret!r} {secret!s} {secret!a}",
    lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
    lambda secret: "{} {!r}".format(secret, secret),  # noqa: UP032
    lambda secret: format(secret, ""),
    lambda secret: repr([secret, {"key": secret}, (secret,)]),
    lambda secret: repr(Service("https://api.smallest.ai", secret)),
    lambda secret: logging.LogRecord("x", 20, "x", 1, "%s", (secret,), None).getMessage(),
    lambda secret: str(Exception(secret)) + repr(Exception(secret)),
    lambda secret: "".join(traceback.format_exception(ValueError(secret))),
    lambda secret: dir(secret),
    lambda secret: secret.source,
    lambda secret: json.dumps({"key": secret}, default=str),
]


@pytest.mark.parametrize("show", FORMATTERS)
def test_secret_never_appears_in_formatted_output(show: Callable[[Secret], Any]) -> None:
    assert not leaks(str(show(SECRET)))


@pytest.mark.parametrize(
    "dump",
    [
        pickle.dumps,
        lambda secret: pickle.dumps(secret, protocol=0),
        lambda secret: pickle.dumps(Service("https://api.smallest.ai", secret)),
        copy.copy,
        copy.deepcopy,
        vars,
        json.dumps,
        lambda secret: format(secret, ">40"),
        lambda secret: f"{secret:s}",
        lambda secret: secret + "",
        lambda secret: "".join(secret),
        lambda secret: bytes(secret),
        lambda secret: secret[0],
        lambda secret: len(secret),
    ],
)
def test_secret_cannot_be_serialized_or_converted(dump: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError) as caught:
        dump(SECRET)
    assert not leaks(str(caught.value))


def test_only_reveal_returns_the_key() -> None:
    assert SECRET.reveal() == KEY
    assert SECRET.source == "SMALLEST_API_KEY"
    assert not hasattr(SECRET, "__dict__")
    public = [name for name in dir(SECRET) if not name.startswith("_")]
    assert public == ["reveal", "source"]


def test_keys_with_the_same_last_four_characters_have_the_same_repr() -> None:
    other = Secret("sk_another_key_of_WXYZ", "x")
    assert repr(other) == repr(SECRET)


@pytest.mark.parametrize("length", [1, 2, 4, 5, 8, 15])
def test_short_key_shows_none_of_its_characters(length: int) -> None:
    key = "abcdefghijklmnopq"[:length]
    assert not set(key) & set(repr(Secret(key, "x")))


@pytest.mark.parametrize("length", [16, 17, 64, KEY_LENGTH])
def test_long_key_shows_only_its_last_four_characters(length: int) -> None:
    key = "k" * (length - 4) + "WXYZ"
    shown = repr(Secret(key, "x"))
    assert shown.endswith("WXYZ")
    assert "k" not in shown
    assert len(shown) <= 8


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
def test_trailing_line_end_is_stripped(end: str) -> None:
    assert Secret(KEY + end, "a file").reveal() == KEY


BAD = [*"\n\r\0\x1b\x7f\t \"'", *"é\xa0\x85\u2028\u202e\ufeffｋ\ud800"]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("form", ["{bad}" + KEY, KEY[:9] + "{bad}" + KEY[9:], KEY + "{bad}."])
def test_invalid_character_in_key_is_refused_without_showing_the_key(bad: str, form: str) -> None:
    value = form.format(bad=bad)
    with pytest.raises(SettingsError) as caught:
        Secret(value, "SMALLEST_API_KEY")
    message = str(caught.value) + caught.value.hint + repr(caught.value)
    assert not any(value[at : at + 4] in message for at in range(len(value) - 3))
    assert message.isprintable()
    assert "SMALLEST_API_KEY" in message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quoted_key_is_refused(quote: str) -> None:
    with pytest.raises(SettingsError):
        Secret(quote + KEY + quote, "x")


@pytest.mark.parametrize("bad", [KEY + " ", KEY + "\t", KEY + "\n ", " " + KEY])
def test_other_whitespace_around_a_key_is_refused(bad: str) -> None:
    with pytest.raises(SettingsError):
        Secret(bad, "x")


@pytest.mark.parametrize("empty", ["", "\n", "\r\n", " ", "\t"])
def test_empty_key_is_refused(empty: str) -> None:
    with pytest.raises(SettingsError):
        Secret(empty, "x")


def test_overlong_key_is_refused_without_showing_it() -> None:
    key = KEY * 40
    assert len(key) > KEY_LENGTH
    with pytest.raises(SettingsError) as caught:
        Secret(key, "x")
    assert not leaks(str(caught.value) + caught.value.hint, key)


@fuzz
@given(st.text(st.characters(), min_size=8, max_size=600))
def test_any_text_is_a_valid_header_value_or_refused_without_showing_it(value: str) -> None:
    try:
        secret = Secret(value, "x")
    except SettingsError as error:
        # No six characters of it in a row may be shown, except those of the message itself.
        message = str(error) + error.hint
        ours = "the key from x has a character at position that is not valid set the bare key: no quotes, "
        ours += "spaces or line breaks is empty longer than characters"
        runs = {value[at : at + 6] for at in range(len(value) - 5)}
        assert not [run for run in runs if run in message and run not in ours]
    else:
        assert re.fullmatch(r"[\x21\x23-\x26\x28-\x7e]{1,512}", secret.reveal())


# printable()


@fuzz
@given(st.text(st.characters()), st.integers(1, 400))
def test_printable_returns_one_line_of_limited_length(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    assert len(shown) <= limit
    assert not any(
        unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for character in shown
    )


@fuzz
@given(st.text(st.characters()))
def test_printable_output_is_utf8_encodable_and_idempotent(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    assert printable(shown) == shown


@fuzz
@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_printable_text_is_unchanged(text: str) -> None:
    assert printable(text, max(1, len(text))) == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x07", "\\x07"),
        ("\x00", "\\x00"),
        ("\x08", "\\x08"),
        ("\x0b", "\\x0b"),
        ("\x0c", "\\x0c"),
        ("\x7f", "\\x7f"),
        ("\x85", "\\x85"),  # next line
        ("\x9b31m", "\\x9b31m"),  # C1: a control sequence in one character
        ("\x9d0;title\x9c", "\\x9d0;title\\x9c"),
        ("\u202eevil", "\\u202eevil"),
        ("\u202a\u202b\u202c\u202d", "\\u202a\\u202b\\u202c\\u202d"),
        ("\u2066\u2067\u2068\u2069", "\\u2066\\u2067\\u2068\\u2069"),
        ("\u200e\u200f\u061c", "\\u200e\\u200f\\u061c"),
        ("\u200b\u200c\u200d\u2060\ufeff", "\\u200b\\u200c\\u200d\\u2060\\ufeff"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\u00ad", "\\xad"),
        ("\U000e0041", "\\U000e0041"),  # a tag character
        ("\ud800", "\\ud800"),
        ("\ue000", "\\ue000"),
        ("a\tb\nc\rd\r\ne", "a b c d  e"),
        ("plain text, with 'quotes' and é 語 नमस्ते", "plain text, with 'quotes' and é 語 नमस्ते"),
        ("", ""),
    ],
)
def test_control_and_format_characters_are_escaped(raw: str, shown: str) -> None:
    assert printable(raw) == shown


def test_long_text_is_truncated_with_an_ellipsis() -> None:
    assert printable("a" * SHOWN_LENGTH) == "a" * SHOWN_LENGTH
    assert printable("a" * (SHOWN_LENGTH + 1)) == "a" * (SHOWN_LENGTH - 1) + "…"
    assert printable("abcdef", 4) == "abc…"
    assert len(printable("\x1b" * 10**6)) == SHOWN_LENGTH


@pytest.mark.parametrize("value", [None, 7, 1.5, ["a\x1b"], {"a": "\u202e"}, b"\x1b", ValueError("\x1b")])
def test_printable_accepts_any_object(value: object) -> None:
    assert printable(value).isprintable()


KEY_OF_20 = "sk_0123456789abcdefghij"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"Bearer {KEY_OF_20} is wrong", "Bearer [key] is wrong"),
        (f"starts with {KEY_OF_20[:8]}", "starts with [key]"),
        (f"ends with {KEY_OF_20[-9:]}.", "ends with [key]."),
        (f"{KEY_OF_20}{KEY_OF_20}", "[key]"),
        (f"seven: {KEY_OF_20[3:10]}", f"seven: {KEY_OF_20[3:10]}"),
        ("nothing of it", "nothing of it"),
    ],
)
def test_echoed_key_is_redacted(text: str, shown: str) -> None:
    Secret(KEY_OF_20, "a test")
    assert printable(text) == shown


@pytest.mark.parametrize("form", echoes.FORMS)
def test_key_is_redacted_in_whatever_form_it_is_echoed(form: str) -> None:
    Secret(echoes.KEY, "a test")
    for before, after in (("", ""), ("Bearer ", " is wrong"), ("क्", "ष"), ("%", "%"), ("&#", ";")):
        shown = printable(f"{before}{echoes.FORMS[form](echoes.KEY)}{after}")
        assert not echoes.leaked(shown), shown
        assert "[key]" in shown


@pytest.mark.parametrize("length", [8, 19, 20, 64, KEY_LENGTH])
@pytest.mark.parametrize("limit", [20, 80, 300])
def test_truncation_leaves_no_part_of_a_key(length: int, limit: int) -> None:
    key = "".join(chr(33 + at * 7 % 90) for at in range(length)).replace('"', "a").replace("'", "b")
    Secret(key, "a test")
    for before in range(40):
        shown = printable("." * before + f"{key} " * 900, limit)
        assert key[:7] not in shown


def test_short_key_is_redacted_only_if_complete() -> None:
    Secret("shortkey1", "a test")
    assert printable("the key shortkey1 and shortkey") == "the key [key] and shortkey"
    Secret("tiny", "a test")
    assert printable("a tiny key is not looked for") == "a tiny key is not looked for"


def test_texts_of_a_json_value_are_redacted_but_audio_is_not() -> None:
    Secret(KEY_OF_20, "a test")
    value = {"audio": KEY_OF_20, "list": [KEY_OF_20, 1, None, {KEY_OF_20: (KEY_OF_20, 2.5)}]}
    assert redact_all(value) == {"audio": KEY_OF_20, "list": ["[key]", 1, None, {"[key]": ["[key]", 2.5]}]}
