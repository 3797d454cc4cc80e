"""HTTP requests and WebSocket frames on raw sockets, for a server that must misbehave."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def read_request(sock: socket.socket) -> bytes:
    """Read the head of an HTTP request and as much body as its Content-Length states."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65_536)
        if not piece:
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += sock.recv(65_536)
    return head + b"\r\n\r\n" + body


def upgrade(sock: socket.socket, extra: bytes = b"") -> bytes:
    """Accept the upgrade. Returns the head of the request."""
    head = read_request(sock)
    sock.sendall(upgrade_reply(head, extra))
    return head


def upgrade_reply(head: bytes, extra: bytes = b"") -> bytes:
    """Return the reply that accepts the upgrade in `head`."""
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
    """Return one frame, not masked."""
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    if size < 126:
        return head + bytes([size]) + payload
    if size < 65536:
        return head + b"\x7e" + struct.pack("!H", size) + payload
    return head + b"\x7f" + struct.pack("!Q", size) + payload


def read_message(sock: socket.socket) -> dict[str, object]:
    """Read the next text message of a client; pongs are skipped."""
    while True:
        opcode, data = _read_frame(sock)
        if opcode == 1:
            break
        if opcode == 8:
            raise ConnectionError("the client closed the WebSocket")
        assert opcode == 10, opcode
    fields = json.loads(data)
    assert isinstance(fields, dict)
    return fields


def chunk(pcm: bytes, request_id: str = "task_1", **fields: object) -> bytes:
    """Return the frame of an audio message."""
    audio = {"audio": base64.b64encode(pcm).decode()}
    return message(status="chunk", data=audio, request_id=request_id, **fields)


def message(**fields: object) -> bytes:
    """Return the frame of a text message."""
    return frame(json.dumps({"session_id": "ws_1", **fields}).encode())


COMPLETE = message(status="complete", request_id="task_1")


def close(code: int, reason: bytes = b"") -> bytes:
    """Return a close frame."""
    return frame(struct.pack("!H", code) + reason, 8)


def _read_exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise ConnectionError("the client left")
        data += piece
    return data


def _read_frame(sock: socket.socket) -> tuple[int, bytes]:
    """Read a frame of a client, which must be masked (RFC 6455, 5.3). Returns its opcode and payload."""
    first, second = _read_exactly(sock, 2)
    assert first & 0x80
    assert second & 0x80
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", _read_exactly(sock, 2))
    mask = _read_exactly(sock, 4)
    return first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(_read_exactly(sock, size)))
