"""`smallest config`: settings with their sources, changed without touching the rest of the file."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.support.command import Ran, smallest

COMMENTED = """\
# my settings
voice = "meher"  # the default

timeout = 5
"""


def config(home: Path, *arguments: str, **env: str) -> Ran:
    return smallest(home, "config", *arguments, env=env)


def file_of(home: Path) -> Path:
    return home / "config" / "config.toml"


@pytest.fixture
def commented(tmp_path: Path) -> Path:
    file_of(tmp_path).parent.mkdir(mode=0o700)
    file_of(tmp_path).write_text(COMMENTED)
    file_of(tmp_path).chmod(0o600)
    return tmp_path


def test_path_is_that_of_the_file(tmp_path: Path) -> None:
    assert config(tmp_path, "path").out.decode().strip() == str(file_of(tmp_path))


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("voice", "magnus", "magnus"), ("speed", "1.25", 1.25), ("speed", "2", 2), ("cache", "yes", True),
        ("sample_rate", "8000", 8000), ("local", "off", False), ("player", "sh -c cat", None),
    ],
)  # fmt: skip
def test_set_value_is_used_and_shown(name: str, typed: str, value: object, tmp_path: Path) -> None:
    assert config(tmp_path, "set", name, typed) == Ran(0, b"", "")
    value = typed if value is None else value
    assert tomllib.loads(file_of(tmp_path).read_text()) == {name: value}
    listed = json.loads(config(tmp_path, "list", "--json").out)["settings"]
    row = next(each for each in listed if each["name"] == name)
    assert row == {"name": name, "value": value, "source": str(file_of(tmp_path))}
    shown = {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    assert config(tmp_path, "get", name).out.decode() == f"{shown}\n"


def test_comments_and_other_settings_stay(commented: Path) -> None:
    assert config(commented, "set", "voice", "magnus").code == 0
    assert config(commented, "set", "retries", "0").code == 0
    assert config(commented, "unset", "timeout").code == 0
    text = file_of(commented).read_text()
    assert text == '# my settings\nvoice = "magnus"  # the default\n\nretries = 0\n'
    assert file_of(commented).stat().st_mode & 0o777 == 0o600


def test_link_into_a_dotfiles_repository_stays_a_link(commented: Path) -> None:
    real = file_of(commented).rename(commented / "dotfile.toml")
    file_of(commented).symlink_to(real)
    assert config(commented, "set", "voice", "magnus").code == 0
    assert file_of(commented).is_symlink()
    assert "magnus" in real.read_text()


def test_variable_is_named_as_source(commented: Path) -> None:
    ran = config(commented, "list", SMALLEST_VOICE="magnus")
    rows = dict(line.split("\t", 1) for line in ran.out.decode().splitlines())
    assert rows["voice"] == "magnus\tSMALLEST_VOICE"
    assert rows["timeout"] == f"5\t{file_of(commented)}"
    assert rows["speed"] == "1.0\tdefault"


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("set", "vioce", "x"), 2, "smallest: unknown setting 'vioce' (did you mean 'voice'?)"),
        (("get", "vioce"), 2, "smallest: unknown setting 'vioce' (did you mean 'voice'?)"),
        (("set", "speed", "fast"), 2, "smallest: speed must be a number, not fast"),
        (("set", "speed", "9"), 2, "smallest: speed: 9 is not from 0.5 to 2"),
        (("set", "via", "tcp"), 2, "smallest: via: tcp is not one of auto, ws, sse, http"),
        (("set", "local", "maybe"), 2, "smallest: local must be true or false, not maybe"),
        (
            ("set", "base_url", "https://me:secret@host/"),
            2,
            "smallest: base_url: a base URL must not contain",
        ),
        (("unset", "model"), 2, "smallest: model is not set in "),
    ],
)
def test_what_is_wrong_is_refused_and_changes_nothing(
    arguments: tuple[str, ...], code: int, line: str, commented: Path
) -> None:
    ran = config(commented, *arguments)
    assert (ran.code, ran.out) == (code, b"")
    assert ran.lines[0].startswith(line)
    assert file_of(commented).read_text() == COMMENTED


@pytest.mark.parametrize(
    ("name", "value", "warning"),
    [
        ("voice", "mehar", "saved, but unknown voice 'mehar' (did you mean meher"),
        ("language", "English", "saved, but unknown language 'English' (did you mean en?)"),
        ("player", "no-such-player -q", "saved, but no-such-player is not installed"),
        ("model", "lightning_v3.1", "saved, but SMALLEST_MODEL overrides it"),
    ],
)
def test_setting_without_the_wanted_effect_is_saved_with_a_warning(
    name: str, value: str, warning: str, tmp_path: Path
) -> None:
    ran = config(tmp_path, "set", name, value, SMALLEST_MODEL="lightning_v3.1_pro")
    assert (ran.code, len(ran.lines)) == (0, 1)
    assert ran.lines[0].startswith(f"smallest: warning: {warning}")
    assert value in file_of(tmp_path).read_text()


def test_base_url_must_be_one(tmp_path: Path) -> None:
    assert config(tmp_path, "set", "base_url", "gopher://x").code == 3
    assert not file_of(tmp_path).exists()


def test_key_is_not_a_setting(tmp_path: Path) -> None:
    ran = config(tmp_path, "set", "api_key", "sk_0123456789abcdef")
    assert (ran.code, "smallest login" in ran.err, "0123456789" in ran.err) == (2, True, False)
    assert not file_of(tmp_path).exists()


def test_invalid_setting_can_be_repaired(commented: Path) -> None:
    file_of(commented).write_text('via = "tcp"\n')
    assert config(commented, "list").code == 3
    assert config(commented, "set", "via", "ws").code == 0
    assert config(commented, "list").code == 0
