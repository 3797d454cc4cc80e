"""A bad network between the tool and the offline server: a slow one is no error, a cut connection is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.command import smallest
from tests.support.fault_cases import ALL
from tests.support.invariants import KEY, OLD, wav_samples
from tests.support.offline import Offline, start_offline
from tests.support.toxic_proxy import Toxic, toxic_proxy

WORDS = "Good morning. This is a sentence of some length. And here is one more, which is the last."
SPLIT = ("--split", "60")

HARMLESS = {
    "latency": Toxic(latency_s=0.03),
    "bandwidth": Toxic(bytes_per_s=600_000),
    "slow_close": Toxic(slow_close_s=0.5),
    "slicer": Toxic(slice=100),
}
FATAL = {
    "timeout": "silent_after",
    "reset_peer": "reset_after",
    "limit_data": "close_after",
}
BEFORE_AUDIO, MID_AUDIO = 60, 60_000


@pytest.fixture(scope="module")
def server() -> Iterator[Offline]:
    with start_offline(token=KEY) as found:
        yield found


@pytest.fixture(scope="module")
def complete(server: Offline, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The audio over a good network."""
    code, pcm, _ = speak(tmp_path_factory.mktemp("complete"), server.base_url, "ws")
    assert code == 0
    return pcm


def speak(home: Path, base_url: str, via: str, *arguments: str) -> tuple[int, bytes, str]:
    """Run `speak`. Returns exit code, audio and stderr; the old file must be untouched after a failure."""
    target, part = home / "out.wav", home / "out.wav.part"
    target.write_bytes(OLD)
    ran = smallest(
        home, "speak", WORDS, "--base-url", base_url, "--via", via, "-o", "out.wav", "--timeout", "1",
        *(("--completion-wait", "0") if via == "ws" else ()), *SPLIT, *arguments,
        env={"SMALLEST_API_KEY": KEY},
    )  # fmt: skip
    assert ran.out == b""
    assert "Traceback" not in ran.err
    assert KEY not in ran.err
    if ran.code == 0:
        assert not part.exists()
        return 0, wav_samples(target), ran.err
    assert target.read_bytes() == OLD
    assert part.exists() == (ran.code == 9)
    return ran.code, wav_samples(part) if part.exists() else b"", ran.err


def address(server: Offline) -> tuple[str, int]:
    url = urlsplit(server.base_url)
    assert url.hostname
    assert url.port
    return url.hostname, url.port


@pytest.mark.parametrize("via", ALL)
@pytest.mark.parametrize("name", HARMLESS)
def test_slow_network_changes_no_sample(
    name: str, via: str, server: Offline, complete: bytes, tmp_path: Path
) -> None:
    with toxic_proxy(address(server), HARMLESS[name]) as proxy:
        code, pcm, err = speak(tmp_path, proxy.base_url, via, "--timeout", "15")
    assert (code, err) == (0, "")
    assert pcm == complete


@pytest.mark.parametrize("via", ALL)
@pytest.mark.parametrize("name", FATAL)
def test_connection_cut_before_audio_leaves_no_part(
    name: str, via: str, server: Offline, tmp_path: Path
) -> None:
    with toxic_proxy(address(server), Toxic(**{FATAL[name]: BEFORE_AUDIO})) as proxy:
        code, pcm, err = speak(tmp_path, proxy.base_url, via, "--retries", "0")
    assert code in (7, 8), err
    assert pcm == b""


@pytest.mark.parametrize("via", ALL)
@pytest.mark.parametrize("name", FATAL)
def test_connection_cut_during_audio_keeps_part(
    name: str, via: str, server: Offline, complete: bytes, tmp_path: Path
) -> None:
    with toxic_proxy(address(server), Toxic(**{FATAL[name]: MID_AUDIO})) as proxy:
        code, pcm, err = speak(tmp_path, proxy.base_url, via, "--retries", "0")
    assert code == 9, err
    assert len(pcm) > MID_AUDIO // 3
    assert complete.startswith(pcm)


@pytest.mark.parametrize("via", ALL)
@pytest.mark.parametrize("name", FATAL)
def test_connection_cut_once_is_retried(
    name: str, via: str, server: Offline, complete: bytes, tmp_path: Path
) -> None:
    toxic = Toxic(**{FATAL[name]: MID_AUDIO, "connections": 1})
    with toxic_proxy(address(server), toxic) as proxy:
        code, pcm, err = speak(tmp_path, proxy.base_url, via)
    assert code == 0, err
    assert "trying again" in err
    assert pcm == complete
