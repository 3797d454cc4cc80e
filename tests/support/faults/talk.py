"""One connection in the words of its transport: WebSocket, server-sent events or plain HTTP."""

from __future__ import annotations

import base64
import json
import socket
from typing import Protocol

from tests.support import frames
from tests.support.raw_server import read_request


class Talk(Protocol):
    """What a performer can say."""

    sock: socket.socket
    request_id: str

    def next_request(self, request_id: str) -> bool: ...
    def head(self) -> None: ...
    def audio(self, pcm: bytes) -> None: ...
    def raw_audio(self, data: bytes) -> None: ...
    def garbage(self) -> None: ...
    def error(self, text: str) -> None: ...
    def end(self) -> None: ...
    def status(self, code: int) -> None: ...
    def close(self, code: int) -> None: ...


def open_talk(sock: socket.socket) -> Talk:
    """Look at the first request, without taking it, and choose."""
    peeked = b""
    while b"\r\n\r\n" not in peeked:
        before, peeked = peeked, sock.recv(65_536, socket.MSG_PEEK)
        if not peeked or peeked == before:
            break
    if b"upgrade: websocket" in peeked.lower():
        return WebSocketTalk(sock)
    return HTTPTalk(sock)


class WebSocketTalk:
    """The upgrade is answered at once; steps begin with the first message."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.request_id = ""
        frames.upgrade(sock)

    def next_request(self, request_id: str) -> bool:
        self.request_id = request_id
        try:
            frames.read_message(self.sock)
        except ConnectionError:
            return False
        return True

    def head(self) -> None:
        """There is none."""

    def audio(self, pcm: bytes) -> None:
        self.sock.sendall(frames.chunk(pcm, self.request_id))

    def raw_audio(self, data: bytes) -> None:
        """There are no bytes but those in messages."""

    def garbage(self) -> None:
        self.sock.sendall(frames.frame(b"{"))

    def error(self, text: str) -> None:
        self.sock.sendall(frames.message(status="error", message=text))

    def end(self) -> None:
        self.sock.sendall(frames.message(status="complete", request_id=self.request_id))

    def status(self, code: int) -> None:
        self.error(f"status {code}")

    def close(self, code: int) -> None:
        self.sock.sendall(frames.close(code))


class HTTPTalk:
    """Server-sent events where they are accepted, else plain audio; always in chunks."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.request_id = ""
        self._events = False

    def next_request(self, request_id: str) -> bool:
        self.request_id = request_id
        request = read_request(self.sock)
        self._events = b"text/event-stream" in request
        return b"\r\n\r\n" in request

    def head(self) -> None:
        kind = "text/event-stream" if self._events else "audio/wav"
        self.sock.sendall(
            f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nX-Request-Id: {self.request_id}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )

    def _chunk(self, data: bytes) -> None:
        self.sock.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def audio(self, pcm: bytes) -> None:
        if not self._events:
            self._chunk(pcm)
            return
        fields = {"audio": base64.b64encode(pcm).decode(), "done": False, "status": "206"}
        self._chunk(f"event: audio\ndata: {json.dumps(fields)}\n\n".encode())

    def raw_audio(self, data: bytes) -> None:
        if not self._events:
            self._chunk(data)

    def garbage(self) -> None:
        self._chunk(b"data: {\n\n" if self._events else b"no RIFF")

    def error(self, text: str) -> None:
        self._chunk(f"data: {json.dumps({'status': 'error', 'message': text})}\n\n".encode())

    def end(self) -> None:
        if self._events:
            self._chunk(b'data: {"status": "200", "done": true}\n\n')
        self.sock.sendall(b"0\r\n\r\n")

    def status(self, code: int) -> None:
        body = json.dumps({"error": f"status {code}"}).encode()
        head = f"HTTP/1.1 {code} No\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.sock.sendall(head.encode() + body)

    def close(self, code: int) -> None:
        """The connection just goes: HTTP has no word for it."""
