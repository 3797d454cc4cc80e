"""A service that echoes the key in all its replies: no output and no file has it."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.command import Ran, smallest
from tests.support.echoes import FORMS, KEY, leaked
from tests.support.fault_server import Handler, fault_server
from tests.support.fault_server.steps import Audio, Close, End, Message, Reply, Rst, Text
from tests.support.frames import read_request

pytestmark = pytest.mark.long

SOME = ("plain", "upper case", "all quoted", "controls")
"""Of FORMS; a unit test has all of them."""


def check(home: Path, ran: Ran) -> None:
    assert "bug" not in ran.err
    assert not leaked(ran.err), ran.err
    assert not leaked(ran.out.decode("utf-8", "replace")), ran.out
    for path in home.rglob("*"):
        if path.is_file() and path.suffix not in (".wav", ".part", ".txt"):
            assert not leaked(path.read_text("utf-8", "replace")), path


def run(home: Path, base_url: str, *arguments: str, stdin: bytes = b"") -> Ran:
    command, *options = arguments
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": base_url, "HOME": str(home)}
    ran = smallest(home, command, *options, stdin=stdin, env=env)
    check(home, ran)
    return ran


def reply(fields: object, *headers: str, status: str = "200 OK") -> Handler:
    """Return a handler that answers every request of a connection."""
    body = json.dumps(fields).encode()
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""])

    def handler(sock: socket.socket) -> None:
        while read_request(sock):
            sock.sendall(head.encode("utf-8", "replace") + body)

    return handler


@pytest.mark.parametrize("form", SOME)
def test_refusals_of_every_command(form: str, home: Path) -> None:
    echo = FORMS[form](KEY)
    header = echo.encode("ascii", "ignore").decode().replace("\x01", "")
    headers = (
        f"X-Request-Id: {header}",
        f"Content-Type: application/json; {header}",
        f"X-{re.sub('[^0-9A-Za-z_]', '', header)}: {header}",
    )
    fields = {
        "error": {"message": f"the key {echo} is wrong"},
        "details": [{"message": echo}],
        "request_id": echo,
    }
    (home / "rows.csv").write_text("id,text\na,Hello.\n")
    with fault_server(reply(fields, *headers, status=f"401 {header}")) as server:
        for via in ("sse", "http", "ws"):
            ran = run(
                home, server.base_url, "speak", "Hello.", "-o", "a.wav", "--via", via, "--debug", "--json"
            )
            assert ran.code == 4, ran.err
        for command in (
            ["stream", "Hello.", "-o", "a.wav", "--verbose"],
            ["batch", "rows.csv", "-d", "out", "--json"],
            ["voices", "--refresh", "--json"],
            ["dict", "list"],
            ["login"],
            ["doctor", "--json"],
            ["bench", "Hello.", "-n", "1", "--save", "bench.json", "--jsonl", "bench.jsonl", "--yes"],
        ):
            assert run(home, server.base_url, *command, stdin=KEY.encode()).code != 0


@pytest.mark.parametrize("form", SOME)
def test_lists_of_the_account(form: str, home: Path) -> None:
    echo = FORMS[form](KEY)
    item = {"word": echo, "pronunciation": echo}
    clone = {"voiceId": echo, "displayName": echo, "status": echo, "language": echo, "createdAt": echo}
    voice = {
        "voiceId": "meher",
        "displayName": echo,
        "tags": {"accent": echo, "language": [echo], "usecases": [echo]},
    }
    with fault_server(reply([{"id": echo, "items": [item], "createdAt": echo}])) as server:
        for more in ([], ["--json"]):
            assert run(home, server.base_url, "dict", "list", *more).code == 0
    with fault_server(reply({"data": [clone]})) as server:
        for more in ([], ["--json"]):
            assert run(home, server.base_url, "voices", "clones", *more).code == 0
    with fault_server(reply({"voices": [voice, voice | {"voiceId": echo}]})) as server:
        for more in ([], ["--json"]):
            assert run(home, server.base_url, "voices", "--refresh", *more).code == 0


@pytest.mark.parametrize("form", SOME)
def test_words_and_ids_of_a_stream(form: str, home: Path) -> None:
    echo = FORMS[form](KEY)
    word = Message({"status": "word_timestamp", "data": {"word": echo, "start": 0, "end": 0.1}})
    with fault_server((Reply(), word, Audio(), End({"message": echo, echo: echo}))) as server:
        for kind in ("srt", "vtt", "json"):
            more = ["--cue", "word", "--json", "--completion-wait", "0"]
            ran = run(
                home,
                server.base_url,
                "speak",
                "Hi.",
                "-o",
                "a.wav",
                "--subtitles",
                f"a.{kind}",
                *more,
                "--debug",
            )
            assert ran.code == 0, ran.err


@pytest.mark.parametrize("form", SOME)
def test_messages_that_cannot_be_decoded_and_close_reasons(form: str, home: Path) -> None:
    echo = FORMS[form](KEY).encode()
    wait = ["--completion-wait", "0"]
    for via, more, script in (
        ("sse", [], (Reply(), Text(b"Bearer " + echo), Rst())),
        ("sse", [], (Reply(kind=f"a/{quote(echo)}"), Rst())),
        ("http", [], (Reply(kind=f"a/{quote(echo)}"), Rst())),
        ("ws", wait, (Reply(), Text(echo), Rst())),
        ("ws", wait, (Reply(), Close(4000, echo[:100].decode("utf-8", "ignore").encode()))),
    ):
        with fault_server(script) as server:
            arguments = ["-o", "a.wav", "--via", via, "--retries", "0", "--json", "--debug", *more]
            assert run(home, server.base_url, "speak", "Hi.", *arguments).code in (7, 8)


def test_redirect_to_an_address_with_the_key(home: Path) -> None:
    location = f"Location: https://example.org/{quote(KEY, safe='')}?token={KEY}"
    with fault_server(reply({}, location, status="302 Found")) as server:
        assert run(home, server.base_url, "speak", "Hi.", "-o", "a.wav", "--json").code == 12


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["login", "KEY"], 2),
        (["login", "--no-check", "KEY"], 2),
        (["speak", "Hi.", "-o", "a.wav", "--api-key-file", "KEY"], 3),
        (["voices", "--api-key-file=KEY", "--refresh"], 3),
        (["speak", "Hi.", "-o", "a.wav", "--ca-file", "KEY"], 3),
        (["speak", "Hi.", "-o", "a.wav", "--base-url", "KEY"], 3),
        (["speak", "Hi.", "-o", "a.wav", "--base-url", "https://KEY@/"], 2),
        (["speak", "Hi.", "-v", "KEY", "--dry-run"], 2),
        (["speak", "Hi.", "-vKEY", "-o", "a.wav"], 2),
        (["speak", "Hi.", "--speaker", "KEY", "-o", "a.wav"], 2),
        (["doctor", "KEY"], 2),
        (["speak", "--KEY"], 2),
    ],
)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_key_typed_in_a_wrong_place_is_not_printed(
    arguments: list[str], code: int, more: list[str], home: Path
) -> None:
    typed = "sk_0f1e2d3c4b5a69788796a5b4c3d2e1f0"
    given = [word.replace("KEY", typed) for word in arguments]
    ran = smallest(home, *given, *more)
    assert ran.code == code, ran.err
    assert typed[3:15] not in ran.err
    assert typed[3:15] not in ran.out.decode()


def test_key_set_in_the_wrong_file_is_not_printed(home: Path) -> None:
    typed = "sk_0f1e2d3c4b5a69788796a5b4c3d2e1f0"
    (home / "config").mkdir(mode=0o700)
    (home / "config/config.toml").write_text(f'voice = "{typed}"\nca_file = "{typed}"\n{typed} = 1\n')
    (home / "config/config.toml").chmod(0o600)
    ran = smallest(home, "speak", "Hi.", "-o", "a.wav", "--json", "--debug")
    assert ran.code == 2
    assert typed[3:15] not in ran.err + ran.out.decode()


@pytest.mark.parametrize(
    "name", ["SMALLEST_API_KEY_FILE", "SMALLEST_VOICE", "SMALLEST_BASE_URL", "SMALLEST_CA_FILE"]
)
def test_key_set_in_a_wrong_variable_is_not_printed(name: str, home: Path) -> None:
    typed = "sk_0f1e2d3c4b5a69788796a5b4c3d2e1f0"
    ran = smallest(home, "speak", "Hi.", "-o", "a.wav", "--json", "--debug", env={name: typed})
    assert ran.code == (2 if name == "SMALLEST_VOICE" else 3)
    assert typed[3:15] not in ran.err + ran.out.decode()


def test_key_without_prefix_given_as_its_file_is_not_printed(home: Path) -> None:
    typed = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
    for arguments, env in ((["--api-key-file", typed], {}), ([], {"SMALLEST_API_KEY_FILE": typed})):
        ran = smallest(home, "voices", "--refresh", "--json", *arguments, env=env)
        assert ran.code == 3
        assert "[key]" in ran.err
        assert typed[:8] not in ran.err + ran.out.decode()
