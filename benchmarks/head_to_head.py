"""The same faults for four tools: who reports success for bad audio, and whose old file is gone?

    python benchmarks/head_to_head.py [VENV]

Makes a virtual environment (in VENV, which is used again, else in a folder that goes away) with edge-tts and
Smallest AI's own SDK at the versions below; curl is taken from PATH. Each tool speaks to a server on this
machine that fails in one way, with a file in the place that it writes to. All run as they come, with their
own defaults. edge-tts is told our server's address by its constant.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests import frames
from tests.command import environment
from tests.faults.cases import FEW
from tests.faults.invariants import KEY, OLD
from tests.faults.server import FaultServer, Script, Step, Talk, fault_server
from tests.faults.steps import Close, Fin, Raw, Reply, Rst, Status
from tests.frames import upgrade_reply

PINNED = {"edge-tts": "7.3.1", "smallestai": "5.14.0"}
ROOT = str(Path(__file__).parent.parent)
TEXT = "Good morning."
LIMIT_S = 90

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
    """An upgrade in the words that edge-tts understands, and a first piece of audio."""

    def play(self, talk: Talk) -> None:
        talk.send(upgrade_reply(talk.head))
        talk.sock.recv(65_536)
        head = b"X-RequestId:1\r\nContent-Type:audio/mpeg\r\nPath:audio\r\n"
        talk.send(frames.frame(len(head).to_bytes(2, "big") + head + bytes(1000), 2))


@dataclass(frozen=True)
class Fault:
    """What goes wrong: the steps of HTTP and WebSocket, and those of edge-tts; None where it has no such."""

    name: str
    http: Script | None
    ws: Script | None
    edge: Script | None
    refused: bool = False


def cut(name: str, framing: str, end: Step) -> Fault:
    return Fault(name, (Reply(framing), FEW, end), (Reply(), FEW, end), (EdgeReply(), end))


def answer(name: str, step: Step) -> Fault:
    return Fault(name, (step,), (step,), (step,))


def faults(elsewhere: str) -> list[Fault]:
    """`elsewhere` is the address of another server."""
    moved = f"Location: {elsewhere}/x\r\n".encode()
    ends = (Raw(frames.close(1011, b"oh")), Close(1011))
    return [
        cut("closed mid-stream, chunked", "chunked", Fin()),
        cut("closed mid-stream, with a length", "length", Fin()),
        cut("closed mid-stream, body until close", "close", Fin()),
        cut("reset mid-stream", "length", Rst()),
        Fault("WebSocket close 1011 mid-stream", None, (Reply(), FEW, Close(1011)), (EdgeReply(), *ends)),
        answer("200 with an HTML page", Status(200, b"<html>log in</html>", b"Content-Type: text/html\r\n")),
        answer("200 with nothing", Status(200, b"", b"Content-Type: audio/wav\r\n")),
        answer("401", Status(401)),
        Fault("connection refused", (), (), (), refused=True),
        answer("307 to another host", Status(307, headers=moved)),
        answer("429, Retry-After: 1", Status(429, headers=b"Retry-After: 1\r\n")),
    ]


@dataclass(frozen=True)
class Tool:
    """`argv` makes a command of a server's address."""

    name: str
    kind: str
    argv: Callable[[str], Sequence[str]]


def tools(python: str) -> list[Tool]:
    speak = [sys.executable, "-m", "smallest_cli", "speak", TEXT, "-o", "out.wav"]
    body = f'{{"text":"{TEXT}","voice_id":"meher"}}'
    curl = ["curl", "-sS", "-f", "-d", body, "-H", "Content-Type: application/json", "-o", "out.wav"]
    return [
        Tool(f"edge-tts {PINNED['edge-tts']}", "edge", lambda url: [python, "-c", EDGE, url, TEXT]),
        Tool(f"smallestai {PINNED['smallestai']}, HTTP", "http",
             lambda url: [python, "-c", SDK, url, TEXT, KEY]),
        Tool(f"curl {curl_version()} -f -o", "http",
             lambda url: [*curl, "-H", f"Authorization: Bearer {KEY}", f"{url}/waves/v1/tts"]),
        Tool("smallest, WebSocket", "ws", lambda url: [*speak, "--base-url", url]),
        Tool("smallest, HTTP", "http", lambda url: [*speak, "--via", "http", "--base-url", url]),
    ]  # fmt: skip


def curl_version() -> str:
    said = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout
    return said.split()[1]


def outcome(tool: Tool, fault: Fault, elsewhere: FaultServer) -> str:
    """A cell of the table."""
    script = {"edge": fault.edge, "http": fault.http, "ws": fault.ws}[tool.kind]
    if script is None:
        return "-"
    before = elsewhere.connections
    with tempfile.TemporaryDirectory() as folder, fault_server(script) as server:
        url = "http://127.0.0.1:9" if fault.refused else server.base_url
        target = Path(folder, "out.wav")
        target.write_bytes(OLD)
        done = subprocess.run(
            tool.argv(url), cwd=folder, env=environment(Path(folder), SMALLEST_API_KEY=KEY, PYTHONPATH=ROOT),
            stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        if re.search(rb"ModuleNotFoundError|SyntaxError|ImportError", done.stderr):
            raise SystemExit(done.stderr.decode())
        old = target.exists() and target.read_bytes() == OLD
    seen = [f"error {done.returncode}" if done.returncode else "**success**"]
    seen.append("old file kept" if old else "**old file gone**")
    if elsewhere.connections > before:
        seen.append("**text sent to the other host**")
    if "429" in fault.name:
        seen.append(f"{server.connections} requests")
    return ", ".join(seen)


def install(place: Path) -> str:
    """The Python of an environment that holds the pinned tools."""
    python = str(place / "bin" / "python")
    if not place.joinpath("bin").is_dir():
        venv.create(place, with_pip=True)
        pins = [f"{name}=={version}" for name, version in PINNED.items()]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *pins], check=True, stderr=subprocess.PIPE)
    return python


def main() -> None:
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    try:
        with fault_server((Reply(), FEW, Fin())) as elsewhere:
            rivals = tools(install(place))
            print("| Fault |", " | ".join(tool.name for tool in rivals), "|")
            print("|---|" + "---|" * len(rivals))
            for fault in faults(elsewhere.base_url):
                cells = [outcome(tool, fault, elsewhere) for tool in rivals]
                print("|", " | ".join([fault.name, *cells]), "|", flush=True)
    finally:
        if len(sys.argv) < 2:
            shutil.rmtree(place)


if __name__ == "__main__":
    main()
