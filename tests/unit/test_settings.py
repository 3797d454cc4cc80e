"""Settings: precedence of the sources, and errors that show no secrets."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from smallest_cli.errors import SettingsError, SmallestError, UsageError
from smallest_cli.settings import (
    DEFAULT_BASE_URL,
    NO_HOME,
    Settings,
    config_folder,
    home_folder,
    load_settings,
    read_private,
    user_folder,
)
from tests.support.command import smallest

SECRET = "sk_0123456789abcdef"


@dataclass
class Home:
    """A config folder and the environment variables that select it."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.folder / "config.toml"

    def write(self, text: str | bytes, mode: int = 0o600) -> None:
        self.file.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.file.chmod(mode)

    def load(self, **flags: Any) -> Settings:
        return load_settings(flags, self.environ | {"SMALLEST_CONFIG_DIR": str(self.folder)})

    def refusal(self, **flags: Any) -> SmallestError:
        """Return the error of a load, and check that it is one line without the secret."""
        with pytest.raises(SmallestError) as caught:
            self.load(**flags)
        assert str(caught.value).isprintable()
        assert SECRET not in str(caught.value) + caught.value.hint
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        return caught.value


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    before = set(os.listdir("/proc/self/fd"))
    yield Home(tmp_path)
    assert set(os.listdir("/proc/self/fd")) <= before  # descriptors of other tests may be closed meanwhile


# Precedence


def test_byte_order_mark_is_ignored(home: Home) -> None:
    home.write(b'\xef\xbb\xbfvoice = "magnus"\n')
    assert home.load().voice == "magnus"
    home.write(b'\xef\xbb\xbf\xef\xbb\xbfvoice = "magnus"\n')
    assert "not valid TOML" in str(home.refusal())


def test_defaults_apply_without_any_source(home: Home) -> None:
    assert home.load() == Settings()
    assert (home.load().base_url, dict(home.load().sources)) == (DEFAULT_BASE_URL, {})


@pytest.mark.parametrize(
    ("in_file", "in_environment", "flag", "voice", "source"),
    [
        (False, False, False, None, None), (True, False, False, "of the file", "{file}"),
        (False, True, False, "of a shell", "SMALLEST_VOICE"), (False, True, True, "of a flag", "--voice"),
        (True, True, False, "of a shell", "SMALLEST_VOICE"), (True, True, True, "of a flag", "--voice"),
    ],
)  # fmt: skip
def test_flag_precedes_environment_precedes_file(
    in_file: bool, in_environment: bool, flag: bool, voice: str | None, source: str | None, home: Home
) -> None:
    if in_file:
        home.write('voice = "of the file"')
    if in_environment:
        home.environ["SMALLEST_VOICE"] = "of a shell"
    settings = home.load(voice="of a flag" if flag else None)
    assert settings.voice == voice
    assert settings.sources.get("voice") == (source and source.format(file=home.file))


EVERYTHING = {
    "base_url": "http://a/b", "voice": "magnus", "model": "m", "language": "en", "speed": 1.5,
    "sample_rate": 8_000, "via": "sse", "api": "v2", "local": True, "ca_file": "/ca", "timeout": 3.5,
    "completion_wait": 0, "retries": 0,
}  # fmt: skip
IN_TOML = "".join(f"{name} = {value!r}\n" for name, value in EVERYTHING.items()).replace("True", "true")


def test_file_sets_everything_except_flag_only_settings(home: Home) -> None:
    home.write(IN_TOML + "plain_http = true")
    settings = home.load()
    assert {name: getattr(settings, name) for name in EVERYTHING} == EVERYTHING
    assert set(settings.sources.values()) == {str(home.file)}
    assert (settings.plain_http, settings.warnings) == (False, ("config.toml: unknown setting 'plain_http'",))
    assert home.load(plain_http=True).plain_http


