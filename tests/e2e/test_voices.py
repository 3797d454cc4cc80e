"""`smallest voices`, `dict` and `doctor` as processes, and the decoding of the replies that they need."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import wave
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from smallest_cli.client.api import AccountClient
from smallest_cli.client.cloning import wait_for_clone
from smallest_cli.errors import DeadlineExceeded, ProtocolError
from smallest_cli.models import Clone, Service, Voice
from smallest_cli.network.dialer import Dialer
from smallest_cli.protocol.resources import (
    decode_balance,
    decode_clone,
    decode_clones,
    decode_deleted,
    decode_dictionaries,
    decode_dictionary,
    decode_voices,
)
from smallest_cli.security import Secret
from tests.support import GOLDEN
from tests.support.command import SMALLEST, Ran, environment, smallest
from tests.support.fault_server import Handler, answer, fault_server
from tests.support.fault_server.steps import GOOD
from tests.support.offline import KEY, Offline, start_offline
from tools.tree import read_tree


@pytest.fixture(scope="module")
def server() -> Iterator[Offline]:
    with start_offline(concurrency=2) as offline:
        yield offline


def run(home: Path, server: Offline, *arguments: str, stdin: bytes = b"", **env: str) -> Ran:
    env = {
        "SMALLEST_API_KEY": KEY,
        "SMALLEST_BASE_URL": server.base_url,
        "SMALLEST_CACHE_DIR": str(home / "cache"),
    } | env
    return smallest(home, *arguments, stdin=stdin, env=env)


def rows(ran: Ran) -> list[list[str]]:
    return [line.split("\t") for line in ran.out.decode().splitlines()]


# Published replies

VOICES = json.loads((GOLDEN / "voices.json").read_text("utf-8"))


def test_published_voice_list_is_decoded() -> None:
    body = json.dumps(
        {
            "voices": [
                {
                    "voiceId": "devansh",
                    "displayName": "Devansh",
                    "tags": {
                        "language": ["hindi", "english"],
                        "accent": "indian",
                        "gender": "male",
                        "age": "young",
                        "emotions": [],
                        "usecases": ["conversational"],
                        "recommendedLanguages": ["hindi"],
                    },
                },
                {"voiceId": "bare"},
            ]
        }
    )
    devansh, bare = decode_voices(body.encode(), "lightning_v3.1")
    assert (devansh.name, devansh.languages, devansh.accent) == ("Devansh", ("hindi", "english"), "indian")
    assert (devansh.gender, devansh.age, devansh.use_cases) == ("male", "young", ("conversational",))
    assert (bare.name, bare.model, bare.languages, bare.gender) == ("bare", "lightning_v3.1", (), None)


@pytest.mark.parametrize("body", [b'{"voices": "nope"}', b"[]", b'{"voices": [{"displayName": "A"}]}', b"x"])
def test_malformed_voice_list_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_voices(body, "lightning_v3.1")


def test_published_clones_and_dictionaries_are_decoded() -> None:
    clone = b"""{"message": "Voice clone created successfully", "data": {"voiceId": "voice_dLP5T67Qw7",
        "displayName": "my-custom-voice", "status": "completed", "language": "en",
        "model": {"_id": "65f0", "modelName": "lightning-v3.1"}, "createdAt": "2026-04-20T09:42:17.103Z"}}"""
    assert decode_clone(clone).model == "lightning-v3.1"
    plain = clone.replace(b'{"_id": "65f0", "modelName": "lightning-v3.1"}', b'"lightning-v3.1"')
    assert decode_clone(plain) == decode_clone(clone)
    listed = b'{"data": [{"voiceId": "voice_1", "status": "pending", "modelIds": ["lightning-v3.1"]}]}'
    assert decode_clones(listed)[0].model == "lightning-v3.1"
    items = b'"items": [{"word": "mysql", "pronunciation": "my-sequel"}]'
    made = decode_dictionary(b'{"id": "64f1", ' + items + b', "createdAt": "2023-09-01T12:00:00.000Z"}')
    assert (made.id, made.items) == ("64f1", (("mysql", "my-sequel"),))
    assert decode_dictionaries(b'[{"id": "64f1", ' + items + b"}]")[0].items == made.items
    decode_deleted(b'{"id": "64f1", "deleted": true}')
    assert decode_balance(b'{"success": true, "data": {"creditBalance": -1.5}}') == -1.5
    for decode, body in (
        (decode_dictionaries, b"{}"),
        (decode_dictionary, b'{"id": "1", "items": [{"word": "a"}]}'),
        (decode_deleted, b"{}"),
        (decode_clones, b'{"data": {}}'),
        *(
            (decode_balance, b'{"data": {"creditBalance": %s}}' % balance)
            for balance in (b'"much"', b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"9" * 400)
        ),
    ):
        with pytest.raises(ProtocolError):
            decode(body)


# Voices


def test_voices_lists_every_voice_with_its_model(home: Path, server: Offline) -> None:
    ran = run(home, server, "voices")
    assert (ran.code, ran.err) == (0, "")
    assert len(rows(ran)) == 264
    assert {row[2] for row in rows(ran)} == {"lightning_v3.1", "lightning_v3.1_pro"}
    listed = json.loads(run(home, server, "voices", "--json").out)
    assert [voice["id"] for voice in listed["voices"]] == [row[0] for row in rows(ran)]


PRO_HINDI = {"aviraj", "vyom", "zoravar", "reyansh", "ahan"}


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--search", "magn"], {"magnus"}),
        (["--search", "Amélie"], set()),
        (["-l", "hi", "--gender", "male", "--model", "lightning-v3.1-pro"], PRO_HINDI),
        (["--language", "Finnish", "--gender", "f"], {"aino", "helmi", "venla"}),
        (["--accent", "canadian"], {"erica", "william"}),
        (["--accent", "BRIT", "--model", "lightning_v3.1"], {"liam"}),
    ],
)  # fmt: skip
def test_filters_ignore_case_and_accept_short_forms(
    options: list[str], ids: set[str], home: Path, server: Offline
) -> None:
    ran = run(home, server, "voices", *options)
    assert ran.code == (0 if ids else 2)
    assert {row[0] for row in rows(ran)} == ids


def test_no_match_lists_the_alternatives(home: Path, server: Offline) -> None:
    ran = run(home, server, "voices", "--accent", "martian", "-l", "hindi")
    assert (ran.code, ran.out) == (2, b"")
    assert "american australian british" in ran.err
    assert "hindi" in ran.err
    assert ran.lines[0] == "smallest: no voice matches --language hindi --accent martian"
    ran = run(home, server, "voices", "--search", "magnos")
    assert ran.lines == ["smallest: no voice matches --search magnos", "  did you mean: magnus manon marcos"]
    ran = run(home, server, "voices", "--search", "q7q7")
    assert ran.lines[1] == "  list all with: smallest voices"


def test_voice_name_as_subcommand_suggests_search(home: Path, server: Offline) -> None:
    ran = run(home, server, "voices", "meher")
    assert (ran.code, ran.lines[1]) == (2, "  to find a voice: smallest voices --search meher")


def test_sort_and_limit(home: Path, server: Offline) -> None:
    ran = run(home, server, "voices", "--sort", "name", "--limit", "5")
    names = [row[1] for row in rows(ran)]
    assert (len(names), names) == (5, sorted(names))
    assert run(home, server, "voices", "--sort", "colour").code == 2


def test_options_before_the_subcommand_are_refused(home: Path, server: Offline) -> None:
    for options in (["--json"], ["--limit", "3"], ["--local"]):
        ran = run(home, server, "voices", *options, "clones")
        assert (ran.code, "put options after the subcommand" in ran.err) == (2, True)


def test_voice_list_is_saved_for_a_day(home: Path, server: Offline) -> None:
    assert run(home, server, "voices", "--limit", "1").code == 0
    saved = home / "cache" / "voices.json"
    with start_offline(token="sk_another_0123456789abcdef") as other:
        text = saved.read_text().replace(server.base_url, other.base_url).replace("Kaitlyn", "Saved Kaitlyn")
        saved.write_text(text)
        assert b"Saved Kaitlyn" in run(home, other, "voices", "--limit", "1").out
        ran = run(home, other, "voices", "--limit", "1", "--refresh")
        assert (ran.code, ran.out) == (4, b"")
        os.utime(saved, (0, 0))
        ran = run(home, other, "voices", "--limit", "1")
        assert (ran.code, b"Saved Kaitlyn" in ran.out, "last known list" in ran.err) == (0, True, True)


def test_bundled_voices_are_listed_without_a_key(home: Path, server: Offline) -> None:
    ran = run(home, server, "voices", SMALLEST_API_KEY="")
    assert (ran.code, ran.err, len(rows(ran))) == (0, "", 264)
    assert not (home / "cache").exists()


def test_malformed_reply_exits_8(home: Path) -> None:
    body = b'{"voices": "nope"}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_CACHE_DIR": str(home / "cache")}
    with fault_server(answer(head, body)) as peer:
        ran = smallest(home, "voices", "--refresh", "--base-url", peer.base_url, env=env)
    assert (ran.code, ran.out, len(ran.lines)) == (8, b"", 1)


def test_control_characters_in_voice_names_are_escaped(home: Path) -> None:
    body = json.dumps(
        {"voices": [{"voiceId": "a\x1b[31m", "displayName": "[red]b[/red] a[b]\u202e"}]}
    ).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_CACHE_DIR": str(home / "cache")}
    with fault_server(answer(head, body)) as peer:
        ran = smallest(home, "voices", "--base-url", peer.base_url, env=env)
        table = run_on_terminal(home, "voices", "--base-url", peer.base_url, **env)
    assert b"\x1b" not in ran.out
    for shown in (ran.out.decode(), table):
        assert "[red]b[/red] a[b]\\u202e" in shown
        assert "a\\x1b[31m" in shown


def run_on_terminal(home: Path, *arguments: str, columns: int = 120, rows: int = 50, **env: str) -> str:
    """Return the terminal output; `cat` is the pager."""
    command = " ".join([f"stty cols {columns} rows {rows};", *SMALLEST, *arguments])
    env = environment(home, **{"TERM": "xterm", "PAGER": "cat"} | env)
    done = subprocess.run(["script", "-qec", command, "/dev/null"], env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout.decode()


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 200])
def test_table_fits_the_terminal_and_truncates_no_word(columns: int, home: Path, server: Offline) -> None:
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": server.base_url}
    table = run_on_terminal(home, "voices", columns=columns, **env, SMALLEST_CACHE_DIR=str(home))
    *lines, summary = table.splitlines()
    assert max(map(len, lines)) <= columns
    assert summary.startswith("264 of 264 voices, from http://127.0.0.1:")
    words = Counter(table.split())
    for row in rows(run(home, server, "voices")):
        words.subtract(word for cell in row for word in cell.split())
    assert min(words.values()) >= 0


@pytest.mark.parametrize(
    ("env", "paged"),
    [
        ({"PAGER": "less"}, True),
        ({"PAGER": ""}, False),
        ({"PAGER": " "}, False),
        ({"PAGER": 'less "'}, False),
        ({"PAGER": "less", "TERM": "dumb"}, False),
        ({"PAGER": "less", "TERM": ""}, False),
    ],
)
def test_long_table_goes_through_the_pager_if_there_is_one(
    env: dict[str, str], paged: bool, home: Path
) -> None:
    less = home / "less"
    less.write_text("#!/bin/sh\necho through less\nexec cat\n")
    less.chmod(0o755)
    env = {"PATH": f"{home}:{os.environ['PATH']}", "SMALLEST_CACHE_DIR": str(home)} | env
    shown = run_on_terminal(home, "voices", rows=5, **env)
    assert ("through less" in shown, "meher" in shown) == (paged, True)


@pytest.mark.parametrize(
    ("command", "first", "last"),
    [
        (("doctor",), ["state", "check", "detail"], "missing"),
        (("dict", "list"), ["id", "words", "created"], ""),
        (
            ("speak", "Hello.", "--dry-run"),
            ["characters", "price_usd", "voice", "model", "segments"],
            "meher",
        ),
        (("speak", "-v", "'?'"), ["id", "name", "model", "gender", "accent", "languages"], "meher *"),
        (("cache", "clear"), ["cleared", "segments", "cleared", "bytes"], "0"),
        (("voices", "clones"), ["id", "name", "model", "status", "language", "created"], ""),
    ],
)
def test_terminal_shows_tables_without_tabs(
    command: tuple[str, ...], first: list[str], last: str, home: Path, server: Offline
) -> None:
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": server.base_url, "PULSE_SERVER": "unix:/nowhere"}
    table = run_on_terminal(home, *command, columns=150, **env, SMALLEST_CACHE_DIR=str(home))
    assert "\t" not in table
    assert table.splitlines()[0].split() == first
    assert last in table


def test_voices_play_speaks_a_sentence_in_the_voice_language(home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = run(home, server, "voices", "play", "magnus", "Krupa", "-o", ".")
    assert (ran.code, ran.out) == (0, b"")
    assert [line.split()[0] for line in ran.lines] == ["magnus", "krupa"]
    with wave.open(str(home / "krupa.wav")) as sound:
        assert sound.getnframes() > 10_000
    english, gujarati = (entry["text"] for entry in server.log()[before:])
    assert english.isascii()
    assert not gujarati.isascii()
    run(home, server, "voices", "play", "magnus", "--text", "Just this.", "-o", ".")
    assert server.log()[-1]["text"] == "Just this."


def test_voices_play_json_lists_the_played_voices(home: Path, server: Offline) -> None:
    ran = run(home, server, "voices", "play", "magnus", "Krupa", "--json", "-o", ".")
    assert ran.code == 0
    played = json.loads(ran.out)["voices"]
    assert [(each["voice"], each["file"]) for each in played] == [
        ("magnus", "magnus.wav"), ("krupa", "krupa.wav"),
    ]  # fmt: skip
    spoken = json.loads(run(home, server, "speak", "Hello.", "--json", "-o", "out.wav").out)
    assert [each.keys() for each in played] == [spoken.keys()] * 2
    before = len(server.log())
    ran = run(home, server, "voices", "play", "magnus", "magnos", "--json", "-o", ".")
    assert (ran.code, json.loads(ran.out)["exit"], len(server.log())) == (2, 2, before)
    ran = run(home, server, "voices", "play", "magnus", "magnos", "--force", "--json", "-o", ".")
    failed = json.loads(ran.out)
    assert (ran.code, failed["exit"]) == (5, 5)
    assert [each["voice"] for each in failed["voices"]] == ["magnus"]


def test_voices_play_text_is_processed_as_by_speak(home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = run(home, server, "voices", "play", "magnus", "--text", " \t", "-o", ".", "--max-time", "5")
    assert (ran.code, ran.lines) == (2, ["smallest: nothing to speak: the text is empty"])
    assert (len(server.log()), list(home.glob("*.wav"))) == (before, [])
    text = "This is one of many sentences. " * 10 + "\a"
    ran = run(home, server, "voices", "play", "magnus", "--text", text, "-o", ".")
    assert (ran.code, "removed 1 control character " in ran.err) == (0, True)
    texts = [entry["text"] for entry in server.log()[before:]]
    assert (len(texts), "".join(texts)) == (2, text.strip(" \a"))


def test_voices_play_refuses_a_missing_folder(home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = run(home, server, "voices", "play", "magnus", "-o", "no\x1bdir")
    assert (ran.code, ran.lines) == (10, ["smallest: no\\x1bdir is not a directory"])
    assert len(server.log()) == before


def test_voice_ids_are_not_used_as_paths(home: Path) -> None:
    """Ids that would leave the folder, and two that would be the same file."""
    ids = [f"{home}/evil", "../evil", "a/b", "a_b", "magnus"]
    body = json.dumps({"voices": [{"voiceId": id, "displayName": id} for id in ids]}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_CACHE_DIR": str(home / "cache")}
    (home / "evil.wav").write_bytes(b"old")
    (home / "out").mkdir()
    with fault_server(answer(head, body)) as peer, fault_server(GOOD) as speaker:
        assert smallest(home, "voices", "--base-url", peer.base_url, env=env).code == 0
        saved = home / "cache" / "voices.json"
        saved.write_text(json.dumps(json.loads(saved.read_text()) | {"base_url": speaker.base_url}))
        ran = smallest(home, "voices", "play", *ids, "-o", "out", "--base-url", speaker.base_url, env=env)
    assert (ran.code, ran.out) == (0, b"")
    assert (home / "evil.wav").read_bytes() == b"old"
    names = sorted(path.name for path in (home / "out").iterdir())
    assert len(names) == len(ids)
    assert {"a_b.wav", "magnus.wav"} < set(names)
    assert all(name[0] not in ".-" for name in names)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--search", ""], "--search"),
        (["-l", ""], "--language"),
        (["--model", ""], "--model"),
        (["play", "magnus", "--text", ""], "--text"),
        (["play", "magnus", "-o", ""], "--output"),
        (["clone", "me.wav", "--name", ""], "--name"),
        (["clone", "me.wav", "--name", "Me", "--tag", ""], "--tag"),
    ],
)
def test_empty_option_is_refused_before_any_request(arguments: list[str], option: str, home: Path) -> None:
    recording(home / "me.wav", 6)
    with fault_server(*replies({})) as peer:
        env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": peer.base_url}
        ran = smallest(home, "voices", *arguments, env=env)
    assert (ran.code, ran.out) == (2, b"")
    assert ran.lines == [f"smallest: {option} is empty", "  unset shell variable?"]


# Clones


def recording(path: Path, seconds: float) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        samples = (round(8000 * math.sin(at / 20)) for at in range(round(seconds * 16_000)))
        file.writeframes(b"".join(each.to_bytes(2, "little", signed=True) for each in samples))


def test_clone_is_created_listed_and_usable(home: Path, server: Offline) -> None:
    recording(home / "me.wav", 6)
    ran = run(home, server, "voices", "clone", "me.wav", "--name", "Me", "-l", "en", "--wait")
    assert (ran.code, ran.err) == (0, "")
    id = ran.out.decode().strip()
    listed = rows(run(home, server, "voices", "clones"))
    assert [id, "Me", "lightning-v3.1", "completed", "en"] in [row[:5] for row in listed]
    ran = run(home, server, "speak", "Hello.", "-v", id, "-m", "lightning_v3.1", "-o", "out.wav")
    assert (ran.code, ran.err) == (0, "")


def replies(*bodies: object) -> list[Handler]:
    """A reply per connection; the last one repeats."""
    sent = [json.dumps(body).encode() for body in bodies]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return [answer(head % len(body), body) for body in sent]


PROCESSING = {"voiceId": "voice_x", "status": "processing"}
CLONE_HINT = "voice_x was created; smallest voices clones shows its status"


@pytest.mark.parametrize(
    ("listed", "options", "code", "line"),
    [
        ([], (), 8, "the service does not list the voice voice_x, which it made"),
        ([PROCESSING | {"status": "failed"}], (), 8, "the service could not clone the voice voice_x"),
        ([PROCESSING], ("--max-time", "1"), 7, ""),
        ("nonsense", (), 8, ""),
    ],
)
def test_clone_id_is_printed_before_a_wait_that_fails(
    listed: object, options: tuple[str, ...], code: int, line: str, home: Path
) -> None:
    recording(home / "me.wav", 6)
    with fault_server(*replies({"data": PROCESSING}, {"data": listed})) as peer:
        where = ("--base-url", peer.base_url, *options)
        ran = smallest(
            home, "voices", "clone", "me.wav", "--name", "Me", "--wait", *where, env={"SMALLEST_API_KEY": KEY}
        )
    assert (ran.code, ran.out) == (code, b"voice_x\n")
    assert ran.lines[0].startswith(f"smallest: {line}")
    assert ran.lines[1] == f"  {CLONE_HINT}"


def test_clone_id_is_printed_before_an_interrupted_wait(home: Path) -> None:
    recording(home / "me.wav", 6)
    with fault_server(*replies({"data": PROCESSING}, {"data": [PROCESSING]})) as peer:
        command = [*SMALLEST, "voices", "clone", "me.wav", "--name", "Me", "--wait"]
        env = environment(home, SMALLEST_API_KEY=KEY, SMALLEST_BASE_URL=peer.base_url)
        with subprocess.Popen(
            command, cwd=home, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"voice_x\n"
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=50)
    assert process.returncode == -signal.SIGINT


def test_wait_for_clone_has_a_time_limit() -> None:
    with fault_server(*replies({"data": [PROCESSING]})) as peer:
        service = Service(peer.base_url, Secret(KEY, "a test"))
        account = AccountClient(service, Dialer(timeout=10))
        with pytest.raises(DeadlineExceeded, match="voice_x"):
            wait_for_clone(account, Clone("voice_x", "Me", None, "processing"), 0.01)


def test_bad_recording_is_refused_before_any_request(home: Path, server: Offline) -> None:
    recording(home / "short.wav", 1)
    (home / "text.txt").write_text("x")
    (home / "noise.wav").write_bytes(b"x" * 100)
    (home / "large.mp4").write_bytes(bytes(6 << 20))
    for name, word in (
        ("short.wav", "1.0 s"), ("text.txt", ".wav"), ("noise.wav", "read"), ("large.mp4", "5 MB"),
        ("no.wav", "cannot"),
    ):  # fmt: skip
        ran = run(home, server, "voices", "clone", name, "--name", "Me")
        assert (ran.code, ran.out, word in ran.err) == (2, b"", True)
    ran = run(home, server, "voices", "delete", "voice_1")
    assert (ran.code, "console" in ran.err) == (2, True)


def test_recording_file_name_may_be_any_bytes_but_fields_must_be_utf8(home: Path, server: Offline) -> None:
    recording(home / "\udcff.wav", 6)
    ran = run(home, server, "voices", "clone", "\udcff.wav", "--name", "Me")
    assert (ran.code, ran.err) == (0, "")
    for options in (("--name", "\udcff"), ("--name", "Me", "--tag", "good", "--tag", "\udcff")):
        ran = run(home, server, "voices", "clone", "\udcff.wav", *options)
        assert (ran.code, ran.out, len(ran.lines)) == (2, b"", 1)
        assert "UTF-8" in ran.err


# Dictionaries


def test_dictionary_create_list_show_update_use_delete(home: Path, server: Offline) -> None:
    ran = run(home, server, "dict", "create", "SQL=sequel", "nginx=engine ex")
    assert (ran.code, ran.err) == (0, "")
    id = ran.out.decode().strip()
    assert [id, "2"] in [row[:2] for row in rows(run(home, server, "dict", "list"))]
    assert run(home, server, "dict", "show", id).out == b"SQL,sequel\nnginx,engine ex\n"
    assert (
        run(home, server, "dict", "update", id, "SQL=ess queue ell", "tty=teletype").out.decode().strip()
        == id
    )
    shown = json.loads(run(home, server, "dict", "show", id, "--json").out)
    assert {each["word"]: each["pronunciation"] for each in shown["items"]} == {
        "SQL": "ess queue ell", "nginx": "engine ex", "tty": "teletype",
    }  # fmt: skip
    plain = run(home, server, "speak", "My teletype.", "-o", "-")
    spoken = run(home, server, "speak", "My tty.", "--dict", id, "-o", "-", "--via", "sse")
    assert spoken.out == plain.out
    assert run(home, server, "dict", "update", id, "a=b", "--replace").code == 0
    assert run(home, server, "dict", "show", id).out == b"a,b\n"
    ran = run(home, server, "dict", "delete", id)
    assert (ran.code, ran.out, ran.err) == (0, b"", "")
    assert run(home, server, "dict", "show", id).code == 5
    again = run(home, server, "dict", "delete", id)
    assert (again.code, again.lines[1]) == (5, "  smallest dict list shows the ids")
    assert run(home, server, "speak", "Hi.", "--dict", id, "--via", "http", "-o", "out.wav").code == 5


@pytest.mark.parametrize(
    "text",
    [
        "word,pronunciation\nSQL,sequel\n",
        "SQL,sequel\n",
        "word,pronunciation\rSQL,other\rSQL,sequel\r",
        "word,pronunciation\r\nSQL,sequel\r\n",
        '[{"word": "SQL", "pronunciation": "sequel"}]',
        '{"items": [{"word": "SQL", "pronunciation": "sequel"}]}',
        '{"SQL": "sequel"}',
        '{"word": "SQL", "pronunciation": "sequel"}',
        '{"pronunciation": "sequel", "word": "SQL"}',
        '{"items": {"word": "SQL", "pronunciation": "sequel"}}',
        '{"items": {"SQL": "sequel"}}',
        "SQL;sequel\n",
        "SQL\tsequel\n",
        "Word;Pronunciation\r\nSQL;sequel\r\n;\r\n",
        "sep=|\nSQL|sequel\n",
        "\n,,\nword,pronunciation,,\nSQL,sequel,,\n",
    ],
)
def test_dict_create_reads_csv_and_json(text: str, home: Path, server: Offline) -> None:
    ran = run(home, server, "dict", "create", "-f", "-", stdin=text.encode())
    assert run(home, server, "dict", "show", ran.out.decode().strip()).out == b"SQL,sequel\n"


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        ([], b""), (["SQL"], b""), (["=x"], b""), (["x="], b""), (["-f", "-"], b"a,b,c\n"),
        (["-f", "-"], b"[1]"), (["-f", "-"], b"{"), (["-f", "missing.csv"], b""),
        (["-f", "-"], b"a," + b"b" * 131_073), (["-f", "-"], b"[" * 100_000),
        (["-f", "-"], b'{"a": "\\ud800"}'), (["a=\udcff"], b""),
    ],
)  # fmt: skip
def test_invalid_dictionary_input_is_a_usage_error(
    arguments: list[str], stdin: bytes, home: Path, server: Offline
) -> None:
    ran = run(home, server, "dict", "create", *arguments, stdin=stdin)
    assert (ran.code, ran.out) == (2, b"")
    assert ran.lines[0].startswith("smallest: ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,b\n\nc,d,e\n", "words.csv: row 3 has 3 cells for 2 columns"),
        ("a,b\nc\n", "words.csv: row 2 has 1 cell for 2 columns"),
        (
            'a,"b\nb"\nc,"d" e\n',
            "words.csv: row 2 (line 3) cannot be parsed: a closing quote is followed by text",
        ),
        ('a,b\nc,"d\n', "words.csv: row 2 cannot be parsed: a quote is never closed"),
        ("word;pronunciation\na,b\n", "words.csv: row 2 has 1 cell for 2 columns"),
    ],
)
def test_invalid_csv_of_words_names_the_row(text: str, problem: str, home: Path, server: Offline) -> None:
    (home / "words.csv").write_text(text)
    ran = run(home, server, "dict", "create", "-f", "words.csv")
    assert (ran.code, ran.out, ran.lines[0]) == (2, b"", f"smallest: {problem}")


def test_mapping_with_the_words_of_the_header_and_others_is_a_mapping(home: Path, server: Offline) -> None:
    words = {"word": "wurd", "pronunciation": "pronunsiation", "SQL": "sequel"}
    ran = run(home, server, "dict", "create", "-f", "-", "--json", stdin=json.dumps(words).encode())
    assert {each["word"]: each["pronunciation"] for each in json.loads(ran.out)["items"]} == words


AWKWARD = {
    "[sic]": "sick", "[1": "2]", "{": "brace", "क्\u200dष": "kSh", "می\u200cروم": "miravam", "\ufeffmark": "m",
    "x" * 400: "y" * 400, "a,b": 'say "a"', "one\rtwo": "three\nfour", "five": "six\r\nseven",
    "\x1b[31m": "red",
}  # fmt: skip


@pytest.mark.parametrize("first", ["[sic]", "[1", "{", "\ufeffmark", "Word"])
def test_dict_show_output_reads_back_unchanged(first: str, home: Path, server: Offline) -> None:
    words = {first: AWKWARD.get(first, "pronunciation")} | AWKWARD
    id = run(home, server, "dict", "create", "-f", "-", stdin=json.dumps(words).encode()).out.decode().strip()
    shown = run(home, server, "dict", "show", id, PYTHONIOENCODING="ascii")
    assert (shown.code, shown.err) == (0, "")
    again = run(home, server, "dict", "create", "-f", "-", "--json", stdin=shown.out)
    assert again.code == 0, again.err
    items = json.loads(again.out)["items"]
    assert [(each["word"], each["pronunciation"]) for each in items] == list(words.items())


def test_dict_show_on_a_terminal_is_escaped_and_complete(home: Path, server: Offline) -> None:
    words = {"\x1b[31m": "red\u202e", "x" * 400: "y"}
    id = run(home, server, "dict", "create", "-f", "-", stdin=json.dumps(words).encode()).out.decode().strip()
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": server.base_url}
    shown = run_on_terminal(home, "dict", "show", id, **env)
    assert shown.splitlines() == [r"\x1b[31m,red\u202e", "x" * 400 + ",y"]


def test_dict_show_refuses_lone_surrogates(home: Path, server: Offline) -> None:
    items = [{"word": "a\ud800", "pronunciation": "b"}]
    id = server.post("/waves/v1/pronunciation-dicts", {"items": items}).json()["id"]
    ran = run(home, server, "dict", "show", id)
    assert (ran.code, ran.out, len(ran.lines)) == (8, b"", 2)
    assert json.loads(run(home, server, "dict", "show", id, "--json").out)["items"] == items


# Doctor


def test_doctor_is_not_paged(home: Path) -> None:
    shown = run_on_terminal(home, "doctor", "--local", rows=5, PAGER="true", PULSE_SERVER="unix:/nowhere")
    assert "output devices" in shown


def test_doctor_reports_a_healthy_service(home: Path, server: Offline) -> None:
    ran = run(home, server, "doctor", "--json")
    found = {each["name"]: each for each in json.loads(ran.out)["findings"]}
    assert ran.code == 0
    assert KEY.encode() not in ran.out
    for what in ("key", "connection", "key accepted", "credit", "offline voice", "base_url"):
        assert found[what]["ok"], found
    assert "upgrade" in found["connection"]["value"]
    assert found["base_url"] == {
        "name": "base_url", "ok": True, "value": server.base_url, "source": "SMALLEST_BASE_URL", "hint": "",
    }  # fmt: skip
    assert (found["voice"]["value"], found["model"]["value"]) == ("meher", "lightning_v3.1_pro")
    assert "None" not in ran.out.decode()


def test_doctor_shows_problems_first_and_defaults_only_on_request(home: Path, server: Offline) -> None:
    short = rows(run(home, server, "doctor", PATH="/nowhere", PULSE_SERVER="unix:/nowhere"))
    states = [row[0] for row in short]
    assert states == sorted(states)  # "--" before "ok"
    assert "timeout" not in {row[1] for row in short}
    complete = rows(run(home, server, "doctor", "--verbose"))
    assert ["ok", "timeout", "15.0  (default)"] in complete


def test_doctor_names_the_proxy(home: Path) -> None:
    env = {"SMALLEST_API_KEY": KEY, "HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": ""}
    ran = smallest(home, "doctor", "--base-url", "https://api.invalid", "--json", env=env)
    found = {each["name"]: each for each in json.loads(ran.out)["findings"]}
    assert (found["proxy"]["value"], found["proxy"]["source"]) == ("proxy.example:3128", "HTTPS_PROXY")


@pytest.mark.parametrize(
    ("env", "code", "what"),
    [
        ({"SMALLEST_API_KEY": ""}, 3, "key"),
        ({"SMALLEST_API_KEY": "sk_wrong_0123456789abcdef"}, 4, "connection"),
        ({"SMALLEST_BASE_URL": "http://127.0.0.1:1"}, 7, "connection"),
        ({"SMALLEST_BASE_URL": "gopher://x"}, 3, "base_url"),
        ({"SMALLEST_BASE_URL": "https://x?key=1"}, 3, "base_url"),
        ({"SMALLEST_BASE_URL": "https://me:hunter2@x"}, 3, "settings"),
    ],
)
def test_doctor_exit_code_is_that_of_the_first_problem(
    env: dict[str, str], code: int, what: str, home: Path, server: Offline
) -> None:
    ran = run(home, server, "doctor", **env)
    assert ran.code == code
    assert next(row[1] for row in rows(ran) if row[0] == "--") == what


@pytest.mark.parametrize(
    ("env", "voice", "model"),
    [
        ({"SMALLEST_VOICE": "Magnus"}, "magnus  (SMALLEST_VOICE)", "lightning_v3.1  (the voice's own)"),
        ({"SMALLEST_MODEL": "lightning-v3.1"}, "magnus  (the default)", "lightning_v3.1  (SMALLEST_MODEL)"),
    ],
)
def test_doctor_shows_the_resolved_voice_and_its_source(
    env: dict[str, str], voice: str, model: str, home: Path, server: Offline
) -> None:
    found = {row[1]: row for row in rows(run(home, server, "doctor", **env))}
    assert (found["voice"], found["model"]) == (["ok", "voice", voice], ["ok", "model", model])


def test_doctor_reports_a_voice_model_mismatch(home: Path, server: Offline) -> None:
    ran = run(home, server, "doctor", SMALLEST_VOICE="meher", SMALLEST_MODEL="lightning_v3.1")
    assert ran.code == 2
    assert next(row[1] for row in rows(ran) if row[0] == "--") == "voice"


def test_doctor_reports_a_language_that_speak_refuses(home: Path, server: Offline) -> None:
    assert smallest(home, "config", "set", "language", "English").code == 0
    found = {row[1]: row for row in rows(run(home, server, "doctor"))}
    assert found["language"][0] == "--"


def test_overlap_is_for_playback(home: Path, server: Offline) -> None:
    ran = run(home, server, "voices", "play", "magnus", "-o", ".", "--overlap", "mix")
    assert (ran.code, ran.lines) == (2, ["smallest: --overlap requires playback", "  leave out --output"])


def test_doctor_treats_output_devices_and_players_as_optional(home: Path, server: Offline) -> None:
    ran = run(home, server, "doctor", PULSE_SERVER="unix:/nowhere", PATH="/nowhere")
    found = {row[1]: row for row in rows(ran)}
    assert ran.code == 0, ran.out
    assert (found["output devices"][0], found["players"][0]) == ("--", "--")
    assert "missing, needed by --play only" in found["output devices"][2]
    assert found["players"][2] == "missing, needed by --player only"


def test_voices_play_refuses_voice_as_an_option(home: Path, server: Offline) -> None:
    ran = run(home, server, "voices", "play", "-v", "meher", "magnus")
    assert (ran.code, ran.out) == (2, b"")
    assert ran.lines == [
        "smallest: voices play takes voices as arguments, not --voice",
        "  smallest voices play NAME...",
    ]


# Supported options

ACCOUNT_COMMANDS = [
    "voices",
    "voices clone me.wav --name Me",
    "voices clones",
    "dict list",
    "dict show x",
    "dict create a=b",
    "dict update x a=b",
    "dict delete x",
    "doctor",
    "login",
]
CONNECTION_FLAGS = {
    "--base-url", "--local", "--api-key-file", "--ca-file", "--plain-http", "--timeout", "--json",
}  # fmt: skip
PAGES = {page.path: page for page in read_tree().walk()}


def refused_option(ran: Ran) -> str:
    """The option that a command refused as unknown, before it did anything."""
    assert (ran.code, ran.out) == (2, b""), ran.err
    return ran.lines[0].removeprefix("smallest: No such option: ").split()[0]


@pytest.mark.parametrize("command", ACCOUNT_COMMANDS)
def test_account_command_refuses_options_without_effect(command: str, home: Path) -> None:
    for option in ("--via http", "--retries 9"):
        ran = smallest(home, *command.split(), *option.split(), env={"SMALLEST_API_KEY": KEY})
        assert refused_option(ran) == option.split()[0]


@pytest.mark.parametrize("command", ACCOUNT_COMMANDS)
def test_account_command_shares_only_connection_options_with_speak(command: str) -> None:
    words = command.split()
    path = " ".join(["smallest", *(words[:2] if words[0] in ("voices", "dict") else words[:1])])
    speech = {flag for option in PAGES["smallest speak"].options for flag in option.flags}
    # These flags have another meaning here: a filter, a file of words, the limit of --wait.
    own = {
        "smallest voices": {"-l", "--language", "-m", "--model"},
        "smallest voices clone": {"-l", "--language", "-m", "--model", "--max-time"},
        "smallest dict create": {"-f", "--file"},
        "smallest dict update": {"-f", "--file"},
        "smallest doctor": {"--verbose"},
    }
    flags = {flag for option in PAGES[path].options for flag in option.flags}
    expected = CONNECTION_FLAGS - ({"--local"} if path == "smallest login" else set())
    assert flags & speech == expected | own.get(path, set()) | {"-h", "--help"}


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("login", "--local"),
        ("voices delete x", "--base-url"),
        ("voices delete x", "--local"),
        ("cache info", "--base-url"),
        ("cache clear", "--timeout"),
        ("logout", "--base-url"),
        ("completion bash", "--local"),
    ],
)
def test_command_without_a_request_refuses_service_options(command: str, option: str, home: Path) -> None:
    assert refused_option(smallest(home, *command.split(), option)) == option


def test_account_commands_print_one_json_object(home: Path, server: Offline) -> None:
    recording(home / "me.wav", 6)
    clone = json.loads(run(home, server, "voices", "clone", "me.wav", "--name", "Me", "--json", "--wait").out)
    assert (clone["name"], clone["status"]) == ("Me", "completed")
    clones = json.loads(run(home, server, "voices", "clones", "--json").out)["clones"]
    assert clone["id"] in [each["id"] for each in clones]
    failed = json.loads(run(home, server, "voices", "delete", clone["id"], "--json").out)
    assert failed["exit"] == 2
    made = json.loads(run(home, server, "dict", "create", "a=b", "--json").out)
    assert run(home, server, "dict", "delete", made["id"], "--json").out == (
        json.dumps({"id": made["id"], "deleted": True}).encode() + b"\n"
    )
    ran = run(home, server, "login", "--json", stdin=KEY.encode())
    assert json.loads(ran.out) == {
        "origin": server.base_url, "file": str(home / "config" / "credentials.json"),
    }  # fmt: skip
    assert (ran.code, ran.err) == (0, "")


def test_clone_json_of_a_failed_wait_names_the_clone(home: Path) -> None:
    recording(home / "me.wav", 6)
    with fault_server(*replies({"data": PROCESSING}, {"data": [PROCESSING | {"status": "failed"}]})) as peer:
        command = (
            "voices",
            "clone",
            "me.wav",
            "--name",
            "Me",
            "--wait",
            "--json",
            "--base-url",
            peer.base_url,
        )
        ran = smallest(home, *command, env={"SMALLEST_API_KEY": KEY})
    failed = json.loads(ran.out)
    assert (ran.code, failed["exit"], failed["id"]) == (8, 8, "voice_x")


@pytest.mark.parametrize("command", ["speak", "stream", "bench"])
def test_voice_question_mark_lists_the_voices(command: str, home: Path) -> None:
    ran = smallest(home, command, "-v", "?")
    assert (ran.code, ran.err) == (0, "")
    assert len(rows(ran)) == 264
    assert {len(row) for row in rows(ran)} == {7}


@pytest.mark.parametrize("command", ["speak", "stream"])
def test_voice_question_mark_with_json_prints_one_object(command: str, home: Path) -> None:
    ran = smallest(home, command, "-v", "?", "--json")
    assert (ran.code, ran.err) == (0, "")
    voices = json.loads(ran.out)["voices"]
    assert (len(voices), voices[0].keys()) == (264, set(Voice._fields))


def test_device_question_mark_without_devices_exits_11(home: Path) -> None:
    ran = smallest(home, "speak", "Hi.", "--device", "?", env={"PULSE_SERVER": "unix:/nowhere"})
    assert (ran.code, ran.out) == (11, b"")
    assert ran.lines == ["smallest: no output device found", "  use -o FILE"]


@pytest.mark.parametrize(
    ("folder", "code", "line"), [("", 2, "--output is empty"), ("nowhere", 10, "nowhere is not a directory")]
)
def test_bad_output_folder_is_refused_before_any_request(
    folder: str, code: int, line: str, home: Path
) -> None:
    ran = smallest(home, "voices", "play", "magnus", "--local", "-o", folder)
    assert (ran.code, ran.out) == (code, b"")
    assert ran.lines[0] == f"smallest: {line}"
