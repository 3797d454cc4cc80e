"""Who speaks: a voice and a model that belong together, or a word about it before anything is paid for."""

from __future__ import annotations

from pathlib import Path

import pytest

from smallest_cli.errors import UsageError
from smallest_cli.models import Api, Voice
from smallest_cli.voices import Cast, bundled_voices, cache_voices, canonical_model, cast

STANDARD, PRO = "lightning_v3.1", "lightning_v3.1_pro"


@pytest.fixture(autouse=True)
def no_voices_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whoever runs the tests."""
    monkeypatch.setenv("SMALLEST_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("voice", "model", "id", "pool"),
    [
        (None, None, "meher", PRO), (None, PRO, "meher", PRO), (None, STANDARD, "magnus", STANDARD),
        ("meher", None, "meher", PRO), ("magnus", None, "magnus", STANDARD), (" MEHER ", PRO, "meher", PRO),
        ("Magnus", "lightning-v3.1", "magnus", STANDARD), (None, "lightning-v3.1", "magnus", STANDARD),
        ("meher", "lightning-v3.1-pro", "meher", PRO), ("meher", "lightning_v3.1-pro", "meher", PRO),
        ("voice_of_mine", STANDARD, "voice_of_mine", STANDARD), ("voice_of_mine", PRO, "voice_of_mine", PRO),
        ("voice_of_mine", "other-model", "voice_of_mine", "other-model"),
    ],
)  # fmt: skip
def test_a_voice_and_a_model_that_belong_together_cost_no_word(
    voice: str | None, model: str | None, id: str, pool: str
) -> None:
    assert cast(voice, model) == Cast(id, pool)


def test_every_bundled_voice_brings_its_own_model() -> None:
    for voice in bundled_voices():
        assert cast(voice.id, None) == cast(voice.id, voice.model) == Cast(voice.id, voice.model)


@pytest.mark.parametrize(
    ("voice", "model", "words"),
    [
        ("meher", STANDARD, f"meher is a voice of {PRO}, not of {STANDARD}"),
        ("Meher", "lightning-v3.1", f"meher is a voice of {PRO}, not of {STANDARD}"),
        ("magnus", PRO, f"magnus is a voice of {STANDARD}, not of {PRO}"),
        ("magnus", "lightning-v3.1-pro", f"magnus is a voice of {STANDARD}, not of {PRO}"),
    ],
)
def test_a_voice_of_the_other_pool_is_refused_unless_it_is_forced(voice: str, model: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        cast(voice, model)
    assert str(caught.value) == words
    pool = words.split()[5].rstrip(",")
    assert caught.value.hint == f"use --model {pool} or another voice, or send it anyway with --force"
    assert cast(voice, model, force=True) == Cast(voice.lower(), canonical_model(model))


@pytest.mark.parametrize("voice", [None, "meher", "magnus"])
def test_an_unknown_model_passes_with_a_warning(voice: str | None) -> None:
    assert cast(voice, "lightning_v4") == Cast(
        voice or "meher", "lightning_v4", ("the model lightning_v4 is not known here",)
    )


@pytest.mark.parametrize(
    ("voice", "names"),
    [
        ("mehr", "; near it are meher"), ("Magnuss", "; near it are magnus"), ("qqqqqqqq", ""), ("", ""),
        ("voice_qQzX7", ""),
    ],
)  # fmt: skip
def test_an_unknown_voice_names_the_nearest_and_is_sent_as_it_is(voice: str, names: str) -> None:
    found = cast(voice, None)
    assert (found.voice, found.model, len(found.warnings)) == (voice, PRO, 1)
    [warning] = found.warnings
    assert warning.startswith(f"the catalogue has no voice {voice}{names}")
    assert warning.endswith(f"; it is tried on {PRO}")
    assert ("near it" in warning) == bool(names)


def test_what_a_person_typed_cannot_act_on_a_terminal() -> None:
    for found in (cast("\x1b[31m" + "x" * 500, None), cast(None, "\x1b[31m" + "x" * 500)):
        [warning] = found.warnings
        assert warning.isprintable()
        assert r"\x1b[31m" in warning
        assert len(warning) < 200


@pytest.mark.parametrize(
    ("api", "voice", "model", "expected"),
    [
        ("v3.1", None, None, Cast("magnus", None)), ("v2", None, None, Cast("magnus", None)),
        ("v3.1", "Mine", None, Cast("Mine", None)), ("v2", "mehr", None, Cast("mehr", None)),
        ("v3.1", "meher", STANDARD, Cast("meher", STANDARD)), ("v2", "meher", STANDARD, Cast("meher", None)),
    ],
)  # fmt: skip
def test_the_older_apis_have_no_pools(api: Api, voice: str | None, model: str | None, expected: Cast) -> None:
    assert cast(voice, model, api) == expected


def test_what_a_service_listed_last_goes_before_the_bundled_voices() -> None:
    """And only for that service."""
    here, elsewhere = "http://here", "http://elsewhere"
    cache_voices(here, [Voice("meher", "Meher", STANDARD), Voice("voice_1", "My Clone", PRO)])
    assert cast("meher", None, base_url=here) == Cast("meher", STANDARD)
    assert cast("my clone", None, base_url=here) == Cast("voice_1", PRO)
    assert cast("meher", None, base_url=elsewhere) == Cast("meher", PRO)
    assert cast("my clone", None, base_url=elsewhere).warnings
    with pytest.raises(UsageError, match="not of lightning_v3.1_pro"):
        cast("meher", PRO, base_url=here)
    assert "near it are voice_1" in cast("voice_2", None, base_url=here).warnings[0]