def test_flags_set_everything_and_are_named_as_source(home: Home) -> None:
    home.write('speed = 9\nvia = "http"')  # unused values are not validated
    flags = {name: value for name, value in EVERYTHING.items() if name != "local"}
    settings = home.load(**flags, plain_http=True, output="not a setting", force=True)
    assert {name: getattr(settings, name) for name in flags} == flags
    assert settings.sources["completion_wait"] == "--completion-wait"
    assert set(settings.sources) == {*flags, "plain_http"}


def test_environment_sets_the_documented_settings_only(home: Home) -> None:
    home.environ = {
        "SMALLEST_BASE_URL": "http://a", "SMALLEST_VOICE": "v", "SMALLEST_MODEL": "m", "SMALLEST_LOCAL": "1",
        "SMALLEST_CA_FILE": "/ca", "SMALLEST_SPEED": "9", "SMALLEST_PLAIN_HTTP": "1",
    }  # fmt: skip
    settings = home.load()
    assert (settings.base_url, settings.voice, settings.model) == ("http://a", "v", "m")
    assert (settings.ca_file, settings.local) == ("/ca", True)
    assert (settings.speed, settings.plain_http) == (1.0, False)
    home.environ = dict.fromkeys(home.environ, "")
    assert home.load() == Settings()


@pytest.mark.parametrize(
    ("word", "local"),
    [(word, False) for word in ("0", "false", "FALSE", "no", "No", "off", "")]
    + [(word, True) for word in ("1", "true", "yes", "on", "ON ")],
)
def test_boolean_spellings_of_local(word: str, local: bool, home: Home) -> None:
    home.environ["SMALLEST_LOCAL"] = word
    assert home.load().local is local
    assert home.load(local=True).local


@pytest.mark.parametrize("word", ["maybe", "x", "2", "\x1b[31m"])
def test_invalid_boolean_for_local_is_refused(word: str, home: Home) -> None:
    home.environ["SMALLEST_LOCAL"] = word
    error = home.refusal()
    assert type(error) is SettingsError
    assert str(error).startswith("SMALLEST_LOCAL: ")
    assert str(error).endswith("is not one of 1, true, yes, on, 0, false, no, off")
    assert home.load(local=True).local  # unused values are not validated


@pytest.mark.parametrize(
    ("in_file", "in_environment", "flags", "local", "source"),
    [
        ("", {"SMALLEST_LOCAL": "1"}, {"base_url": "http://a"}, False, "--base-url"),
        ("local = true", {}, {"base_url": "http://a"}, False, "--base-url"),
        ("local = true", {"SMALLEST_BASE_URL": "http://a"}, {}, False, "SMALLEST_BASE_URL"),
        ("", {"SMALLEST_LOCAL": "1", "SMALLEST_BASE_URL": "http://a"}, {}, True, "SMALLEST_LOCAL"),
        ("", {"SMALLEST_BASE_URL": "http://a"}, {"local": True}, True, "--local"),
        ('base_url = "http://a"', {"SMALLEST_LOCAL": "1"}, {}, True, "SMALLEST_LOCAL"),
        ('base_url = "http://a"\nlocal = true', {}, {}, True, "{file}"),
    ],
)
def test_service_of_the_source_with_precedence_is_used(
    in_file: str, in_environment: dict[str, str], flags: dict[str, Any], local: bool, source: str, home: Home
) -> None:
    home.write(in_file)
    home.environ = in_environment
    settings = home.load(**flags)
    assert settings.local is local
    assert settings.sources["local"] == source.format(file=home.file)


def test_local_and_base_url_flags_are_refused_together(home: Home) -> None:
    error = home.refusal(local=True, base_url="http://a")
    assert (type(error), str(error)) == (UsageError, "--local and --base-url cannot be combined")


@pytest.mark.parametrize("value", ["", " "])
@pytest.mark.parametrize("name", ["model", "language", "voice", "base_url", "ca_file"])
def test_empty_flag_is_refused(name: str, value: str, home: Home) -> None:
    error = home.refusal(**{name: value})
    assert (type(error), str(error)) == (UsageError, f"--{name.replace('_', '-')}: {name} is empty")


