"""Simulated hosts: network namespaces connected by a bridge. Needs root, unshare, nsenter and setpriv
(util-linux), and ip (iproute2).

Namespaces are anonymous: each exists as long as its holder process, which exits when its stdin closes. No
cleanup is needed, even after SIGKILL.
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
    """A network namespace with one address."""

    address: str
    holder: int

    def start(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a process in the namespace. Its pid is that of the command; it is killed with its parent."""
        kill_with_parent = ("setpriv", "--pdeathsig", "KILL")
        return subprocess.Popen(
            [*self._enter(), *kill_with_parent, *command], stdin=subprocess.DEVNULL, **options
        )

    def ip(self, arguments: str) -> None:
        """Run `ip` with the given arguments in the namespace."""
        subprocess.run([*self._enter(), "ip", *arguments.split()], check=True)

    def _enter(self) -> tuple[str, ...]:
        return ("nsenter", "--net", "--target", str(self.holder))


def unavailable_reason() -> str | None:
    """Return why network namespaces are unavailable, or None if they are available."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"{program} is not installed"
    result = subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "br0", "type", "bridge"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return result.stderr.strip() or "no network namespaces" if result.returncode else None


@contextmanager
def open_hosts(addresses: Sequence[str]) -> Iterator[list[Host]]:
    """Create a host per address, all in one /24. The bridge is in the first host's namespace."""
    with ExitStack() as stack:
        first, *others = [Host(each, stack.enter_context(_holder())) for each in addresses]
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
    """Start a process that holds a namespace. Yields its pid once the namespace exists."""
    command = ["unshare", "--net", "sh", "-c", "echo held; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        yield holder.pid
