"""Generated input: bytes on a connection, settings files, file names."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from smallest_cli.audio.destinations import Destination, open_sinks
from smallest_cli.audio.formats import EXTENSIONS, choose_coding
from smallest_cli.errors import (
    Incomplete,
    OutputError,
    RemoteError,
    SettingsError,
    SmallestError,
    UsageError,
)
from smallest_cli.models import AudioFormat, Service, SpeechRequest
from smallest_cli.network.dialer import Dialer
from smallest_cli.security import Secret
from smallest_cli.settings import Settings, load_settings
from smallest_cli.synthesis.pipeline import Pipeline
from smallest_cli.transports import open_transport
from tests.support.fault_cases import ALL
from tests.support.fault_server import Step, fault_server
from tests.support.fault_server.steps import Audio, End, Fin, Message, Raw, Reply, Status, Text
from tests.support.memory_sink import MemorySink

fuzz = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))

# Bytes on a connection

FRAMES = st.sampled_from(
    [
        b"\x81\x02{}",
        b"\x81\x7e\xff\xff",
        b"\x81\x7f" + b"\x7f" * 8,
        b"\x89\x00",
        b"\x88\x02\x03\xe8",
        b"\x01\x01{",
        b"\x80\x01}",
        b"\x8a\x7e\x00\xff",
        b"\xc1\x00",
        b"data: {}\n\n",
        b"2\r\n{}\r\n",
        b"0\r\n\r\n",
        b"ffffffff\r\n",
    ]
)
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(Raw, st.binary(max_size=200) | FRAMES),
    st.builds(Text, st.binary(max_size=80)),
    st.builds(
        Message,
        st.dictionaries(
            st.sampled_from(["status", "data", "audio", "done", "error", "request_id"]),
            st.sampled_from(
                ["chunk", "complete", "error", "206", True, None, 7, [], {"audio": "AAA="}, "AAAA"]
            ),
        ),
    ),
    st.just(Audio(100)),
    st.just(End()),
)


@pytest.mark.parametrize("via", ALL)
@fuzz
@given(steps=st.lists(STEPS, max_size=6))
def test_any_stream_gives_audio_or_our_error(via: Any, steps: list[Step]) -> None:
    attempt(via, Reply("chunked"), *steps, Fin())


@pytest.mark.parametrize("via", ALL)
@fuzz
@given(
    head=st.binary(max_size=300) | st.sampled_from([b"HTTP/1.1 ", b"HTTP/1.1 101 \r\n", b"HTTP/1.1 200\r\n"])
)
def test_any_response_head_gives_our_error(via: Any, head: bytes) -> None:
    assert attempt(via, Raw(head + b"\r\n\r\n"), Fin()) == 0


@pytest.mark.parametrize("via", ALL)
@fuzz
@given(
    code=st.integers(300, 599),
    body=st.binary(max_size=300),
    framing=st.sampled_from(["length", "chunked", "cut"]),
    name=st.sampled_from(
        [b"Retry-After", b"Location", b"X-Request-Id", b"Transfer-Encoding", b"Content-Length"]
    ),
    value=st.binary(max_size=40),
)
def test_any_error_response_gives_our_error(
    via: Any, code: int, body: bytes, framing: str, name: bytes, value: bytes
) -> None:
    assert attempt(via, Status(code, body, name + b": " + value + b"\r\n", framing), Fin()) == 0


def attempt(via: Any, *steps: Step) -> int:
    """Send a request to a server with these steps. Returns the number of audio bytes."""
    sink = MemorySink()
    dialer = Dialer(timeout=2)
    error: SmallestError | None = None
    with fault_server(steps) as server:
        service = Service(server.base_url, Secret("sk_0123456789abcdef", "a test"))
        try:
            with open_transport(via, service, dialer) as transport:
                pipeline = Pipeline(sink, AudioFormat(24_000))
                pipeline.copy(transport.synthesize(SpeechRequest("Hello.", "meher")))
        except SmallestError as raised:
            error = raised
    assert error is None or isinstance(error, RemoteError | Incomplete)
    assert (str(error) + getattr(error, "hint", "")).isprintable()
    assert len(sink.pcm) % 2 == 0
    return len(sink.pcm)


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
