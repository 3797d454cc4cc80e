"""`smallest voices` and `smallest dict` as a person meets them, and the replies that they read."""

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


# What the service says, as it was published

VOICES = json.loads((GOLDEN / "voices.json").read_text("utf-8"))


def test_a_published_list_of_voices_is_read() -> None:
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
def test_a_list_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_voices(body, "lightning_v3.1")


def test_published_clones_and_dictionaries_are_read() -> None:
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
    for read, body in (
        (decode_dictionaries, b"{}"),
        (decode_dictionary, b'{"id": "1", "items": [{"word": "a"}]}'),
        (decode_deleted, b"{}"),
        (decode_clones, b'{"data": {}}'),
        (decode_balance, b'{"data": {"creditBalance": "much"}}'),
    ):
        with pytest.raises(ProtocolError):
            read(body)


# Voices


def test_every_voice_is_listed_with_its_model(home: Path, server: Offline) -> None:
    ran = run(home, server, "voices")
    assert (ran.code, ran.err) == (0, "")
    assert len(rows(ran)) == 264
    assert {row[2] for row in rows(ran)} == {"lightning_v3.1", "lightning_v3.1_pro"}
    told = json.loads(run(home, server, "voices", "--json").out)
    assert [voice["id"] for voice in told["voices"]] == [row[0] for row in rows(ran)]


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
def test_a_guess_finds_it(options: list[str], ids: set[str], home: Path, server: Offline) -> None:
    ran = run(home, server, "voices", *options)
    assert ran.code == (0 if ids else 2)
    assert {row[0] for row in rows(ran)} == ids


def test_nothing_found_says_what_there_is(home: Path, server: Offline) -> None:
    ran = run(home, server, "voices", "--accent", "martian", "-l", "hindi")
    assert (ran.code, ran.out) == (2, b"")
    assert "american australian british" in ran.err
    assert "hindi" in ran.err
    assert ran.lines[0] == "smallest: no voice matches --language hindi --accent martian"
    ran = run(home, server, "voices", "--search", "magnos")
    assert ran.lines == ["smallest: no voice matches --search magnos", "  near magnos: magnus manon marcos"]
    ran = run(home, server, "voices", "--search", "q7q7")
    assert ran.lines[1] == "  smallest voices lists them all"


def test_a_voice_behind_voices_is_searched_for_by_an_option(home: Path, server: Offline) -> None:
    ran = run(home, server, "voices", "meher")
    assert (ran.code, ran.lines[1]) == (2, "  to find a voice: smallest voices --search meher")


def test_voices_are_sorted_and_counted(home: Path, server: Offline) -> None:
    ran = run(home, server, "voices", "--sort", "name", "--limit", "5")
    names = [row[1] for row in rows(ran)]
    assert (len(names), names) == (5, sorted(names))
    assert run(home, server, "voices", "--sort", "colour").code == 2


def test_options_before_a_subcommand_are_refused(home: Path, server: Offline) -> None:
    for options in (["--json"], ["--limit", "3"], ["--local"]):
        ran = run(home, server, "voices", *options, "clones")
        assert (ran.code, "behind its name" in ran.err) == (2, True)


def test_the_list_is_kept_for_a_day(home: Path, server: Offline) -> None:
    assert run(home, server, "voices", "--limit", "1").code == 0
    kept = home / "cache" / "voices.json"
    with start_offline(token="sk_another_0123456789abcdef") as other:
        text = kept.read_text().replace(server.base_url, other.base_url).replace("Jordan", "Kept Jordan")
        kept.write_text(text)
        assert b"Kept Jordan" in run(home, other, "voices", "--limit", "1").out
        ran = run(home, other, "voices", "--limit", "1", "--refresh")
        assert (ran.code, ran.out) == (4, b"")
        os.utime(kept, (0, 0))
        ran = run(home, other, "voices", "--limit", "1")
        assert (ran.code, b"Kept Jordan" in ran.out, "known before" in ran.err) == (0, True, True)


