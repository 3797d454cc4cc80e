"""Plays the PCM of a file on the loudspeaker: `python -m tests.play_pcm FILE RATE [abort|ADDRESS]`.

A program of its own, because PortAudio finds its devices once for each process. With `abort` it says
`playing` when two thirds have been handed over, and stops the sound when a line comes on stdin.
"""

from __future__ import annotations

import sys
from pathlib import Path

from smallest_cli.errors import DeviceError
from smallest_cli.sinks.speaker import SpeakerSink
from smallest_cli.speech import AudioFormat


def main(path: str, rate: str, how: str = "") -> int:
    pcm = Path(path).read_bytes()
    try:
        sink = SpeakerSink(AudioFormat(int(rate)))
        for at in range(0, len(pcm), 7680):
            sink.write(pcm[at : at + 7680])
        if how == "abort":
            print("playing", flush=True)
            sys.stdin.readline()
            heard = sink.heard()
            sink.abort()
            print(heard, flush=True)
            return 0
        sink.close()
    except DeviceError as error:
        print(f"{error}; {error.hint}", flush=True)
        return error.exit_code
    print(sink.underruns, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
