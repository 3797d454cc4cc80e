"""The transports against servers that are not ours, as in front of a gateway: uvicorn and hypercorn."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from smallest_cli.errors import AuthError, RemoteError, RequestError
from smallest_cli.models import VIAS, AudioChunk, AudioFormat, Opened, Service, SpeechRequest, Via
from smallest_cli.network.dialer import Dialer
from smallest_cli.security import Secret
from smallest_cli.transports import open_transport
from tests.support import ROOT
from tests.support.asgi_service import PCM, REFUSED_TEXT

pytestmark = pytest.mark.long

APP = "tests.support.asgi_service:app"
COMMANDS = {
    "uvicorn, h11": ["uvicorn", "--http", "h11", "--fd", "{fd}"],
    "uvicorn, best": ["uvicorn", "--fd", "{fd}"],
    "hypercorn": ["hypercorn", "--workers", "0", "--bind", "fd://{fd}"],
}
REQUEST = SpeechRequest("Hello.", "meher", format=AudioFormat(24_000))


@dataclass(frozen=True)
class Gateway:
    """A server in a process of its own."""

    base_url: str


@pytest.fixture(scope="module", params=COMMANDS)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """The server, which inherits its listening socket: a client may connect before it has started."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        words = [word.format(fd=fd) for word in COMMANDS[request.param]]
        with subprocess.Popen(
            [sys.executable, "-m", *words, APP],
            cwd=ROOT,
            pass_fds=[fd],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield Gateway(f"http://127.0.0.1:{listener.getsockname()[1]}")
            finally:
                process.kill()


@pytest.mark.parametrize("via", VIAS)
def test_speech_of_a_gateway_is_complete(via: Via, gateway: Gateway) -> None:
    service = Service(gateway.base_url, Secret("sk_test_0123456789abcdef", "the test"))
    with open_transport(via, service, Dialer(timeout=30, environ={})) as transport:
        for is_reused in (False, True):
            events = list(transport.synthesize(REQUEST))
            assert b"".join(each.pcm for each in events if isinstance(each, AudioChunk)) == PCM
            reused = [each.reused for each in events if isinstance(each, Opened)]
            assert via == "ws" or reused == [is_reused]  # whether a WebSocket is reused depends on its ids


@pytest.mark.parametrize("via", VIAS)
def test_refusal_of_a_gateway_keeps_its_words(via: Via, gateway: Gateway) -> None:
    service = Service(gateway.base_url, Secret("sk_test_0123456789abcdef", "the test"))
    with (
        open_transport(via, service, Dialer(timeout=30, environ={})) as transport,
        pytest.raises(RemoteError) as caught,
    ):
        list(transport.synthesize(REQUEST._replace(text=REFUSED_TEXT)))
    assert type(caught.value) is (AuthError if via == "ws" else RequestError)
    assert ("invalid token" if via == "ws" else "body.voice_id: Field required") in str(caught.value)
