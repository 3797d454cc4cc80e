"""Generated input: settings files, file names."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.audio.formats import EXTENSIONS, choose_coding
from smallest_cli.errors import (
    OutputError,
    SettingsError,
    UsageError,
)
from smallest_cli.models import AudioFormat
from smallest_cli.settings import Settings, load_settings

fuzz = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))

# A settings file

NAMES = st.sampled_from(
    [
        "voice",
        "model",
        "language",
        "speed",
        "sample_rate",
        "via",
        "api",
        "local",
        "base_url",
        "ca_file",
        "timeout",
        "completion_wait",
        "retries",
        "plain_http",
        "api_key",
        "x",
        "[a]",
        "voice.x",
    ]
)
VALUES = st.sampled_from(
    [
        '"a"',
        "1",
        "-1",
        "1.5",
        "nan",
        "inf",
        "-inf",
        "true",
        "[]",
        "{}",
        "1979-05-27",
        '"\\u001b[2J"',
        '"auto"',
        "9" * 5000,
        "[" * 3000,
        "'''",
        "0x7fffffffffffffffffff",
        '""',
        "1e400",
    ]
)
LINES = st.builds("{} = {}".format, NAMES, VALUES)


@fuzz
@given(st.binary(max_size=200) | st.lists(LINES, max_size=5).map(lambda lines: "\n".join(lines).encode()))
def test_any_settings_file_is_read_or_gives_one_line(text: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.toml")
        path.touch(0o600)
        path.write_bytes(text)
        found, message = Settings(), ""
        try:
            found = load_settings({}, {"SMALLEST_CONFIG_DIR": folder})
        except SettingsError as error:
            message = str(error)
    assert 0.01 <= found.timeout <= 3600
    assert all(line.isprintable() for line in (message, *found.warnings))


# A name for a file

NAME = st.text(st.characters(exclude_characters="/\0"), max_size=150) | st.sampled_from(
    ["..", ".", "", "-", "-rf", "CON", "a" * 256, "\udcff", "\u202e", "x.part", "~", "%s", "*", " "]
)


@fuzz
@example("\ud800", ".wav", None)
@given(NAME, st.sampled_from([*EXTENSIONS, "", ".txt"]), st.sampled_from([None, "wav", "pcm", "flac"]))
def test_any_file_name_stays_in_its_directory(name: str, extension: str, format: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        inside = os.path.join(folder, "in")
        os.mkdir(inside)
        path = os.path.join(inside, name + extension)
        audio, message = AudioFormat(24_000), ""
        try:
            coding = choose_coding(path, format)
            with open_sinks([Destination(path, coding)], audio) as sink:
                sink.write(bytes(4800))
        except (UsageError, OutputError) as error:
            message = str(error)
        assert message.isprintable()
        assert os.listdir(inside) == ([] if message else [name + extension])
        assert os.listdir(folder) == ["in"]
