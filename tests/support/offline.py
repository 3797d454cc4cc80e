"""The real offline server as a child, for every test that needs a service, and other people's clients for it.

The clients are requests and websockets as anybody uses them; nothing here knows `smallest_cli`.
"""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response
from websockets.sync.client import ClientConnection, connect

from tests.support.forked import ForkedServer

KEY = "sk_test_0123456789abcdef"
DEADLINE = 20.0

Message = dict[str, Any]

HTTP = {
    "unified": "/waves/v1/tts",
    "v3.1": "/waves/v1/lightning-v3.1/get_speech",
    "v2": "/waves/v1/lightning-v2/get_speech",
}
SSE = {
    "unified": "/waves/v1/tts/live",
    "v3.1": "/waves/v1/lightning-v3.1/stream",
    "v2": "/waves/v1/lightning-v2/stream",
}
WS = {
    "unified": "/waves/v1/tts/live",
    "v3.1": "/waves/v1/lightning-v3.1/get_speech/stream",
    "v2": "/waves/v1/lightning-v2/get_speech/stream",
}


def hello(**fields: Any) -> Message:
    """A request that nothing is wrong with, changed by `fields`; None takes a field away."""
    request = {"text": "Hello there.", "voice_id": "magnus", "sample_rate": 24_000} | fields
    return {name: value for name, value in request.items() if value is not None}


@dataclass(frozen=True)
class Offline:
    """A server that runs: where it is, which key it takes, what it has seen."""

    base_url: str
    key: str
    process: subprocess.Popen[bytes] | ForkedServer
    log_path: Path

    @property
    def ws_url(self) -> str:
        return self.base_url.replace("http", "ws", 1)

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.base_url.rpartition("/")[2].rpartition(":")
        return host, int(port)

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def log(self) -> list[dict[str, Any]]:
        """What the server wrote of each request that has ended, oldest first."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """One HTTP exchange, the body read; with the key, unless `headers` say otherwise."""
        with requests.Session() as session:
            session.trust_env = False
            options = {"headers": self.auth, "timeout": DEADLINE} | options
            return session.request(method, self.base_url + path, **options)

    def post(self, path: str, fields: Message, **options: Any) -> requests.Response:
        """`ask` with a JSON body."""
        return self.ask("POST", path, json=fields, **options)

    @contextmanager
    def open(
        self, path: str = WS["unified"], *, key: str | None = None, **options: Any
    ) -> Iterator[ClientConnection]:
        """A WebSocket. It has a socket of its own, so that no proxy of the environment is asked."""
        sock = socket.create_connection(self.address, timeout=DEADLINE)
        headers = {"Authorization": f"Bearer {key or self.key}"} | options.pop("additional_headers", {})
        with connect(self.ws_url + path, sock=sock, additional_headers=headers, **options) as ws:
            yield ws

    def say(self, fields: Message, path: str = WS["unified"]) -> list[Message]:
        """Everything that a request is answered by, over a WebSocket of its own."""
        with self.open(path) as ws:
            send(ws, fields)
            return receive(ws)

    def raw(self, data: bytes) -> bytes:
        """What the server answers to `data` until it closes the connection."""
        with socket.create_connection(self.address, timeout=DEADLINE) as sock:
            sock.sendall(data)
            return b"".join(iter(lambda: sock.recv(65_536), b""))


def refusal(server: Offline, path: str = WS["unified"], **options: Any) -> Response:
    """The reply to an upgrade that is refused."""
    with pytest.raises(InvalidStatus) as refused, server.open(path, **options):
        pass
    return refused.value.response


def send(ws: ClientConnection, fields: Message) -> None:
    ws.send(json.dumps(fields))


def next_message(ws: ClientConnection) -> Message:
    message = json.loads(ws.recv(timeout=DEADLINE))
    assert isinstance(message, dict)
    return message


def receive(ws: ClientConnection) -> list[Message]:
    """The messages up to the first `complete` or `error`, that one included."""
    messages = [next_message(ws)]
    while messages[-1]["status"] not in ("complete", "error"):
        messages.append(next_message(ws))
    return messages


def statuses(messages: list[Message]) -> list[str]:
    """The statuses, each run of equal ones once."""
    found: list[str] = []
    for message in messages:
        if found[-1:] != [message["status"]]:
            found.append(message["status"])
    return found


def pcm_of(messages: list[Message]) -> bytes:
    """The audio of WebSocket messages."""
    return b"".join(
        base64.b64decode(message["data"]["audio"], validate=True)
        for message in messages
        if message["status"] == "chunk"
    )


def pcm_of_sse(body: bytes) -> bytes:
    """The audio of an event stream, in whichever envelope."""
    pcm = b""
    for line in body.splitlines():
        if line.startswith(b"data: "):
            fields = json.loads(line[6:])
            pcm += base64.b64decode(fields.get("audio", fields.get("data", {}).get("audio", "")))
    return pcm


def eventually(condition: Callable[[], bool]) -> None:
    """Ask again until it is so; the asking itself takes its time. pytest-timeout ends what never is."""
    while not condition():
        pass


# Processes


def child_of(pid: int) -> int:
    """The one child of a process."""
    (child,) = children_of(pid)
    return child


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def watched(*pids: int) -> Iterator[Callable[[], None]]:
    """Gives a function that waits until every one of the processes has ended."""
    handles = {os.pidfd_open(pid) for pid in pids}

    def wait() -> None:
        waiting = set(handles)
        while waiting:
            ended, _, _ = select.select(list(waiting), [], [], DEADLINE)
            assert ended, "a process goes on"
            waiting -= set(ended)

    try:
        yield wait
    finally:
        for handle in handles:
            os.close(handle)


def launch(behaviour: dict[str, Any], **options: Any) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start the child as `smallest speak --local` does, and read its one line."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "smallest_cli.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **options,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(behaviour).encode() + b"\n")
    process.stdin.flush()
    return process, json.loads(process.stdout.readline())


SMALLEST = [sys.executable, "-P", "-m", "smallest_cli"]


@contextmanager
def start_serve(*arguments: str, end: int = signal.SIGTERM, **options: Any) -> Iterator[Offline]:
    """`smallest serve` in the foreground; what it printed must be its URL and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        log_path = Path(folder, "log.jsonl")
        command = [*SMALLEST, "serve", "--log", str(log_path), *arguments]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
        ) as process:
            assert process.stdout
            try:
                yield Offline(process.stdout.readline().decode().rstrip("\n"), KEY, process, log_path)
                process.send_signal(end)
                assert process.stdout.read() == b""
            finally:
                process.kill()


@contextmanager
def start_offline(**behaviour: Any) -> Iterator[Offline]:
    """A server of that behaviour, on a free port, with the key `KEY` unless a token is given.

    It must end by itself when its stdin ends, quietly, with exit code 0.
    """
    with tempfile.TemporaryDirectory() as folder:
        log_path, stderr = Path(folder, "log.jsonl"), Path(folder, "stderr")
        given = {"token": KEY, "log": str(log_path)} | behaviour
        with closing(ForkedServer(json.dumps(given).encode() + b"\n", stderr)) as process:
            answer = json.loads(process.read_line())
            yield Offline(answer["base_url"], answer["key"], process, log_path)
            process.close_stdin()
            code = process.wait(10)
        assert stderr.read_text() == ""
        assert code == 0
