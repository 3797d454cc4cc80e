"""The offline server as a child process, and third-party clients for it.

The clients use requests and websockets directly; nothing here imports `smallest_cli`.
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
    """A valid request, changed by `fields`; None removes a field."""
    request = {"text": "Hello there.", "voice_id": "magnus", "sample_rate": 24_000} | fields
    return {name: value for name, value in request.items() if value is not None}


@dataclass(frozen=True)
class Offline:
    """A running server: its address, key, process and request log."""

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
        """Log entries of the finished requests, oldest first."""
        *complete, _ = self.log_path.read_text().split("\n")  # a line may be half-written
        return [json.loads(line) for line in complete]

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send an HTTP request and read the reply; `headers` replaces the default key."""
        with requests.Session() as session:
            session.trust_env = False
            options = {"headers": self.auth, "timeout": DEADLINE} | options
            return session.request(method, self.base_url + path, **options)

    def post(self, path: str, fields: Message, **options: Any) -> requests.Response:
        """POST a JSON body."""
        return self.ask("POST", path, json=fields, **options)

    @contextmanager
    def open(
        self, path: str = WS["unified"], *, key: str | None = None, **options: Any
    ) -> Iterator[ClientConnection]:
        """Open a WebSocket on a given socket, so that no proxy of the environment is used."""
        sock = socket.create_connection(self.address, timeout=DEADLINE)
        headers = {"Authorization": f"Bearer {key or self.key}"} | options.pop("additional_headers", {})
        with connect(self.ws_url + path, sock=sock, additional_headers=headers, **options) as ws:
            yield ws

    def say(self, fields: Message, path: str = WS["unified"]) -> list[Message]:
        """Send a request over a new WebSocket and return all messages."""
        with self.open(path) as ws:
            send(ws, fields)
            return receive(ws)

    def raw(self, data: bytes) -> bytes:
        """Send raw bytes and read until the server closes the connection."""
        with socket.create_connection(self.address, timeout=DEADLINE) as sock:
            sock.sendall(data)
            return b"".join(iter(lambda: sock.recv(65_536), b""))


def refusal(server: Offline, path: str = WS["unified"], **options: Any) -> Response:
    """The HTTP reply to a refused upgrade."""
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
    """The statuses without consecutive duplicates."""
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
    """The audio of an event stream in any envelope."""
    pcm = b""
    for line in body.splitlines():
        if line.startswith(b"data: "):
            fields = json.loads(line[6:])
            pcm += base64.b64decode(fields.get("audio", fields.get("data", {}).get("audio", "")))
    return pcm


def eventually(condition: Callable[[], bool]) -> None:
    """Poll a condition that itself does I/O until it is true; pytest-timeout ends the test otherwise."""
    while not condition():
        pass


# Processes


def child_of(pid: int) -> int:
    """The only child of a process."""
    (child,) = children_of(pid)
    return child


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def watched(*pids: int) -> Iterator[Callable[[], None]]:
    """Yield a function that waits until all processes have ended."""
    handles = {os.pidfd_open(pid) for pid in pids}

    def wait() -> None:
        waiting = set(handles)
        while waiting:
            ended, _, _ = select.select(list(waiting), [], [], DEADLINE)
            assert ended, "a process is still running"
            waiting -= set(ended)

    try:
        yield wait
    finally:
        for handle in handles:
            os.close(handle)


def launch(config: dict[str, Any], **options: Any) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start the child as `smallest speak --local` does, and read its reply."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "smallest_cli.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **options,
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(config).encode() + b"\n")
    process.stdin.flush()
    return process, json.loads(process.stdout.readline())


SMALLEST = [sys.executable, "-P", "-m", "smallest_cli"]


@contextmanager
def start_serve(*arguments: str, end: int = signal.SIGTERM, **options: Any) -> Iterator[Offline]:
    """Run `smallest serve`; stdout must contain its URL and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        log_path = Path(folder, "log.jsonl")
        command = [*SMALLEST, "serve", "--profile", "instant", "--log", str(log_path), *arguments]
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
def start_offline(**config: Any) -> Iterator[Offline]:
    """Start a server on a free port, with `KEY` as token unless another is given.

    When its stdin closes it must exit with 0 and an empty stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        log_path, stderr = Path(folder, "log.jsonl"), Path(folder, "stderr")
        given = {"token": KEY, "log": str(log_path)} | config
        with closing(ForkedServer(json.dumps(given).encode() + b"\n", stderr)) as process:
            answer = json.loads(process.read_line())
            yield Offline(answer["base_url"], answer["key"], process, log_path)
            process.close_stdin()
            code = process.wait(10)
        assert stderr.read_text() == ""
        assert code == 0
