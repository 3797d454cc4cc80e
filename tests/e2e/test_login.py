"""`login` and `logout`: keys saved for one origin, in a file that only its owner can read."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import stat
import subprocess
import termios
from pathlib import Path

import pytest

from tests.support.command import SMALLEST, Ran, environment, smallest
from tests.support.fault_server import answer, fault_server
from tests.support.offline import KEY, Offline, start_offline
from tests.support.runs import until


def login(home: Path, server: Offline, *arguments: str, key: str = KEY) -> Ran:
    return smallest(home, "login", "--base-url", server.base_url, *arguments, stdin=key.encode() + b"\n")


def credentials_file(home: Path) -> Path:
    return home / "config" / "credentials.json"


def speak(home: Path, base_url: str, **env: str) -> Ran:
    return smallest(home, "speak", "--base-url", base_url, "Hello.", "-o", "out.wav", env=env)


def test_login_verifies_saves_and_uses_key(home: Path, server: Offline) -> None:
    ran = login(home, server)
    assert (ran.code, ran.out) == (0, b"")
    assert KEY not in ran.err
    assert KEY[-4:] in ran.err
    assert stat.S_IMODE(credentials_file(home).stat().st_mode) == 0o600
    assert stat.S_IMODE(credentials_file(home).parent.stat().st_mode) == 0o700
    assert os.listdir(credentials_file(home).parent) == ["credentials.json"]
    assert speak(home, server.base_url).code == 0


def test_rejected_key_is_not_saved(home: Path, server: Offline) -> None:
    ran = login(home, server, key="sk_wrong_0123456789abcdef")
    assert (ran.code, ran.out) == (4, b"")
    assert "sk_wrong" not in ran.err
    assert not credentials_file(home).exists()
    assert login(home, server, "--no-check", key="sk_wrong_0123456789abcdef").code == 0
    assert credentials_file(home).exists()


@pytest.mark.parametrize("key", ["", "two words", "sk_a'b", "x" * 2000])
def test_invalid_key_message(key: str, home: Path, server: Offline) -> None:
    ran = login(home, server, key=key)
    assert (ran.code, ran.out) == (3, b"")
    assert ran.lines[0].startswith("smallest: the key from stdin")
    assert not credentials_file(home).exists()


def test_unwritable_credentials_exit_10(home: Path, server: Offline) -> None:
    (home / "config").write_bytes(b"")
    ran = login(home, server)
    assert (ran.code, ran.out) == (10, b"")
    assert ran.lines == [
        f"smallest: cannot write {credentials_file(home)}: {home / 'config'} is not a directory"
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("speak", "-o", "out.wav"),
        ("speak", "-f", "-"),
        ("stream", "-o", "out.wav"),
        ("dict", "create", "-f", "-"),
    ],
)
def test_stdin_cannot_be_text_and_key(arguments: tuple[str, ...], home: Path) -> None:
    for ways in ({"--api-key-file": "-"}, {}):
        env = {} if ways else {"SMALLEST_API_KEY_FILE": "-"}
        ran = smallest(
            home, *arguments, *(word for way in ways.items() for word in way), stdin=b"a\n", env=env
        )
        assert (ran.code, ran.out) == (2, b"")
        assert ran.lines[0] == "smallest: stdin cannot be both the text and the key"


def test_key_from_stdin(home: Path, server: Offline) -> None:
    words = ("--base-url", server.base_url, "Hello.", "-o", "out.wav", "--api-key-file", "-")
    assert smallest(home, "speak", *words, stdin=KEY.encode()).code == 0
    ran = smallest(home, "speak", "--local", "-o", "out.wav", "--api-key-file", "-", stdin=b"Hello.")
    assert ran.code == 0, ran.err  # --local needs no key


@pytest.mark.parametrize("arguments", [("login",), ("login", "--api-key-file", "-"), ("voices", "--refresh")])
def test_key_arrives_late_and_in_parts(arguments: tuple[str, ...], home: Path, server: Offline) -> None:
    """Stdin does not block: another program may have set O_NONBLOCK."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    env = environment(home, SMALLEST_BASE_URL=server.base_url, SMALLEST_API_KEY_FILE="-")
    os.write(writing, KEY[:9].encode())
    with subprocess.Popen([*SMALLEST, *arguments], stdin=reading, env=env, stderr=subprocess.PIPE) as process:
        until(lambda: fcntl.ioctl(reading, termios.FIONREAD, bytes(4)) == bytes(4))  # the first part is read
        os.write(writing, KEY[9:].encode() + b"\n")
        os.close(reading)
        assert process.stderr
        err = process.stderr.read().decode()
        assert process.wait(30) == 0, err
    os.close(writing)


@pytest.mark.parametrize("arguments", [("login",), ("login", "--api-key-file", "-"), ("voices", "--refresh")])
def test_unreadable_stdin_is_reported(arguments: tuple[str, ...], home: Path) -> None:
    command = ["sh", "-c", 'exec "$@" 0>/dev/null', "sh", *SMALLEST]
    ran = smallest(home, *arguments, env={"SMALLEST_API_KEY_FILE": "-"}, command=command)
    assert (ran.code, ran.lines) == (2, ["smallest: cannot read stdin: Bad file descriptor"])