def test_empty_setting_is_refused(home: Home) -> None:
    home.write('model = ""')
    error = home.refusal()
    assert (type(error), str(error)) == (SettingsError, f"{home.file}: model is empty")


def test_unknown_transport_error_lists_auto_too(home: Home) -> None:
    error = home.refusal(via="nope")
    assert (type(error), str(error)) == (UsageError, "--via: nope is not one of auto, ws, sse, http")


def test_auto_is_sse_from_file_and_flag(home: Home) -> None:
    home.write('via = "ws"')
    assert (home.load().via, home.load(via="auto").via) == ("ws", "sse")
    home.write('via = "auto"')
    assert (home.load().via, home.load(via="http").via) == ("sse", "http")


def test_unknown_settings_give_warnings(home: Home) -> None:
    home.write(f'voise = "meher"\n"a\\u001b[31m" = 1\napi_key = "{SECRET}"\n[speak]\nvoice = "x"')
    unknown = (
        "'voise' (did you mean 'voice'?)",
        r"'a\x1b[31m'",
        "'api_key' (keys are saved by smallest login, or set in SMALLEST_API_KEY)",
        "'speak' (did you mean 'speed'?)",
    )
    assert home.load() == Settings(warnings=tuple(f"config.toml: unknown setting {each}" for each in unknown))


# Invalid values: a UsageError for a flag, a SettingsError otherwise

BAD = [
    ("speed", 0.49), ("speed", 2.01), ("speed", float("nan")), ("speed", float("inf")), ("speed", -1),
    ("sample_rate", 22_050), ("sample_rate", 0), ("timeout", 0), ("timeout", 3_601), ("timeout", -0.5),
    ("completion_wait", -1), ("completion_wait", 10_001), ("retries", -1), ("retries", 21), ("via", "grpc"),
    ("voice", ""), ("ca_file", " "), ("player", "a\0b"),
    ("retries", 10**400), ("via", ""), ("via", "WS"), ("api", "v1"), ("api", "\x1b[31m" + "x" * 500),
]  # fmt: skip
GOOD = [
    ("speed", 0.5), ("speed", 2), ("timeout", 0.01), ("timeout", 3_600), ("completion_wait", 0),
    ("completion_wait", 10_000), ("retries", 0), ("retries", 20), ("sample_rate", 44_100), ("api", "v3.1"),
]  # fmt: skip


def toml(value: object) -> str:
    return (
        f'"{value}"'.replace("\x1b", "\\u001b").replace("\0", "\\u0000")
        if isinstance(value, str)
        else str(value)
    )


@pytest.mark.parametrize(("name", "value"), BAD)
def test_out_of_range_error_names_its_source(name: str, value: Any, home: Home) -> None:
    error = home.refusal(**{name: value})
    assert type(error) is UsageError
    assert str(error).startswith(f"--{name.replace('_', '-')}: ")
    home.write(f"{name} = {toml(value)}")
    error = home.refusal()
    assert type(error) is SettingsError
    assert str(error).startswith((f"{home.file}: {name}: ", f"{home.file}: {name} "))
    assert len(str(error)) < 200 + len(str(home.file))


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_range_limits_are_inclusive(name: str, value: Any, home: Home) -> None:
    home.write(f"{name} = {toml(value)}")
    assert getattr(home.load(), name) == getattr(home.load(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("voice = 1", "a string"), ("voice = true", "a string"),
        ("voice = ['a']", "a string"), ("base_url = {a = 1}", "a string"),
        ("[ca_file]", "a string"), ("speed = '1.0'", "a number"), ("speed = true", "a number"),
        ("timeout = 2026-01-01", "a number"), ("sample_rate = 8000.0", "a whole number"),
        ("sample_rate = true", "a whole number"), ("retries = 1.5", "a whole number"),
        ("local = 'yes'", "true or false"), ("local = 1", "true or false"),
    ],
)  # fmt: skip
def test_value_of_the_wrong_type_is_refused(line: str, kind: str, home: Home) -> None:
    home.write(line)
    error = home.refusal()
    assert type(error) is SettingsError
    assert str(error) == f"{home.file}: {line.split()[0].strip('[]')} must be {kind}"


