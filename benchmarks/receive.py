"""Measure receiving: added latency per chunk, and CPU per hour of audio, compared with a bare reader.

A server in a separate process sends the same bytes to `speak` and to a reader that only calls `recv` (and,
for CPU, `a2b_base64` on the same amount of text). Latency is measured from just before the server's send to
the arrival of the PCM on stdout; for the bare reader, to the arrival of the bytes at its socket. An HTTP
body is chunked, delimited by the end of the connection, or (http only) by Content-Length.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from time import perf_counter_ns

from benchmarks.figures import GATE, Figure, report
from smallest_cli.audio import wav
from smallest_cli.models import VIAS, AudioFormat, Via

FORMAT = AudioFormat(24_000)
BLOCK = 7_680  # 160 ms, as sent by the service
PACED_BLOCKS, PACE_S = 150, 0.02
TEXT = "Hello. " * 600  # a shorter one could not be an hour of audio
HOUR_BLOCKS = 3600 * FORMAT.byte_rate // BLOCK
LATENCY_GOAL, LATENCY_SLACK_MS, CPU_GOAL = 2.0, 0.25, 2.6
TRANSPORTS = (
    ("ws", ""),
    ("sse", "chunked"),
    ("sse", "close"),
    ("http", "chunked"),
    ("http", "close"),
    ("http", "length"),
)
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def messages(via: str, framing: str, blocks: int) -> Iterator[bytes]:
    """Yield the server's messages: header, one per block, end marker."""
    body = _ws(blocks) if via == "ws" else _sse(blocks) if via == "sse" else _http(blocks)
    if via == "ws":
        yield from body
        return
    kind = b"text/event-stream" if via == "sse" else b"audio/wav"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\n"
    match framing:
        case "chunked":
            yield head + b"Transfer-Encoding: chunked\r\n\r\n" + _chunk(next(body))
            yield from map(_chunk, body)
            yield _chunk(b"")
        case "length":
            yield head + b"Content-Length: %d\r\n\r\n" % (blocks * BLOCK + 44) + next(body)
            yield from body
        case _:
            yield head + b"Connection: close\r\n\r\n" + next(body)
            yield from body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _audio(blocks: int) -> Iterator[bytes]:
    return (bytes([n % 251]) * BLOCK for n in range(blocks))


def _http(blocks: int) -> Iterator[bytes]:
    yield wav.header(FORMAT, blocks * BLOCK)
    yield from _audio(blocks)


def _sse(blocks: int) -> Iterator[bytes]:
    yield b": hello\n\n"
    for pcm in _audio(blocks):
        yield b'data: {"audio":"' + base64.b64encode(pcm) + b'","done":false,"status":"206"}\n\n'
    yield b'data: {"done":true,"status":"200"}\n\n'


def _ws(blocks: int) -> Iterator[bytes]:
    for pcm in _audio(blocks):
        yield frame(b'{"request_id":"r","status":"chunk","data":{"audio":"' + base64.b64encode(pcm) + b'"}}')
    yield frame(b'{"request_id":"r","status":"complete"}')


def frame(payload: bytes) -> bytes:
    """Return an unmasked WebSocket text frame."""
    size = len(payload)
    head = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return b"\x81" + head + payload


