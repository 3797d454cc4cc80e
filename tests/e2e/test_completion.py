"""TAB in real interactive shells, and `smallest completion`."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from smallest_cli.audio.player import PLAYERS
from smallest_cli.cli.commands.completion import FILES
from tests.support import ROOT
from tests.support.command import environment, smallest
from tests.support.fault_server import answer, fault_server
from tests.support.keyboard import PROMPT, Keyboard, at_keyboard
from tests.support.offline import KEY
from tests.support.programs import need
from tests.support.pulse import need_pulse, start_pulse

SCRIPTS = ROOT / "completions"
ECHO = """smallest() { for each in "$@"; do printf '[word:%s]' "$each"; done; printf '[end]\\n'; }"""

DEVICE = "Built-in: 5's $(touch pwned) (hw:0,0)"


def fill_home(home: Path) -> Path:
    """Fill a home directory with files, and with cached lists that differ from the bundled ones."""
    cache = home / ".cache" / "smallest"
    cache.mkdir(parents=True)
    (cache / "voices.tsv").write_text("zoe_clone\tfemale, lightning_v3.1\nzora\tmale\nmeher\tfemale\n")
    (cache / "devices.tsv").write_text(f"{DEVICE}\nHeadphones\n")
    (home / "speech.txt").write_text("x")
    (home / "two words.txt").write_text("x")
    (home / "folder").mkdir()
    return home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return fill_home(tmp_path)


@pytest.fixture(scope="module", params=["bash", "zsh"])
def keyboard(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyboard]:
    """A shell with the completion script loaded, shared by the tests: zsh takes long to start."""
    need(request.param)
    home = fill_home(tmp_path_factory.mktemp(request.param))
    if request.param == "bash":
        rc = home / "rc"
        rc.write_text(f"PS1='{PROMPT} '\nbind 'set bell-style none'\n{ECHO}\n. {SCRIPTS}/smallest.bash\n")
        command = ["bash", "--noprofile", "--rcfile", str(rc), "-i"]
    else:
        zfunc = home / "zfunc"
        zfunc.mkdir()
        shutil.copy(SCRIPTS / "_smallest", zfunc)
        (home / ".zshrc").write_text(
            f"PS1='{PROMPT} '\nunsetopt beep\nsetopt no_list_beep\nfpath=({zfunc} $fpath)\n"
            f"autoload -Uz compinit && compinit -u\n{ECHO}\n"
        )
        command = ["zsh", "-i"]
    with at_keyboard(command, environment(home) | {"ZDOTDIR": str(home)}, home) as shell:
        yield shell


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        ("smallest spe\t", ["speak"]),
        ("smallest bench comp\t", ["bench", "compare"]),
        ("smallest voices clones\t", ["voices", "clones"]),
        ("smallest dict upd\t", ["dict", "update"]),
        ("smallest completion ba\t", ["completion", "bash"]),
        ("smallest speak --sample-rate 80\t", ["speak", "--sample-rate", "8000"]),
        ("smallest speak some words --no-cl\t", ["speak", "some", "words", "--no-clobber"]),
        ("smallest speak --no-cl\t", ["speak", "--no-clobber"]),
        ("smallest speak --via ht\t", ["speak", "--via", "http"]),
        ("smallest speak --via=ht\t", ["speak", "--via=http"]),
        ("smallest speak --format mp\t-v zoe\t", ["speak", "--format", "mp3", "-v", "zoe_clone"]),
        ("smallest stream --buffering ser\t", ["stream", "--buffering", "server"]),
        ("smallest speak --language h\t", ["speak", "--language", "hi"]),
        ("smallest voices play zor\t", ["voices", "play", "zora"]),
        ("smallest speak --device Head\t", ["speak", "--device", "Headphones"]),
        ("smallest speak --device Buil\t", ["speak", "--device", DEVICE]),
        ("smallest speak -f spee\t", ["speak", "-f", "speech.txt"]),
        ("smallest speak -o x.wav -f two\t", ["speak", "-o", "x.wav", "-f", "two words.txt"]),
        ("smallest voices play --output fol\t", ["voices", "play", "--output", "folder"]),
        ("smallest bench compare spe\t", ["bench", "compare", "speech.txt"]),
        ("smallest bench --arrival poi\t", ["bench", "--arrival", "poisson"]),
        ("smallest bench merge speech.txt two\t", ["bench", "merge", "speech.txt", "two words.txt"]),
        ("smallest voices play zora zoe\t", ["voices", "play", "zora", "zoe_clone"]),
        ("smallest speak -p --js\t", ["speak", "-p", "--json"]),
        ("smallest speak --player ffpl\t", ["speak", "--player", "ffplay"]),
    ],
)
def test_unique_completion_is_inserted(typed: str, given: list[str], keyboard: Keyboard) -> None:
    assert [word.rstrip("/") for word in keyboard.run(typed)] == given  # zsh removes the slash on Enter
    assert not (keyboard.folder / "pwned").exists()


def test_several_completions_are_listed(keyboard: Keyboard) -> None:
    shown = keyboard.look("smallest ", r"(?s)logout.*stream")
    assert "doctor" in shown
    shown = keyboard.look("smallest speak -v zo", r"(?s)zoe_clone.*zora")
    assert "meher" not in shown


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("smallest spe", ["speak"]),
        ("smallest bench comp", ["compare"]),
        ("smallest voices cl", ["clone", "clones"]),
        ("smallest speak --via ", ["auto", "http", "sse", "ws"]),
        ("smallest speak --via=h", ["--via=http"]),
        ("smallest speak -v zo", ["zoe_clone", "zora"]),
        ("smallest speak --device H", ["Headphones"]),
        ("smallest speak -l h", ["hi"]),
        ("smallest speak -f spe", ["speech.txt"]),
        ("smallest voices play -o fol", ["folder/"]),
        ("smallest speak --player ", sorted(PLAYERS)),
    ],
)
def test_fish_offers(typed: str, offered: list[str], home: Path) -> None:
    assert [line.split("\t")[0] for line in fish(typed, home)] == offered


def fish(typed: str, home: Path, *, script: str = f"source {SCRIPTS}/smallest.fish") -> list[str]:
    """The completions that fish offers, each with a tab and a description."""
    code = f"{script}; complete -C '{typed}'"
    arguments = [need("fish"), "-c", code]
    env = environment(home)
    done = subprocess.run(arguments, env=env, cwd=home, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return sorted(done.stdout.splitlines())


def test_fish_describes_a_voice(home: Path) -> None:
    assert fish("smallest speak --voice zoe", home) == ["zoe_clone\tfemale, lightning_v3.1"]


def bash_offers(typed: list[str], env: dict[str, str], prefix: str = "") -> list[str]:
    code = (
        f". {SCRIPTS}/smallest.bash; COMP_WORDS=({' '.join(typed)} '{prefix}'); COMP_CWORD={len(typed)}; "
        "_smallest; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run([need("bash"), "-c", code], env=env, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("ifs", [r"$'\n'", "", ":", "e", "'- '"])
def test_bash_completes_the_same_with_any_ifs(ifs: str, home: Path) -> None:
    typed = ("''", "sp", "bench comp", "speak --via ''", "speak --via = ht", "speak --no-", "speak -v zo")
    lines = [*typed, "speak --player p", "speak -f sp"]
    code = f'. {SCRIPTS}/smallest.bash\noffer() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _smallest; '
    code += "printf '%s\\n' \"${COMPREPLY[@]}\"; }\n" + "".join(f"offer smallest {line}\n" for line in lines)
    command, env = [need("bash"), "-c"], environment(home)
    plain, other = (
        subprocess.run([*command, each], env=env, cwd=home, capture_output=True, text=True, check=True)
        for each in (code, f"IFS={ifs}\n{code}")
    )
    assert (other.stdout, other.stderr) == (plain.stdout, "")
    assert {"speak", "compare", "sse", "--no-clobber", "zora", "play", "speech.txt"} <= {
        *plain.stdout.split("\n")
    }


def test_players_are_completed_by_programs_not_shell_keywords(home: Path) -> None:
    """The presets first, then programs on PATH."""
    (home / "bin").mkdir()
    for name in ("iffy", "aplay"):
        (home / "bin" / name).write_text("#!/bin/sh\n")
        (home / "bin" / name).chmod(0o755)
    env = environment(home) | {"PATH": str(home / "bin")}
    assert bash_offers(["smallest", "speak", "--player"], env) == list(PLAYERS)
    assert bash_offers(["smallest", "speak", "--player"], env, "if") == ["iffy"]
    assert set(bash_offers(["smallest", "speak", "--player"], env, "a")) == {"aplay"}


def test_bundled_voices_are_offered_without_a_cache(tmp_path: Path) -> None:
    from smallest_cli.voices import bundled_voices

    ids = {voice.id for voice in bundled_voices()}
    env = environment(tmp_path)
    assert set(bash_offers(["smallest", "speak", "-v"], env)) == ids
    offered = fish("smallest speak -v ", tmp_path)
    assert {line.split("\t")[0] for line in offered} == ids


def test_tab_starts_no_program(home: Path) -> None:
    """PATH is empty, so that Python could not be started either."""
    env = environment(home) | {"PATH": "/nowhere"}
    code = (
        f". {SCRIPTS}/smallest.bash; COMP_WORDS=(smallest speak -v z); COMP_CWORD=3; "
        "_smallest; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run([need("bash"), "-c", code], env=env, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("zoe_clone zora\n", "")


@pytest.mark.parametrize(("shell", "name"), FILES.items())
def test_completion_prints_the_script(shell: str, name: str, tmp_path: Path) -> None:
    ran = smallest(tmp_path, "completion", shell)
    assert (ran.code, ran.out.decode(), ran.err) == (0, (SCRIPTS / name).read_text(), "")


def test_unknown_shell_is_a_usage_error(tmp_path: Path) -> None:
    ran = smallest(tmp_path, "completion", "tcsh")
    assert (ran.code, ran.out) == (2, b"")
    assert "tcsh" in ran.lines[0]
    assert smallest(tmp_path, "completion").code == 2


def install(shell: str, home: Path, **env: str) -> tuple[Path, str]:
    """Install the script: its path, and the hint."""
    ran = smallest(home, "completion", shell, "--install", env=env)
    assert (ran.code, ran.out) == (0, b"")
    message, hint = ran.lines
    return Path(message.removeprefix("wrote ")), hint


def test_fish_loads_the_installed_script(home: Path) -> None:
    target, _ = install("fish", home)
    assert target == home / ".config/fish/completions/smallest.fish"
    (home / "bin").mkdir()
    program = home / "bin" / "smallest"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert fish("smallest spe", home, script=f"set PATH {program.parent} $PATH") == [
        "speak\tSpeak text: play it, save it, or pipe it."
    ]


def test_zsh_loads_the_installed_script_with_the_line_of_the_hint(home: Path) -> None:
    target, hint = install("zsh", home)
    assert target == home / ".local/share/zsh/site-functions/_smallest"
    line = hint.partition("once: ")[2].replace("compinit && compinit", "compinit && compinit -u")
    (home / ".zshrc").write_text(f"PS1='{PROMPT} '\n{line}\n{ECHO}\n")
    with at_keyboard([need("zsh"), "-i"], environment(home) | {"ZDOTDIR": str(home)}, home) as shell:
        assert shell.run("smallest speak --via ht\t") == ["speak", "--via", "http"]


@pytest.mark.parametrize("variable", [{}, {"XDG_DATA_HOME": "data"}, {"BASH_COMPLETION_USER_DIR": "own"}])
def test_bash_loads_the_installed_script(variable: dict[str, str], home: Path) -> None:
    env = {name: str(home / folder) for name, folder in variable.items()}
    target, hint = install("bash", home, **env)
    assert str(target) in hint
    system = Path("/usr/share/bash-completion/bash_completion")
    if not system.exists():
        need("bash-completion")
    rc = home / "rc"
    rc.write_text(f"PS1='{PROMPT} '\n. {system}\n{ECHO}\n")
    command = ["bash", "--noprofile", "--rcfile", str(rc), "-i"]
    with at_keyboard(command, environment(home) | env, home) as shell:
        assert shell.run("smallest speak --via=ht\t") == ["speak", "--via=http"]
        assert shell.run("smallest speak -v zoe\t") == ["speak", "-v", "zoe_clone"]


def test_powershell_hint_names_the_installed_script(home: Path) -> None:
    target, hint = install("powershell", home)
    assert target.read_text() == (SCRIPTS / "smallest.ps1").read_text()
    assert f". '{target}'" in hint


AWKWARD = "ho'me $(touch pwned) `x`"


@pytest.fixture
def quoting_home(tmp_path: Path) -> Path:
    """A home directory whose name is full of shell syntax."""
    (tmp_path / AWKWARD).mkdir()
    return tmp_path / AWKWARD


def test_bash_hint_quotes_the_path(quoting_home: Path) -> None:
    _, hint = install("bash", quoting_home)
    line = f"{hint.partition('~/.bashrc: ')[2]}; complete -p smallest"
    done = subprocess.run(
        [need("bash"), "-c", line], cwd=quoting_home, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("complete -o bashdefault -F _smallest smallest\n", "")


def test_zsh_hint_quotes_the_path(quoting_home: Path) -> None:
    target, hint = install("zsh", quoting_home)
    line = f"{hint.partition('once: ')[2].partition(';')[0]}; print -r -- $fpath[1]"
    done = subprocess.run(
        [need("zsh"), "-fc", line], cwd=quoting_home, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == (f"{target.parent}\n", "")


def test_powershell_hint_doubles_quotes(quoting_home: Path) -> None:
    target, hint = install("powershell", quoting_home)
    assert hint.endswith(f" . '{str(target).replace(chr(39), 2 * chr(39))}'")


def test_install_into_an_unwritable_folder_exits_10(home: Path) -> None:
    (home / ".config").write_text("a file")
    ran = smallest(home, "completion", "fish", "--install")
    assert (ran.code, ran.out) == (10, b"")
    assert ran.lines[0].startswith("smallest: cannot write ")


VOICE = {"displayName": "X", "tags": {"language": ["hindi", "klingon"], "accent": "indian", "gender": "male"}}
LISTED = [{**VOICE, "voiceId": voice} for voice in ("brand_new", "a b", "$(touch pwned)", "-rf")]


def test_voices_and_languages_are_completed_from_the_last_reply(tmp_path: Path) -> None:
    """Values that a shell could read as more than a word are dropped."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    env = {"SMALLEST_API_KEY": KEY, "SMALLEST_CACHE_DIR": str(tmp_path / "own cache")}
    with fault_server(answer(head, json.dumps({"voices": LISTED}).encode())) as server:
        url = f"http://127.0.0.1:{server.port}"
        ran = smallest(tmp_path, "voices", "--refresh", "--base-url", url, env=env)
    assert (ran.code, ran.err) == (0, "")
    shell_env = environment(tmp_path) | env
    assert bash_offers(["smallest", "speak", "-v"], shell_env) == ["brand_new"]
    assert bash_offers(["smallest", "speak", "-l"], shell_env) == ["hi", "klingon"]
    assert bash_offers(["smallest", "stream", "--model"], shell_env)


@pytest.mark.parametrize("command", [("speak", "--device", "?"), ("doctor", "--local")])
def test_output_devices_are_those_last_listed(command: tuple[str, ...], tmp_path: Path) -> None:
    need_pulse()
    with start_pulse() as pulse:
        ran = smallest(tmp_path, *command, env={**pulse.env, "HOME": str(tmp_path)})
    assert ran.code == 0
    saved = (tmp_path / ".cache/smallest/devices.tsv").read_text().splitlines()
    assert saved
    assert all(name in ran.out.decode() for name in saved)
    assert len(bash_offers(["smallest", "speak", "--device"], environment(tmp_path))) >= len(saved)
