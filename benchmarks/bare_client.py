"""Minimal client for comparison: sockets only, no options, no checks, one trusted certificate.

    python bare_client.py VIA HOST PORT CA_FILE TEXT...     write the PCM of each text to stdout
    python bare_client.py stream HOST PORT CA_FILE          likewise over SSE, for each sentence on stdin

VIA is ws, sse or http, or ws-each for a new WebSocket per text. The API key is read from SMALLEST_API_KEY.
Over ws all texts are sent before any audio is read. Imports nothing of smallest_cli and as few modules as
possible.
"""

import os
import socket
import sys
from binascii import a2b_base64

PATHS = {"ws": "/waves/v1/tts/live", "sse": "/waves/v1/tts/live", "http": "/waves/v1/tts"}
ACCEPT = {"sse": "text/event-stream", "http": "audio/wav"}
WAV_HEADER = 44


class Client:
    """A buffered connection to the service."""

    def __init__(self, via: str, host: str, port: str, ca_file: str) -> None:
        self.via = via
        key = os.environ["SMALLEST_API_KEY"]
        self.fields = f"{PATHS[via]} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {key}\r\n"
        self.buffer = b""
        self.sock = socket.socket()
        self.sock.connect((host, int(port)))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if ca_file:
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(ca_file)
            # With a str, ssl would import the IDNA codec.
            self.sock = context.wrap_socket(self.sock, server_hostname=host.encode())

    def fill(self) -> None:
        data = self.sock.recv(65_536)
        if not data:
            sys.exit("the connection was closed")
        self.buffer += data

    def read(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self.fill()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def read_until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            self.fill()
        data, _, self.buffer = self.buffer.partition(mark)
        return data

    def post(self, text: str) -> bytes:
        """Send a request. Returns the response headers in lower case."""
        body = f'{{"text":"{text}","voice_id":"magnus","sample_rate":24000,"output_format":"wav"}}'
        head = f"POST {self.fields}Content-Type: application/json\r\nAccept: {ACCEPT[self.via]}\r\n"
        self.sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        return self.read_until(b"\r\n\r\n").lower()


def write_audio(message: bytes) -> None:
    """Decode the audio of a JSON message, if any, and write it to stdout."""
    _, found, value = message.partition(b'"audio"')
    if found:
        os.write(1, a2b_base64(value.split(b'"', 2)[1]))


def speak_http(client: Client, text: str) -> None:
    head = client.post(text)
    left = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]) - WAV_HEADER
    client.read(WAV_HEADER)
    while left:
        if not client.buffer:
            client.fill()
        left -= os.write(1, client.read(min(left, len(client.buffer))))


def speak_sse(client: Client, text: str) -> None:
    client.post(text)
    events = b""
    while size := int(client.read_until(b"\r\n"), 16):
        events += client.read(size)
        client.read(2)
        *complete, events = events.split(b"\n\n")
        for event in complete:
            write_audio(event)
    client.read(2)


def speak_ws(client: Client, texts: list[str]) -> None:
    """Send all texts, then read until every one is complete."""
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    client.sock.sendall(f"GET {client.fields}{upgrade}{key}".encode())
    client.read_until(b"\r\n\r\n")
    for text in texts:
        body = f'{{"text":"{text}","voice_id":"magnus","sample_rate":24000}}'.encode()
        # A zero mask leaves the payload unchanged (RFC 6455, section 5.3).
        client.sock.sendall(b"\x81\xfe" + len(body).to_bytes(2, "big") + bytes(4) + body)
    left = len(texts)
    while left:
        size = client.read(2)[1]
        if size > 125:
            size = int.from_bytes(client.read(2 if size == 126 else 8), "big")
        message = client.read(size)
        write_audio(message)
        left -= b'"complete"' in message


def stream(where: list[str]) -> None:
    """Speak each sentence on stdin, opening a new connection at its first word."""
    client, text = None, ""
    while data := os.read(0, 65_536):
        text += data.decode()
        client = client or Client("sse", *where)
        if text.rstrip()[-1:] in (".", "!", "?"):
            speak_sse(client, text.strip())
            client.sock.close()
            client, text = None, ""


def main() -> None:
    via, *where = sys.argv[1:5]
    texts = sys.argv[5:]
    if via == "stream":
        stream(where)
    elif via == "ws":
        speak_ws(Client(via, *where), texts)
    elif via == "ws-each":
        for text in texts:
            speak_ws(Client("ws", *where), [text])
    else:
        client = Client(via, *where)
        for text in texts:
            (speak_sse if via == "sse" else speak_http)(client, text)


if __name__ == "__main__":
    main()