def serve(via: str, framing: str, blocks: int, pace_s: float) -> None:
    """Print the port, answer one client, then print the send time of each message in ns as JSON."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        peer, _ = listener.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = b""
    while b"\r\n\r\n" not in head:
        head += peer.recv(65_536)
    if via == "ws" and b"Sec-WebSocket-Key: " in head:
        key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        peer.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        peer.recv(65_536)
    pace, stamps = threading.Event(), []
    for message in messages(via, framing, blocks):
        pace.wait(pace_s)
        stamps.append(perf_counter_ns())
        peer.sendall(message)
    if framing == "close":
        peer.shutdown(socket.SHUT_WR)
    while peer.recv(65_536):
        pass
    print(json.dumps(stamps), flush=True)


class Server:
    """Run `serve` in a separate process."""

    def __init__(self, via: str, framing: str, blocks: int, pace_s: float) -> None:
        arguments = (via, framing, str(blocks), str(pace_s))
        command = [sys.executable, "-m", "benchmarks.receive", "serve", *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())

    def stamps(self) -> list[int]:
        """Return the send time of each message in ns, after the server has exited."""
        assert self._process.stdout
        stamps: list[int] = json.loads(self._process.stdout.readline())
        self._process.stdout.close()
        self._process.wait()
        return stamps


def speak_command(port: int, via: str, *output: str) -> list[str]:
    """Return the `speak` command for a server port."""
    words = [TEXT, "--split", "0", "--via", via, "--base-url", f"http://127.0.0.1:{port}"]
    return [sys.executable, "-m", "smallest_cli", "speak", *words, *output]


ENV = os.environ | {"SMALLEST_API_KEY": "sk_benchmark"}


def arrival_times(descriptor: int, size: int, first: int) -> list[int]:
    """Return the arrival time in ns of each block of `size` bytes; the first is `first` bytes longer."""
    stamps, count, due = [], 0, first + size
    while data := os.read(descriptor, 65_536):
        now = perf_counter_ns()
        count += len(data)
        while count >= due:
            stamps.append(now)
            due += size
    return stamps


def tool_latency(via: str, framing: str) -> float:
    """Return the median ms from the server's send to the PCM at the reader of a pipe."""
    server = Server(via, framing, PACED_BLOCKS, PACE_S)
    with subprocess.Popen(
        speak_command(server.port, via, "-o", "-"), env=ENV, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        received = arrival_times(process.stdout.fileno(), BLOCK, 0)
    sent = server.stamps()
    sent = sent[1:] if via != "ws" else sent
    return statistics.median(a - b for a, b in zip(received[5:], sent[5:], strict=False)) / 1e6


def floor_latency(via: str, framing: str) -> float:
    """Return the median ms from the server's send to the bytes at a reader that only calls recv."""
    server = Server(via, framing, PACED_BLOCKS, PACE_S)
    sizes = list(map(len, messages(via, framing, PACED_BLOCKS)))
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        stamps: list[int] = []
        count, ends, due = 0, iter(sizes), next(iter(sizes))
        next(ends)
        while len(stamps) < len(sizes):
            count += len(sock.recv(65_536))
            now = perf_counter_ns()
            while count >= due and len(stamps) < len(sizes):
                stamps.append(now)
                due += next(ends, 0)
    return statistics.median(a - b for a, b in zip(stamps[6:], server.stamps()[6:], strict=False)) / 1e6


def children_s() -> float:
    """Return the CPU seconds of all child processes waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_s(command: list[str], server: Server) -> float:
    """Return the CPU seconds of a client. The server exits later, so it is not included."""
    before = children_s()
    subprocess.run(command, env=ENV, check=True, stdout=subprocess.DEVNULL)
    used = children_s() - before
    server.stamps()
    return used


BARE = """
import binascii, socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sock.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
end, decode = int(sys.argv[2]), sys.argv[3] != "http"
count, buffer, text = 0, bytearray(65_536), memoryview(binascii.b2a_base64(bytes(49_152), newline=False))
while count < end:
    size = sock.recv_into(buffer)
    count += size
    if decode:
        binascii.a2b_base64(text[: size - size % 4])
"""


def latency(via: str, framing: str) -> Figure:
    """Compare the latency of a chunk with that of the bare reader."""
    tool, floor = tool_latency(via, framing), floor_latency(via, framing)
    gate = tool > max(GATE * LATENCY_GOAL * floor, floor + GATE * LATENCY_SLACK_MS)
    return Figure(
        f"added latency / bare reader, {via} {framing}".rstrip(),
        tool / floor,
        f"{tool / floor:6.2f}   {tool:7.3f} ms / {floor:.3f} ms: {tool - floor:+.2f} ms",
        f"{LATENCY_GOAL:g}, or +{LATENCY_SLACK_MS} ms",
        tool <= LATENCY_GOAL * floor or tool <= floor + LATENCY_SLACK_MS,
        gate,
    )


def cpu(via: Via) -> Figure:
    """Compare the CPU time for an hour of audio with that of the bare reader."""
    framing = "" if via == "ws" else "chunked" if via == "sse" else "length"
    server = Server(via, framing, HOUR_BLOCKS, 0)
    tool = cpu_s(speak_command(server.port, via, "-o", "/dev/null", "--format", "pcm"), server)
    server = Server(via, framing, HOUR_BLOCKS, 0)
    end = str(sum(map(len, messages(via, framing, HOUR_BLOCKS))))
    floor = cpu_s([sys.executable, "-c", BARE, str(server.port), end, via], server)
    relative = tool / floor
    details = f"{relative:6.2f}   {tool:7.2f} s / {floor:.2f} s"
    name = f"CPU of an hour / bare recv and base64, {via}"
    return Figure(name, relative, details, f"{CPU_GOAL:g}", relative <= CPU_GOAL, relative > GATE * CPU_GOAL)


def measure() -> Iterator[Figure]:
    """Yield all figures."""
    for via, framing in TRANSPORTS:
        yield latency(via, framing)
    yield from map(cpu, VIAS)


def main() -> int:
    """Run the benchmark, or the server for the argument `serve`. Returns 1 if a figure gates."""
    if sys.argv[1:2] == ["serve"]:
        via, framing, blocks, pace_s = sys.argv[2:]
        serve(via, framing, int(blocks), float(pace_s))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json")
    return report(measure(), parser.parse_args().json)


if __name__ == "__main__":
    sys.exit(main())
