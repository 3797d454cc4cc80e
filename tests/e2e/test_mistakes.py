"""What a newcomer mistypes is answered with what was meant; what applies is shown where nothing is set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import environment, smallest, speak
from tests.support.offline import Offline

SPEAKERS = ("--speaker", "ALICE=meher", "--speaker", "BOB=magnus", "--speaker", "THE HOST=ines")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("english", "en"), ("Hindi", "hi"), ("EN", "en"), ("en-US", "en"), ("pt_BR", "pt"), ("frnech", "fr"),
        ("deutsh-german", None), ("xx", None), ("auto", None), ("en", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("option", ["--language", "--number-language"])
def test_name_of_a_language_is_answered_with_its_code(
    option: str, typed: str, meant: str | None, home: Path
) -> None:
    ran = smallest(home, "speak", "Hi", "--dry-run", option, typed)
    message = f"smallest: unknown language '{typed}' (did you mean {meant}?)"
    assert (ran.code, ran.lines[:1]) == ((2, [message]) if meant else (0, []))


@pytest.mark.parametrize("source", ["stream", "batch", "config", "force"])
def test_language_is_checked_wherever_it_comes_from(source: str, home: Path, server: Offline) -> None:
    (home / "in.csv").write_text("id,text,language\na,Good morning.,english\n")
    before = len(server.log())
    if source == "config":
        assert smallest(home, "config", "set", "language", "english").code == 0
    ran = {
        "stream": lambda: speak(home, server, "Hi", "-l", "english", "-o", "a.wav", command="stream"),
        "batch": lambda: speak(home, server, "in.csv", "-d", "out", command="batch"),
        "config": lambda: speak(home, server, "Hi", "-o", "a.wav"),
        "force": lambda: speak(home, server, "Hi", "-l", "english", "-o", "a.wav", "--force"),
    }[source]()
    if source == "force":
        assert ran.code == 5  # the service refuses it, too
    else:
        assert (ran.code, len(server.log())) == (2, before)
        assert "(did you mean en?)" in ran.lines[0]


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("Alice: hi", "ALICE"), ("BOBB: hi", "BOB"), ("bob:hi", "BOB"), ("ALCIE： hi", "ALICE"),
        ("The Host: hi", "THE HOST"), ("THE HOSTS: hi", "THE HOST"),
    ],
)  # fmt: skip
def test_name_that_resembles_a_speaker_is_a_warning(line: str, meant: str, home: Path) -> None:
    ran = smallest(home, "speak", *SPEAKERS, "--dry-run", stdin=f"ALICE: hello\n{line}\n".encode())
    (warning,) = ran.lines
    assert warning.endswith(f": begins a line, but is not a --speaker (did you mean {meant}?)")


@pytest.mark.parametrize(
    "line", ["At ten: tea.", "12:30 is noon.", "https://example.org", "ALICE: hi", "Bob hi"]
)
def test_other_lines_are_no_warnings(line: str, home: Path) -> None:
    assert smallest(home, "speak", *SPEAKERS, "--dry-run", stdin=f"BOB: hello\n{line}\n".encode()).err == ""


@pytest.mark.parametrize("word", ["notes.txt", "README.md", "Chapter1.TXT", "film.srt", "a/b.html"])
@pytest.mark.parametrize("command", ["speak", "stream"])
def test_word_that_looks_like_a_file_is_a_warning(
    command: str, word: str, home: Path, server: Offline
) -> None:
    ran = speak(home, server, word, "-o", "a.wav", command=command)
    option = "-f FILE" if command == "speak" else "< FILE"
    warning = f"smallest: warning: '{word}' is spoken as it is; to speak the text of a file: {option}"
    assert (ran.code, ran.lines) == (0, [warning])


@pytest.mark.parametrize("words", [["Hello."], ["See notes.txt"], ["see", "notes.txt"], ["v1.2"], ["md"]])
def test_other_words_are_spoken_without_a_warning(words: list[str], home: Path) -> None:
    assert smallest(home, "speak", "--dry-run", *words).err == ""


@pytest.mark.parametrize("command", ["speak", "stream"])
def test_question_mark_lists_the_players(command: str, home: Path) -> None:
    program = home / "bin" / "mpv"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    broken = program.with_name("sox")
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    env = environment(home, PATH=str(program.parent))
    ran = smallest(home, command, "--player", "?", "--json", env=env)
    found = {each["name"]: each["installed"] for each in json.loads(ran.out)["players"]}
    assert [name for name, installed in found.items() if installed] == ["mpv"]
    assert "sox" in found
    lines = smallest(home, command, "--player", "?", env=env).out.decode().splitlines()
    assert "mpv\tinstalled" in lines
    assert "sox\tnot installed" in lines


@pytest.mark.parametrize("offline", [("--local",), ()])
def test_dry_run_has_the_price_of_the_service_that_would_be_used(
    offline: tuple[str, ...], home: Path
) -> None:
    plan = json.loads(smallest(home, "speak", "Hello.", "--dry-run", "--json", *offline).out)
    assert (plan["price_usd"] == 0) == bool(offline)
    shown = smallest(home, "speak", "Hello.", "--dry-run", *offline).out.decode()
    assert ("price_usd\t0 (offline)" in shown) == bool(offline)


@pytest.mark.parametrize(
    ("settings", "voice", "model"),
    [
        ({}, "(catalogue default: meher)", "(of the voice: lightning_v3.1_pro)"),
        ({"voice": "magnus"}, "magnus", "(of the voice: lightning_v3.1)"),
        ({"model": "lightning_v3.1"}, "(catalogue default: magnus)", "lightning_v3.1"),
        ({"voice": "mine"}, "mine", "(of the voice: lightning_v3.1_pro)"),
        ({"api": "v2"}, "(catalogue default: magnus)", "(of the voice: none)"),
    ],
)
def test_settings_without_a_value_show_what_applies(
    settings: dict[str, str], voice: str, model: str, home: Path
) -> None:
    for name, value in settings.items():
        assert smallest(home, "config", "set", name, value).code == 0
    rows = [line.split("\t") for line in smallest(home, "config", "list").out.decode().splitlines()]
    shown = {name: value for name, value, _ in rows}
    assert (shown["voice"], shown["model"]) == (voice, model)
    assert all(shown.values())
    listed = json.loads(smallest(home, "config", "list", "--json").out)["settings"]
    assert {each["name"] for each in listed if each["value"] is None} >= {"language", "player"}


@pytest.mark.parametrize(("typed", "meant"), [("mvp", "mpv"), ("aplya", "aplay"), ("ffpaly", "ffplay")])
def test_mistyped_player_is_answered_with_the_one_meant(typed: str, meant: str, home: Path) -> None:
    ran = smallest(home, "speak", "--local", "Hi", "-p", "--player", typed)
    assert (ran.code, ran.lines[0]) == (11, f"smallest: player not found: {typed}")
    assert ran.lines[1].startswith(f"  did you mean {meant}? ")


@pytest.mark.parametrize(("characters", "price"), [(2, "0.000039"), (1000, "0.019500")])
def test_price_of_a_dry_run_is_a_plain_number(characters: int, price: str, home: Path) -> None:
    ran = smallest(home, "speak", "--dry-run", "a" * characters)
    assert f"price_usd\t{price}" in ran.out.decode().splitlines()
