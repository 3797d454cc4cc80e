"""Hosts of one machine: network namespaces, joined by a bridge. Needs root, unshare, nsenter and setpriv
(util-linux), and ip (iproute2).

A namespace has no name: it lasts as long as the process that holds it, which ends with its stdin. So nothing
stays behind, however we end.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

PROGRAMS = ("unshare", "nsenter", "setpriv", "ip")


@dataclass(frozen=True)
class Host:
    """A network of its own, with one address."""

    address: str
    holder: int

    def start(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """A process in it; its id is that of the command. It does not outlive us."""
        dies_with_us = ("setpriv", "--pdeathsig", "KILL")
        return subprocess.Popen(
            [*self._enter(), *dies_with_us, *command], stdin=subprocess.DEVNULL, **options
        )

    def ip(self, words: str) -> None:
        """Set its network up."""
        subprocess.run([*self._enter(), "ip", *words.split()], check=True)

    def _enter(self) -> tuple[str, ...]:
        return ("nsenter", "--net", "--target", str(self.holder))


def why_not() -> str | None:
    """What keeps this machine from having networks of its own; None if nothing does."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"{program} is not installed"
    tried = subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "br0", "type", "bridge"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return tried.stderr.strip() or "no network namespaces" if tried.returncode else None


@contextmanager
def joined(addresses: Sequence[str]) -> Iterator[list[Host]]:
    """A host for each address, all of one /24. The bridge is the first one's."""
    with ExitStack() as opened:
        first, *others = [Host(each, opened.enter_context(_holder())) for each in addresses]
        first.ip("link add br0 type bridge")
        first.ip(f"address add {first.address}/24 dev br0")
        first.ip("link set br0 up")
        first.ip("link set lo up")
        for number, host in enumerate(others, 1):
            first.ip(f"link add v{number} type veth peer name eth0 netns {host.holder}")
            first.ip(f"link set v{number} master br0 up")
            host.ip(f"address add {host.address}/24 dev eth0")
            host.ip("link set eth0 up")
            host.ip("link set lo up")
        yield [first, *others]


@contextmanager
def _holder() -> Iterator[int]:
    """The id of a process that holds a namespace. It says when it has it."""
    command = ["unshare", "--net", "sh", "-c", "echo held; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        yield holder.pid
