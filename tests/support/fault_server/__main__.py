"""The fault server as a process: `python -m tests.support.fault_server LOG`.

It reads a pickled script from stdin, prints its port, and ends with its stdin.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from tests.support.fault_server import fault_server
from tests.support.fault_server.steps import Tone


def main(log: str) -> None:
    script = pickle.load(sys.stdin.buffer)
    for step in script:
        if isinstance(step, Tone):
            step.pcm()  # computed and cached here, not while a request waits
    with fault_server(script, log_path=Path(log)) as server:
        print(server.port, flush=True)
        sys.stdin.buffer.read()


if __name__ == "__main__":
    main(sys.argv[1])
