"""WebSocket frames from the server's side, written by hand for tests that must misbehave."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct

from tests.support.raw_server import read_request

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def upgrade(sock: socket.socket, extra: bytes = b"") -> bytes:
    """Answer the upgrade; the request's head is returned."""
    head = read_request(sock)
    sock.sendall(upgrade_reply(head, extra))
    return head


def upgrade_reply(head: bytes, extra: bytes = b"") -> bytes:
    """What opens the WebSocket that a request's head asks for."""
    key = next(
        line.split(b":", 1)[1].strip()
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key:")
    )
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n" + extra + b"\r\n"
    )


def frame(payload: bytes, opcode: int = 1, *, fin: bool = True) -> bytes:
    """One frame, not masked."""
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        return head + bytes([size]) + payload
    if size < 65536:
        return head + b"\x7e" + struct.pack("!H", size) + payload
    return head + b"\x7f" + struct.pack("!Q", size) + payload


def read_message(sock: socket.socket) -> dict[str, object]:
    """A client's next text message, its pongs passed over."""
    while True:
        opcode, data = _read_frame(sock)
        if opcode == 1:
            break
        if opcode == 8:
            raise ConnectionError("the client said goodbye")
        assert opcode == 10, opcode
    fields = json.loads(data)
    assert isinstance(fields, dict)
    return fields


def chunk(pcm: bytes, request_id: str = "task_1", **fields: object) -> bytes:
    """An audio message in its frame."""
    audio = {"audio": base64.b64encode(pcm).decode()}
    return message(status="chunk", data=audio, request_id=request_id, **fields)


def message(**fields: object) -> bytes:
    """A text message in its frame."""
    return frame(json.dumps({"session_id": "ws_1", **fields}).encode())


COMPLETE = message(status="complete", request_id="task_1")


def close(code: int, reason: bytes = b"") -> bytes:
    """A close frame."""
    return frame(struct.pack("!H", code) + reason, 8)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise ConnectionError("the client left")
        data += piece
    return data


def _read_frame(sock: socket.socket) -> tuple[int, bytes]:
    """A client's frame: it is masked (RFC 6455, 5.3)."""
    first, second = _exactly(sock, 2)
    assert first & 0x80
    assert second & 0x80
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", _exactly(sock, 2))
    mask = _exactly(sock, 4)
    return first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(_exactly(sock, size)))
