"""Voice resolution: a voice and a model that belong together, or an error or warning before a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from smallest_cli.errors import UsageError
from smallest_cli.models import Api, Voice
from smallest_cli.voices import (
    ResolvedVoice,
    UnknownVoice,
    bundled_voices,
    cache_voices,
    canonical_model,
    resolve_voice,
)

STANDARD, PRO = "lightning_v3.1", "lightning_v3.1_pro"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No voices of the account that runs the tests."""
    monkeypatch.setenv("SMALLEST_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("voice", "model", "id", "pool"),
    [
        (None, None, "meher", PRO), (None, PRO, "meher", PRO), (None, STANDARD, "magnus", STANDARD),
        ("meher", None, "meher", PRO), ("magnus", None, "magnus", STANDARD), (" MEHER ", PRO, "meher", PRO),
        ("Magnus", "lightning-v3.1", "magnus", STANDARD), (None, "lightning-v3.1", "magnus", STANDARD),
        ("meher", "lightning-v3.1-pro", "meher", PRO), ("meher", "lightning_v3.1-pro", "meher", PRO),
        ("voice_of_mine", STANDARD, "voice_of_mine", STANDARD), ("voice_of_mine", PRO, "voice_of_mine", PRO),
    ],
)  # fmt: skip
def test_matching_voice_and_model_give_no_warning(
    voice: str | None, model: str | None, id: str, pool: str
) -> None:
    assert resolve_voice(voice, model) == ResolvedVoice(id, pool)


def test_bundled_voices_resolve_to_their_model() -> None:
    for voice in bundled_voices():
        assert (
            resolve_voice(voice.id, None)
            == resolve_voice(voice.id, voice.model)
            == ResolvedVoice(voice.id, voice.model)
        )


@pytest.mark.parametrize(
    ("voice", "model", "words"),
    [
        ("meher", STANDARD, f"meher is a voice of {PRO}, not of {STANDARD}"),
        ("Meher", "lightning-v3.1", f"meher is a voice of {PRO}, not of {STANDARD}"),
        ("magnus", PRO, f"magnus is a voice of {STANDARD}, not of {PRO}"),
        ("magnus", "lightning-v3.1-pro", f"magnus is a voice of {STANDARD}, not of {PRO}"),
    ],
)
def test_voice_of_another_model_is_refused_without_force(voice: str, model: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_voice(voice, model)
    assert str(caught.value) == words
    pool = words.split()[5].rstrip(",")
    assert caught.value.hint == f"use --model {pool} or another voice, or send it anyway with --force"
    assert resolve_voice(voice, model, force=True) == ResolvedVoice(voice.lower(), canonical_model(model))


@pytest.mark.parametrize("voice", [None, "meher", "magnus"])
def test_unknown_model_gives_a_warning(voice: str | None) -> None:
    assert resolve_voice(voice, "lightning_v4") == ResolvedVoice(
        voice or "meher", "lightning_v4", ("unknown model 'lightning_v4'; sending it anyway",)
    )


@pytest.mark.parametrize(
    ("voice", "names"),
    [
        ("mehr", " (did you mean meher"), ("Magnuss", " (did you mean magnus"), ("qqqqqqqq", ""), ("", ""),
    ],
)  # fmt: skip
def test_unknown_voice_is_refused_with_the_nearest_unless_it_is_meant(voice: str, names: str) -> None:
    with pytest.raises(UnknownVoice) as caught:
        resolve_voice(voice, None)
    assert str(caught.value).startswith(f"unknown voice '{voice}'{names}")
    assert resolve_voice(voice, PRO) == ResolvedVoice(voice, PRO)
    found = resolve_voice(voice, None, force=True)
    assert (found.voice, found.model, len(found.warnings)) == (voice, PRO, 1)
    [warning] = found.warnings
    assert warning.startswith(f"unknown voice '{voice}'{names}")
    assert warning.endswith(f"; trying it on {PRO}")
    assert ("did you mean" in warning) == bool(names)


def test_clone_is_not_in_the_list() -> None:
    found = resolve_voice("voice_qQzX7", None)
    assert (found.voice, found.model, len(found.warnings)) == ("voice_qQzX7", PRO, 1)


def test_warnings_escape_and_shorten_user_input() -> None:
    name = "\x1b[31m" + "x" * 500
    for found in (resolve_voice(name, None, force=True), resolve_voice(None, name)):
        [warning] = found.warnings
        assert warning.isprintable()
        assert r"\x1b[31m" in warning
        assert len(warning) < 200


@pytest.mark.parametrize(
    ("api", "voice", "model", "expected"),
    [
        ("v3.1", None, None, ResolvedVoice("magnus", None)),
        ("v2", None, None, ResolvedVoice("magnus", None)),
        ("v3.1", "Mine", None, ResolvedVoice("Mine", None)),
        ("v2", "mehr", None, ResolvedVoice("mehr", None)),
        ("v3.1", "meher", STANDARD, ResolvedVoice("meher", STANDARD)),
        ("v2", "meher", STANDARD, ResolvedVoice("meher", None)),
    ],
)
def test_older_apis_resolve_without_the_voice_list(
    api: Api, voice: str | None, model: str | None, expected: ResolvedVoice
) -> None:
    assert resolve_voice(voice, model, api) == expected


def test_cached_list_of_the_same_service_precedes_the_bundled_voices() -> None:
    here, elsewhere = "http://here", "http://elsewhere"
    cache_voices(here, [Voice("meher", "Meher", STANDARD), Voice("voice_1", "My Clone", PRO)])
    assert resolve_voice("meher", None, base_url=here) == ResolvedVoice("meher", STANDARD)
    assert resolve_voice("my clone", None, force=True, base_url=here) == ResolvedVoice("voice_1", PRO)
    assert resolve_voice("meher", None, base_url=elsewhere) == ResolvedVoice("meher", PRO)
    assert resolve_voice("my clone", None, force=True, base_url=elsewhere).warnings
    with pytest.raises(UsageError, match="not of lightning_v3.1_pro"):
        resolve_voice("meher", PRO, base_url=here)
    assert "did you mean voice_1?" in resolve_voice("voice_2", None, base_url=here).warnings[0]


def test_unknown_model_is_reported_for_any_voice() -> None:
    for voice in (None, "meher", "sloane"):
        warnings = resolve_voice(voice, "foo_v9").warnings
        assert [warning for warning in warnings if "foo_v9" in warning]
        assert bool([warning for warning in warnings if "sloane" in warning]) == (voice == "sloane")
    assert resolve_voice("sloane", STANDARD).warnings == ()