def test_without_a_key_there_is_the_bundled_list(home: Path, server: Offline) -> None:
    ran = run(home, server, "voices", SMALLEST_API_KEY="")
    assert (ran.code, ran.err, len(rows(ran))) == (0, "", 264)
    assert not (home / "cache").exists()


def test_a_reply_that_makes_no_sense_is_8(home: Path) -> None:
    body = b'{"voices": "nope"}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_CACHE_DIR": str(home / "cache")}
    with fault_server(answer(head, body)) as peer:
        ran = smallest(home, "voices", "--refresh", "--base-url", peer.base_url, env=env)
    assert (ran.code, ran.out, len(ran.lines)) == (8, b"", 1)


def test_what_the_service_names_cannot_act_on_a_terminal(home: Path) -> None:
    body = json.dumps(
        {"voices": [{"voiceId": "a\x1b[31m", "displayName": "[red]b[/red] a[b]\u202e"}]}
    ).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_CACHE_DIR": str(home / "cache")}
    with fault_server(answer(head, body)) as peer:
        ran = smallest(home, "voices", "--base-url", peer.base_url, env=env)
        table = at_a_terminal(home, "voices", "--base-url", peer.base_url, **env)
    assert b"\x1b" not in ran.out
    for shown in (ran.out.decode(), table):
        assert "[red]b[/red] a[b]\\u202e" in shown
        assert "a\\x1b[31m" in shown


def at_a_terminal(home: Path, *arguments: str, columns: int = 120, rows: int = 50, **env: str) -> str:
    """What a person sees; `cat` is the pager."""
    command = " ".join([f"stty cols {columns} rows {rows};", *SMALLEST, *arguments])
    env = environment(home, **{"TERM": "xterm", "PAGER": "cat"} | env)
    done = subprocess.run(["script", "-qec", command, "/dev/null"], env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout.decode()


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 200])
def test_a_table_fits_the_terminal_and_loses_no_word(columns: int, home: Path, server: Offline) -> None:
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": server.base_url}
    table = at_a_terminal(home, "voices", columns=columns, **env, SMALLEST_CACHE_DIR=str(home))
    assert max(map(len, table.splitlines())) <= columns
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
def test_a_long_table_is_paged_where_a_pager_can_show_it(
    env: dict[str, str], paged: bool, home: Path
) -> None:
    less = home / "less"
    less.write_text("#!/bin/sh\necho through less\nexec cat\n")
    less.chmod(0o755)
    env = {"PATH": f"{home}:{os.environ['PATH']}", "SMALLEST_CACHE_DIR": str(home)} | env
    shown = at_a_terminal(home, "voices", rows=5, **env)
    assert ("through less" in shown, "meher" in shown) == (paged, True)


@pytest.mark.parametrize(
    ("command", "first", "last"),
    [
        (("doctor",), ["state", "what", "found"], "missing"),
        (("dict", "list"), ["id", "words", "created"], ""),
        (("speak", "Hello.", "--dry-run"), ["characters", "segments", "voice", "model"], "meher"),
        (("speak", "-v", "'?'"), ["id", "name", "model", "gender", "accent", "age", "languages"], "meher"),
        (("cache", "clear"), ["cleared", "segments", "cleared", "bytes"], "0"),
        (("voices", "clones"), ["id", "name", "model", "status", "language", "created"], ""),
    ],
)
def test_a_person_sees_tables_without_tabs(
    command: tuple[str, ...], first: list[str], last: str, home: Path, server: Offline
) -> None:
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": server.base_url, "PULSE_SERVER": "unix:/nowhere"}
    table = at_a_terminal(home, *command, columns=150, **env, SMALLEST_CACHE_DIR=str(home))
    assert "\t" not in table
    assert table.splitlines()[0].split() == first
    assert last in table