@pytest.mark.parametrize(
    ("text", "position"),
    [
        (f"voice = {SECRET}", " (at line 1, column 9)"), (f'a = "b"\nx = "{SECRET}', " (at end of document)"),
        (f"{SECRET} = 1\n{SECRET} = 2\n", " (at line 2, column 24)"), ("[", " (at end of document)"),
        (f"[{SECRET} x]", " (at line 1, column 22)"), ("x = " + "1" * 5_000, ""), ("x = " + "[" * 5_000, ""),
    ],
)  # fmt: skip
def test_invalid_toml_error_gives_the_position_and_no_content(text: str, position: str, home: Home) -> None:
    home.write(text)
    assert str(home.refusal()) == f"{home.file} is not valid TOML{position}"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o601])
def test_file_readable_by_others_is_refused_with_chmod_hint(mode: int, home: Home) -> None:
    """A file with keys; see the next test for config.toml."""
    home.write("{}", mode)
    with pytest.raises(SettingsError, match=f"^{home.file} is readable by other users$") as caught:
        read_private(home.file)
    assert (caught.value.hint, caught.value.exit_code) == (f"chmod 600 {home.file}", 3)


@pytest.mark.parametrize(
    ("mode", "refused"), [(0o644, False), (0o444, False), (0o755, False), (0o664, True), (0o602, True)]
)
def test_settings_may_be_readable_but_not_writable_by_others(mode: int, refused: bool, home: Home) -> None:
    home.write('voice = "magnus"', mode)
    if not refused:
        assert home.load().voice == "magnus"
        return
    error = home.refusal()
    assert (str(error), error.hint) == (f"{home.file} is writable by other users", f"chmod go-w {home.file}")


UNUSABLE_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a folder": (Path.mkdir, "not a regular file"),
    "a link to a device": (lambda path: path.symlink_to("/dev/null"), "not a regular file"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "is a symbolic link to nothing"),
    "a link to itself": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "too large": (lambda path: path.write_bytes(b"#" * 65_537), "is larger than 64 KiB"),
    "not UTF-8": (lambda path: path.write_bytes(SECRET.encode() + b"\xff"), "is not UTF-8 text"),
}


@pytest.mark.parametrize("case", UNUSABLE_FILES)
def test_unusable_settings_file_is_one_line(case: str, home: Home) -> None:
    make, words = UNUSABLE_FILES[case]
    make(home.file)
    if "link" not in case:
        home.file.chmod(0o600)
    error = home.refusal()
    assert words in str(error)
    assert error.hint == ""


def test_symlink_to_an_own_file_is_followed(home: Home) -> None:
    kept = home.folder / "dotfiles.toml"
    kept.write_text('voice = "meher"')
    kept.chmod(0o600)
    home.file.symlink_to(kept)
    assert home.load().voice == "meher"
    kept.chmod(0o666)
    error = home.refusal()
    assert (str(error), error.hint) == (f"{home.file} is writable by other users", f"chmod go-w {home.file}")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change the owner of a file")
def test_symlink_to_a_file_of_another_user_is_refused(home: Home) -> None:
    theirs = home.folder / "theirs.toml"
    theirs.touch(0o600)
    os.chown(theirs, 65_534, 65_534)
    home.file.symlink_to(theirs)
    assert str(home.refusal()) == f"{home.file} is owned by another user"


def test_read_private_refuses_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "keys").touch(0o600)
    (tmp_path / "link").symlink_to("keys")
    with pytest.raises(SettingsError, match="link is a symbolic link$"):
        read_private(tmp_path / "link")


