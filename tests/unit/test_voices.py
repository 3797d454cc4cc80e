"""The bundled voices: complete, as the snapshot states them, and found by id or name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from smallest_cli.models import Voice
from smallest_cli.voices import (
    WORD_TIMING_VOICES,
    bundled_voices,
    cache_path,
    cache_voices,
    cached_voices,
    find_voice,
    nearest_ids,
)


def test_snapshot_has_the_documented_counts() -> None:
    assert Counter(voice.model for voice in bundled_voices()) == {
        "lightning_v3.1": 73,
        "lightning_v3.1_pro": 191,
    }


def test_ids_are_unique() -> None:
    ids = [voice.id for voice in bundled_voices()]
    assert len(set(ids)) == len(ids) == 264


def test_unstated_gender_is_none() -> None:
    unstated = [voice for voice in bundled_voices() if voice.gender is None]
    assert unstated == [Voice("kartik", "Kartik", "lightning_v3.1", languages=("hindi", "english"))]


def test_find_by_id_and_by_name_in_any_case() -> None:
    magnus = Voice("magnus", "Magnus", "lightning_v3.1", "male", "american", ("english",))
    assert find_voice("magnus") == find_voice(" MAGNUS ") == magnus
    named = Voice("voice_1", "My Clone", "lightning_v3.1")
    assert find_voice("my clone", [named]) is named
    assert find_voice("my clone") is None


def test_id_precedes_the_name_of_another_voice() -> None:
    by_name, by_id = Voice("a", "b", "m"), Voice("b", "c", "m")
    assert find_voice("b", [by_name, by_id]) is by_id


def test_nearest_ids_finds_typos() -> None:
    assert nearest_ids("Magnuss")[0] == "magnus"
    assert nearest_ids("meherr", 1) == ["meher"]
    assert nearest_ids("qqqqqqqq") == []


def test_word_timing_voices_are_bundled() -> None:
    assert {"meher", "devansh", "kartik", "maithili", "liam", "avery"} == WORD_TIMING_VOICES
    assert all(find_voice(name) for name in WORD_TIMING_VOICES)


FIELDS = Voice("a", "b", "c")._asdict()
DAMAGED = {
    "nested": "[" * 100_000, "a number": "1", "no list": '{"base_url": "x"}',
    "null": '{"base_url": "x", "voices": null}',
    "a number as id": json.dumps({"base_url": "x", "voices": [FIELDS | {"id": 1}]}),
    "a number as language": json.dumps({"base_url": "x", "voices": [FIELDS | {"languages": [1]}]}),
    "a row that is no object": '{"base_url": "x", "voices": [1]}',
}  # fmt: skip


@pytest.mark.parametrize("damage", [*DAMAGED, "FIFO", "folder"])
def test_damaged_list_of_voices_counts_as_missing(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMALLEST_CACHE_DIR", str(tmp_path))
    cache_voices("x", [Voice("a", "b", "c", languages=("d",))])
    assert cached_voices("x") == (Voice("a", "b", "c", languages=("d",)),)
    cache_path().unlink()
    if damage in DAMAGED:
        cache_path().write_text(DAMAGED[damage])
    else:
        (os.mkfifo if damage == "FIFO" else os.mkdir)(cache_path())
    assert cached_voices("x") is None


def test_import_reads_no_file_and_no_difflib() -> None:
    code = (
        "import sys; from smallest_cli import voices; "
        "assert 'difflib' not in sys.modules; assert voices.bundled_voices.cache_info().currsize == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