def test_voices_are_heard_in_their_language(home: Path, server: Offline) -> None:
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


def test_voices_that_were_heard_are_listed_in_one_object(home: Path, server: Offline) -> None:
    ran = run(home, server, "voices", "play", "magnus", "Krupa", "--json", "-o", ".")
    assert ran.code == 0
    heard = json.loads(ran.out)["voices"]
    assert [(each["voice"], each["file"]) for each in heard] == [
        ("magnus", "magnus.wav"), ("krupa", "krupa.wav"),
    ]  # fmt: skip
    spoken = json.loads(run(home, server, "speak", "Hello.", "--json", "-o", "out.wav").out)
    assert [each.keys() for each in heard] == [spoken.keys()] * 2
    ran = run(home, server, "voices", "play", "magnus", "magnos", "--json", "-o", ".")
    failed = json.loads(ran.out)
    assert (ran.code, failed["exit"]) == (5, 5)
    assert [each["voice"] for each in failed["voices"]] == ["magnus"]


def test_voices_say_a_text_as_speak_would(home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = run(home, server, "voices", "play", "magnus", "--text", " \t", "-o", ".", "--max-time", "5")
    assert (ran.code, ran.lines) == (2, ["smallest: nothing to speak: the text is empty"])
    assert (len(server.log()), list(home.glob("*.wav"))) == (before, [])
    text = "This is one of many sentences. " * 10 + "\a"
    ran = run(home, server, "voices", "play", "magnus", "--text", text, "-o", ".")
    assert (ran.code, "1 control characters" in ran.err) == (0, True)
    said = [entry["text"] for entry in server.log()[before:]]
    assert (len(said), "".join(said)) == (2, text.strip(" \a"))


def test_voices_are_not_saved_where_there_is_no_folder(home: Path, server: Offline) -> None:
    before = len(server.log())
    ran = run(home, server, "voices", "play", "magnus", "-o", "no\x1bdir")
    assert (ran.code, ran.lines) == (10, ["smallest: there is no folder no\\x1bdir"])
    assert len(server.log()) == before


def test_what_a_service_calls_a_voice_names_no_place(home: Path) -> None:
    """Ids that lead out of the folder, and two that would be one file."""
    ids = [f"{home}/evil", "../evil", "a/b", "a_b", "magnus"]
    body = json.dumps({"voices": [{"voiceId": id, "displayName": id} for id in ids]}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_CACHE_DIR": str(home / "cache")}
    (home / "evil.wav").write_bytes(b"old")
    (home / "out").mkdir()
    with fault_server(answer(head, body)) as peer, fault_server(GOOD) as speaker:
        assert smallest(home, "voices", "--base-url", peer.base_url, env=env).code == 0
        kept = home / "cache" / "voices.json"
        kept.write_text(json.dumps(json.loads(kept.read_text()) | {"base_url": speaker.base_url}))
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
def test_an_empty_option_is_refused_before_any_request(arguments: list[str], option: str, home: Path) -> None:
    recording(home / "me.wav", 6)
    with fault_server(*replies({})) as peer:
        env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": peer.base_url}
        ran = smallest(home, "voices", *arguments, env=env)
    assert (ran.code, ran.out) == (2, b"")
    assert ran.lines == [f"smallest: {option} is empty", "  is a variable not set?"]


# Clones


def recording(path: Path, seconds: float) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        samples = (round(8000 * math.sin(at / 20)) for at in range(round(seconds * 16_000)))
        file.writeframes(b"".join(each.to_bytes(2, "little", signed=True) for each in samples))


def test_a_voice_is_cloned_listed_and_spoken(home: Path, server: Offline) -> None:
    recording(home / "me.wav", 6)
    ran = run(home, server, "voices", "clone", "me.wav", "--name", "Me", "-l", "en", "--wait")
    assert (ran.code, ran.err) == (0, "")
    id = ran.out.decode().strip()
    listed = rows(run(home, server, "voices", "clones"))
    assert [id, "Me", "lightning-v3.1", "completed", "en"] in [row[:5] for row in listed]
    ran = run(home, server, "speak", "Hello.", "-v", id, "-m", "lightning_v3.1", "-o", "out.wav")
    assert (ran.code, ran.err) == (0, "")


def replies(*bodies: object) -> list[Handler]:
    """A connection for each, and the last again and again."""
    sent = [json.dumps(body).encode() for body in bodies]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return [answer(head % len(body), body) for body in sent]


PROCESSING = {"voiceId": "voice_x", "status": "processing"}
TOLD = "voice_x was made; smallest voices clones tells how it is"


@pytest.mark.parametrize(
    ("listed", "options", "code", "line"),
    [
        ([], (), 8, "the service does not list the voice voice_x, which it made"),
        ([PROCESSING | {"status": "failed"}], (), 8, "the service could not clone the voice voice_x"),
        ([PROCESSING], ("--max-time", "1"), 7, ""),
        ("nonsense", (), 8, ""),
    ],
)
def test_the_id_of_a_clone_outlives_a_wait_that_fails(
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
    assert ran.lines[1] == f"  {TOLD}"


def test_a_clone_that_is_interrupted_has_told_its_id(home: Path) -> None:
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


def test_nobody_waits_for_a_clone_for_ever() -> None:
    with fault_server(*replies({"data": [PROCESSING]})) as peer:
        service = Service(peer.base_url, Secret(KEY, "a test"))
        with (
            AccountClient(service, Dialer(timeout=10)) as account,
            pytest.raises(DeadlineExceeded, match="voice_x"),
        ):
            wait_for_clone(account, Clone("voice_x", "Me", None, "processing"), 0.01)


def test_a_bad_recording_is_refused_before_anything_is_sent(home: Path, server: Offline) -> None:
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


def test_a_recording_may_have_any_name_and_a_voice_one_that_can_be_sent(home: Path, server: Offline) -> None:
    recording(home / "\udcff.wav", 6)
    ran = run(home, server, "voices", "clone", "\udcff.wav", "--name", "Me")
    assert (ran.code, ran.err) == (0, "")
    for options in (("--name", "\udcff"), ("--name", "Me", "--tag", "good", "--tag", "\udcff")):
        ran = run(home, server, "voices", "clone", "\udcff.wav", *options)
        assert (ran.code, ran.out, len(ran.lines)) == (2, b"", 1)
        assert "UTF-8" in ran.err


# Dictionaries


def test_a_dictionary_lives_and_is_heard(home: Path, server: Offline) -> None:
    ran = run(home, server, "dict", "create", "SQL=sequel", "nginx=engine ex")
    assert (ran.code, ran.err) == (0, "")
    id = ran.out.decode().strip()
    assert [id, "2"] in [row[:2] for row in rows(run(home, server, "dict", "list"))]
    assert run(home, server, "dict", "show", id).out == b"SQL,sequel\nnginx,engine ex\n"
    assert (
        run(home, server, "dict", "update", id, "SQL=ess queue ell", "tty=teletype").out.decode().strip()
        == id
    )
    told = json.loads(run(home, server, "dict", "show", id, "--json").out)
    assert {each["word"]: each["pronunciation"] for each in told["items"]} == {
        "SQL": "ess queue ell", "nginx": "engine ex", "tty": "teletype",
    }  # fmt: skip
    plain = run(home, server, "speak", "My teletype.", "-o", "-")
    said = run(home, server, "speak", "My tty.", "--dict", id, "-o", "-", "--via", "sse")
    assert said.out == plain.out
    assert run(home, server, "dict", "update", id, "a=b", "--replace").code == 0
    assert run(home, server, "dict", "show", id).out == b"a,b\n"
    ran = run(home, server, "dict", "delete", id)
    assert (ran.code, ran.out, ran.err) == (0, b"", "")
    assert run(home, server, "dict", "show", id).code == 5
    again = run(home, server, "dict", "delete", id)
    assert (again.code, again.lines[1]) == (5, "  smallest dict list shows them")
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
    ],
)
def test_words_come_from_csv_and_json(text: str, home: Path, server: Offline) -> None:
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
def test_what_are_no_words_is_a_usage_error(
    arguments: list[str], stdin: bytes, home: Path, server: Offline
) -> None:
    ran = run(home, server, "dict", "create", *arguments, stdin=stdin)
    assert (ran.code, ran.out) == (2, b"")
    assert ran.lines[0].startswith("smallest: ")


AWKWARD = {
    "[sic]": "sick", "[1": "2]", "{": "brace", "क्\u200dष": "kSh", "می\u200cروم": "miravam", "\ufeffmark": "m",
    "x" * 400: "y" * 400, "a,b": 'say "a"', "one\rtwo": "three\nfour", "five": "six\r\nseven",
    "\x1b[31m": "red",
}  # fmt: skip


@pytest.mark.parametrize("first", ["[sic]", "[1", "{", "\ufeffmark", "Word"])
def test_words_that_are_shown_read_back_as_they_are(first: str, home: Path, server: Offline) -> None:
    words = {first: AWKWARD.get(first, "pronunciation")} | AWKWARD
    id = run(home, server, "dict", "create", "-f", "-", stdin=json.dumps(words).encode()).out.decode().strip()
    shown = run(home, server, "dict", "show", id, PYTHONIOENCODING="ascii")
    assert (shown.code, shown.err) == (0, "")
    again = run(home, server, "dict", "create", "-f", "-", "--json", stdin=shown.out)
    assert again.code == 0, again.err
    items = json.loads(again.out)["items"]
    assert [(each["word"], each["pronunciation"]) for each in items] == list(words.items())


def test_words_at_a_terminal_are_safe_and_whole(home: Path, server: Offline) -> None:
    words = {"\x1b[31m": "red\u202e", "x" * 400: "y"}
    id = run(home, server, "dict", "create", "-f", "-", stdin=json.dumps(words).encode()).out.decode().strip()
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_BASE_URL": server.base_url}
    told = at_a_terminal(home, "dict", "show", id, **env)
    assert told.splitlines() == [r"\x1b[31m,red\u202e", "x" * 400 + ",y"]


def test_words_that_no_file_can_hold_are_not_shown_as_others(home: Path, server: Offline) -> None:
    items = [{"word": "a\ud800", "pronunciation": "b"}]
    id = server.post("/waves/v1/pronunciation-dicts", {"items": items}).json()["id"]
    ran = run(home, server, "dict", "show", id)
    assert (ran.code, ran.out, len(ran.lines)) == (8, b"", 2)
    assert json.loads(run(home, server, "dict", "show", id, "--json").out)["items"] == items


# The doctor


def test_the_doctor_keeps_nobody_waiting(home: Path) -> None:
    told = at_a_terminal(home, "doctor", "--local", rows=5, PAGER="true", PULSE_SERVER="unix:/nowhere")
    assert "loudspeakers" in told


def test_the_doctor_finds_a_healthy_service(home: Path, server: Offline) -> None:
    ran = run(home, server, "doctor", "--json")
    found = {each["what"]: each for each in json.loads(ran.out)["findings"]}
    assert ran.code == 0
    assert KEY.encode() not in ran.out
    for what in ("key", "connection", "key accepted", "credit", "offline voice", "base_url"):
        assert found[what]["well"], found
    assert "upgrade" in found["connection"]["told"]
    assert "SMALLEST_BASE_URL" in found["base_url"]["told"]
    assert (found["voice"]["told"], found["model"]["told"]) == (
        "meher  (default)", "lightning_v3.1_pro  (default)",
    )  # fmt: skip
    assert "None" not in ran.out.decode()


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
def test_the_doctor_ends_by_the_first_thing_that_is_wrong(
    env: dict[str, str], code: int, what: str, home: Path, server: Offline
) -> None:
    ran = run(home, server, "doctor", **env)
    assert ran.code == code
    assert next(row[1] for row in rows(ran) if row[0] == "--") == what


@pytest.mark.parametrize(
    ("env", "voice", "model"),
    [
        ({"SMALLEST_VOICE": "Magnus"}, "magnus  (SMALLEST_VOICE)", "lightning_v3.1  (the voice's own)"),
        ({"SMALLEST_MODEL": "lightning-v3.1"}, "magnus  (default)", "lightning_v3.1  (SMALLEST_MODEL)"),
    ],
)
def test_the_doctor_says_who_would_speak_and_why(
    env: dict[str, str], voice: str, model: str, home: Path, server: Offline
) -> None:
    found = {row[1]: row for row in rows(run(home, server, "doctor", **env))}
    assert (found["voice"], found["model"]) == (["ok", "voice", voice], ["ok", "model", model])


def test_a_voice_and_a_model_that_clash_are_for_the_doctor(home: Path, server: Offline) -> None:
    ran = run(home, server, "doctor", SMALLEST_VOICE="meher", SMALLEST_MODEL="lightning_v3.1")
    assert ran.code == 2
    assert next(row[1] for row in rows(ran) if row[0] == "--") == "voice"


def test_what_only_a_loudspeaker_needs_may_be_missing(home: Path, server: Offline) -> None:
    ran = run(home, server, "doctor", PULSE_SERVER="unix:/nowhere", PATH="/nowhere")
    found = {row[1]: row for row in rows(ran)}
    assert ran.code == 0, ran.out
    assert (found["loudspeakers"][0], found["players"][0]) == ("--", "--")
    assert found["loudspeakers"][2].endswith("missing, only --play needs one")
    assert found["players"][2] == "missing, only --player needs one"


def test_voices_to_hear_are_words_and_no_option(home: Path, server: Offline) -> None:
    ran = run(home, server, "voices", "play", "-v", "meher", "magnus")
    assert (ran.code, ran.out) == (2, b"")
    assert ran.lines == ["smallest: voices play takes the voices as words", "  smallest voices play NAME..."]


@pytest.mark.parametrize("command", ["speak", "stream", "bench"])
def test_a_question_for_a_voice_is_answered_by_the_list(command: str, home: Path) -> None:
    ran = smallest(home, command, "-v", "?")
    assert (ran.code, ran.err) == (0, "")
    assert len(rows(ran)) == 264
    assert {len(row) for row in rows(ran)} == {7}


@pytest.mark.parametrize("command", ["speak", "stream"])
def test_a_question_with_json_is_answered_by_an_object(command: str, home: Path) -> None:
    ran = smallest(home, command, "-v", "?", "--json")
    assert (ran.code, ran.err) == (0, "")
    voices = json.loads(ran.out)["voices"]
    assert (len(voices), voices[0].keys()) == (264, set(Voice._fields))


def test_a_question_for_loudspeakers_where_there_is_none_is_11(home: Path) -> None:
    ran = smallest(home, "speak", "Hi.", "--device", "?", env={"PULSE_SERVER": "unix:/nowhere"})
    assert (ran.code, ran.out) == (11, b"")
    assert ran.lines == ["smallest: no loudspeaker was found", "  use -o FILE"]


@pytest.mark.parametrize(
    ("folder", "code", "line"), [("", 2, "--output is empty"), ("nowhere", 10, "there is no folder nowhere")]
)
def test_a_folder_that_is_not_there_is_told_before_any_request(
    folder: str, code: int, line: str, home: Path
) -> None:
    ran = smallest(home, "voices", "play", "magnus", "--local", "-o", folder)
    assert (ran.code, ran.out) == (code, b"")
    assert ran.lines[0] == f"smallest: {line}"
