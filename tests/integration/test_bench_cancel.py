"""Trials that are cancelled some time after their first audio (barge-in), over real sockets."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from smallest_cli.audio import wav
from smallest_cli.bench.plan import Plan, Text, make_arms
from smallest_cli.bench.probe import Probe
from smallest_cli.bench.results import summarise
from smallest_cli.bench.trial import Attempt, attempt
from smallest_cli.bench.workers import Progress, run_workers
from smallest_cli.models import VIAS, AudioFormat, Service, SpeechRequest, Via
from smallest_cli.network.dialer import Dialer
from smallest_cli.security import Secret
from smallest_cli.transports import open_transport
from tests.support.fault_server import Connection, Script, fault_server, steps
from tests.support.fault_server.steps import Close, End, Fin, Reply, Rst, Stall, Tone
from tests.support.offline import KEY as OFFLINE_KEY
from tests.support.offline import eventually, start_offline
from tests.support.trials import KEY, MS, RATE, run, trial

HEAD = Reply("chunked", wav=wav.header(AudioFormat(RATE)))
BLANK: dict[str, Any] = dict.fromkeys(
    ("scheduled_ns", "opened_ns", "phases", "reused", "sent_ns", "onset", "completed_ns", "request_id")
) | {"chunks": (), "waveform": None}
TEXT = "Hello there, this is a somewhat longer text, which is going to be interrupted."


class AwaitClose:
    """Wait until the client has cancelled: bytes of a close frame, or the end of its stream.

    They are not read: at the end of TCP without close_notify, TLS could not be written either.
    """

    def run(self, connection: Connection) -> None:
        socket.socket.recv(connection.sock, 1, socket.MSG_PEEK)


def cancel(
    script: Script, via: Via, after_ms: float = 50, timeout: float = 5.0, ca_file: str | None = None
) -> Attempt:
    """Cancel a request to a fault server that long after its first audio."""
    blank = trial(arm=f"{via}/cold/c1", **BLANK)
    tls = None
    if ca_file is not None:
        authority, tls = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(tls)
        authority.cert_pem.write_to_path(ca_file)
    dialer = Dialer(timeout=timeout, ca_file=ca_file)
    with fault_server(script, tls=tls) as faulty:
        service = Service(faulty.base_url, Secret(KEY, "a test"))
        with open_transport(via, service, dialer) as transport:
            request = SpeechRequest(TEXT, "magnus")
            return attempt(blank, request, transport, dialer.clock, 0, round(after_ms * MS))


def assert_cancelled(made: Attempt, before: int, after: int) -> None:
    """Check a cancelled trial and its frames before and after the cancellation."""
    assert (made.trial.error, made.failure) == (None, None), made.trial.message
    assert made.trial.cancellation is not None
    assert (made.trial.frames, made.trial.cancellation.frames) == (before, after)
    assert made.trial.cancellation.at_ns >= made.trial.first_audio_ns + 50 * MS
    assert made.trial.completed_ns is None
    assert len(made.pcm) == 2 * (before + after)


@pytest.mark.parametrize("via", VIAS)
def test_audio_after_the_cancellation_is_counted_apart(via: Via) -> None:
    script = (HEAD, Tone(100), AwaitClose(), Tone(200), Tone(50), Fin())
    made = cancel(script, via)
    assert_cancelled(made, RATE // 10, RATE // 4)
    assert made.trial.cancellation
    assert made.trial.cancellation.last_byte_ns > made.trial.cancellation.at_ns
    assert made.trial.request_id == "req_1"


@pytest.mark.parametrize("via", VIAS)
@pytest.mark.parametrize("end", [Fin(), Rst(), End()], ids=["fin", "rst", "end marker"])
def test_any_end_after_the_cancellation_is_one(via: Via, end: steps.Step) -> None:
    assert_cancelled(cancel((HEAD, Tone(100), AwaitClose(), end, Fin()), via), RATE // 10, 0)


def test_close_reply_ends_a_cancelled_websocket() -> None:
    made = cancel((HEAD, Tone(100), AwaitClose(), Close(1000)), "ws")
    assert_cancelled(made, RATE // 10, 0)


@pytest.mark.parametrize("via", VIAS)
def test_service_that_ignores_the_cancellation_is_left_at_the_timeout(via: Via) -> None:
    class Hold:
        def run(self, connection: Connection) -> None:
            connection.server.release.wait()

    made = cancel((HEAD, Tone(100), Hold()), via, timeout=0.3)
    assert_cancelled(made, RATE // 10, 0)
    assert made.trial.cancellation
    assert made.trial.cancellation.last_byte_ns == made.trial.cancellation.at_ns


@pytest.mark.parametrize("via", ["ws", "sse"])
def test_cancellation_over_tls(via: Via, tmp_path: Path) -> None:
    script = (HEAD, Tone(100), AwaitClose(), Tone(200), Fin())
    assert_cancelled(cancel(script, via, ca_file=str(tmp_path / "ca.pem")), RATE // 10, RATE // 5)


@pytest.mark.parametrize("via", VIAS)
def test_trial_that_ends_before_is_not_cancelled(via: Via) -> None:
    made = cancel((HEAD, Tone(100), End(), *([Fin()] if via == "http" else [])), via, after_ms=60_000)
    assert made.trial.error is None, made.trial.message
    assert made.trial.cancellation is None
    assert made.trial.completed_ns is not None


@pytest.mark.parametrize(
    ("script", "error"),
    [((HEAD, Stall()), "timeout_first"), ((HEAD, Tone(100), Stall()), "timeout_stall")],
    ids=["before the first audio", "after it"],
)
def test_failure_before_the_cancellation_is_a_failure(script: Script, error: str) -> None:
    made = cancel(script, "sse", after_ms=60_000, timeout=0.3)
    assert (made.trial.error, made.trial.cancellation) == (error, None)


def test_cancellation_during_silence_is_no_inaudible_trial() -> None:
    made = cancel((HEAD, Tone(100, peak=0), AwaitClose(), Tone(100), Fin()), "ws")
    assert_cancelled(made, RATE // 10, RATE // 10)
    assert made.trial.onset is None


@pytest.mark.parametrize("via", ["ws", "sse"])
@pytest.mark.parametrize("conn", ["warm", "cold"])
def test_cancelled_run_agrees_with_the_request_log_of_the_server(via: Via, conn: Any, tmp_path: Path) -> None:
    plan = Plan(
        arms=make_arms([via], [conn]),
        texts=(Text("t0", TEXT),),
        template=SpeechRequest("", "magnus"),
        count=4,
        cancel_after_ms=100,
    )
    progress = Progress(plan.trials)
    with start_offline(realtime_factor=1, first_byte_ms=20) as server:
        service = Service(server.base_url, Secret(OFFLINE_KEY, "a test"))
        nothing = lambda _: None  # noqa: E731
        assert run_workers(
            plan, {plan.arms[0].id: service}, Dialer(timeout=5), nothing, nothing, progress, Probe()
        )
        eventually(lambda: len(server.log()) == len(progress.trials))
        log = server.log()
    entries = {entry["request_id"]: entry for entry in log}
    measured = [each for each in progress.trials if each.phase == "measure"]
    for each in measured:
        assert each.error is None, each.message
        assert each.cancellation is not None
        entry = entries[each.request_id or ""]
        assert 2 * (each.frames + each.cancellation.frames) == entry["audio_bytes"]
        assert entry["completed_ns"] is None
        cancelled_ns = progress.origin_ns + (each.sent_ns or 0) + each.cancellation.at_ns
        assert cancelled_ns < entry["ended_ns"]
    metrics = summarise(run(arms=[plan.arms[0].id]), progress.trials).arms[0].metrics
    assert (metrics["cancel"].n, metrics["audio_after_cancel"].n) == (4, 4)
    assert "complete" not in metrics
