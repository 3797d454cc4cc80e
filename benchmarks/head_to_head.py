"""Compare tools under the same faults: false success on bad audio, and loss of the existing file.

Each tool sends a request to a local server that fails in one way, and its output file already exists. Except
in the rows "for comparison" no complete audio is sent, so exit code 0 is wrong. All tools run with their
default settings. The vendor's command and SDK and edge-tts are those of benchmarks/instead.py, in
.venv-peers.

The `edge-tts` command has a hard-coded URL. A three-line program replaces that constant and calls the same
function; its server implements enough of that protocol to send the first audio, without TLS.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.instead import PACKAGES, install
from smallest_cli.audio import wav
from smallest_cli.models import AudioFormat
from tests.support import frames
from tests.support.command import environment
from tests.support.fault_cases import FEW
from tests.support.fault_server import SEGMENT, Connection, FaultServer, Script, Step, counter, fault_server
from tests.support.fault_server.steps import CHUNK, GOOD, RATE, Close, Fin, Raw, Reply, Rst, Status
from tests.support.frames import upgrade_reply
from tests.support.invariants import KEY, OLD

PINNED = dict(package.split("==") for package in PACKAGES)
ROOT = str(Path(__file__).parent.parent)
TEXT = "Good morning."
LIMIT_S = 60
NO_FAULT = "no fault, for comparison"
LOWER_CASE = "no fault, header names in lower case, for comparison"
CLOSED_PORT = "http://127.0.0.1:9"

EDGE = """
import sys, edge_tts.communicate as communicate
communicate.WSS_URL = sys.argv[1].replace("http", "ws", 1) + "/edge?a=b"
communicate.Communicate(sys.argv[2]).save_sync("out.wav")
"""
SDK = """
import sys
from smallestai import SmallestAI, SmallestAIEnvironment
from smallestai.waves.helpers.tts import synthesize_to_file
url = sys.argv[1]
where = SmallestAIEnvironment(atoms=url, waves=url, waves_ws=url.replace("http", "ws", 1), payment=url)
client = SmallestAI(api_key=sys.argv[3], environment=where)
synthesize_to_file(client, sys.argv[2], voice_id="meher", path="out.wav")
"""


@dataclass(frozen=True)
class EdgeReply:
    """Server step: accept the WebSocket of edge-tts and send the first audio frame."""

    def run(self, connection: Connection) -> None:
        connection.send(upgrade_reply(connection.head))
        connection.sock.recv(65_536)
        head = b"X-RequestId:1\r\nContent-Type:audio/mpeg\r\nPath:audio\r\n"
        connection.send(frames.frame(len(head).to_bytes(2, "big") + head + bytes(1000), 2))


@dataclass(frozen=True)
class Fault:
    """A fault: server steps for HTTP, WebSocket and edge-tts; None if it does not apply to one of them."""

    name: str
    http: Script | None
    ws: Script | None
    edge: Script | None
    refused: bool = False


def truncation_fault(name: str, framing: str, end: Step) -> Fault:
    return Fault(name, (Reply(framing), FEW, end), (Reply(), FEW, end), (EdgeReply(), end))


def reply_fault(name: str, step: Step) -> Fault:
    return Fault(name, (step,), (step,), (step,))


def http_fault(name: str, headers: bytes, body: bytes) -> Fault:
    """A reply over HTTP that ends with `body`, followed by the end of the connection."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\n" + headers + b"\r\n\r\n"
    return Fault(name, (Raw(head + body), Fin()), None, None)