@pytest.mark.parametrize("has_writer", [False, True])
def test_fifo_is_ignored_without_blocking(has_writer: bool, home: Home) -> None:
    """What is written to it is not read: it is an error, so that settings do not vary."""
    os.mkfifo(home.file, 0o600)
    writer = os.open(home.file, os.O_RDWR) if has_writer else None
    assert "not a regular file" in str(home.refusal())
    if writer is not None:
        os.close(writer)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change the owner of a file")
def test_file_of_another_user_is_refused(home: Home) -> None:
    home.write("")
    os.chown(home.file, 65_534, 65_534)
    assert str(home.refusal()) == f"{home.file} is owned by another user"


def test_config_folder_from_variable_or_platform_default(tmp_path: Path) -> None:
    assert config_folder({"SMALLEST_CONFIG_DIR": "/a/b"}) == Path("/a/b")
    assert config_folder({}).name == config_folder({"SMALLEST_CONFIG_DIR": ""}).name == "smallest"
    assert config_folder({}).is_absolute()
    assert read_private(tmp_path / "nowhere" / "config.toml") is None
    (tmp_path / "file").write_bytes(b"")
    assert read_private(tmp_path / "file" / "config.toml") is None  # as below a HOME of /dev/null
    with pytest.raises(SettingsError, match="File name too long"):
        read_private(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@host", "https://hunter2@host/p", "ftp://user:hunter2@host", "user:hunter2@host",
        "http://user:hun/hunter2@host", "http://user:hun?hunter2@host", "http://user:hunter2@[::1]:9/@x",
    ],
)  # fmt: skip
def test_password_in_base_url_is_refused_and_not_shown(url: str, tmp_path: Path) -> None:
    ran = smallest(tmp_path, "speak", "Hi.", "--debug", "--base-url", url, env={"SMALLEST_API_KEY": SECRET})
    assert (ran.code, ran.out) == (2, b"")
    assert ran.lines == ["smallest: --base-url: a base URL must not contain a user name or password"]


@pytest.mark.parametrize("command", [("doctor",), ("doctor", "--json"), ("voices", "clones"), ("login",)])
def test_no_command_shows_the_password_of_a_base_url(command: tuple[str, ...], tmp_path: Path) -> None:
    env = {"SMALLEST_API_KEY": SECRET, "SMALLEST_BASE_URL": "http://user:hunter2@host"}
    ran = smallest(tmp_path, *command, env=env)
    output = ran.out.decode() + ran.err
    assert (ran.code, "hunter2" in output) == (3, False)
    assert "SMALLEST_BASE_URL: a base URL must not contain a user name or password" in output


@pytest.mark.parametrize("url", ["http://host/@team", "https://host:9/a@b/@c", "http://[::1]:9/@x"])
def test_base_url_path_may_contain_an_at_sign(url: str, home: Home) -> None:
    assert home.load(base_url=url).base_url == url


FOLDERS = {"config": ".config", "cache": ".cache", "data": ".local/share"}


@pytest.mark.skipif(sys.platform != "linux", reason="XDG's rule")
@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("named", [None, "", "relative", "/elsewhere", "/else where/"])
def test_user_folder_on_linux_is_that_of_platformdirs(
    kind: str, named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.delenv(f"XDG_{kind.upper()}_HOME", raising=False)
    if named is not None:
        monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", named)
    expected = Path(named or "") if named and named[0] == "/" else Path("/home/x", FOLDERS[kind])
    assert user_folder(kind) == expected / "smallest"
    assert user_folder(kind) == getattr(platformdirs, f"user_{kind}_path")("smallest")


@pytest.mark.parametrize("home", ["", "relative", "~"])
def test_home_that_is_not_absolute_is_none(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    assert home_folder() == NO_HOME
    for kind in FOLDERS:
        monkeypatch.delenv(f"XDG_{kind.upper()}_HOME", raising=False)
        assert user_folder(kind).is_relative_to(NO_HOME)