def test_empty_key_file_option_does_not_prompt(home: Path, server: Offline) -> None:
    ran = login(home, server, "--api-key-file", "")
    assert (ran.code, ran.lines[0]) == (2, "smallest: --api-key-file is empty")
    assert not credentials_file(home).exists()


def test_prompt_does_not_echo_key(home: Path, server: Offline) -> None:
    parent, child = pty.openpty()
    command = [*SMALLEST, "login", "--base-url", server.base_url]
    with subprocess.Popen(
        command, stdin=child, stdout=child, stderr=child, env=environment(home), start_new_session=True
    ) as process:
        os.close(child)
        shown = b""
        while b"API key" not in shown:
            shown += os.read(parent, 1000)
        os.write(parent, KEY.encode() + b"\n")
        try:
            while data := os.read(parent, 1000):
                shown += data
        except OSError:
            pass  # the process has exited
    os.close(parent)
    assert process.returncode == 0
    assert KEY.encode() not in shown
    assert credentials_file(home).exists()


def test_saved_key_is_sent_to_its_origin_only(home: Path, server: Offline) -> None:
    assert login(home, server).code == 0
    with start_offline() as other:
        ran = speak(home, other.base_url)
        assert (ran.code, ran.out) == (3, b"")
        assert server.base_url in ran.lines[0]
        assert other.log() == []
        assert speak(home, other.base_url, SMALLEST_API_KEY=KEY).code == 0


def test_keys_are_saved_per_origin(home: Path, server: Offline) -> None:
    with start_offline(token="sk_other_0123456789abcdef") as other:
        assert login(home, server).code == 0
        assert login(home, other, key="sk_other_0123456789abcdef").code == 0
        assert speak(home, server.base_url).code == 0
        assert speak(home, other.base_url).code == 0


@pytest.mark.parametrize(("mode", "text"), [(0o644, "{}"), (0o600, "[]"), (0o600, "{"), (0o600, '{"a": 1}')])
def test_invalid_credentials_file_is_refused(mode: int, text: str, home: Path, server: Offline) -> None:
    credentials_file(home).parent.mkdir()
    credentials_file(home).write_text(text)
    credentials_file(home).chmod(mode)
    ran = speak(home, server.base_url)
    assert (ran.code, len(ran.lines)) == (3, 2)


def test_vendor_file_is_read_for_default_service_only(home: Path, server: Offline) -> None:
    vendor_file = home / ".smallestai" / "credentials.json"
    vendor_file.parent.mkdir()
    vendor_file.write_text(json.dumps({"api_key": KEY}))
    assert speak(home, server.base_url).code == 3
    before = vendor_file.stat().st_mtime_ns
    # For the default service the key is found; the proxy then fails, so that no request is sent.
    ran = smallest(
        home, "speak", "Hello.", "-o", "out.wav", "--retries", "0", env={"https_proxy": "http://127.0.0.1:1"}
    )
    assert ran.code == 7
    assert smallest(home, "logout").code == 0
    assert vendor_file.stat().st_mtime_ns == before


def test_logout_reports_remaining_keys(home: Path, server: Offline) -> None:
    assert login(home, server).code == 0
    ran = smallest(home, "logout", env={"SMALLEST_API_KEY": KEY})
    assert (ran.code, ran.out) == (0, b"")
    assert "SMALLEST_API_KEY still provides a key" in ran.err
    assert not credentials_file(home).exists()
    assert smallest(home, "logout").err == "no saved key\n"
    assert speak(home, server.base_url).code == 3


@pytest.mark.parametrize("option", ["--api-key", "--api-key=sk_secret_key", "--key"])
@pytest.mark.parametrize("command", ["speak", "stream", "login"])
def test_key_is_not_accepted_on_command_line(option: str, command: str, home: Path) -> None:
    ran = smallest(home, command, option, "sk_secret_key", "Hello.")
    assert (ran.code, ran.out) == (2, b"")
    assert "sk_secret" not in ran.err
    for way in ("SMALLEST_API_KEY", "--api-key-file"):
        assert way in ran.err


@pytest.mark.parametrize("command", ["login", "speak", "voices", "doctor"])
def test_plain_http_to_another_machine_warns(command: str, home: Path) -> None:
    arguments = {"speak": ["Hello.", "-o", "out.wav", "--retries", "0"], "voices": ["--refresh"]}
    where = ["--base-url", "http://api.example.invalid", "--plain-http"]
    with fault_server(answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")) as proxy:
        env = {"SMALLEST_API_KEY": KEY, "http_proxy": f"http://127.0.0.1:{proxy.port}"}
        ran = smallest(home, command, *arguments.get(command, []), *where, stdin=KEY.encode(), env=env)
    assert ran.code == 7, ran.err
    warning = "smallest: warning: the key is sent to api.example.invalid over plain http"
    assert [line.startswith(warning) for line in ran.lines].count(True) == 1


def test_plain_http_to_loopback_does_not_warn(home: Path, server: Offline) -> None:
    ran = smallest(
        home, "speak", "Hello.", "-o", "out.wav", "--base-url", server.base_url, "--plain-http",
        env={"SMALLEST_API_KEY": KEY},
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