def faults(elsewhere: str) -> list[Fault]:
    """Return all faults. `elsewhere` is the URL that the redirect points to."""
    location = f"Location: {elsewhere}/x\r\n".encode()
    ends = (Raw(frames.close(1011, b"oh")), Close(1011))
    whole = wav.header(AudioFormat(RATE), 2 * SEGMENT) + counter(0, SEGMENT)
    cut = whole[: 44 + 2 * CHUNK]
    chunk = b"%x\r\n%s\r\n" % (len(cut), cut)
    quarter = wav.header(AudioFormat(RATE), SEGMENT // 2) + whole[44:]
    turn_end = frames.frame(b"X-RequestId:1\r\nPath:turn.end\r\n\r\n{}")
    return [
        Fault(NO_FAULT, GOOD, GOOD, (EdgeReply(), Raw(turn_end), Close(1000))),
        truncation_fault("closed mid-stream, chunked", "chunked", Fin()),
        truncation_fault("closed mid-stream, with a length", "length", Fin()),
        truncation_fault("closed mid-stream, body until close", "close", Fin()),
        truncation_fault("reset mid-stream", "length", Rst()),
        http_fault("closed mid-stream, `Content-Length: abc`", b"Content-Length: abc", cut),
        http_fault(
            "closed mid-stream, `Transfer-Encoding: gzip, chunked`",
            b"Transfer-Encoding: gzip, chunked",
            chunk,
        ),
        http_fault("closed within the last chunk's line", b"Transfer-Encoding: chunked", chunk + b"000"),
        http_fault("WAV header of a quarter of the body", b"Content-Length: %d" % len(quarter), quarter),
        Fault("WebSocket close 1000 mid-stream", None, (Reply(), FEW, Close(1000)), None),
        Fault("WebSocket close 1011 mid-stream", None, (Reply(), FEW, Close(1011)), (EdgeReply(), *ends)),
        reply_fault(
            "200 with an HTML page", Status(200, b"<html>log in</html>", b"Content-Type: text/html\r\n")
        ),
        reply_fault("200 with nothing", Status(200, b"", b"Content-Type: audio/wav\r\n")),
        reply_fault("401", Status(401)),
        Fault("connection refused", (), (), (), refused=True),
        reply_fault("307 to another host", Status(307, headers=location)),
        reply_fault("429, Retry-After: 1", Status(429, headers=b"Retry-After: 1\r\n")),
        Fault(
            LOWER_CASE,
            (
                Raw(
                    b"HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ncontent-length: %d\r\n\r\n" % len(whole)
                    + whole
                ),
            ),
            None,
            None,
        ),
    ]


@dataclass(frozen=True)
class Tool:
    """A tool under test. `argv` and `env` return its command and environment for a server URL."""

    name: str
    kind: str
    argv: Callable[[str], Sequence[str]]
    env: Callable[[str], Mapping[str, str]] = field(default=lambda _: {})


@dataclass(frozen=True)
class Outcome:
    """Outcome of one fault for one tool.

    `exit` is None after a timeout. `kept` is true if the existing file is unchanged. `elsewhere` is true if
    the redirect target was contacted.
    """

    fault: str
    tool: str
    exit: int | None
    kept: bool
    elsewhere: bool
    requests: int

    @property
    def cell(self) -> str:
        """The table cell, with bad outcomes in bold."""
        if self.fault in (NO_FAULT, LOWER_CASE):
            return f"exit {self.exit}, {'no new file' if self.kept else 'new file'}"
        ended = f"**no end in {LIMIT_S} s**" if self.exit is None else f"exit {self.exit}"
        parts = [ended if self.exit != 0 else "**exit 0**", "kept" if self.kept else "**damaged**"]
        if self.elsewhere:
            parts.append("**request to the other host**")
        if "429" in self.fault:
            parts.append(f"{self.requests} request{'s' * (self.requests != 1)}")
        return ", ".join(parts)


def tools(python: Path) -> list[Tool]:
    """Return all tools, `smallest` last. curl is included if it is installed."""
    speak = [sys.executable, "-m", "smallest_cli", "speak", TEXT, "-o", "out.wav"]
    vendor = [
        str(python.with_name("smallestai")),
        "models",
        "tts",
        TEXT,
        "--voice-id",
        "meher",
        "-o",
        "out.wav",
    ]
    available = [
        Tool(f"edge-tts {PINNED['edge-tts']}", "edge", lambda url: [str(python), "-c", EDGE, url, TEXT]),
        Tool(f"vendor's command {PINNED['smallestai']}", "http", lambda _: vendor,
             lambda url: {"SMALLEST_BASE_URL": url, "SMALLESTAI_TELEMETRY": "0"}),
        Tool(f"vendor's SDK {PINNED['smallestai']}", "http",
             lambda url: [str(python), "-c", SDK, url, TEXT, KEY], lambda _: {"SMALLESTAI_TELEMETRY": "0"}),
    ]  # fmt: skip
    if curl := shutil.which("curl"):
        body = json.dumps({"text": TEXT, "voice_id": "meher", "output_format": "wav"})
        heads = ["-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {KEY}"]
        command = [curl, "-sSf", "-d", body, *heads, "-o", "out.wav"]
        available.append(
            Tool(f"curl {curl_version()} -f", "http", lambda url: [*command, f"{url}/waves/v1/tts"])
        )
    return [
        *available,
        Tool("smallest, WebSocket", "ws", lambda url: [*speak, "--via", "ws", "--base-url", url]),
        Tool("smallest, HTTP", "http", lambda url: [*speak, "--via", "http", "--base-url", url]),
    ]


def curl_version() -> str:
    version_text = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout
    return version_text.split()[1]


def run_fault(tool: Tool, fault: Fault, other_host: FaultServer) -> Outcome | None:
    """Run a tool under a fault. Returns None if the fault does not apply to its transport."""
    script = {"edge": fault.edge, "http": fault.http, "ws": fault.ws}[tool.kind]
    if script is None:
        return None
    before = other_host.connections
    with tempfile.TemporaryDirectory() as folder, fault_server(script) as server:
        url = CLOSED_PORT if fault.refused else server.base_url
        target = Path(folder, "out.wav")
        target.write_bytes(OLD)
        code = run(tool, url, Path(folder))
        kept = target.exists() and target.read_bytes() == OLD
    return Outcome(
        fault.name,
        tool.name,
        code,
        kept,
        other_host.connections > before,
        max(server.connections, len(server.requests)),
    )


def run(tool: Tool, url: str, folder: Path) -> int | None:
    """Run a tool. Returns its exit code, or None after a timeout. Raises SystemExit on an import error."""
    variables = {"SMALLEST_API_KEY": KEY, "PYTHONPATH": ROOT, "NO_PROXY": "*", **tool.env(url)}
    try:
        completed = subprocess.run(
            tool.argv(url), cwd=folder, env=environment(folder, **variables),
            stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    if re.search(rb"ModuleNotFoundError|SyntaxError|ImportError", completed.stderr):
        raise SystemExit(completed.stderr.decode())
    return completed.returncode


def main() -> None:
    """Run all tools under all faults and print the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json")
    path = parser.parse_args().json
    outcomes: list[Outcome] = []
    other: Script = (Reply(), FEW, Fin())
    with fault_server(other) as elsewhere, fault_server((EdgeReply(), Fin())) as edge:
        compared = tools(install())
        print("| fault |", " | ".join(tool.name for tool in compared), "|")
        print("|---|" + "---|" * len(compared))
        for fault, edge_fault in zip(faults(elsewhere.base_url), faults(edge.base_url), strict=True):
            row = [
                run_fault(tool, edge_fault, edge)
                if tool.kind == "edge"
                else run_fault(tool, fault, elsewhere)
                for tool in compared
            ]
            cells = [each.cell if each else "-" for each in row]
            print("|", " | ".join([fault.name, *cells]), "|", flush=True)
            outcomes += filter(None, row)
    if path:
        Path(path).write_text(json.dumps(list(map(asdict, outcomes)), indent=1) + "\n")


if __name__ == "__main__":
    main()
